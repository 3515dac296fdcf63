"""Who may ask, and what each address answers.

The server listens to this machine only, and answers no one without the token that it printed: other users of the
machine, and pages that a browser has open beside ours, cannot read a run.  It knows no paths but those of its own
pages; a run is asked for by the name that /api/runs gave it.  It changes nothing, whatever is asked.
"""

from __future__ import annotations

import math
import re
import secrets
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, get_args

import duckdb
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from grpo.errors import ConfigError, GrpoError
from grpo.run.folder import as_line
from grpo.run.wording import plural
from grpo.show.catalogue import Catalogue, NotThere, ShownRun
from grpo.show.curves import Axis, curves, names
from grpo.show.evaluations import evaluations, won_and_lost
from grpo.show.index import ORDERS, Filter

T = TypeVar("T")

STATIC = Path(__file__).parent / "static"
_MOST_ROWS = 500  # of a page of completions
_HERE = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d+)?")
_SECURE = {
    # Our own files only, and no script in a page: what a model wrote can run nothing and reach nobody.
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",  # another server of this machine is no stranger to cookies
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


def serve(places: Sequence[Path], port: int, say: Callable[[str], None]) -> None:
    """Until Ctrl-C or SIGTERM.  `port` 0 takes a free one."""
    catalogue = Catalogue(places)
    with socket.socket() as listening, suppress(KeyboardInterrupt):  # uvicorn sends it again when it has ended
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(("127.0.0.1", port))
        except OSError as error:
            raise GrpoError(f"--port {port}: cannot be used ({error.strerror}); leave it out for a free one") from None
        listening.listen()  # from here on who comes waits, and is not refused
        port, token = listening.getsockname()[1], secrets.token_urlsafe(24)
        say(f"http://127.0.0.1:{port}/?token={token}")
        say(f"{plural(len(catalogue.runs()), 'run')} of {', '.join(map(str, places))}; Ctrl-C ends it")
        config = uvicorn.Config(application(catalogue, token, port), log_level="warning", access_log=False)
        uvicorn.Server(config).run(sockets=[listening])


def application(catalogue: Catalogue, token: str, port: int) -> ASGIApp:
    """What answers at 127.0.0.1:`port`."""
    paths: Mapping[str, Callable[[ShownRun, Request], Any]] = {
        "": lambda run, request: run.overview(),
        "/rollouts": _rollouts,
        "/group": _group,
        "/problem": _problem,
        "/evaluations": lambda run, request: evaluations(run.summary),
        "/wonlost": _won_and_lost,
    }
    routes = [
        Route("/api/runs", partial(_answered, lambda request: [run.line() for run in catalogue.runs()])),
        Route("/api/metrics", partial(_answered, lambda request: names(_chosen(catalogue, request)))),
        Route("/api/curves", partial(_answered, partial(_curves, catalogue))),
        *(
            Route(f"/api/runs/{{run}}{path}", partial(_answered, partial(_of_run, catalogue, answer)))
            for path, answer in paths.items()
        ),
        Route("/", lambda request: FileResponse(STATIC / "index.html")),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]
    return _Guard(Starlette(routes=routes, exception_handlers={HTTPException: _refused}), token, port)


class _Guard:
    """Lets through who reads, from here, with the token: in the address at first, from then on in a cookie."""

    def __init__(self, app: ASGIApp, token: str, port: int) -> None:
        self._app, self._token = app, token
        self._cookie = f"grpo-show-{port}"  # cookies do not tell ports apart

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        connection = HTTPConnection(scope)

        async def secured(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] += [(key.encode(), value.encode()) for key, value in _SECURE.items()]
            await send(message)

        answer = self._refusal(connection, scope["method"]) or self._entry(connection)
        await (answer or self._app)(scope, receive, secured)

    def _refusal(self, connection: HTTPConnection, method: str) -> Response | None:
        # A page elsewhere whose name was made to lead here sends its own name.  The port is another behind a tunnel.
        if not _HERE.fullmatch(connection.headers.get("host", "")):
            return _error(403, "this server answers to 127.0.0.1 only")
        if method not in ("GET", "HEAD"):
            return _error(405, "this server only reads")
        given = connection.query_params.get("token") or connection.cookies.get(self._cookie, "")
        if not secrets.compare_digest(given.encode(), self._token.encode()):
            return _error(403, "open the address that `grpo show` printed, with its token")
        return None

    def _entry(self, connection: HTTPConnection) -> Response | None:
        """From the address with the token to the one without, which may be passed on or photographed."""
        if connection.url.path != "/" or "token" not in connection.query_params:
            return None
        answer = RedirectResponse("/", status_code=303)
        answer.set_cookie(self._cookie, self._token, httponly=True, samesite="strict")
        return answer


def _error(status: int, sentence: str) -> JSONResponse:
    return JSONResponse({"error": sentence}, status_code=status)


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _error(error.status_code, f"{request.url.path}: {error.detail}")


def _answered(answer: Callable[[Request], Any], request: Request) -> Response:
    try:
        return Response(as_line(answer(request)), media_type="application/json")
    except NotThere as error:
        return _error(404, str(error))
    except GrpoError as error:
        return _error(400, str(error))
    except (duckdb.IOException, FileNotFoundError):  # a run that goes on from a checkpoint has taken files away
        return _error(503, "the run has changed while it was read; ask again")


def _of_run(catalogue: Catalogue, answer: Callable[[ShownRun, Request], Any], request: Request) -> Any:
    return answer(catalogue.run(request.path_params["run"]), request)


def _chosen(catalogue: Catalogue, request: Request) -> list[ShownRun]:
    given = request.query_params.get("runs", "")
    return [catalogue.run(name) for name in given.split(",") if name]


def _curves(catalogue: Catalogue, request: Request) -> Any:
    axis: Axis = _one_of(request, "axis", get_args(Axis))  # type: ignore[assignment]  # it is one of them
    seeds, smooth = _one_of(request, "seeds", ("apart", "together")), _number(request, "smooth") or 0.0
    if not 0 <= smooth < 1:
        raise ConfigError(f"smooth={smooth:g}: must be at least 0 and below 1")
    metric = request.query_params.get("metric", "solved")
    return curves(_chosen(catalogue, request), metric, axis, smooth, together=seeds == "together")


def _rollouts(run: ShownRun, request: Request) -> Any:
    query = request.query_params
    wanted = Filter(
        step_min=_whole(request, "step_min"),
        step_max=_whole(request, "step_max"),
        problem=query.get("problem") or None,
        reward_min=_number(request, "reward_min"),
        reward_max=_number(request, "reward_max"),
        finish=query.get("finish") or None,
        failure=query.get("failure") or None,
        useful=_one_of(request, "useful", ("false", "true", "0", "1")) in ("true", "1"),
        text=query.get("text") or None,
    )
    for file in ("samples.jsonl", "completions.parquet"):
        if (run.path / file).exists() and not (run.path / "rollouts").exists():
            raise NotThere(f"{run.id} has no rollouts/, of which this page is made; what was written is in its {file}")
    limit, offset = _whole(request, "limit", most=_MOST_ROWS) or 50, _whole(request, "offset") or 0
    return run.index.page(wanted, _one_of(request, "sort", tuple(ORDERS)), limit, offset)


def _group(run: ShownRun, request: Request) -> Any:
    step, problem = _whole(request, "step"), request.query_params.get("problem", "")
    rows = run.index.group(step or 0, problem)
    if not rows:
        raise NotThere(f"step {step} has no completions of {problem!r}")
    first = rows[0]
    return {
        "step": step,
        **{name: first[name] for name in ("problem", "prompt", "gold")},
        "completions": [_completion(row) for row in rows],
    }


def _completion(row: Mapping[str, Any]) -> dict[str, Any]:
    names = ("index", "reward", "advantage", "finish", "tokens")
    sampler, policy = row.get("sampler_logprobs"), row.get("policy_logprobs")
    return {
        **{name: row[name] for name in names},
        "text": row["completion"],
        "dropped": row.get("dropped", False),
        "scores": [{"reward": name, "failure": None, **score} for name, score in row["scores"].items()],
        "pieces": row.get("pieces"),
        "ratios": ratios(policy, sampler) if policy is not None and sampler is not None else None,
        "entropies": row.get("entropies"),
    }


def ratios(policy: Sequence[float | None], sampler: Sequence[float | None]) -> list[float | None]:
    """The importance ratio of each token when its step learns from it; None where one of the two is no number."""
    pairs = zip(policy, sampler, strict=True)
    return [None if p is None or s is None else math.exp(max(-20.0, min(20.0, p - s))) for p, s in pairs]


def _problem(run: ShownRun, request: Request) -> Any:
    problem = request.query_params.get("problem", "")
    steps = run.index.history(problem)
    if not steps:
        raise NotThere(f"there are no completions of {problem!r}")
    last = run.index.group(steps[-1]["step"], problem)[0]
    return {**{name: last[name] for name in ("problem", "prompt", "gold")}, "steps": steps}


def _won_and_lost(run: ShownRun, request: Request) -> Any:
    query = request.query_params
    return won_and_lost(run.path / "eval", run.summary.results, query.get("a", "before"), query.get("b", "after"))


def _one_of(request: Request, name: str, allowed: Sequence[str]) -> str:
    """The first is the default."""
    given = request.query_params.get(name) or allowed[0]
    if given not in allowed:
        raise ConfigError(f"{name}={given}: must be one of {', '.join(allowed)}")
    return given


def _number(request: Request, name: str) -> float | None:
    return _read(request, name, float, "a number")


def _whole(request: Request, name: str, most: int = 2**31 - 1) -> int | None:
    number = _read(request, name, int, "a whole number")
    if number is not None and not 0 <= number <= most:
        raise ConfigError(f"{name}={number}: must be between 0 and {most}")
    return number


def _read(request: Request, name: str, kind: Callable[[str], T], what: str) -> T | None:
    given = request.query_params.get(name)
    if not given:
        return None
    try:
        return kind(given)
    except ValueError:
        raise ConfigError(f"{name}={given}: must be {what}") from None
