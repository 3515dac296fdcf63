"""Models on the Hugging Face Hub: which commit a name means, and where its files lie on this machine.

A branch may move between the moment the learner opens a model and the moment a sampler does, and then two models would
be one run.  So a branch is turned into its commit once (`commit_of`), the commit goes wherever the name goes, and
whoever opens the model opens a directory of this machine (`local`), without a question to anybody: off-line, behind a
wall, and on every machine of a cluster alike.

The client (`huggingface_hub`) waits for minutes, and retries, where a network swallows what it is sent.  We ask one
question with a time limit first; where it is not answered, what the cache has is what there is.
"""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from logging import ERROR
from pathlib import Path
from typing import Literal, cast
from warnings import catch_warnings, filterwarnings

from huggingface_hub import HfApi, constants, hf_hub_download, snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import (  # type: ignore[attr-defined]  # its __init__ lists no names
    disable_progress_bars,
    enable_progress_bars,
    logging,
    validate_repo_id,
)

from grpo.errors import ModelError, first_line

Kind = Literal["model", "data set"]

TIMEOUT = 10.0  # seconds for the first answer
COMMIT = re.compile(r"[0-9a-f]{40}")

# All that opens a model, from the top of its repository: what lies deeper, or is called otherwise, is the same weights
# again in other formats (Mistral's consolidated.safetensors, which vLLM would prefer, Llama's original/, ONNX).
FILES = ["*.json", "*.jinja", "*.txt", "*.model", "*.tiktoken", "*.safetensors"]
OLD_WEIGHTS = ["pytorch_model*.bin*"]
NOT_THESE = ["*/*", "consolidated*", "params.json"]

# What the client's HTTP library raises: httpx, or httpx2 in newer versions.
UNANSWERED = cast(type[Exception], HfHubHTTPError.__bases__[0])
FAILURES: tuple[type[Exception], ...] = (OSError, ValueError, RuntimeError, UserWarning, UNANSWERED)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR)


def local(name: str, revision: str | None) -> str:
    """The directory with the model's files: `name` where it is one, else the Hub's, downloaded where they are missing.

    Raises `ModelError`.
    """
    return _snapshot(name, commit_of(name, revision)) if is_on_hub(name) else name


def is_on_hub(name: str) -> bool:
    """Whether `name` is meant as a Hub id.  Raises `ModelError` where it must be a directory and is none."""
    if os.path.isdir(name):
        return False
    if os.path.isfile(name):
        raise ModelError(f"{name}: is a file; give a directory with a model in Hugging Face format, or a Hub id")
    if not may_be_an_id(name):
        raise ModelError(
            f"{name}: no such directory; give a model in Hugging Face format or a Hub id like Qwen/Qwen3-0.6B"
        )
    return True


def may_be_an_id(name: str) -> bool:
    """`runs/nope` was meant as a path where there is a `runs` here."""
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return not os.path.isdir(os.path.dirname(name))


@cache
def commit_of(name: str, revision: str | None) -> str:
    """The commit that a branch or tag of the model stands at; without an answer, that of its last download."""
    if COMMIT.fullmatch(revision or ""):
        return str(revision)
    refusal = _refusal(name, "model", revision)
    try:
        if refusal is None:  # the cache notes which commit the branch is, for days without an answer
            with _client():
                return Path(hf_hub_download(name, "config.json", revision=revision or "main")).parent.name
    except FAILURES as error:
        refusal = error
    cached = try_to_load_from_cache(name, "config.json", revision=revision)
    if not isinstance(cached, str) or isinstance(refusal, RevisionNotFoundError):
        raise _error(name, revision, refusal) from refusal
    return Path(cached).parent.name


@cache
def _snapshot(name: str, commit: str) -> str:
    refusal = _refusal(name, "model", commit)
    here = refusal is not None
    try:
        folder = _fetch(name, commit, FILES, here=here)
        if not any(folder.glob("*.safetensors")):
            _fetch(name, commit, OLD_WEIGHTS, here=here)
    except FAILURES as error:
        raise _error(name, commit, refusal or error) from error
    if refusal and not any(folder.glob("*.safetensors")) and not any(folder.glob("*.bin")):
        raise _error(name, commit, refusal) from refusal  # the cache has a part of it, and may not know which
    return str(folder)


def _fetch(name: str, commit: str, files: list[str], *, here: bool) -> Path:
    with _client():
        return Path(
            snapshot_download(
                name, revision=commit, allow_patterns=files, ignore_patterns=NOT_THESE, local_files_only=here
            )
        )


@contextmanager
def _client() -> Iterator[None]:
    """Its bars where somebody sees them, and none of its remarks: what matters in them comes back as an error.

    It only warns that a file is larger than what the disk has left, and then fetches it: here that is an error, too.
    """
    verbosity = logging.get_verbosity()
    logging.set_verbosity(ERROR)
    if sys.stderr.isatty() and constants.HF_HUB_DISABLE_PROGRESS_BARS is None:
        enable_progress_bars()
    try:
        with catch_warnings():
            filterwarnings("error", "Not enough free disk space", UserWarning)
            yield
    finally:
        logging.set_verbosity(verbosity)
        disable_progress_bars()


def _error(name: str, revision: str | None, error: BaseException) -> ModelError:
    why = why_not(name, "model", error, revision) or f"cannot be opened ({first_line(error)}); check the id"
    return ModelError(f"model {name}: {why}, or give a directory")


def why_not(name: str, kind: Kind, error: BaseException, revision: str | None = None) -> str | None:
    """What the Hub's client met, and what to do; None where it was none of the Hub, the network and the cache."""
    causes = list(_chain(error))
    page = f"{constants.ENDPOINT}/{'datasets/' if kind == 'data set' else ''}{name}"
    for cause in causes:
        match cause:
            case GatedRepoError():
                return f"is gated; accept its licence at {page}, then log in with `hf auth login`"
            case RevisionNotFoundError():
                return f'has no revision "{revision}"; take a branch, tag or commit that {page}/commits shows'
            case RepositoryNotFoundError():
                return (
                    f"no such {kind} on the Hugging Face Hub, or a private one; check the spelling, log in with "
                    "`hf auth login`"
                )
            case RemoteEntryNotFoundError() if kind == "model":  # the first file that is asked for
                return "has no config.json, so it is no model in Hugging Face format; take another"
            case HfHubHTTPError():
                return _of_status(cause)
    if constants.is_offline_mode() and any(isinstance(cause, (ConnectionError, FileNotFoundError)) for cause in causes):
        fetch = f"hf download {name}" + (" --repo-type dataset" if kind == "data set" else "")
        return (
            f"is not (or not whole) in the cache {constants.HF_HUB_CACHE}, and HF_HUB_OFFLINE = 1 forbids to fetch it; "
            f"run `{fetch}` where there is a network, unset HF_HUB_OFFLINE"
        )
    return next(filter(None, map(_of_disk, causes)), None) or next(filter(None, map(_of_network, causes)), None)


def _of_status(error: HfHubHTTPError) -> str:
    status = error.response.status_code
    if status == 401:
        return "the Hub refuses the token; log in again with `hf auth login`, or unset HF_TOKEN"
    if status == 403:
        return "the token may not read it; give the token that right at the Hub, or log in with another"
    if status == 429:
        return "the Hub answers no more for now (429, too many requests); wait some minutes, log in for a higher limit"
    return f"the Hub answers with status {status}; try again later"


def _of_disk(error: BaseException) -> str | None:
    """The cache, which is no fault of the Hub's."""
    number, text = getattr(error, "errno", None), str(error)
    if number in _FULL or "No space left" in text or re.match("Not enough (free )?disk space", text):
        return f"its files do not fit on the disk of {constants.HF_HOME}; make room, set HF_HOME to another disk"
    if number in _FORBIDDEN:
        return f"the cache cannot be written ({first_line(error)}); set HF_HOME to a folder that can"
    return None


def _of_network(error: BaseException) -> str | None:
    reason = first_line(error)
    if type(error).__name__ in ("RemoteProtocolError", "ReadError") or "Consistency check failed" in reason:
        return f"the download broke off ({reason}); start again, what is whole stays in the cache"
    if isinstance(error, (UNANSWERED, ConnectionError)):
        return f"the Hub cannot be reached ({reason}), and the cache does not have it; check network and HF_ENDPOINT"
    return None


@contextmanager
def or_offline(name: str) -> Iterator[Exception | None]:
    """For a data set of the Hub: where the Hub does not let us have it, as if there were no network, for what the cache
    has.  Yields what the Hub answered, None if it lets us."""
    import datasets

    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    was = constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE
    refusal = None if any(was) else _refusal(name, "data set")
    if refusal is not None:
        constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    try:
        with _client():
            yield refusal
    finally:
        constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE = was


def _refusal(name: str, kind: Kind, revision: str | None = None) -> Exception | None:
    """What the Hub has against our having it; None where it lets us."""
    repo_type = "model" if kind == "model" else "dataset"
    try:
        info = HfApi().repo_info(name, revision=revision, repo_type=repo_type, timeout=TIMEOUT)
        if info.gated:  # then everybody may know of it, and only some may read it
            HfApi().auth_check(name, repo_type=repo_type)
    except FAILURES as error:
        return error
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
