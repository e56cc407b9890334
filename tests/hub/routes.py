"""What the fake Hub and its storage answer to which address."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.hub.plumbing import SIGNATURE, TOKEN, Answer, Plumbing
from tests.hub.store import LFS_SUFFIXES, MAIN, Blob, Commit, Repo


class Handler(Plumbing):
    """The routes of both servers; ``role`` says which one this is."""

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
        raise Answer(404, message=f"no route for {path}")

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
            raise Answer(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        if action == "revision":
            siblings = [{"rfilename": name} for name in repo.commits[sha].files]
            document = {"id": repo.name, "_id": "1", "sha": sha, "private": repo.private, "siblings": siblings}
            return self._json({"id": repo.name, "_id": "1", "sha": sha} if "expand" in self.query else document)
        if action == "tree":
            return self._tree(repo.commits[sha], rest)
        if action == "paths-info":
            wanted = parse_qs(self.body.decode()).get("paths", []) or self._document()["paths"]
            return self._json([item for item in _listing(repo.commits[sha]) if item["path"] in wanted])
        raise Answer(404, message=f"no action {action}")

    def _repo(self, name: str, *, write: bool = False) -> Repo:
        repo = self.hub.repos.get(name)
        if write or (repo is not None and (repo.private or repo.gated)):
            self._require_token()
        if repo is None:
            raise Answer(404 if self._token() else 401, "RepoNotFound", "Repository not found")
        if repo.gated and not self.parts.startswith("/api/models/"):
            raise Answer(403, "GatedRepo", "Access to this repository is restricted")
        return repo

    def _token(self) -> str:
        return self.headers.get("Authorization", "").removeprefix("Bearer ")

    def _require_token(self) -> None:
        if self._token() != TOKEN:
            code = "" if self._token() else "RepoNotFound"
            message = "Invalid credentials in Authorization header" if self._token() else "Repository not found"
            raise Answer(401, code, message)

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
            raise Answer(404, "EntryNotFound", f"{folder} does not exist")
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
            raise Answer(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        blob = repo.commits[sha].files.get(name)
        if blob is None:
            raise Answer(404, "EntryNotFound", "Entry not found")
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
                raise Answer(400, message="sha256 differs")
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
            raise Answer(416)
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
