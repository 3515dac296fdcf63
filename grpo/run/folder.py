"""The run folder: all that a run leaves behind, in files that other tools open.

    runs/<name>/
        config.toml      every setting, resolved; the run can be repeated from this file alone
        metrics.jsonl    one flat row per step, and one per evaluation
        samples.jsonl    some groups of each step, one row per completion: gold answer, text, reward, advantage, every
                         reward's reason
        rollouts/        all completions, in columns: see `grpo.run.rollouts`
        checkpoints/     models in Hugging Face format, and what exact resume needs
        alarms.jsonl     what the run has said of itself: one row per alarm raised or cleared
        eval/<label>/    results.json and samples.jsonl of each evaluation, a teacher's among them
        eval/distill.json  what a student has kept of its teacher
        cost.json        hours, tokens and money that it took
        report.html      the whole run on one page

One process owns the folder at a time, by a lock that the kernel releases however the process ends.  Rows are on disk
when `append_…` returns, so a kill loses at most the step under way; `rewind` cuts all of them back to a checkpoint's
step, and with it whatever half line the kill left.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import math
import os
import re
import shutil
import time
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from grpo.config import Cluster
from grpo.errors import CheckpointError
from grpo.run import rollouts
from grpo.whole import whole_file

# Settings that a resumed run may change: they move its end, its files, its speed or its memory, not its mathematics
# (beyond the last bit of rounding).  What an error message advises to change must be among them.
MAY_DIFFER = frozenset(
    {
        "run.steps",
        "run.save_every",
        "run.keep",
        "run.trackers",
        "run.reward_workers",
        "run.preflight",
        "run.shown_groups",
        "run.on_alarm",
        "run.notify",
        "run.deadline",
        "run.watchdog",
        "run.price",
        "run.push_to_hub",
        "eval.every",
        "model.gradient_checkpointing",
        "optim.tokens_per_microbatch",
        "optim.offload",
        "sampling.gpu_memory_utilization",
        "sampling.sync_tolerance",
        "sampling.backend",
        *(f"cluster.{name}" for name in Cluster.model_fields),  # a run goes on with more machines, or fewer
    }
)

# A reward may be given more time, or told what to do with errors, after it stopped a run.
MAY_DIFFER_OF_A_REWARD = re.compile(r"reward\.\d+\.(timeout|on_error)")

MADE = ("model", "cold-start", "eval/teacher")
NAMED = 5  # differences in a refusal: a folder of another command differs in dozens


class RunFolder:
    """The folder of one run, held under its lock until `close`.  Made by `create` or `resume`.

    Example:
        with RunFolder.create(Path("runs/7"), config.to_toml()) as folder:
            folder.append_metrics({"step": 1, "reward/mean": 0.5})
    """

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self.config = path / "config.toml"
        self.metrics = path / "metrics.jsonl"
        self.samples = path / "samples.jsonl"
        self.alarms = path / "alarms.jsonl"
        self.checkpoints = path / "checkpoints"
        self.eval = path / "eval"
        self.report = path / "report.html"
        self.opened = time.monotonic()
        self._lock: int | None = lock

    @classmethod
    def create(cls, path: Path, config_toml: str) -> RunFolder:
        """Start a run in `path`.  A folder where a run has made any progress is refused."""
        folder = _open(path)
        try:
            if folder._holds_progress():
                raise CheckpointError(
                    f"{path}: already holds a run; continue it with --resume, or choose another folder with --out",
                    exit_code=2,
                )
            for name in MADE:  # by a start that was refused or stopped, and perhaps with other settings
                shutil.rmtree(path / name, ignore_errors=True)
            replace_file(folder.config, [config_toml.encode()])
        except BaseException:
            folder.close()
            raise
        return folder

    @classmethod
    def resume(cls, path: Path, config_toml: str) -> RunFolder:
        """Continue the run in `path`.  Settings that would change its mathematics are refused."""
        if not (path / "config.toml").is_file():
            raise CheckpointError(f"{path}: holds no run to resume; leave out --resume to start one", exit_code=2)
        folder = _open(path)
        try:
            _check_same_mathematics(folder.config, config_toml)
            replace_file(folder.config, [config_toml.encode()])
        except BaseException:
            folder.close()
            raise
        return folder

    @classmethod
    def hold(cls, path: Path) -> RunFolder:
        """The folder under its lock, with nothing written: for whoever keeps other files in it."""
        return _open(path)

    @staticmethod
    def recorded_revision(path: Path, group: str, name: str) -> str | None:
        """The commit of the model `name` that the run in `path` began with: its own (group "model"), or its teacher's
        ("distill")."""
        try:
            recorded = tomllib.loads((path / "config.toml").read_text(encoding="utf-8"))[group]
            return str(recorded["revision"]) if name in (recorded.get("name"), recorded.get("teacher")) else None
        except (OSError, ValueError, LookupError, TypeError):  # none, or a damaged one, of which `resume` speaks
            return None

    def write_config(self, config_toml: str) -> None:
        """In place of what was known of the settings when the folder was opened."""
        replace_file(self.config, [config_toml.encode()])

    def append_metrics(self, row: Mapping[str, Any]) -> None:
        """Add one row, which has `step`: the number of finished steps."""
        _append(self.metrics, [row])

    def recorded(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """What a run that goes on has behind it: the rows of metrics.jsonl and of alarms.jsonl."""
        return _rows_in(self.metrics), _rows_in(self.alarms)

    def append_alarm(self, row: Mapping[str, Any]) -> None:
        _append(self.alarms, [row])

    def write_cost(self, row: Mapping[str, Any]) -> None:
        replace_file(self.path / "cost.json", [json.dumps(_finite(row), indent=1).encode() + b"\n"])

    def write_rollouts(self, step: int, rows: Iterable[Mapping[str, Any]]) -> None:
        """All completions of a step, before `append_metrics` says that there was one."""
        rollouts.write(self.path, step, rows)

    def append_samples(self, rows: Iterable[Mapping[str, Any]]) -> None:
        _append(self.samples, rows)

    def rewind(self, step: int) -> None:
        """Forget every row later than `step`, and the half line at the end that a kill may have left."""
        for file in (self.metrics, self.samples, self.alarms):
            if file.exists():
                replace_file(file, _rows_until(file, step))
        rollouts.rewind(self.path, step)

    def close(self) -> None:
        """Release the folder.  The lock file stays: removing it would race with whoever takes it next."""
        if self._lock is not None:
            _held.discard(self._lock)
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _holds_progress(self) -> bool:
        """Whether anything would be lost.  A run that was stopped by its own preflight may simply be started again."""
        files = (self.metrics, self.samples, self.path / "completions.parquet")
        folders = (self.checkpoints, self.path / "parts", self.path / "rollouts")
        saved = any(folder.is_dir() and any(folder.iterdir()) for folder in folders)
        return saved or any(file.exists() and file.stat().st_size > 0 for file in files)


# A lock of flock() belongs to the open file, which a forked child shares.  A reward worker that hangs would keep the
# folder locked after its trainer was killed, so children give up their share at once.
_held: set[int] = set()


def _forget_locks() -> None:
    for lock in _held:
        os.close(lock)
    _held.clear()


os.register_at_fork(after_in_child=_forget_locks)


def _open(path: Path) -> RunFolder:
    """Make the folder, take its lock, and write our process id into it for whoever comes second."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = os.open(path / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot be used as a run folder ({error.strerror}); choose another with --out", exit_code=2
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        owner = os.pread(lock, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(lock)
        raise CheckpointError(
            f"{path}: another run is using this folder (process {owner}); wait for it, or choose another with --out",
            exit_code=2,
        ) from error
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            os.close(lock)
            raise
        # Some cluster file systems have no locks.  A run there is worth more than the guard.
    _held.add(lock)
    with contextlib.suppress(OSError):  # a full disk: the id is a courtesy, the lock is what counts
        os.truncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return RunFolder(path, lock)


def _check_same_mathematics(stored: Path, given_toml: str) -> None:
    try:
        old = flatten(tomllib.loads(stored.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{stored}: is damaged ({error}); restore it to resume this run", exit_code=2) from error
    new = flatten(tomllib.loads(given_toml))
    # A learning rate that falls to zero at the last step is another one where the last step is another.
    falling = new.get("optim.lr_scheduler_type", "constant") != "constant"
    changed = [
        f"{key}: {shown(old, key)} in the run, {shown(new, key)} given"
        for key in other_mathematics(old, new)
        if falling or key != "run.steps"
    ]
    if changed:
        more = f"; and {len(changed) - NAMED} more" if len(changed) > NAMED else ""
        raise CheckpointError(
            f"{stored.parent}: was made with other settings ({'; '.join(changed[:NAMED])}{more}); "
            f"resume with the run's own ({stored} as the recipe, --resume --out {stored.parent}), or start another run "
            "with --out",
            exit_code=2,
        )


def other_mathematics(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Flat settings in which two runs differ so that they are not the same run; how many steps they take is one."""
    return [
        key
        for key in sorted(one.keys() | other.keys())
        if (key == "run.steps" or key not in MAY_DIFFER)
        and not MAY_DIFFER_OF_A_REWARD.fullmatch(key)
        and one.get(key) != other.get(key)
    ]


def flatten(value: Any, name: str = "") -> dict[str, Any]:
    """{"optim": {"lr": 1}, "reward": [{"use": "math"}]} → {"optim.lr": 1, "reward.0.use": "math"}."""
    if isinstance(value, dict):
        parts = [(f"{name}.{key}" if name else key, item) for key, item in value.items()]
    elif isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        parts = [(f"{name}.{index}", item) for index, item in enumerate(value)]
    else:
        return {name: value}
    return {key: leaf for part, item in parts for key, leaf in flatten(item, part).items()}


def shown(settings: Mapping[str, Any], key: str) -> str:
    if key not in settings:
        return "not set"
    text = json.dumps(settings[key], ensure_ascii=False, default=str)
    return text if len(text) <= 80 else text[:77] + "…"


def _append(file: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write the rows in one piece, and return when they are on the disk."""
    text = b"".join(as_line(row) for row in rows)
    try:
        with file.open("ab", buffering=0) as out:
            _write_all(out.fileno(), text)
            os.fsync(out.fileno())
    except OSError as error:
        raise _cannot_write(file, error) from error


def _write_all(descriptor: int, text: bytes) -> None:
    rest = memoryview(text)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def as_line(row: Any) -> bytes:
    """JSON has no NaN, so it becomes null.  Half of a surrogate pair, which UTF-8 has not, becomes its JSON escape."""
    text = json.dumps(_finite(row), ensure_ascii=False, allow_nan=False, separators=(", ", ": "))
    return text.encode("utf-8", errors="backslashreplace") + b"\n"


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def _rows_in(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []


def _rows_until(file: Path, step: int) -> Iterator[bytes]:
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.endswith(b"\n"):
                return  # the half line of a kill: only the last line lacks its end
            try:
                keep = json.loads(line)["step"] <= step
            except (ValueError, KeyError, TypeError) as error:
                raise CheckpointError(
                    f"{file} line {number}: is damaged ({line[:40]!r}); remove the line to resume this run", exit_code=2
                ) from error
            if keep:
                yield line


def replace_file(file: Path, pieces: Iterable[bytes]) -> None:
    """Give `file` new content so that a kill at any moment leaves either the old or the new, whole."""
    try:
        with whole_file(file) as fresh, fresh.open("wb") as out:
            out.writelines(pieces)
    except OSError as error:
        raise _cannot_write(file, error) from error


def _cannot_write(file: Path, error: OSError) -> CheckpointError:
    return CheckpointError(
        f"{file}: could not be written ({error.strerror}); nothing before this step is lost: "
        "make room and continue with --resume"
    )
