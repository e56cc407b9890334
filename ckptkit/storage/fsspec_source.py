"""Checkpoints at any URL that fsspec can read: ``s3://``, ``gs://``, ``file://``, ``memory://``, and many more."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from ckptkit.errors import Fault, RemoteError, UsageError, install, printable
from ckptkit.storage.file_names import name_fault
from ckptkit.storage.source import BOOKKEEPING, FileEntry, Source, Traits
from ckptkit.storage.traffic import Meter, Traffic

#: Scheme -> the extra of ours that reads it, where fsspec alone does not.
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}


class FsspecSource(Source):
    """A folder of a file system that fsspec knows; credentials are that library's business."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._meter = Meter()
        self._faults: list[Fault] = []
        self._fs, self._root = _connect(url)
        self._entries = tuple(sorted(self._list()))

    @property
    def label(self) -> str:
        """What a person calls it."""
        return self._url

    @property
    def traits(self) -> Traits:
        """How it is best read."""
        return Traits(gap=1 << 14, workers=8, remote=True)

    @property
    def traffic(self) -> Traffic:
        """What has been read so far; requests are calls to fsspec."""
        return self._meter.traffic

    def files(self) -> tuple[FileEntry, ...]:
        """Every file, sorted by name."""
        return self._entries

    def faults(self) -> tuple[Fault, ...]:
        """What is wrong with the listing itself."""
        return tuple(self._faults)

    def read(self, name: str, start: int = 0, nbytes: int | None = None) -> bytes:
        """A range of a file: all of it, or an error."""
        self._meter.count(requests=1)
        try:
            stop = None if nbytes is None else start + nbytes
            data = self._fs.cat_file(f"{self._root}/{name}", start=start, end=stop) if nbytes != 0 else b""
        except Exception as error:  # every file system raises its own
            raise RemoteError(f"{self._url}/{name} cannot be read: {_reason(error)}") from None
        self._meter.count(nbytes=len(data))
        if nbytes is not None and len(data) != nbytes:
            raise RemoteError(f"{self._url}/{name} broke off after {len(data):,} of {nbytes:,} bytes")
        return bytes(data)

    def local_path(self, name: str) -> Path | None:
        """``file://`` is this machine's disk, and may be copied as such."""
        protocols = self._fs.protocol if isinstance(self._fs.protocol, tuple) else (self._fs.protocol,)
        return Path(self._root) / name if "file" in protocols else None

    def _list(self) -> list[FileEntry]:
        self._meter.count(requests=1)
        try:
            found = self._fs.find(self._root, detail=True)
        except Exception as error:  # every file system raises its own
            raise RemoteError(f"{self._url} cannot be listed: {_reason(error)}") from None
        if not found:
            raise UsageError(f"{self._url} holds no files", help="give the URL of a checkpoint folder")
        entries = []
        for path, info in found.items():
            name = str(path).removeprefix(self._root).lstrip("/")
            fault = name_fault(name)
            if fault is not None:
                self._faults.append(fault)
            elif not BOOKKEEPING.intersection(PurePosixPath(name).parts):
                size = info.get("size") if isinstance(info, dict) else None
                if type(size) is not int or size < 0:
                    raise RemoteError(f"{self._url}: {printable(name)} is listed without a size")
                entries.append(FileEntry(name, size))
        return entries


def _connect(url: str) -> tuple[Any, str]:
    scheme = url.partition("://")[0].lower()
    try:
        from fsspec.core import url_to_fs  # type: ignore[import-untyped]
    except ImportError:
        help_text = install(_EXTRAS.get(scheme, "fsspec"))
        raise UsageError(f"{url}: reading URLs needs fsspec, which is not installed", help=help_text) from None
    try:
        filesystem, root = url_to_fs(url)
    except ImportError as error:
        extra = _EXTRAS.get(scheme)
        help_text = install(extra) if extra else _first_line(error)
        raise UsageError(f"{url}: a package that reads {scheme}:// is not installed", help=help_text) from None
    except Exception as error:  # every file system raises its own
        raise UsageError(f"{url}: {_reason(error)}", help="hf://, s3://, gs://, file:// and the like") from None
    return filesystem, str(root).rstrip("/")


def _reason(error: Exception) -> str:
    """The kind of an error and its first line: client libraries tend to print whole requests."""
    first = _first_line(error)
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def _first_line(error: Exception) -> str:
    return printable((str(error).splitlines() or [""])[0][:200])
