"""The cell store: finished cells in folders named by their hash, each whole or absent.

A running cell lives in ``.partial-KEY`` beside the finished ones, with the checkpoints that let it resume; when it is
done the folder is renamed. Evaluations are files inside the cell under their own hash. What training left is never
changed again: every file is read only if its checksum is the one recorded then.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from holdfast.core.artifacts import Artifact, Table, from_json, to_json
from holdfast.core.errors import UserError
from holdfast.core.evaluation import Finding, Measurement, Result
from holdfast.core.files import Unreadable, atomic_path, read_json, read_tree, write_json, write_text, write_tree
from holdfast.core.ledger import Ledger
from holdfast.experiments.results import RowScores
from holdfast.experiments.spec import CellSpec, hash_of
from holdfast.training import Record

_KEYS: Mapping[str, tuple[str, ...]] = {
    "spec": ("seed",),
    "provenance": ("task", "fold", "method", "versions", "machine", "finished"),
    "ledger": tuple(field.name for field in dataclasses.fields(Ledger)),
}
_CHECKSUMS = "checksums.json"
_GROUPS = "groups.json"
_NECESSARY = (*(f"{name}.json" for name in _KEYS), "records.parquet", "log.jsonl", _CHECKSUMS)


@dataclass(frozen=True)
class Cell:
    """A finished cell on disk. Files are read when asked for."""

    folder: Path

    @property
    def key(self) -> str:
        """Its hash."""
        return self.folder.name

    def read(self, name: str) -> Any:
        """A JSON file of the cell: ``spec``, ``provenance``, ``ledger``."""
        with self._undamaged(f"{name}.json") as path:
            content = read_json(path)
            return {**{key: content[key] for key in _KEYS[name]}, **content}

    def _repr_html_(self) -> str:
        about, ledger = self.read("provenance"), self.read("ledger")
        seconds = sum(ledger["seconds"].values())
        lines = (
            ("cell", self.key),
            ("method", about["method"]),
            ("task", " ".join(filter(None, (about["task"], about["fold"])))),
            ("seed", self.read("spec")["seed"]),
            ("steps", ledger["steps"]),
            ("seconds", round(seconds, 1)),
            ("folder", str(self.folder)),
        )
        return Table("cell", ("of the cell", ""), lines).to_html()

    @property
    def records(self) -> tuple[Record, ...]:
        """Scores of every kept checkpoint on every split."""
        with self._undamaged("records.parquet") as path:
            return tuple(Record(**row) for row in _read_rows(path))

    @property
    def history(self) -> tuple[Mapping[str, Any], ...]:
        """Scalars along the training, stage after stage."""
        with self._undamaged("log.jsonl") as path:
            lines = map(json.loads, path.read_text(encoding="utf-8").splitlines())
            return tuple({"step": line["step"], **line} for line in lines)

    @property
    def groups(self) -> tuple[Artifact, ...]:
        """What is said of the groups that were inferred for it; nothing where none were."""
        if not (self.folder / _GROUPS).exists():
            return ()
        with self._undamaged(_GROUPS) as path:
            return tuple(map(from_json, read_json(path)))

    @property
    def is_module(self) -> bool:
        """Whether the cell holds a network; else a scikit-learn estimator."""
        return (self.folder / "model.safetensors").exists()

    def weights(self, step: int | None) -> Any:
        """The state dict kept at a step, or the final one."""
        name = "model.safetensors" if step is None else f"checkpoints/step-{step:08d}.safetensors"
        with self._undamaged(name) as path:
            return read_tree(path) if step is None else read_tree(path)["model"]

    def phase_weights(self, phase: int) -> Any:
        """The state dict at the end of a phase that is not the last."""
        with self._undamaged(f"phases/{phase}.safetensors") as path:
            return read_tree(path)

    def estimator(self) -> Any:
        """The fitted scikit-learn estimator."""
        with self._undamaged("model.skops") as path:
            return _read_estimator(path)

    def has_evaluation(self, key: str) -> bool:
        """Whether an evaluation of this hash is finished."""
        return self._measurements(key).exists() and self._artifacts(key).exists()

    def save_evaluation(self, key: str, what: Mapping[str, Any], result: Result) -> None:
        """Keep a finished evaluation; its measurements are written last and mark it as whole."""
        artifacts = [to_json(artifact) for artifact in result.artifacts]
        findings = [dataclasses.asdict(finding) for finding in result.findings]
        write_json(self._artifacts(key), {"evaluation": what, "artifacts": artifacts, "findings": findings})
        _write_rows(self._measurements(key), result.measurements, Measurement)

    def evaluation(self, key: str) -> Result:
        """A finished evaluation."""
        with _undamaged(self._measurements(key)):
            measurements = tuple(Measurement(**row) for row in _read_rows(self._measurements(key)))
        with _undamaged(self._artifacts(key)):
            kept = read_json(self._artifacts(key))
            artifacts = tuple(from_json(item) for item in kept["artifacts"])
            findings = tuple(Finding(**item) for item in kept.get("findings", ()))
        return Result(measurements, artifacts, findings)

    def save_scores(self, key: str, scores: Sequence[RowScores]) -> None:
        """Keep per-row scores of one selection rule."""
        import torch

        def plain(value: Any) -> Any:
            return torch.from_numpy(value) if hasattr(value, "dtype") else value

        trees = [{f.name: plain(getattr(s, f.name)) for f in dataclasses.fields(s)} for s in scores]
        write_tree(self._scores(key), trees)

    def has_scores(self, key: str) -> bool:
        """Whether per-row scores of this hash are kept."""
        return self._scores(key).exists()

    def scores(self, key: str) -> dict[str, RowScores]:
        """Per-row scores by split."""
        with _undamaged(self._scores(key)):
            trees = [
                {k: v.numpy() if hasattr(v, "numpy") else v for k, v in t.items()} for t in read_tree(self._scores(key))
            ]
            return {tree["split"]: RowScores(**tree) for tree in trees}

    def _measurements(self, key: str) -> Path:
        return self.folder / "measurements" / f"{key}.parquet"

    def _artifacts(self, key: str) -> Path:
        return self.folder / "artifacts" / f"{key}.json"

    def _scores(self, key: str) -> Path:
        return self.folder / "scores" / f"{key}.safetensors"

    @contextlib.contextmanager
    def _undamaged(self, name: str) -> Iterator[Path]:
        """The path of a file that training left, if it is as training left it; a spec's hash is its cell's name."""
        path = self.folder / name
        with _undamaged(self.folder, f"cell {self.folder} is damaged ({name})"):
            if name != "spec.json" and _checksum(path) != read_json(self.folder / _CHECKSUMS)[name]:
                raise ValueError("another checksum")
            yield path


@dataclass(frozen=True)
class CellStore:
    """The cells below a folder."""

    root: Path

    def find(self, spec: CellSpec) -> Cell | None:
        """The finished cell of this spec, or None.

        Raises:
            UserError: Its folder is there but damaged.
        """
        folder = self.root / spec.key
        if not folder.exists():
            return None
        cell = Cell(folder)
        self.check(cell)
        return cell

    def get(self, key: str) -> Cell:
        """A finished cell by hash, or by the beginning of one.

        Raises:
            UserError: There is none, several, or it is damaged.
        """
        found = [cell for cell in self if cell.key.startswith(key)]
        if len(found) != 1:
            raise UserError(
                f"{len(found) or 'no'} finished cells in {self.root} begin with {key!r}: see holdfast list cells"
            )
        self.check(found[0])
        return found[0]

    def check(self, cell: Cell) -> None:
        """Refuse a cell whose files are missing or whose spec does not hash to its name."""
        missing = [name for name in _NECESSARY if not (cell.folder / name).exists()]
        if not any((cell.folder / name).exists() for name in ("model.safetensors", "model.skops")):
            missing.append("model")
        if len(missing) > len(_NECESSARY):
            raise UserError(f"{cell.folder} is no cell: move it elsewhere")
        if missing:
            raise UserError(f"cell {cell.folder} is damaged ({', '.join(missing)} missing): remove it and run again")
        if hash_of(cell.read("spec")) != cell.key:
            raise UserError(f"cell {cell.folder} is damaged (spec.json was changed): remove it and run again")

    @contextlib.contextmanager
    def lock(self, spec: CellSpec) -> Iterator[None]:
        """Work on the cell of this spec alone: other processes wait. The lock of a killed process is free."""
        from filelock import FileLock, Timeout

        self.root.mkdir(parents=True, exist_ok=True)
        path = self.root / f".lock-{spec.key}"
        lock = FileLock(path)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            warnings.warn(
                f"another process trains cells in {self.root}: waiting for it where it is ahead", stacklevel=3
            )
            lock.acquire(poll_interval=0.2)
        with contextlib.ExitStack() as leaving:
            leaving.callback(lock.release)
            leaving.callback(path.unlink, missing_ok=True)  # who waits sees that the file is gone and makes a new one
            yield

    def partial(self, spec: CellSpec) -> Path:
        """Where the cell of this spec is worked on until it is finished."""
        folder = self.root / f".partial-{spec.key}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def finish(self, spec: CellSpec, files: CellFiles) -> Cell:
        """Write the remaining files of a running cell and give it its name."""
        folder = self.partial(spec)
        files.write(folder)
        write_json(folder / _CHECKSUMS, _checksums(folder))
        write_json(folder / "spec.json", spec.hashed())
        target = self.root / spec.key
        if target.exists():
            shutil.rmtree(folder)
        else:
            folder.replace(target)
        return Cell(target)

    def __iter__(self) -> Iterator[Cell]:
        folders = sorted(self.root.iterdir()) if self.root.exists() else []
        return (Cell(folder) for folder in folders if folder.is_dir() and not folder.name.startswith("."))

    def index(self) -> pd.DataFrame:
        """One row per finished cell, also written to ``index.parquet``: a cache that may be removed at any time.

        A damaged cell, or a folder that is none, is left out with a warning.
        """
        rows = [row for cell in self if (row := self._index_row(cell)) is not None]
        frame = pd.DataFrame(rows, columns=["cell", "task", "fold", "method", "seed", "finished"])
        if self.root.exists():
            with contextlib.suppress(OSError), atomic_path(self.root / "index.parquet") as temporary:
                frame.to_parquet(temporary)
        return frame

    def _index_row(self, cell: Cell) -> list[Any] | None:
        try:
            self.check(cell)
            return self._facts(cell)
        except UserError as error:
            warnings.warn(f"left out: {error}", stacklevel=3)
            return None

    @staticmethod
    def _facts(cell: Cell) -> list[Any]:
        provenance = cell.read("provenance")
        seed = cell.read("spec")["seed"]
        return [cell.key, provenance["task"], provenance["fold"], provenance["method"], seed, provenance["finished"]]


@dataclass(frozen=True)
class CellFiles:
    """What a finished cell holds besides its checkpoints.

    Attributes:
        model: A state dict, or a fitted scikit-learn estimator.
        records: Scores of the kept checkpoints.
        history: Scalars along the training.
        ledger: Costs.
        provenance: Recorded and not hashed.
        groups: What is said of inferred groups.
    """

    model: Any
    records: Sequence[Record]
    history: Sequence[Mapping[str, Any]]
    ledger: Mapping[str, Any]
    provenance: Mapping[str, Any]
    groups: Sequence[Table] = ()

    def write(self, folder: Path) -> None:
        """Write every file, each whole or not at all."""
        if isinstance(self.model, Mapping):
            write_tree(folder / "model.safetensors", self.model)
        else:
            _write_estimator(folder / "model.skops", self.model)
        _write_rows(folder / "records.parquet", self.records, Record)
        write_text(folder / "log.jsonl", "".join(json.dumps(line) + "\n" for line in self.history))
        write_json(folder / "ledger.json", self.ledger)
        write_json(folder / "provenance.json", self.provenance)
        if self.groups:
            write_json(folder / _GROUPS, [to_json(table) for table in self.groups])


def _checksums(folder: Path) -> dict[str, str]:
    """Of every file that a finished cell keeps, by its path within the cell."""
    files = [*folder.glob("*.*"), *folder.glob("checkpoints/*"), *folder.glob("phases/*")]
    return {path.relative_to(folder).as_posix(): _checksum(path) for path in files if path.is_file()}


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_rows(path: Path, rows: Sequence[Any], cls: type) -> None:
    names = [field.name for field in dataclasses.fields(cls)]
    frame = pd.DataFrame([[getattr(row, name) for name in names] for row in rows], columns=names)
    with atomic_path(path) as temporary:
        frame.to_parquet(temporary)


@contextlib.contextmanager
def _undamaged(path: Path, problem: str = "") -> Iterator[None]:
    """One line for whatever a reader raises over a damaged file: removing ``path`` mends it."""
    try:
        yield
    except (_Foreign, Unreadable, MemoryError):
        raise
    except PermissionError as error:
        raise Unreadable(Path(error.filename or path)) from None
    except Exception:
        raise UserError(f"{problem or f'{path} is damaged'}: remove it and run again") from None


class _Foreign(UserError):
    """A file that is whole and is not opened."""


def _read_rows(path: Path) -> list[dict[str, Any]]:
    frame = pd.read_parquet(path)
    optional = {"low", "high", "environment", "group"}
    rows: list[dict[str, Any]] = frame.to_dict("records")  # type: ignore[assignment]
    return [{k: None if k in optional and pd.isna(v) else v for k, v in row.items()} for row in rows]


def _write_estimator(path: Path, estimator: Any) -> None:
    from skops.io import dump

    with atomic_path(path) as temporary:
        dump(estimator, temporary)


def _read_estimator(path: Path) -> Any:
    """Read an estimator that this library wrote: only types of scikit-learn and NumPy are accepted."""
    from skops.io import get_untrusted_types, load

    unknown = get_untrusted_types(file=path)
    foreign = [name for name in unknown if not name.startswith(("sklearn.", "numpy."))]
    if foreign:
        raise _Foreign(f"{path} holds types that are not scikit-learn's ({', '.join(foreign)}): it is not opened")
    return load(path, trusted=unknown)
