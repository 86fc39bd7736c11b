"""Weights in safetensors files, whole or in shards, read and combined tensor by tensor.

What is read is mapped from the disk, and what is written goes there in pieces: combining takes little memory whatever
the size of the files.
"""

from __future__ import annotations

import contextlib
import functools
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor, nn

from holdfast.core.errors import UserError
from holdfast.core.files import atomic_path, read_json, read_tree, write_json
from holdfast.weights.tree import WeightTree, check_alike

INDEX = "model.safetensors.index.json"
PIECE = 1 << 16
"""Entries that are combined at a time, so that they stay in a processor's cache."""

_NAMES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
    torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class StoredWeights:
    """The tensors of a file or of the shards of a folder.

    Attributes:
        path: What was named.
        readers: What reads each tensor, by its name.
        places: The file of each tensor and where in it the tensor begins, where that is known.
    """

    path: Path
    readers: Mapping[str, Callable[[], Tensor]]
    places: Mapping[str, tuple[Path, int]]

    def read(self, name: str) -> Tensor:
        """A tensor, mapped from the disk where it can be; it is not to be changed."""
        return self.readers[name]()

    def pieces(self, name: str) -> Iterator[Tensor]:
        """A tensor's entries, flat, some at a time; each piece is to be used before the next is asked for."""
        tensor = self.read(name).flatten()
        if name not in self.places:
            yield from torch.split(tensor, PIECE)
            return
        # Reading into one piece of memory is faster than touching what is mapped for the first time.
        piece = torch.empty(min(PIECE, len(tensor)), dtype=tensor.dtype)
        array: Any = piece.view(torch.uint8).numpy()
        memory = memoryview(array)
        path, start = self.places[name]
        with path.open("rb", buffering=0) as file:
            file.seek(start)
            for place in range(0, len(tensor), PIECE):
                count = min(PIECE, len(tensor) - place)
                _fill(file, memory[: count * piece.itemsize], path)
                yield piece[:count]


def stored_weights(path: str | Path) -> StoredWeights:
    """Open a safetensors file, or a folder with one, such as a finished cell's, or with shards and their index.

    Raises:
        UserError: There is none, or it is truncated or damaged.
    """
    path = Path(path)
    readers: dict[str, Callable[[], Tensor]] = {}
    places: dict[str, tuple[Path, int]] = {}
    for shard in _shards(path):
        of_shard, starts = _contents(shard)
        readers |= of_shard
        places |= {name: (shard, start) for name, start in starts.items()}
    return StoredWeights(path, readers, places)


def read_weights(path: str | Path, module: nn.Module) -> WeightTree:
    """The weights of a network from a file or folder.

    Raises:
        UserError: It cannot be read, or is of another architecture.
    """
    stored, own = stored_weights(path), WeightTree.of(module)

    def read(part: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: stored.read(name).clone() for name in part if name in stored.readers}

    found = WeightTree(read(own.parameters), read(own.buffers), read(own.counters))
    shared = set(module.state_dict())
    further = {name: stored.read(name) for name in stored.readers if name not in shared}
    check_alike([WeightTree(found.parameters, found.buffers, {**found.counters, **further}), own])
    return found


def write_weights(tree: WeightTree, path: Path) -> None:
    """Write a tree as one safetensors file, whole or not at all."""
    _write(
        path,
        {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in tree.tensors.items()},
        lambda name: iter([tree.tensors[name].detach().cpu().contiguous().flatten()]),
    )


def combine_files(terms: Sequence[tuple[float, str | Path]], output: Path, *, shard_bytes: int | None = None) -> None:
    """Σ c·weights over files or folders, written as one file or as shards; the files need not fit into memory.

    Sums are made in single precision at least and written in the first file's; integers are the first file's.

    Args:
        terms: Pairs of coefficient and file or folder.
        output: A file; with ``shard_bytes`` a folder, whose shards are no larger where their tensors are not.
        shard_bytes: The size of a shard.

    Raises:
        UserError: A file cannot be read, is of another architecture, or holds values that are not finite.
    """
    if not terms:
        raise UserError("there are no weights to combine: name one file at least")
    stored = [(c, stored_weights(path)) for c, path in terms]
    first = stored[0][1]
    for _, other in stored[1:]:
        _check_alike(first, other)
    kinds = {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in _tensors(first).items()}
    groups = [list(kinds)] if shard_bytes is None else _groups(kinds, shard_bytes)

    def pieces(name: str) -> Iterator[Tensor]:
        return _combined(name, stored)

    if shard_bytes is None:
        _write(output, kinds, pieces)
        return
    with atomic_path(output) as folder:
        folder.mkdir()
        names = [f"model-{k + 1:05d}-of-{len(groups):05d}.safetensors" for k in range(len(groups))]
        for name, group in zip(names, groups, strict=True):
            _write(folder / name, {member: kinds[member] for member in group}, pieces)
        size = sum(_bytes(*kind) for kind in kinds.values())
        places = {member: name for name, group in zip(names, groups, strict=True) for member in group}
        write_json(folder / INDEX, {"metadata": {"total_size": size}, "weight_map": places})


def _combined(name: str, stored: Sequence[tuple[float, StoredWeights]]) -> Iterator[Tensor]:
    """The flat sum in pieces; each is to be used before the next is asked for."""
    kind = stored[0][1].read(name).dtype
    if not kind.is_floating_point:
        yield from stored[0][1].pieces(name)
        return
    exact = torch.promote_types(kind, torch.float32)
    for parts in zip(*(weights.pieces(name) for _, weights in stored), strict=True):
        total = parts[0].to(exact).mul_(stored[0][0])
        for (coefficient, _), part in zip(stored[1:], parts[1:], strict=True):
            total.add_(part.to(exact), alpha=coefficient)
        if not math.isfinite(total.sum().item()) and not total.isfinite().all():
            paths = " and ".join(str(weights.path) for _, weights in stored)
            raise UserError(f"{name} of {paths} gives values that are not finite: take weights from before they were")
        yield total.to(kind)


def _write(path: Path, kinds: Mapping[str, tuple[torch.dtype, tuple[int, ...]]], pieces: Any) -> None:
    """A safetensors file of tensors that come flat, in pieces: the length of the header, the header, the data."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (dtype, shape) in kinds.items():
        start, end = end, end + _bytes(dtype, shape)
        header[name] = {"dtype": _NAMES[dtype], "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with atomic_path(path) as temporary, temporary.open("wb", buffering=0) as file:
        _all(file, len(text).to_bytes(8, "little") + text)
        for name in kinds:
            for piece in pieces(name):
                _all(file, piece.view(torch.uint8).numpy())


def _all(file: BinaryIO, data: Any) -> None:
    """Write all of some bytes, which an unbuffered file may take in parts."""
    view = memoryview(data).cast("B") if len(data) else memoryview(b"")
    while len(view):
        view = view[file.write(view) :]


def _bytes(dtype: torch.dtype, shape: tuple[int, ...]) -> int:
    return math.prod(shape) * dtype.itemsize


def _groups(kinds: Mapping[str, tuple[torch.dtype, tuple[int, ...]]], most: int) -> list[list[str]]:
    """Names in shards of ``most`` bytes, in order."""
    groups: list[list[str]] = [[]]
    size = 0
    for name, kind in kinds.items():
        if groups[-1] and size + _bytes(*kind) > most:
            groups.append([])
            size = 0
        groups[-1].append(name)
        size += _bytes(*kind)
    return groups


def _check_alike(one: StoredWeights, other: StoredWeights) -> None:
    check_alike([WeightTree(_tensors(stored), {}, {}) for stored in (one, other)])


def _tensors(stored: StoredWeights) -> dict[str, Tensor]:
    return {name: stored.read(name) for name in sorted(stored.readers)}


def _shards(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    if (path / INDEX).is_file():
        places = read_json(path / INDEX).get("weight_map", {})
        return [path / name for name in dict.fromkeys(places.values())]
    found = sorted(path.glob("*.safetensors"))
    if len(found) != 1:
        raise UserError(f"{path} holds {len(found)} safetensors files and no {INDEX}: name one of them")
    return found


def _fill(file: BinaryIO, memory: memoryview, path: Path) -> None:
    """Read until some memory is full."""
    while len(memory):
        count = file.readinto(memory)  # type: ignore[attr-defined]
        if not count:
            raise UserError(f"{path} became shorter while it was read: copy it again")
        memory = memory[count:]


def _starts(path: Path) -> dict[str, int]:
    """Where each tensor of a safetensors file begins."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    return {name: 8 + length + entry["data_offsets"][0] for name, entry in header.items() if name != "__metadata__"}


def _contents(path: Path) -> tuple[dict[str, Callable[[], Tensor]], dict[str, int]]:
    """What reads each tensor of a file, and where it begins; where it begins is not told of a finished cell's.

    There the names of tensors stand in a structure beside them.
    """
    file = _opened(path)
    if "tree" in (file.metadata() or {}):
        return {name: functools.partial(lambda tensor: tensor, tensor) for name, tensor in read_tree(path).items()}, {}
    names = file.keys()
    return {name: functools.partial(file.get_tensor, name) for name in names}, _starts(path)


def _opened(path: Path) -> Any:
    from safetensors import SafetensorError, safe_open

    with contextlib.suppress(OSError):
        if path.stat().st_size == 0:
            raise UserError(f"{path} is empty: copy it again")
    try:
        return safe_open(path, framework="pt")
    except (OSError, SafetensorError) as error:
        reason = str(error).partition("\n")[0][:120]
        raise UserError(f"cannot read {path} ({reason}): it is missing, truncated or damaged; copy it again") from None
