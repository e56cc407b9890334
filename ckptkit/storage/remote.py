"""Checkpoints elsewhere: a repository on the Hub, or any URL that fsspec can read.

Only what is asked for is fetched. A validator asks for headers, index and config, and at level ``scales`` for the
byte ranges of the scale tensors, so that a checkpoint of many gigabytes is judged with a few requests. A revision
is resolved to a commit once; every later read is of that commit, whatever is pushed meanwhile.
"""

from __future__ import annotations

import os
import re
import time
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from ckptkit.errors import CkptkitError, Fault, RemoteError, UsageError, printable
from ckptkit.record import record
from ckptkit.storage.file_names import name_fault
from ckptkit.storage.hub_cache import keep_in_cache
from ckptkit.storage.hub_http import GO_ONLINE, OFFLINE, HubHttp
from ckptkit.storage.near import folder_near
from ckptkit.storage.source import BOOKKEEPING, FileEntry, LocalSource, Source, Traits
from ckptkit.storage.traffic import Meter, Traffic

HUB_SCHEME = "hf://"

_SCHEME = re.compile(r"^[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_REPO = r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*"
#: What may follow ``@``: a pull request or conversion ref, which holds slashes, or one path segment.
_REVISION = r"refs/pr/\d+|refs/convert/[\w.-]+|[^/@]+"
_LOCATION = re.compile(rf"(?:models/)?(?P<repo>{_REPO})(?:@(?P<revision>{_REVISION}))?(?:/(?P<folder>.+?))?/*")
_WEB = re.compile(
    rf"https://(?:huggingface\.co|hf\.co)/(?P<repo>{_REPO})(?:/tree/(?P<revision>{_REVISION})(?:/(?P<folder>.+?))?)?/*"
)
_BARE = re.compile(rf"(?P<repo>{_REPO})(?:@(?P<revision>{_REVISION}))?")

#: Holes up to this size between two scales are fetched along with them: a request costs more than 16 KiB.
GAP = 1 << 14
WORKERS = 8
#: Whole files up to this size (config, index) go through the hub library's cache.
_CACHED_SIZE = 64 << 20
#: Pages of a listing, of up to 1,000 files each, and seconds for all of them.
MOST_PAGES = 1_000
LONGEST_LISTING = 300.0
_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_LISTING = "the list of files"


@record
class HubLocation:
    """A folder of a model repository on the Hub, at a revision (None: the default branch)."""

    repo: str
    revision: str | None = None
    folder: str = ""

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        return f"{HUB_SCHEME}{self.repo}{revision}" + (f"/{self.folder}" if self.folder else "")


def hub_location(text: str) -> HubLocation | None:
    """Read ``hf://org/repo[@revision][/subfolder]``, ``org/repo[@revision]`` or the address of a repository's page.

    None when it is none of these.

    A revision with slashes is written with ``%2F``, except for ``refs/pr/N``.

    >>> hub_location("hf://org/repo@refs/pr/3/sub/folder")
    HubLocation(repo='org/repo', revision='refs/pr/3', folder='sub/folder')
    >>> hub_location("org/repo"), hub_location("./org/repo"), hub_location("s3://bucket/folder")
    (HubLocation(repo='org/repo', revision=None, folder=''), None, None)
    """
    if text.startswith(HUB_SCHEME):
        body = text[len(HUB_SCHEME) :]
        match = _LOCATION.fullmatch(body)
        if match is None or body.startswith(("datasets/", "spaces/", "kernels/", "buckets/")):
            raise UsageError(
                f"{text} is not a model repository", help=f"write {HUB_SCHEME}org/repo[@revision][/subfolder]"
            )
    else:
        match = _BARE.fullmatch(text) or _WEB.fullmatch(text)
        if match is None:
            return None
    revision = match["revision"]
    folder = (match.groupdict().get("folder") or "").strip("/")
    return HubLocation(match["repo"], revision.replace("%2F", "/") if revision else None, folder)


def open_remote(text: str) -> Source | None:
    """The source that a URL or a repository name stands for, or None when ``text`` can only be a local path."""
    location = hub_location(text)
    if location is not None:
        return open_hub(location, bare="://" not in text)
    if _SCHEME.match(text):
        from ckptkit.storage.fsspec_source import FsspecSource

        return FsspecSource(text)
    return None


def open_hub(location: HubLocation, *, bare: bool = False) -> Source:
    """A repository on the Hub; in the hub library's offline mode, what its cache holds of it.

    ``bare`` says that the user gave a name without ``hf://``, which may have been meant as a path.
    """
    from huggingface_hub import constants

    try:
        return _cached_snapshot(location) if constants.HF_HUB_OFFLINE else HubSource(location)
    except RemoteError as error:
        # An error that names a commit is about a repository that is there: the name was no mistyped path.
        reason = error.message.removeprefix(f"{location}: ")
        if not bare or reason == error.message:
            raise
        place = str(location).removeprefix(HUB_SCHEME)
        near = folder_near(Path(place))
        help_text = f"did you mean the folder {near}? If not, {error.help}" if near else error.help
        raise RemoteError(f"{location}: no folder {place} here, and {reason}", help=help_text) from None


def _cached_snapshot(location: HubLocation) -> Source:
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(location.repo, revision=location.revision, local_files_only=True)
    except (OSError, ValueError):
        message = f"{location}: {OFFLINE}, and its cache does not hold this repository"
        raise RemoteError(message, help=GO_ONLINE) from None
    return LocalSource(Path(folder) / location.folder)


class HubSource(Source):
    """A folder of a model repository, pinned to one commit."""

    def __init__(self, location: HubLocation) -> None:
        from huggingface_hub import HfApi

        self.location = location
        self._endpoint = str(HfApi().endpoint).rstrip("/")
        self._meter = Meter()
        self._http = HubHttp(str(location), self._meter, self._explain)
        self.commit = self._resolve()
        self._http.label = self.label
        self._faults: list[Fault] = []
        #: File name -> sha256 of LFS files, or the git blob id of the others, as the repository lists them.
        self.sha256: dict[str, str] = {}
        self.blob_ids: dict[str, str] = {}
        self._entries = tuple(sorted(self._list()))

    @property
    def label(self) -> str:
        """What a person calls it."""
        return str(HubLocation(self.location.repo, self.commit, self.location.folder))

    @property
    def traits(self) -> Traits:
        """How it is best read."""
        return Traits(GAP, WORKERS, remote=True)

    @property
    def traffic(self) -> Traffic:
        """What has been asked of the Hub so far."""
        return self._meter.traffic

    def files(self) -> tuple[FileEntry, ...]:
        """Every file, sorted by name."""
        return self._entries

    def faults(self) -> tuple[Fault, ...]:
        """What is wrong with the listing itself."""
        return tuple(self._faults)

    def local_path(self, name: str) -> Path | None:
        """The file in the hub library's cache, when somebody has downloaded it before."""
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(self.location.repo, self._path(name), revision=self.commit)
        try:
            # A file of another size than the repository lists is no copy of it: an empty one, for example.
            whole = isinstance(found, str) and os.stat(found).st_size == self._sizes.get(name)
        except OSError:
            return None
        return Path(found) if whole and isinstance(found, str) else None

    def read(self, name: str, start: int = 0, nbytes: int | None = None) -> bytes:
        """A range of a file: all of it, or an error."""
        size = self._sizes.get(name)
        if size is None:
            raise RemoteError(f"{self.label}: there is no file {name}")
        count = size - start if nbytes is None else min(nbytes, size - start)
        path = self.local_path(name)
        if path is None:
            data = self._http.read(self.url(name), name, start, count, size)
            if nbytes is None and start == 0 and size <= _CACHED_SIZE:
                digest = self.sha256.get(name) or self.blob_ids.get(name, "")
                keep_in_cache(self.location.repo, self.commit, self._path(name), digest, data)
            return data
        try:
            with open(path, "rb") as file:
                file.seek(start)
                data = file.read(count)
        except OSError as error:
            raise RemoteError(f"{path} cannot be read: {error.strerror or error}") from error
        if len(data) != count:
            raise RemoteError(f"{path} became shorter while it was read")
        return data

    def etag(self, name: str) -> str:
        """The hash with which the Hub serves a file: its sha256 if it is in LFS, else its git blob id."""
        return self._http.etag(self.url(name), name)

    def url(self, name: str) -> str:
        """The address that serves a file at this commit."""
        return f"{self._endpoint}/{self.location.repo}/resolve/{self.commit}/{quote(self._path(name))}"

    @cached_property
    def _sizes(self) -> dict[str, int]:
        return {entry.name: entry.size for entry in self._entries}

    def _path(self, name: str) -> str:
        return f"{self.location.folder}/{name}" if self.location.folder else name

    def _resolve(self) -> str:
        revision = quote(self.location.revision or "main", safe="")
        url = f"{self._endpoint}/api/models/{self.location.repo}/revision/{revision}?expand=sha"
        document, _ = self._http.document(url, "the repository's description")
        commit = document.get("sha") if isinstance(document, dict) else None
        if not isinstance(commit, str) or not re.fullmatch(r"[0-9a-f]{40,64}", commit):
            raise RemoteError(f"{self.location}: the Hub names no commit", help="is HF_ENDPOINT a Hub?")
        return commit

    def _list(self) -> list[FileEntry]:
        folder = f"/{quote(self.location.folder, safe='')}" if self.location.folder else ""
        url: str | None = (
            f"{self._endpoint}/api/models/{self.location.repo}/tree/{self.commit}{folder}?recursive=true&expand=false"
        )
        prefix = f"{self.location.folder}/" if self.location.folder else ""
        sizes: dict[str, int] = {}
        pages, begin = {url}, time.monotonic()
        while url:
            page, url = self._http.document(url, _LISTING)
            try:
                for item in page:
                    if item["type"] == "file" and item["path"].startswith(prefix):
                        self._add(sizes, item["path"].removeprefix(prefix), item)
            except (KeyError, TypeError, ValueError, AttributeError):
                message = f"{self.label}: the Hub's list of files cannot be understood"
                raise RemoteError(message, help="is HF_ENDPOINT the address of a Hub?") from None
            if url in pages or len(pages) > MOST_PAGES or time.monotonic() - begin > LONGEST_LISTING:
                message = f"{self.label}: the Hub's list of files does not end"
                raise RemoteError(message, help="is HF_ENDPOINT the address of a Hub?")
            pages.add(url)
        return [FileEntry(name, size) for name, size in sizes.items()]

    def _add(self, sizes: dict[str, int], name: str, item: dict[str, Any]) -> None:
        """Take over a file of the listing, after looking at everything that could become a path or a number."""
        if not self._acceptable(name):
            return
        large = item.get("lfs") or {}
        size, digest = item["size"], large["oid"] if large else item["oid"]
        if type(size) is not int or not 0 <= size < 1 << 63 or not _HASH.fullmatch(digest):
            raise ValueError(name)
        sizes[name] = size
        (self.sha256 if large else self.blob_ids)[name] = digest

    def _acceptable(self, name: str) -> bool:
        fault = name_fault(name)
        if fault is not None:
            self._faults.append(fault)
        return fault is None and not BOOKKEEPING.intersection(PurePosixPath(name).parts)

    def _explain(self, what: str, response: Any) -> CkptkitError:
        """An answer of status 4xx in words, with what to do about it."""
        where, status = str(self.location), response.status_code
        code = response.headers.get("x-error-code", "")
        said = printable(str(response.headers.get("x-error-message", ""))[:200])
        page = f"{self._endpoint}/{self.location.repo}"
        if code == "GatedRepo":
            return RemoteError(
                f"{where}: the repository is gated", help=f"accept its conditions at {page}, then run 'hf auth login'"
            )
        if code == "RevisionNotFound":
            message = f"{where}: the repository has no revision {self.location.revision or 'main'!r}"
            return RemoteError(message, help=f"its branches and tags are listed at {page}/tree/main")
        missing = what
        if what == _LISTING:
            missing = f"folder {self.location.folder!r}" if self.location.folder else ""
        absent = code == "EntryNotFound" or (status == 404 and code != "RepoNotFound" and hasattr(self, "commit"))
        if absent and missing:
            return RemoteError(f"{where}: the repository has no {missing}", help=f"its files: {page}/tree/main")
        if "Invalid credentials" in said or "Invalid username or password" in said:
            return RemoteError(f"{where}: the Hub does not accept your token", help="run 'hf auth login' again")
        if status in (401, 404):
            return RemoteError(
                f"{where}: no such repository on the Hub, or it is private",
                help="check the name; for a private repository run 'hf auth login' first",
            )
        if status == 403:
            reason = f": {said}" if said else ""
            message = f"{where}: access to {what} is refused{reason}"
            return RemoteError(message, help="check the permissions of your token with 'hf auth whoami'")
        return RemoteError(f"{where}: the Hub answers {what} with status {status}", help=said or None)
