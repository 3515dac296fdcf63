"""The rows of a source: a generated task, a file, a directory, or a data set on the Hugging Face Hub.

    "builtin:arithmetic"     made on the spot, no download
    "mine/train.jsonl"       a file (see `grpo.problems.files`); `split` does not apply, nor does `subset`, except as a
                             window of dates for LiveCodeBench: "2024-08-01..2025-02-01"
    "mine/"                  a directory laid out like a Hub data set, or written by `Dataset.save_to_disk`
    "openai/gsm8k"           everything else is a name on the Hub

Rows keep the source's order, columns and types.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from grpo.config import Data
from grpo.errors import DataError, first_line
from grpo.problems import arithmetic, functions
from grpo.problems.code_sets import in_window
from grpo.problems.files import is_file_name, stream_file

if TYPE_CHECKING:  # its import takes seconds, and generated tasks and text files do without
    from datasets import Dataset, DatasetDict

Row = dict[str, Any]

_GENERATED: Mapping[str, Callable[[str], list[Row]]] = {
    "arithmetic": arithmetic.rows,  # of a split
    "functions": functions.rows,
}


def read_rows(data: Data) -> list[Row]:
    """The first `data.limit` rows of `data.source`, in its order; at least one."""
    rows = list(stream_rows(data))
    if not rows:
        raise DataError(f"{data.source}: has no rows; there must be at least one problem")
    return rows


def stream_rows(data: Data) -> Iterator[Row]:
    """… one after another, and perhaps none: of files and the Hub's data sets no more than a few are in memory."""
    split = data.split or "train"
    path = Path(data.source).expanduser()
    rows: Iterable[Row]
    if data.source.startswith("builtin:"):
        rows = _generated(data.source.removeprefix("builtin:"), split)
    elif path.is_file() or (is_file_name(data.source) and not path.is_dir()):  # Spark writes x.parquet/ directories
        rows = stream_file(path)
        rows = in_window(list(rows), data.subset, data.source) if data.subset else rows
    else:
        saved = path.is_dir() and _is_saved(path)
        rows = _saved(path, split) if saved else _hub(data.source, path, data.subset, split)
    return islice(rows, data.limit)


def stem(source: str) -> str:
    """A short name for the rows of `source`: "openai/gsm8k" → "gsm8k", "mine/train.jsonl.gz" → "train"."""
    name = source.removeprefix("builtin:").rstrip("/").rpartition("/")[2]
    return name.partition(".")[0] if is_file_name(name) else name


def _generated(name: str, split: str) -> list[Row]:
    if name not in _GENERATED:
        raise DataError(f'data.source = "builtin:{name}": no such generated task; there is {", ".join(_GENERATED)}')
    return _GENERATED[name](split)


def _is_saved(path: Path) -> bool:
    return (path / "state.json").is_file() or (path / "dataset_dict.json").is_file()


def _saved(path: Path, split: str) -> Dataset:
    import datasets

    try:
        saved: Dataset | DatasetDict = datasets.load_from_disk(str(path))
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{path}: a data set that was saved incompletely ({error}); save it again") from error
    if isinstance(saved, datasets.Dataset):
        return saved
    if split not in saved:
        raise _no_split(str(path), split, saved)
    return saved[split]


def _hub(source: str, path: Path, subset: str | None, split: str) -> Dataset:
    """Through `datasets`, which knows the layouts, and reads the Hub's copy on this machine when off-line."""
    import datasets
    from datasets.exceptions import DatasetsError

    from grpo import hub

    here = path.is_dir()
    if not here and not hub.may_be_an_id(source):
        raise DataError(f"{source}: no such file or directory; give one, or a data set's name on the Hub")
    name = str(path) if here else source
    with nullcontext() if here else hub.or_offline(source) as refusal:
        try:
            table: Dataset = datasets.load_dataset(name, subset, split=split)
        except (*hub.FAILURES, DatasetsError) as error:
            met = refusal if refusal is not None and isinstance(error, OSError) else error
            if why := None if here else hub.why_not(source, "data set", met):
                raise DataError(f"data set {source}: {why}, or give a file or a directory") from error
            _explain(source, name, subset, split, error)
    return table


def _explain(source: str, name: str, subset: str | None, split: str, error: Exception) -> NoReturn:
    """`datasets` raises bare ValueErrors: find out which of the two names was wrong."""
    import datasets

    try:
        subsets = datasets.get_dataset_config_names(name)
        if subset is None and len(subsets) > 1 and "default" not in subsets:
            raise DataError(f'{source}: has subsets {", ".join(subsets)}; choose one: data.subset = "…"') from error
        if subset is not None and subset not in subsets:
            raise DataError(f'{source}: has no subset "{subset}"; it has {", ".join(subsets)}') from error
        splits = datasets.get_dataset_split_names(name, subset)
    except (OSError, ValueError, RuntimeError):
        splits = [split]  # not to be found out: the first error is all there is to say
    if split not in splits:
        raise _no_split(source, split, splits) from error
    # "An error occurred while generating the dataset": what it was is in the cause.
    raise DataError(f"{source}: is no data set that can be read ({first_line(error.__cause__ or error)})") from error


def _no_split(source: str, split: str, splits: Any) -> DataError:
    return DataError(f'{source}: has no split "{split}"; it has {", ".join(splits)}')
