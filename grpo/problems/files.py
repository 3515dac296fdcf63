"""Rows of one file, by the ending of its name, with the line of whatever is wrong in it.

JSON, JSON Lines and CSV are read here rather than through `datasets`: that gives errors their line, keeps every row
as it is written (`datasets` makes 1 and 2.5 in one column both floats, "007" in a CSV a number, and fills objects
with each other's keys), leaves no copy in a cache, and takes milliseconds where the import alone takes seconds.
"""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, TextIO, cast

from grpo.errors import DataError

Row = dict[str, Any]

BATCH = 1024  # rows of a Parquet file that are decoded at a time


def is_file_name(source: str) -> bool:
    """Whether `source` has the ending of a file that can be read, whether or not there is one."""
    return _ending(source) in _READERS


def read_file(path: Path) -> list[Row]:
    """All rows of a .jsonl, .json, .csv or .parquet file; the three texts also as .gz."""
    return list(stream_file(path))


def stream_file(path: Path) -> Iterator[Row]:
    """… one after another: of all but a .json list no more than a few are in memory at a time."""
    return (row for _, row in _read(path))


def place_of(source: str, index: int) -> str | None:
    """Where the row `index`, counted from 0, stands in a file, as a person finds it: "line 3", from 1.  None: no file.

    The file is read once more, which only happens when there is something to complain of.
    """
    path = Path(source).expanduser()
    if not is_file_name(source) or not path.is_file():
        return None
    return next(place for place, _ in islice(_read(path), index, None))


def _read(path: Path) -> Iterator[tuple[str, Row]]:
    """The rows, each with its place."""
    read = _READERS.get(_ending(path.name))
    if read is None:
        raise DataError(
            f"{path}: cannot be read by its ending; allowed are {', '.join(_READERS)}, and .gz after a text"
        )
    if not path.is_file():
        raise DataError(f"{path}: no such file (looked in {path.absolute().parent})")
    try:
        yield from read(path)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8") from error
    except (OSError, EOFError, zlib.error) as error:  # unreadable, or a .gz that is none or is cut off
        raise DataError(f"{path}: cannot be read ({error})") from error


def _ending(name: str) -> str:
    return Path(name.lower().removesuffix(".gz")).suffix


def _open(path: Path) -> TextIO:
    # utf-8-sig: a byte-order mark, as Excel writes, would otherwise become part of the first column's name.
    # newline="": only line feeds end a line; csv wants it, and JSON strings may hold U+2028 and the like.
    if path.suffix.lower() == ".gz":
        return cast(TextIO, gzip.open(path, "rt", encoding="utf-8-sig", newline=""))
    return path.open(encoding="utf-8-sig", newline="")


def _jsonl(path: Path) -> Iterator[tuple[str, Row]]:
    with _open(path) as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                place = f"line {number}"
                yield place, _object(_parse(line, f"{path} {place}"), f"{path} {place}")


def _json(path: Path) -> Iterator[tuple[str, Row]]:
    with _open(path) as file:
        text = file.read().rstrip()  # what is missing at the end is missing in its last line
    try:
        rows = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":  # one object after another: JSON Lines by another name
            yield from _jsonl(path)
            return
        raise _not_json(f"{path} line {error.lineno}", error) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not JSON that can be read ({error})") from error
    if not isinstance(rows, list):
        raise DataError(
            f"{path}: holds one {type(rows).__name__}; it must be a list of objects, or one object per line"
        )
    for number, row in enumerate(rows, start=1):
        yield f"row {number}", _object(row, f"{path} row {number}")


def _csv(path: Path) -> Iterator[tuple[str, Row]]:
    csv.field_size_limit(2**31 - 1)  # the default of 128 KiB is less than some problems' test cases
    with _open(path) as file:
        reader = csv.DictReader(file, strict=True)
        try:
            for row in reader:
                if None in row or None in row.values():  # where DictReader puts too many and too few
                    raise DataError(
                        f"{path} line {reader.line_num}: not as many fields as the header has "
                        f"({len(reader.fieldnames or ())}); put quotes around fields with commas"
                    )
                yield f"line {reader.line_num}", row
        except csv.Error as error:  # raised before the line is counted
            raise DataError(f"{path}: not CSV after line {reader.line_num} ({error})") from error


def _parquet(path: Path) -> Iterator[tuple[str, Row]]:
    import pyarrow as pa  # type: ignore[import-untyped]  # ships no types
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    try:
        with pq.ParquetFile(path) as file:
            rows = (row for batch in file.iter_batches(batch_size=BATCH) for row in batch.to_pylist())
            yield from ((f"row {number}", row) for number, row in enumerate(rows, start=1))
    except pa.ArrowInvalid as error:
        raise DataError(f"{path}: not a Parquet file ({error})") from error


def _parse(text: str, place: str) -> Any:
    try:
        return json.loads(text.rstrip())  # with its line break, what is missing would be missing in column 1
    except json.JSONDecodeError as error:
        raise _not_json(place, error) from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, brackets nested as deep
        raise DataError(f"{place}: not JSON that can be read ({error})") from error


def _not_json(place: str, error: json.JSONDecodeError) -> DataError:
    what = error.msg.removesuffix(" at")  # "Unterminated string starting at"
    return DataError(f"{place}: not JSON ({what} at column {error.colno})")


def _object(row: Any, place: str) -> Row:
    if not isinstance(row, dict):
        raise DataError(f'{place}: a row must be an object such as {{"problem": …}} (given {type(row).__name__})')
    return row


_READERS: Mapping[str, Callable[[Path], Iterator[tuple[str, Row]]]] = {
    ".jsonl": _jsonl,
    ".json": _json,
    ".csv": _csv,
    ".parquet": _parquet,
}
