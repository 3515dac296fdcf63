"""`run.notify`: tell a URL what becomes of a run, so that nobody needs to look.

Each event is a POST of JSON: {"event": "alarm", "run": "7", "step": 120, "text": "…", "host": "node3"}.  Events are
alarm, crash, stall, deadline and end.  A thread of its own sends them: a run never fails for it, nor waits for more
than `PATIENCE` at its end.

The URL may be a secret, as those of chat services are.  It is never printed; `env:NAME` keeps it out of files, too.
"""

from __future__ import annotations

import json
import os
import queue
import socket
import threading
from collections.abc import Callable
from http.client import HTTPException
from typing import Any, Literal
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from grpo.errors import EXIT_AGAIN, ConfigError, Interrupted

Event = Literal["alarm", "crash", "stall", "deadline", "end"]
PATIENCE = 5.0  # seconds


class Notifier:
    """Sends to where `setting` says: a URL, `env:NAME`, or None, nowhere.  `warn` hears once where that fails."""

    def __init__(self, setting: str | None, run: str, warn: Callable[[str], None]) -> None:
        self.step = 0  # the last that is finished
        self._url, self._run, self._warn = None if setting is None else url_of(setting), run, warn
        self._events: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._warned = False

    def __call__(self, event: Event, text: str, step: int | None = None) -> None:
        if self._url is None:
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._send_all, args=(self._url,), name="notify", daemon=True)
            self._thread.start()
        step = self.step if step is None else step
        content = {"event": event, "run": self._run, "step": step, "text": text, "host": socket.gethostname()}
        self._events.put(json.dumps(content).encode())

    def close(self) -> None:
        """Wait a little for what is under way."""
        if self._thread is not None:
            self._events.put(None)
            self._thread.join(PATIENCE)
            if self._thread.is_alive():
                self._fail(f"has not answered within {PATIENCE:g} s of the end")

    def ended(self, error: BaseException | None) -> None:
        """Say how the run ended."""
        if error is None:
            self("end", "finished")
        elif isinstance(error, Interrupted | KeyboardInterrupt):
            again = isinstance(error, Interrupted) and error.exit_code == EXIT_AGAIN
            self("deadline" if again else "end", str(error) or "stopped by SIGINT")
        else:
            self("crash", f"{type(error).__name__}: {error}")

    def _send_all(self, url: str) -> None:
        while (content := self._events.get()) is not None:
            if failure := post(url, content):
                self._fail(failure)

    def _fail(self, what: str) -> None:
        if not self._warned:
            self._warned = True
            self._warn(f"run.notify: {what}; the run goes on, and this is said once")


def url_of(setting: str) -> str:
    """The URL that `run.notify` names.  Raises `ConfigError`, which does not repeat it."""
    place, url = "run.notify", setting
    if setting.startswith("env:"):
        name = setting.removeprefix("env:")
        place, url = f"run.notify = {setting}", os.environ.get(name, "")
        if not url:
            raise ConfigError(f"{place}: the environment has no {name}; export it where the command runs")
    try:
        parts = urlsplit(url)
        fine = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a port that is none, a bracket
        fine = False
    if not fine or not url.isascii() or not url.isprintable() or " " in url:
        raise ConfigError(f"{place}: must be the URL of a webhook, http:// or https://, or env:NAME of a variable")
    return url


class _NoRedirect(HTTPRedirectHandler):
    """A POST that is redirected would become a GET, and look delivered."""

    def redirect_request(self, *arguments: Any) -> None:
        return None


def post(url: str, content: bytes) -> str:
    """What went wrong; "" where nothing did."""
    request = Request(url, content, {"Content-Type": "application/json", "User-Agent": "grpo"})
    try:
        with build_opener(_NoRedirect()).open(request, timeout=PATIENCE):
            return ""
    except HTTPError as error:
        error.close()
        return f"was answered with status {error.code}"
    except URLError as error:
        return f"cannot be reached ({error.reason})"
    except (OSError, HTTPException, ValueError) as error:  # of which some quote the URL
        return f"cannot be reached ({type(error).__name__})"
