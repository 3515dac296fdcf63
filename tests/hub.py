"""A small Hugging Face Hub on this machine: the part of its HTTP interface that the real client asks for models and
data sets.

Repositories are folders, one per commit; a branch is a name for a commit.  Large files are redirected to another
address, as the real one does with LFS.  What goes wrong is ordered: `gated`, `private`, a status for every answer,
downloads that break off.  What is pushed becomes a commit, whose message `hub.messages` has.  `hub.asked` is what was
asked, in order.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

LARGE = (".safetensors", ".parquet")
TOKEN, STRANGER = "hf_friend", "hf_stranger"  # whom the Hub knows; gated repositories let only the first in


@dataclass
class Repository:
    commits: dict[str, Path]
    branches: dict[str, str]
    gated: bool = False
    private: bool = False

    def push(self, folder: Path, branch: str = "main") -> str:
        """A new commit on `branch`, with the files of `folder`."""
        commit = hashlib.sha1(f"{folder}/{len(self.commits)}".encode()).hexdigest()
        self.commits[commit] = folder
        self.branches[branch] = commit
        return commit

    def files(self, commit: str) -> dict[str, Path]:
        folder = self.commits[commit]
        return {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}


class Refused(Exception):
    def __init__(self, status: int, code: str, message: str = "", **body: str) -> None:
        super().__init__(code)
        self.status, self.code, self.message, self.body = status, code, message, body


@dataclass
class Hub:
    models: dict[str, Repository] = field(default_factory=dict)
    datasets: dict[str, Repository] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    status: int = 0  # of every answer, if not 0
    broken_downloads: int = 0  # how many large files break off after half of what was asked for
    address: str = ""
    read_only: bool = False  # whether the token may write
    stuck: threading.Event | None = None  # that commits wait for
    messages: list[str] = field(default_factory=list)  # of commits, in order
    store: Path = Path()  # what was uploaded

    def add(self, kind: str, name: str, folder: Path, **settings: Any) -> Repository:
        repository = Repository({}, {}, **settings)
        repository.push(folder)
        getattr(self, kind)[name] = repository
        return repository

    def find(self, kind: str, name: str, revision: str, token: str | None, *, read: bool) -> tuple[Repository, str]:
        """The repository and the commit of `revision`, for somebody who wants to `read` its files, or hear of it."""
        if token not in (None, TOKEN, STRANGER):
            raise Refused(401, "", "Invalid credentials in Authorization header")
        repository = getattr(self, kind).get(name)
        if repository is None or (repository.private and token != TOKEN):
            raise Refused(404 if token else 401, "RepoNotFound", "Repository not found")
        if read and repository.gated and token != TOKEN:
            raise Refused(403 if token else 401, "GatedRepo", "Access to this repository is restricted")
        commit = repository.branches.get(revision, revision)
        if commit not in repository.commits:
            raise Refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return repository, commit


@contextmanager
def serve() -> Iterator[Hub]:
    """A Hub that answers at `hub.address` until the end of the `with` block."""
    scratch = tempfile.TemporaryDirectory()
    hub = Hub(store=Path(scratch.name))
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    hub.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        scratch.cleanup()


_API = re.compile(
    r"/api/(?P<kind>models|datasets)/(?P<name>[^/]+/[^/]+)"
    r"(?:/(?P<what>revision|tree|paths-info|auth-check)(?:/(?P<revision>[^/]+)(?P<inside>/.*)?)?)?"
)
_WRITE = re.compile(
    r"/api/models/(?P<api>[^/]+/[^/]+)/(?P<what>auth-check/write|preupload/main|commit/main)"
    r"|/(?P<git>[^/]+/[^/]+)\.git/info/lfs/objects/batch"
)
_FILE = re.compile(r"/(?P<data>datasets/)?(?P<name>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)")


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = urlsplit(self.path).path
        self.hub.asked.append(f"{self.command} {path}")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            if self.hub.status:
                raise Refused(self.hub.status, "")
            if (answer := self._written(path, body)) is not None:
                self._send(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})
            elif found := _API.fullmatch(path):
                self._api(body, **found.groupdict())
            elif found := _FILE.fullmatch(path):
                self._file(**{name: unquote(value or "") for name, value in found.groupdict().items()})
            elif path.startswith("/lfs/"):
                self._large(Path(unquote(path.removeprefix("/lfs"))))
            else:
                raise Refused(404, "")
        except Refused as error:
            more = {"X-Error-Code": error.code, "X-Error-Message": error.message}
            self._send(
                error.status,
                json.dumps({"error": "refused"} | error.body).encode(),
                {key: value for key, value in more.items() if value},
            )
        except BrokenPipeError:
            pass

    def _written(self, path: str, body: bytes) -> Any:
        """What is asked by who writes; None: something else is asked."""
        token = self._token()
        if path.startswith("/put/"):  # to where `_where` has sent it, with no token
            (self.hub.store / path.removeprefix("/put/")).write_bytes(body)
            return {}
        if path == "/api/whoami-v2":
            if token not in (TOKEN, STRANGER):
                raise Refused(401, "", "Invalid credentials in Authorization header")
            return {"name": "me", "type": "user"}
        if path == "/api/validate-yaml":
            return {"warnings": [], "errors": []}
        if path == "/api/repos/create":
            return self._created(json.loads(body))
        if not (found := _WRITE.fullmatch(path)):
            return None
        if token != TOKEN or self.hub.read_only:
            raise Refused(403, "", "Forbidden: you need write access")
        repository = self.hub.models[found["api"] or found["git"]]
        if found["git"]:
            return {"transfer": "basic", "objects": [self._where(one) for one in json.loads(body)["objects"]]}
        if found["what"] == "auth-check/write":
            return {}
        if found["what"] == "preupload/main":
            return {"files": [_mode(one["path"]) for one in json.loads(body)["files"]]}
        return self._committed(repository, body)

    def _created(self, wanted: dict[str, Any]) -> Any:
        name = f"{wanted.get('organization') or 'me'}/{wanted['name']}"
        if not name.startswith("me/"):
            raise Refused(403, "", "You don't have the rights to create a model under that namespace")
        answer = {"url": f"{self.hub.address}/{name}", "id": name}
        if name in self.hub.models:
            raise Refused(409, "", "You already created this model repo", **answer)
        private = wanted.get("private", wanted.get("visibility") == "private")
        self.hub.models[name] = Repository({}, {}, private=private)
        empty = self.hub.store / f"empty-{len(self.hub.models)}"
        empty.mkdir()
        self.hub.models[name].push(empty)
        return answer

    def _where(self, one: dict[str, Any]) -> dict[str, Any]:
        return {**one, "actions": {"upload": {"href": f"{self.hub.address}/put/{one['oid']}"}}}

    def _committed(self, repository: Repository, body: bytes) -> Any:
        if self.hub.stuck is not None:
            self.hub.stuck.wait(60)
        lines = [json.loads(line) for line in body.splitlines()]
        folder = self.hub.store / f"commit-{len(self.hub.messages)}"
        folder.mkdir()
        for name, path in repository.files(repository.branches["main"]).items():
            _put(folder / name, path.read_bytes())
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                _put(folder / value["path"], base64.b64decode(value["content"]))
            if line["key"] == "lfsFile":
                _put(folder / value["path"], (self.hub.store / value["oid"]).read_bytes())
        self.hub.messages.append(lines[0]["value"]["summary"])
        commit = repository.push(folder)
        return {"commitUrl": f"{self.hub.address}/me/model/commit/{commit}", "commitOid": commit}

    def _api(self, body: bytes, kind: str, name: str, what: str, revision: str, inside: str) -> None:
        revision = unquote(revision or "main")
        read = what in ("tree", "paths-info", "auth-check")
        repository, commit = self.hub.find(kind, name, revision, self._token(), read=read)
        files = repository.files(commit)
        if what == "tree":
            folder = unquote(inside or "").strip("/")
            recursive = "recursive=true" in urlsplit(self.path).query.lower()
            answer: Any = _tree(files, folder, recursive=recursive)
            if not answer:
                raise Refused(404, "EntryNotFound")
        elif what == "paths-info":
            wanted = json.loads(body)["paths"]
            answer = [entry for entry in _tree(files, "", recursive=True) if entry["path"] in wanted]
        else:
            siblings = [{"rfilename": file} for file in files]
            gated = "manual" if repository.gated else False
            answer = {"id": name, "sha": commit, "siblings": siblings, "gated": gated, "private": repository.private}
        self._send(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _file(self, data: str, name: str, revision: str, file: str) -> None:
        kind = "datasets" if data else "models"
        repository, commit = self.hub.find(kind, name, revision, self._token(), read=True)
        path = repository.files(commit).get(file)
        headers = {"X-Repo-Commit": commit}
        if path is None:
            raise Refused(404, "EntryNotFound", "Entry not found")
        if file.endswith(LARGE):
            sha, size = hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size
            headers |= {"X-Linked-Etag": f'"{sha}"', "X-Linked-Size": str(size)}
            elsewhere = self.hub.address.replace("127.0.0.1", "localhost")  # a host that is not the Hub's
            self._send(302, b"", headers | {"Location": f"{elsewhere}/lfs{path.resolve()}"})
        else:
            content = path.read_bytes()
            self._send(200, content, headers | {"ETag": f'"{_blob(content)}"'})

    def _large(self, path: Path) -> None:
        content = path.read_bytes()
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").partition("-")[0])
        rest = content[start:]
        headers = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if start else {}
        breaks = self.command == "GET" and self.hub.broken_downloads > 0
        self.hub.broken_downloads -= breaks
        self._send(206 if start else 200, rest, headers, cut=len(rest) // 2 if breaks else None)

    def _send(self, status: int, content: bytes, headers: dict[str, str], cut: int | None = None) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[:cut])
        if cut is not None:
            self.wfile.flush()
            self.close_connection = True

    def _token(self) -> str | None:
        return (self.headers.get("Authorization") or "").removeprefix("Bearer ").strip() or None

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


def _mode(path: str) -> dict[str, Any]:
    mode = "lfs" if path.endswith(LARGE) else "regular"
    return {"path": path, "uploadMode": mode, "shouldIgnore": False}


def _put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _tree(files: dict[str, Path], folder: str, *, recursive: bool) -> list[dict[str, Any]]:
    entries: dict[str, dict[str, Any]] = {}
    for file, path in files.items():
        if folder and not file.startswith(f"{folder}/"):
            continue
        below = file[len(folder) :].lstrip("/")
        if not recursive and "/" in below:
            sub = f"{folder}/{below.partition('/')[0]}".lstrip("/")
            entries[sub] = {"type": "directory", "oid": "0" * 40, "size": 0, "path": sub}
            continue
        content = path.read_bytes()
        entries[file] = {"type": "file", "oid": _blob(content), "size": len(content), "path": file}
        if file.endswith(LARGE):
            sha = hashlib.sha256(content).hexdigest()
            entries[file]["lfs"] = {"oid": sha, "size": len(content), "pointerSize": 134}
    return list(entries.values())


def _blob(content: bytes) -> str:
    """git's name for it."""
    return hashlib.sha1(b"blob %d\x00" % len(content) + content).hexdigest()
