"""Reading a user's table: CSV or Parquet, or a folder of such files."""

from __future__ import annotations

import codecs
import contextlib
import csv
import os
import re
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from holdfast.core.errors import UserError, unknown_name
from holdfast.tables.class_labels import class_names, named

Read = tuple[pd.DataFrame, tuple[str, ...]]
"""A table, and one-line remarks on its reading."""

_PARQUET_SUFFIXES = (".parquet", ".pq")
_SUFFIXES = (".csv", ".tsv", *_PARQUET_SUFFIXES)
_DELIMITERS = ",;\t"
_SNIFFED_ROWS = 100
_PARQUET_MAGIC = b"PAR1"
_FOREIGN_MAGICS = {
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image",
    b"%PDF": "a PDF document",
    b"PK\x03\x04": "an Excel workbook or another zip archive",
    b"\x1f\x8b": "compressed with gzip",
    b"ARROW1": "an Arrow file",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
}
_JSON = re.compile(rb"\s*[\[{]\s*[\"\[{\]}\d-]")
_MARKUP = re.compile(rb"\s*<[!?a-zA-Z]")
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f]")
_SPLIT_NAME = re.compile(r"(?P<shard>.+)-\d+-of-\d+|(?P<split>train|validation|val|dev|test)([-_.].*)?")


def read_table(path: str | Path) -> pd.DataFrame:
    r"""Read a CSV or Parquet file, or all such files of one folder, with every stored column as a column.

    The content decides between the two formats. CSV: the delimiter (comma, semicolon or tab), the decimal comma and
    the encoding (UTF-8 with or without a byte-order mark, else Latin-1) are found out; an empty field, ``?`` and
    pandas's usual markers (``NA``, ``NaN``, ``null``, …) are missing values; spaces after a delimiter are dropped.
    Classes of a Parquet file of the Hugging Face hub are read by name, as an ordered category.
    A nameless index that an export left in the file (a first column without a name, ``__index_level_0__``) is not a
    column of the table and is left out. The files of a folder are read in order of their names and put below each
    other; where the names tell splits apart, as in ``train-00000-of-00001.parquet`` beside
    ``test-00000-of-00001.parquet``, a column ``split`` is added unless there is one.

    Args:
        path: The file or folder.

    Returns:
        (N, F) the table, N ≥ 1, with unique column names and the index 0 … N − 1; whole numbers are exact.

    Raises:
        UserError: The path is missing, unreadable, empty, damaged or not a table, or column names repeat.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "patients.csv")
    ...     _ = file.write_text("age;ward;died\n61;north;no\n48;south;yes\n")
    ...     read_table(file)
       age   ward died
    0   61  north   no
    1   48  south  yes
    """
    return read_with_notes(path)[0]


def read_with_notes(path: str | Path) -> Read:
    r"""The table of :func:`read_table`, and one-line remarks on what had to be guessed or filled in.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "patients.csv")
    ...     _ = file.write_bytes("age,ward\n61,süd\n48\n".encode("latin-1"))
    ...     read_with_notes(file)[1]
    ('patients.csv is not UTF-8: read as Latin-1; check letters with accents',
     'patients.csv: 1 row has fewer fields than the header (line 3); what lacks is taken as missing')
    """
    path = Path(path)
    try:
        if path.is_dir():
            return _read_folder(path)
        if path.exists() and not path.is_file():
            raise UserError(f"{path} is a pipe or a device: write the table to a file first")
        return _read_file(path)
    except FileNotFoundError:
        raise _missing(path) from None
    except PermissionError:
        raise UserError(f"{path} may not be read: ask for read permission or copy it to a place of yours") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({_first_line(error)}): check the path and the disk") from None


def _read_folder(folder: Path) -> Read:
    files = sorted(file for file in folder.iterdir() if _is_table(file))
    if not files:
        raise UserError(f"folder {folder} has no tables: put files named *.csv or *.parquet there")
    read = [_read_file(file) for file in files]
    frames, notes = [frame for frame, _ in read], [note for _, of_file in read for note in of_file]
    for file, frame in zip(files, frames, strict=True):
        different = set(frame.columns) ^ set(frames[0].columns)
        if different:
            raise UserError(
                f"{file} and {files[0].name} differ in column {min(different)!r}: "
                "files of one folder need the same columns, or give one file"
            )
    splits = [_split_name(file) for file in files]
    if None not in splits and len(set(splits)) > 1 and "split" not in frames[0]:
        frames = [frame.assign(split=split) for frame, split in zip(frames, splits, strict=True)]
    return pd.concat(frames, ignore_index=True), tuple(notes)


def _read_file(file: Path) -> Read:
    with file.open("rb") as stream:
        head = stream.read(1 << 16)
    if not head.removeprefix(codecs.BOM_UTF8).strip():
        raise UserError(f"{file} is empty: give a table with a header and rows")
    notes: tuple[str, ...] = ()
    if head.startswith(_PARQUET_MAGIC):
        frame = _read_parquet(file)
    elif foreign := _foreign(file, head):
        raise UserError(f"{file} is not a table but {foreign}: save the table as CSV (UTF-8) or Parquet")
    else:
        frame, notes = _read_csv(file)
    if frame.empty:
        raise UserError(f"{file} has a header but no rows: give a table with rows")
    return frame, notes


def _read_parquet(file: Path) -> pd.DataFrame:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(file) as opened:
            _check_names(file, opened.schema_arrow.names)
            table = opened.read()
        fields = [field.with_type(pa.float64()) if pa.types.is_decimal(field.type) else field for field in table.schema]
        # Types are in Parquet's own schema; pandas's metadata would only turn columns into an index.
        frame: pd.DataFrame = table.cast(pa.schema(fields)).to_pandas(ignore_metadata=True)
        for name in [field.name for field in fields if pa.types.is_integer(field.type) and _rounded(frame[field.name])]:
            nullable = {pa.int64(): pd.Int64Dtype(), pa.uint64(): pd.UInt64Dtype()}
            frame[name] = table[name].to_pandas(types_mapper=nullable.get)
        classes = class_names(table.schema.metadata)
        for name in [name for name in classes if name in frame]:
            frame[name] = named(frame[name], classes[name])
    except (pa.ArrowException, OSError):
        raise UserError(f"{file} is a truncated or damaged Parquet file: copy or write it again") from None
    return frame.loc[:, [not re.fullmatch(r"__index_level_\d+__", name) for name in frame.columns]]


def _foreign(file: Path, head: bytes) -> str | None:
    """What a file is whose first bytes cannot begin a CSV file; None where they can."""
    for magic, name in _FOREIGN_MAGICS.items():
        if head.startswith(magic):
            return name
    if _JSON.match(head):
        return "JSON"
    if _MARKUP.match(head):
        return "a web page or XML"
    if _CONTROL.search(head):
        return "neither text nor Parquet"
    return "text under a Parquet name" if file.suffix.lower() in _PARQUET_SUFFIXES else None


def _read_csv(file: Path) -> Read:
    try:
        return _read_csv_as(file, "utf-8-sig")
    except UnicodeDecodeError:
        frame, notes = _read_csv_as(file, "latin-1")
        return frame, (f"{file.name} is not UTF-8: read as Latin-1; check letters with accents", *notes)


def _read_csv_as(file: Path, encoding: str) -> Read:
    samples = {delimiter: _first_rows(file, encoding, delimiter) for delimiter in _DELIMITERS}
    delimiter = max(_DELIMITERS, key=lambda candidate: _fit(samples[candidate]))
    header, *rows = samples[delimiter] or [[]]
    names = [name.strip() for name in header]
    if sum(map(bool, names)) < 2:
        raise UserError(f"{file} is not a table: its first line names no two columns; separate names by , or ; or tab")
    _check_names(file, names)
    options: dict[str, Any] = {
        "sep": delimiter,
        "header": 0,
        "names": _fill_blanks(names),
        "index_col": False,
        "encoding": encoding,
        "decimal": "," if delimiter == ";" and _has_decimal_commas(rows) else ".",
        "na_values": ["?"],
        "skipinitialspace": True,
        "compression": None,
        "low_memory": False,  # one type per column, not one per chunk
    }
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # rows longer than the header lose data
            frame = pd.read_csv(file, **options)
    except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
        raise UserError(f"{file} is not a well-formed CSV file: {_explain(error)}") from None
    for name in [name for name in frame if _rounded(frame[name]) or _with_unread_missing(frame[name])]:
        frame[name] = _exact(file, name, options, frame[name])
    short = _short_lines(file, encoding, delimiter, len(names)) if frame.iloc[:, -1].hasnans else []
    return (frame if names[0] else frame.iloc[:, 1:]), _short_note(file, short)


def _rounded(column: pd.Series) -> bool:
    """Whether these may be whole numbers that lost digits, as a missing value among them made the column a float."""
    if not pd.api.types.is_float_dtype(column.dtype) or not column.hasnans:
        return False
    present = column.dropna().to_numpy(dtype=float)
    return bool((np.abs(present) >= 2.0**53).any() and (np.isfinite(present) & (present == np.floor(present))).all())


def _with_unread_missing(column: pd.Series) -> bool:
    """Whether missing values stand as text: pandas leaves them so beside whole numbers above 2**63."""
    return pd.api.types.is_string_dtype(column.dtype) and bool(column.isin(["", "?", "NA", "NaN", "nan", "null"]).any())


def _exact(file: Path, name: str, options: dict[str, Any], rounded: pd.Series) -> pd.Series:
    """The column read as whole numbers; as it was where its text is no whole number that 64 bits hold."""
    text = pd.read_csv(file, **options, usecols=[name], dtype="str")[name]
    for dtype in ("Int64", "UInt64"):
        with contextlib.suppress(ValueError, TypeError, OverflowError):
            numbers = [None if missing else int(field) for field, missing in zip(text, text.isna(), strict=True)]
            return pd.Series(pd.array(numbers, dtype=dtype), name=name)
    return rounded if pd.api.types.is_float_dtype(rounded.dtype) else text


def _short_lines(file: Path, encoding: str, delimiter: str, width: int) -> list[int]:
    """The lines whose rows have fewer fields than the header; the parser fills these up without a word."""
    short = []
    with file.open(encoding=encoding, newline="") as stream, contextlib.suppress(csv.Error):
        reader = csv.reader(stream, delimiter=delimiter, skipinitialspace=True)
        for row in reader:
            if len(row) < width and (len(row) > 1 or (row and row[0].strip())):
                short.append(reader.line_num)
    return short


def _short_note(file: Path, lines: Sequence[int]) -> tuple[str, ...]:
    if not lines:
        return ()
    rows = "1 row has" if len(lines) == 1 else f"{len(lines):,} rows have"
    shown = ", ".join(f"{line:,}" for line in lines[:3]) + (", …" if len(lines) > 3 else "")
    where = f"line{'s' * (len(lines) > 1)} {shown}"
    return (f"{file.name}: {rows} fewer fields than the header ({where}); what lacks is taken as missing",)


def _first_rows(file: Path, encoding: str, delimiter: str) -> list[list[str]]:
    """The header and the first rows that are not blank, split at the delimiter."""
    rows = []
    with file.open(encoding=encoding, newline="") as stream, contextlib.suppress(csv.Error):
        # An error is a field of more than 131,072 characters; with a wrong delimiter that is a whole line.
        for row in csv.reader(stream, delimiter=delimiter, skipinitialspace=True):
            if len(row) > 1 or (row and row[0].strip()):
                rows.append(row)
            if len(rows) == _SNIFFED_ROWS:
                break
    return rows


def _fit(rows: Sequence[Sequence[str]]) -> tuple[bool, float, int]:
    """How well a delimiter explains the rows: it cuts the header, most rows are as wide as that, and wide."""
    if not rows:
        return False, 0.0, 0
    width = len(rows[0])
    return width > 1, sum(len(row) == width for row in rows) / len(rows), width


def _check_names(file: Path, names: Sequence[str]) -> None:
    repeated = [name for name, count in Counter(names).items() if name and count > 1]
    if repeated:
        places = " and ".join(str(place) for place, name in enumerate(names, start=1) if name == repeated[0])
        raise UserError(
            f"{file} has more than one column named {repeated[0]!r} (columns {places}): "
            "rename them, or add a header if the first line is data"
        )


def _fill_blanks(names: Sequence[str]) -> list[str]:
    """A name for columns without one: their number, from 1."""
    return [name or f"column {place}" for place, name in enumerate(names, start=1)]


def _has_decimal_commas(rows: Sequence[Sequence[str]]) -> bool:
    fields = [field for row in rows for field in row]
    commas, points = (sum(bool(re.fullmatch(rf"-?\d+{mark}\d+", field)) for field in fields) for mark in (",", r"\."))
    return commas > points


def _explain(error: Exception) -> str:
    """What the parser complains about, as a mend."""
    found = re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", str(error))
    if found:
        expected, line, seen = found.groups()
        return f"line {line} has {seen} fields where the header has {expected}; quote fields that hold the delimiter"
    if isinstance(error, pd.errors.ParserWarning):
        return "its rows have more fields than the header has names; name every column"
    if "EOF inside string" in str(error):
        return "a quotation mark is never closed; close it"
    return _first_line(error)


def _missing(path: Path) -> UserError:
    folder = path.parent
    try:
        names = [
            entry.name for entry in folder.iterdir() if _is_table(entry) or (entry.is_dir() and entry.name[0] != ".")
        ]
    except OSError:
        return UserError(f"{path} cannot be found: check the path, there is no folder {folder} to look into")
    return unknown_name(f"file in {folder}{os.sep}", path.name, names)


def _is_table(file: Path) -> bool:
    return file.suffix.lower() in _SUFFIXES and file.name[0] not in "._" and file.is_file()


def _split_name(file: Path) -> str | None:
    found = _SPLIT_NAME.fullmatch(file.stem)
    return found and (found["shard"] or found["split"])


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
