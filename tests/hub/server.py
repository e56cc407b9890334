"""A Hub on loopback that satisfies the real huggingface_hub client and the real ``hf``, with faults on demand.

Two servers, as in the real one: the Hub itself, and the storage that it redirects large files to. Every request is
logged, so that a test can say how many there were, how many bytes went out, and that none was an upload.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.hub.plumbing import SIGNATURE as SIGNATURE
from tests.hub.plumbing import TOKEN as TOKEN
from tests.hub.plumbing import Injected, Logged
from tests.hub.routes import Handler
from tests.hub.store import Blob, Repo, folder_blobs


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
            handler = type("Handler", (Handler,), {"hub": self, "role": role})
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
