"""Proof that what the Hub serves is what was checked: ``ckptkit validate hf://... --expect PATH``.

Three witnesses for each file, none of which needs the weights to come back: the size and the hash that the
repository lists (sha256 for LFS files, the git blob id for others), the ETag with which the file is served, and for
shards the header, fetched and parsed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ckptkit.checks.finding import Finding, Severity
from ckptkit.checks.runner import Report
from ckptkit.errors import Fault, UsageError
from ckptkit.storage.container import Container, in_parallel, open_container
from ckptkit.storage.remote import HubSource
from ckptkit.storage.source import LocalSource

#: Not a rule: a checkpoint cannot tell whether it is the right one. Its code is taken all the same.
CODE, NAME = "CK199", "served-differs"

_CHUNK = 1 << 22
_PUSH_AGAIN = "upload the folder again, or check the folder that was uploaded"
#: Made by the Hub or by git; a folder need not have them.
_HUB_OWN = frozenset({".gitattributes", ".gitignore"})


def with_differences(report: Report, remote: Container, path: Path) -> Report:
    """The report with an error for each difference between what is served and the folder ``path``."""
    found = tuple(
        Finding(CODE, NAME, Severity.ERROR, f.message, f.file, f.tensor, f.expected, f.found, f.help)
        for f in differences(remote, path)
    )
    return replace(report, findings=(*found, *report.findings), traffic=remote.source.traffic)


def differences(remote: Container, path: Path) -> list[Fault]:
    """Everything in which the served checkpoint is not the folder ``path``; empty when it is proven to be the same.

    Every file of the folder must be served with its size and hash. Files that only the Hub has are named when they
    are shards. Works for repositories on the Hub only: elsewhere nobody vouches for a hash.
    """
    source = remote.source
    if not isinstance(source, HubSource):
        raise UsageError(
            f"{source.label}: only a repository on the Hub lists the hashes of its files", help="hf://org/repo"
        )
    local = open_container(LocalSource(path))
    ours = {entry.name: entry.size for entry in local.source.files() if entry.name not in _HUB_OWN}
    theirs = {entry.name: entry.size for entry in source.files()}
    faults = [
        Fault(
            "expect-missing", "the Hub does not serve this file", name, None, f"{ours[name]} bytes", "none", _PUSH_AGAIN
        )
        for name in sorted(ours.keys() - theirs.keys())
    ]
    faults += [
        Fault(
            "expect-extra", "the Hub serves a shard that was not checked", name, None, "none", f"{theirs[name]} bytes"
        )
        for name in sorted(theirs.keys() - ours.keys())
        if name.endswith(".safetensors")
    ]
    common = sorted(ours.keys() & theirs.keys())
    sized = [name for name in common if ours[name] == theirs[name]]
    faults += [
        Fault(
            "expect-size",
            "another size than the local file",
            name,
            None,
            f"{ours[name]}",
            f"{theirs[name]}",
            _PUSH_AGAIN,
        )
        for name in common
        if name not in sized
    ]
    for found in in_parallel(source, lambda name: list(_hash_faults(source, path / name, name)), sized):
        faults += found
    return faults + list(_header_faults(remote, local))


def _hash_faults(source: HubSource, path: Path, name: str) -> Iterator[Fault]:
    listed = source.sha256.get(name)
    ours = _sha256(path) if listed else _blob_id(path)
    listed = listed or source.blob_ids[name]
    if listed != ours:
        kind = "sha256" if name in source.sha256 else "git blob id"
        yield Fault("expect-hash", f"another {kind} than the local file", name, None, ours, listed, _PUSH_AGAIN)
        return
    served = source.etag(name)
    if served != ours:
        message = "the Hub lists the local file's hash, but serves something else"
        yield Fault("expect-etag", message, name, None, ours, served or "no ETag", "try again; a mirror may lag behind")


def _header_faults(remote: Container, local: Container) -> Iterator[Fault]:
    ours = {header.shard: header for header in local.headers}
    for header in remote.headers:
        own = ours.get(header.shard)
        if own is not None and (own.tensors, own.metadata) != (header.tensors, header.metadata):
            yield Fault("expect-header", "another header than the local file's", header.shard, help=_PUSH_AGAIN)


def _sha256(path: Path) -> str:
    return _digest(path, hashlib.sha256())


def _digest(path: Path, digest: hashlib._Hash) -> str:
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _blob_id(path: Path) -> str:
    """The id that git gives to a file's content."""
    return _digest(path, hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False))
