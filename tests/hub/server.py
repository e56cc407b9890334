"""A Hub on loopback that satisfies the real huggingface_hub client and the real ``hf``, with faults on demand.

Two servers, as in the real one: the Hub itself, and the storage that it redirects large files to. Every request is
logged, so that a test can say how many there were, how many bytes went out, and that none was an upload.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.hub.store import LFS_SUFFIXES, MAIN, Blob, Commit, Repo, folder_blobs

#: The one token that the server knows. Tests look for it in everything that is printed.
TOKEN = "hf_" + "T0PSECRET" * 3
SIGNATURE = "X-Signature=sTorAgeSecret"


@dataclass
class Injected:
    """A fault for the next ``times`` requests whose path matches."""

    pattern: str
    kind: str
    times: int
    status: int = 500
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    answer: Callable[[BaseHTTPRequestHandler], None] | None = None


@dataclass(frozen=True)
class Logged:
    """A request as the server saw it."""

    method: str
    path: str
    host: str
    authorized: bool
    range: str | None
    sent: int


class FakeHub:
    """The state of both servers; use as a context manager."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.objects: dict[str, Blob] = {}
        self._entries: list[Logged] = []
        self.answering = 0
        self.faults: list[Injected] = []
        self.lock = threading.Lock()
        self._servers: list[ThreadingHTTPServer] = []

    def __enter__(self) -> FakeHub:
        for role in ("hub", "storage"):
            handler = type("Handler", (_Handler,), {"hub": self, "role": role})
            server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
            server.daemon_threads = True
            self._servers.append(server)
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *details: object) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._servers[0].server_port}"

    @property
    def storage(self) -> str:
        return f"http://127.0.0.1:{self._servers[1].server_port}"

    def add(self, name: str, files: Path | dict[str, Blob], **options: Any) -> Repo:
        """A repository with one commit: a folder's files, or blobs."""
        repo = self.repos[name] = Repo(name, **options)
        repo.commit(folder_blobs(files) if isinstance(files, Path) else files, message="initial commit")
        return repo

    def inject(self, pattern: str, kind: str, times: int = 1, **options: Any) -> None:
        """Make the next requests that match fail: kinds ``status``, ``cut``, ``late``, ``drip``, ``no-range``.

        Kind ``raw`` lets ``answer`` write whatever it likes to the connection, which is closed afterwards.
        """
        self.faults.append(Injected(pattern, kind, times, **options))

    def take_fault(self, path: str) -> Injected | None:
        with self.lock:
            for fault in self.faults:
                if fault.times > 0 and re.search(fault.pattern, path):
                    fault.times -= 1
                    return fault
        return None

    @property
    def log(self) -> list[Logged]:
        """Every request so far. A client may go on before the last answer is logged, so that is waited for."""
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline:
            with self.lock:
                if not self.answering:
                    return list(self._entries)
            time.sleep(0.002)
        return list(self._entries)

    def begin(self) -> None:
        """An answer is about to be sent."""
        with self.lock:
            self.answering += 1

    def end(self, entry: Logged) -> None:
        """It was sent, or the client hung up."""
        with self.lock:
            self.answering -= 1
            self._entries.append(entry)

    @contextmanager
    def recorded(self) -> Iterator[list[Logged]]:
        """The requests made inside the block."""
        begin = len(self.log)
        requests: list[Logged] = []
        yield requests
        requests += self.log[begin:]

    @property
    def uploads(self) -> list[Logged]:
        """Requests by which anything about a checkpoint leaves a user's machine."""
        return [entry for entry in self.log if entry.method in ("POST", "PUT") and "/api/whoami" not in entry.path]


class _Answer(Exception):
    """Ends the handling of a request with an error that the Hub words in headers."""

    def __init__(self, status: int, code: str = "", message: str = "") -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    role: str
    protocol_version = "HTTP/1.1"
    timeout = 20
    fault: Injected | None = None

    def log_message(self, format: str, *arguments: object) -> None:
        """Keep standard error for the programs under test."""

    def do_GET(self) -> None:
        self._serve()

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815

    # -- plumbing ------------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            self.body = self._dechunked()
        url = urlsplit(self.path)
        self.parts = unquote(url.path)
        self.query = parse_qs(url.query)
        self.fault = self.hub.take_fault(self.path)
        try:
            if self.fault and self.fault.kind == "late":
                time.sleep(self.fault.seconds)
            if self.fault and self.fault.kind == "status":
                self._send(self.fault.status, b"{}", self.fault.headers)
                return
            if self.fault and self.fault.answer:
                self.close_connection = True
                self._send_raw(self.fault.answer)
                return
            self._route()
        except _Answer as answer:
            headers = {"X-Error-Message": answer.message} if answer.message else {}
            if answer.code:
                headers["X-Error-Code"] = answer.code
            self._send(answer.status, json.dumps({"error": answer.message}).encode(), headers)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _dechunked(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _send(
        self, status: int, body: bytes = b"", headers: dict[str, str] | None = None, size: int | None = None
    ) -> None:
        self.hub.begin()
        sent = 0
        try:
            sent = self._send_parts(status, body, headers or {}, size)
        finally:
            authorized = "Authorization" in self.headers
            self.hub.end(Logged(self.command, self.path, self.role, authorized, self.headers.get("Range"), sent))

    def _send_parts(self, status: int, body: bytes, headers: dict[str, str], size: int | None) -> int:
        """Send head and body; the number of bytes of the body that went out."""
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if size is None else size))
        self.end_headers()
        sent = 0
        if self.command != "HEAD":
            kind = self.fault.kind if self.fault else ""
            if kind == "cut":
                body = body[: len(body) // 2]
                self.close_connection = True
            step = 1 if kind == "drip" else 1 << 16
            try:
                for begin in range(0, len(body), step):
                    self.wfile.write(body[begin : begin + step])
                    sent += len(body[begin : begin + step])
                    if kind == "drip" and self.fault:
                        time.sleep(self.fault.seconds)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True
        return sent

    def _send_raw(self, answer: Callable[[BaseHTTPRequestHandler], None]) -> None:
        self.hub.begin()
        try:
            answer(self)
        finally:
            authorized = "Authorization" in self.headers
            self.hub.end(Logged(self.command, self.path, self.role, authorized, self.headers.get("Range"), 0))

    def _json(self, document: Any, status: int = 200) -> None:
        self._send(status, json.dumps(document).encode())

    def _document(self) -> Any:
        return json.loads(self.body)

    # -- routes --------------------------------------------------------------------------------------------------

    def _route(self) -> None:
        if self.role == "storage":
            return self._storage()
        path = self.parts
        if path == "/api/whoami-v2":
            self._require_token()
            return self._json(
                {"type": "user", "name": "tester", "orgs": [], "auth": {"accessToken": {"role": "write"}}}
            )
        if path == "/api/repos/create":
            return self._create()
        if path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        if match := re.fullmatch(r"/([^/]+/[^/]+?)(?:\.git)?/info/lfs/objects/batch", path):
            return self._batch(self._repo(match[1], write=True))
        # A revision keeps its slashes only when it arrives quoted, so the raw path is what gets split.
        raw = urlsplit(self.path).path
        if match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", raw):
            return self._resolve(self._repo(match[1]), unquote(match[2]), unquote(match[3]))
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(\w[\w-]*)(?:/([^/]+)(?:/(.+))?)?)?", raw):
            action = match[2] or "revision"
            repo = self._repo(match[1], write=action in ("commit", "preupload", "branch"))
            return self._api(repo, action, unquote(match[3] or "main"), unquote(match[4] or ""))
        raise _Answer(404, message=f"no route for {path}")

    def _api(self, repo: Repo, action: str, revision: str, rest: str) -> None:
        if action == "branch":
            repo.refs[f"refs/heads/{revision}"] = repo.refs[MAIN]
            return self._json({})
        if action == "preupload":
            files = self._document()["files"]
            held = repo.commits[repo.refs[MAIN]].files if MAIN in repo.refs else {}
            modes = [self._upload_mode(file, held.get(file["path"])) for file in files]
            return self._json({"files": modes})
        if action == "commit":
            return self._commit(repo, revision)
        sha = repo.resolve(revision)
        if sha is None:
            raise _Answer(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        if action == "revision":
            siblings = [{"rfilename": name} for name in repo.commits[sha].files]
            document = {"id": repo.name, "_id": "1", "sha": sha, "private": repo.private, "siblings": siblings}
            return self._json({"id": repo.name, "_id": "1", "sha": sha} if "expand" in self.query else document)
        if action == "tree":
            return self._tree(repo.commits[sha], rest)
        if action == "paths-info":
            wanted = parse_qs(self.body.decode()).get("paths", []) or self._document()["paths"]
            return self._json([item for item in _listing(repo.commits[sha]) if item["path"] in wanted])
        raise _Answer(404, message=f"no action {action}")

    def _repo(self, name: str, *, write: bool = False) -> Repo:
        repo = self.hub.repos.get(name)
        if write or (repo is not None and (repo.private or repo.gated)):
            self._require_token()
        if repo is None:
            raise _Answer(404 if self._token() else 401, "RepoNotFound", "Repository not found")
        if repo.gated and not self.parts.startswith("/api/models/"):
            raise _Answer(403, "GatedRepo", "Access to this repository is restricted")
        return repo

    def _token(self) -> str:
        return self.headers.get("Authorization", "").removeprefix("Bearer ")

    def _require_token(self) -> None:
        if self._token() != TOKEN:
            code = "" if self._token() else "RepoNotFound"
            message = "Invalid credentials in Authorization header" if self._token() else "Repository not found"
            raise _Answer(401, code, message)

    def _create(self) -> None:
        self._require_token()
        wanted = self._document()
        name = f"{wanted.get('organization') or 'tester'}/{wanted['name']}"
        exists = name in self.hub.repos
        if not exists:
            private = wanted.get("visibility") == "private" or bool(wanted.get("private"))
            self.hub.repos[name] = Repo(name, private)
            self.hub.repos[name].commit({".gitattributes": Blob(b"*.safetensors filter=lfs\n")})
        self._json({"url": f"{self.hub.endpoint}/{name}", "name": name, "id": "1"}, 409 if exists else 200)

    def _upload_mode(self, file: dict[str, Any], held: Blob | None) -> dict[str, Any]:
        large = file["path"].endswith(LFS_SUFFIXES) or file["size"] > 10 << 20
        oid = held.etag if held else None
        return {"path": file["path"], "uploadMode": "lfs" if large else "regular", "shouldIgnore": False, "oid": oid}

    def _batch(self, repo: Repo) -> None:
        objects = []
        for item in self._document()["objects"]:
            href = {"href": f"{self.hub.storage}/{item['oid']}?{SIGNATURE}"}
            known = item["oid"] in self.hub.objects
            objects.append({**item} if known else {**item, "actions": {"upload": href}})
        self._json({"transfer": "basic", "objects": objects})

    def _commit(self, repo: Repo, revision: str) -> None:
        lines = [json.loads(line) for line in self.body.splitlines()]
        header = next(line["value"] for line in lines if line["key"] == "header")
        pull_request = "create_pr" in self.query
        number = sum(ref.startswith("refs/pr/") for ref in repo.refs) + 1
        ref = f"refs/pr/{number}" if pull_request else revision if revision in repo.refs else f"refs/heads/{revision}"
        base = repo.resolve(revision)
        files = dict(repo.commits[base].files) if base else {}
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = Blob(base64.b64decode(value["content"]))
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.objects[value["oid"]]
            elif line["key"] == "deletedFile":
                files.pop(value["path"], None)
        sha = repo.commit(files, ref, header["summary"], header.get("description", ""))
        page = f"{self.hub.endpoint}/{repo.name}"
        url = f"{page}/discussions/{number}" if pull_request else None
        self._json({"commitUrl": f"{page}/commit/{sha}", "commitOid": sha, "pullRequestUrl": url, "success": True})

    def _tree(self, commit: Commit, folder: str) -> None:
        prefix = f"{folder}/" if folder else ""
        items = [item for item in _listing(commit) if item["path"].startswith(prefix)]
        if not items and folder:
            raise _Answer(404, "EntryNotFound", f"{folder} does not exist")
        # Pages of 100, so that following the "next" link is exercised.
        begin = int(self.query.get("cursor", ["0"])[0])
        headers = {}
        if begin + 100 < len(items):
            address = f"{self.hub.endpoint}{urlsplit(self.path).path}?recursive=true&cursor={begin + 100}"
            headers["Link"] = f'<{address}>; rel="next"'
        self._send(200, json.dumps(items[begin : begin + 100]).encode(), headers)

    def _resolve(self, repo: Repo, revision: str, name: str) -> None:
        sha = repo.resolve(revision)
        if sha is None:
            raise _Answer(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        blob = repo.commits[sha].files.get(name)
        if blob is None:
            raise _Answer(404, "EntryNotFound", "Entry not found")
        headers = {"X-Repo-Commit": sha, "ETag": f'"{blob.etag}"'}
        if not blob.lfs:
            return self._bytes(blob, headers)
        headers["X-Linked-Etag"] = f'"{blob.etag}"'
        headers["X-Linked-Size"] = str(blob.size)
        headers["Location"] = f"{self.hub.storage}/{repo.name}/{sha}/{name}?{SIGNATURE}"
        self._send(302, b"", headers)

    def _storage(self) -> None:
        if self.command == "PUT":
            oid = self.parts.strip("/")
            blob = Blob(self.body, lfs=True)
            if blob.sha256 != oid:
                raise _Answer(400, message="sha256 differs")
            self.hub.objects[oid] = blob
            return self._send(200)
        owner, name, sha, rest = self.parts.strip("/").split("/", 3)
        self._bytes(self.hub.repos[f"{owner}/{name}"].commits[sha].files[rest], {})

    def _bytes(self, blob: Blob, headers: dict[str, str]) -> None:
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if match is None or (self.fault and self.fault.kind == "no-range"):
            # A whole 8 GB file never has to exist: the client is expected to hang up.
            self.close_connection = self.close_connection or blob.size > 1 << 25
            return self._send(200, blob.read(0, min(blob.size, 1 << 25)), headers, blob.size)
        start, stop = int(match[1]), min(int(match[2] or blob.size) + 1, blob.size)
        if start >= blob.size:
            raise _Answer(416)
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{blob.size}"
        body = blob.read(start, stop)
        self._send(206, body, headers, len(body))


def _listing(commit: Commit) -> list[dict[str, Any]]:
    items = []
    for name, blob in sorted(commit.files.items()):
        item: dict[str, Any] = {"type": "file", "path": name, "size": blob.size, "oid": blob.blob_id}
        if blob.lfs:
            item["oid"] = hashlib.sha1(blob.sha256.encode()).hexdigest()
            item["lfs"] = {"oid": blob.sha256, "size": blob.size, "pointerSize": 134}
        items.append(item)
    return items
