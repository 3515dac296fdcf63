"""The rows on disk: .jsonl or .parquet, in TRL's conversational format, which `datasets` and `grpo sft` read.

    {"id", "messages": [{"role", "content"}, …, {"role": "assistant", …}], "source", "tokens", "reward"}

All files of a selection are written into a hidden folder and then renamed into place, the rows last, so that a file of
rows is a whole one, with its card.  The same rows give the same bytes.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]  # ships no types
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from grpo.errors import ConfigError, DataError
from grpo.whole import flush

Row = Mapping[str, Any]

BATCH = 1024  # rows of a row group
SCHEMA = pa.schema(
    [
        pa.field("id", pa.string()),
        pa.field("messages", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))),
        pa.field("source", pa.string()),
        pa.field("tokens", pa.int64()),
        pa.field("reward", pa.float64()),
    ]
)


def write_jsonl(path: Path, rows: Iterable[Row]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8", newline="\n") as file:
        yield from map(json.loads, file)


def write_parquet(path: Path, rows: Iterable[Row]) -> None:
    left = iter(rows)
    with pq.ParquetWriter(path, SCHEMA, compression="zstd", write_page_checksum=True) as file:
        while batch := list(islice(left, BATCH)):
            file.write_table(pa.Table.from_pylist(batch, schema=SCHEMA))


WRITERS: Mapping[str, Callable[[Path, Iterable[Row]], None]] = {".jsonl": write_jsonl, ".parquet": write_parquet}


def check_target(out: Path) -> None:
    """Before anything is read.  Raises `ConfigError`."""
    if out.suffix not in WRITERS:
        raise ConfigError(f"--out {out}: must end in {' or '.join(WRITERS)}")
    if out.exists():
        raise ConfigError(f"{out}: exists already; choose another file with --out, or remove it")


@contextmanager
def room(out: Path) -> Iterator[Path]:
    """A folder beside `out` for its files; what is left of one that was killed goes first.  Raises `DataError`."""
    folder = out.with_name(f".{out.name}.writing")
    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        yield folder
    except OSError as error:
        raise DataError(
            f"{out}: could not be written ({error.strerror}); make room, or choose another place"
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def put(files: Iterable[Path], folder: Path) -> None:
    """`files` into `folder`, one after another, each on disk before it is seen there."""
    for file in files:
        flush(file)
        file.replace(folder / file.name)
    flush(folder)
