"""A run's checkpoints on the Hugging Face Hub, by its own client: in the background, a commit each.

A run must not wait for a network, nor end for it: what is to be pushed is staged beside the run (links to the
checkpoint's files, which the run may delete meanwhile), one upload is under way at most and one waits, in whose place
a newer one comes.  What fails is said once.  Whether there is a token, and whether it may write, is asked before
anything is spent.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Condition, Thread

from huggingface_hub import HfApi, constants
from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled
from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]  # its __init__ lists no names

from grpo import hub
from grpo.errors import ConfigError, first_line
from grpo.export import export
from grpo.run.checkpoints import Progress, latest
from grpo.run.model_card import card_of

PATIENCE = 600.0  # seconds that the end of a run waits for what is under way
LITTLE = 5.0  # … where the run was stopped, or failed
ANSWER = 30.0  # seconds for all questions before the start
STAGED = ".push"


def check(repository: str, *, within: float = ANSWER) -> None:
    """Whether the repository can be written to; made, as a private one, where there is none.  Raises `ConfigError`."""
    if repository.count("/") != 1 or not hub.may_be_an_id(repository):
        raise ConfigError(f'push to {repository}: is no repository of the Hub; give it as "me/model"')

    def ask() -> None:
        api = HfApi()
        api.whoami()
        api.create_repo(repository, private=True, exist_ok=True)
        api.auth_check(repository, write=True)

    try:
        _within(within, ask)
    except hub.FAILURES as error:
        raise ConfigError(f"push to {repository}: {why_not(error)}") from error


def push(place: Path, repository: str, say: Callable[[str], None]) -> None:
    """`grpo push`: the model in `place`, a run folder or a checkpoint, whole and with a card.  Raises `ConfigError`."""
    check(repository)
    with tempfile.TemporaryDirectory(prefix="grpo-push-") as scratch:
        model = Path(scratch) / "model"
        export(place, model, say)
        run = next(
            (folder for folder in (place, *place.resolve().parents[:2]) if (folder / "config.toml").is_file()), None
        )
        if run is not None:
            (model / "README.md").write_text(card_of(run, model, repository), encoding="utf-8")
        try:
            _upload(repository, model, f"{place.name}, by grpo push")
        except hub.FAILURES as error:
            raise ConfigError(f"push to {repository}: {why_not(error)}") from error
    say(f"pushed: {constants.ENDPOINT}/{repository}")


def open_pusher(repository: str | None, run: Path, warn: Callable[[str], None]) -> Pusher | None:
    """None where nothing is to be pushed.  Raises `ConfigError` where it could not be."""
    if repository is None:
        return None
    check(repository)
    return Pusher(repository, run, warn)


@dataclass(frozen=True, slots=True)
class _Load:
    folder: Path
    message: str


class Pusher:
    """Pushes to `repository` what the run in `run` saves.  Its methods return at once, `finish` apart."""

    def __init__(self, repository: str, run: Path, warn: Callable[[str], None]) -> None:
        self.repository, self._run, self._staged, self._warn = repository, run, run / STAGED, warn
        shutil.rmtree(self._staged, ignore_errors=True)  # of a run that was killed
        self._changed = Condition()
        self._waiting: _Load | None = None
        self._busy = False
        self._number = 0
        self._failure, self._said = "", False
        disable_progress_bars()
        Thread(target=self._work, name="push", daemon=True).start()  # a process that ends does not wait for it

    def take(self, checkpoint: Path, message: str) -> None:
        """Push the model's files of a checkpoint, with a card of the run as it is now."""
        self._number += 1
        folder = self._staged / str(self._number)
        try:
            shutil.copytree(checkpoint, folder, ignore=shutil.ignore_patterns("trainer"), copy_function=_link)
            card = card_of(self._run, folder, self.repository)
            (folder / "README.md").unlink(missing_ok=True)  # a link, perhaps
            (folder / "README.md").write_text(card, encoding="utf-8")
        except OSError as error:
            self._failure = self._failure or f"push: {folder} could not be written ({error.strerror})"
            return
        finally:
            self._speak()
        with self._changed:
            if self._waiting is not None:
                shutil.rmtree(self._waiting.folder, ignore_errors=True)
            self._waiting = _Load(folder, message)
            self._changed.notify_all()

    def conclude(self, folder: Path, progress: Progress, *, finished: bool) -> None:
        """The end of the run: the best of its checkpoints in `folder`, else the last, comes on top, with the card that
        knows results and cost.  A run that was cut short waits little, and puts nothing on top."""
        best, last = folder / "best", latest(folder)
        if finished and last is not None:
            self.finish(PATIENCE)  # or the last step's, which waits, would be left out
            if progress.best_step and best.is_dir():
                self.take(best, f"best, step {progress.best_step}")
            else:
                self.take(last, f"step {progress.step}, with its card")
        done = self.finish(PATIENCE if finished else LITTLE)
        self._speak()
        if not done:
            self._warn(f"push to {self.repository}: not done when the run ended; `grpo push` does it again")

    def _speak(self) -> None:
        """Of what went wrong first; once, and in the thread of the run."""
        with self._changed:
            failure, self._said = "" if self._said else self._failure, self._said or bool(self._failure)
        if failure:
            self._warn(failure)

    def finish(self, seconds: float) -> bool:
        """Wait so long; whether everything was dealt with by then."""
        with self._changed:
            done = self._changed.wait_for(lambda: self._waiting is None and not self._busy, seconds)
        if done:
            shutil.rmtree(self._staged, ignore_errors=True)
        return done

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting is not None)
                load, self._waiting, self._busy = self._waiting, None, True
            failure = self._failed(load) if load else ""
            with self._changed:
                self._failure, self._busy = self._failure or failure, False
                self._changed.notify_all()

    def _failed(self, load: _Load) -> str:
        """Upload it; what went wrong, or ""."""
        try:
            _upload(self.repository, load.folder, load.message)
        except Exception as error:  # noqa: BLE001  other people's network code, any exception, must not stop the rest
            return f"push of {load.message} to {self.repository}: {why_not(error)}; the run goes on"
        finally:
            shutil.rmtree(load.folder, ignore_errors=True)
        return ""


def _upload(repository: str, folder: Path, message: str) -> None:
    HfApi().upload_folder(repo_id=repository, folder_path=folder, commit_message=message)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)


def _within(seconds: float, ask: Callable[[], None]) -> None:
    """`ask`, which the client may keep waiting for minutes.  Raises `TimeoutError`, or what it raises."""
    raised: list[BaseException | None] = []

    def answer() -> None:
        try:
            ask()
            raised.append(None)
        except BaseException as error:  # noqa: BLE001  raised again by who waits
            raised.append(error)

    thread = Thread(target=answer, daemon=True)
    thread.start()
    thread.join(seconds)
    if not raised:
        raise TimeoutError(f"no answer within {seconds:g} seconds")
    if raised[0] is not None:
        raise raised[0]


def why_not(error: BaseException) -> str:
    """What the client met when it wrote, and what to do."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, LocalTokenNotFoundError) or status == 401:
        return "the Hub refuses the token, or there is none; log in with `hf auth login`, or set HF_TOKEN"
    if status in (403, 404):
        return "the token may not write to it; give it that right at the Hub, or name a repository of your own"
    if status == 429:
        return "the Hub takes no more for now (429, too many requests); wait some minutes"
    if isinstance(error, HfHubHTTPError):
        return f"the Hub answers with status {status}; try again later"
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE = 1 forbids it; unset it"
    if isinstance(error, TimeoutError) or "Timeout" in type(error).__name__:
        return f"the Hub does not answer ({first_line(error)}); check network and HF_ENDPOINT, try again later"
    if isinstance(error, (hub.UNANSWERED, ConnectionError)):
        return f"the Hub cannot be reached ({first_line(error)}); check network and HF_ENDPOINT"
    return f"it failed ({first_line(error)})"
