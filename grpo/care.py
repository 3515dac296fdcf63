"""What looks after a run, whatever it does: stops that are asked for, a deadline, a watchdog, whom to notify."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from grpo.config import Run
from grpo.deadline import Deadline, Elapsed
from grpo.interrupt import StopRequest
from grpo.notify import Notifier
from grpo.run.console import Console
from grpo.watchdog import Watchdog


@dataclass(frozen=True)
class Care:
    stop: StopRequest
    watchdog: Watchdog
    notify: Notifier

    def after(self, step: int) -> None:
        """So many steps are finished."""
        self.watchdog.step = self.notify.step = step


@contextmanager
def looked_after(
    settings: Run, folder: Path, console: Console, *, dry_run: bool = False, elapsed: Elapsed | None = None
) -> Iterator[Care]:
    """Within it a run may be stopped; how it ends is told, but not of a dry run."""
    stop = StopRequest(Deadline(settings.deadline, elapsed))
    with closing(Notifier(None if dry_run else settings.notify, folder.name, console.warn)) as notify:

        def stalled(text: str) -> None:
            notify("stall", text)
            notify.close()

        try:
            with stop, Watchdog(folder if settings.watchdog else None, stalled) as watchdog:
                yield Care(stop, watchdog, notify)
        except BaseException as error:
            notify.ended(error)
            raise
        notify.ended(None)
