"""What a person writes, and the place that it stands for: folders, URLs, and what to do about others."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ckptkit.errors import CkptkitError, Fault, RemoteError, UsageError
from ckptkit.storage import locate, replace
from ckptkit.storage.file_names import staged_folder
from ckptkit.storage.file_state import FileState, source_changed
from ckptkit.storage.fsspec_source import FsspecSource
from ckptkit.storage.near import folder_near
from ckptkit.storage.place import local_folder
from ckptkit.storage.source import FileEntry
from ckptkit.storage.strict_json import nesting, repeated_keys, strings_in
from ckptkit.storage.traffic import Meter, Traffic, observed


def refused(kind: type[CkptkitError], call: Callable[[], object]) -> tuple[str, str | None]:
    """Message and help of the error that a call raises."""
    with pytest.raises(kind) as error:
        call()
    return error.value.message, error.value.help


@pytest.mark.parametrize(
    ("path", "help"),
    [
        ("missing", "give the path of a checkpoint folder"),
        (
            "hf://org/repo",
            "bring it to this machine first ('hf download ORG/REPO --local-dir DIR'), and give its folder",
        ),
        ("s3://bucket/model", "bring it to this machine first (copy it), and give its folder"),
    ],
)
def test_what_is_no_folder_here(path: str, help: str) -> None:
    assert refused(UsageError, lambda: local_folder(path)) == (f"{path} is not a folder on this machine", help)


def test_a_folder_is_one(tmp_path: Path) -> None:
    assert local_folder(str(tmp_path)) == tmp_path == locate.new_folder(tmp_path)


@pytest.mark.parametrize("path", ["s3://bucket/x", "HF://org/repo"])
def test_nothing_is_written_to_a_url(path: str) -> None:
    assert refused(UsageError, lambda: locate.new_folder(path)) == (
        f"{path} is no folder on this machine",
        "give a folder; 'ckptkit upload FOLDER ORG/REPO' then puts it on the Hub",
    )


@pytest.mark.parametrize("function", [locate.source_of, locate.new_folder, locate.non_empty])
def test_an_empty_path_is_a_mistake(function: Callable[[str], object]) -> None:
    assert refused(UsageError, lambda: function("")) == ("the path is empty", None)


def test_a_folder_that_was_meant(tmp_path: Path) -> None:
    (tmp_path / "llama-fp8").mkdir()
    (tmp_path / "llama-fp").write_bytes(b"")
    assert folder_near(tmp_path / "lama-fp8") == str(tmp_path / "llama-fp8")
    assert folder_near(tmp_path / "qwen") is None
    assert folder_near(tmp_path / "none" / "llama-fp8") is None


class Files:
    """A file system of fsspec's kind, which finds and reads what it is told to."""

    protocol: str | tuple[str, ...] = "test"

    def __init__(self, found: Any, data: Any = b"") -> None:
        self.found, self.data = found, data

    def find(self, root: str, detail: bool) -> Any:
        if isinstance(self.found, Exception):
            raise self.found
        return self.found

    def cat_file(self, path: str, start: int, end: int | None) -> bytes:
        if isinstance(self.data, Exception):
            raise self.data
        assert path == "root/a"
        return bytes(self.data[start:end])


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Callable[..., FsspecSource]:
    def open_served(found: Any, data: Any = b"", protocol: str | tuple[str, ...] = "test") -> FsspecSource:
        files = Files(found, data)
        files.protocol = protocol
        monkeypatch.setattr("fsspec.core.url_to_fs", lambda url: (files, "root/"))
        return FsspecSource("test://x/")

    return open_served


SIX = {"root/a": {"size": 6}}


@pytest.mark.parametrize(
    ("found", "kind", "message", "help"),
    [
        (ValueError("no\nmore"), RemoteError, "test://x cannot be listed: ValueError: no", None),
        (KeyError(), RemoteError, "test://x cannot be listed: KeyError", None),
        ({}, UsageError, "test://x holds no files", "give the URL of a checkpoint folder"),
        ({"root/a": {}}, RemoteError, "test://x: a is listed without a size", None),
        ({"root/a": {"size": -1}}, RemoteError, "test://x: a is listed without a size", None),
        ({"root/a": {"size": 1.0}}, RemoteError, "test://x: a is listed without a size", None),
        ({"root/a": None}, RemoteError, "test://x: a is listed without a size", None),
    ],
)
def test_listings_that_fail(
    served: Callable[..., FsspecSource], found: Any, kind: type[CkptkitError], message: str, help: str | None
) -> None:
    assert refused(kind, lambda: served(found)) == (message, help)


def test_a_listing(served: Callable[..., FsspecSource]) -> None:
    found = {"root/b/c": {"size": 0}, "root/a": {"size": 6}, "root/.git/x": {"size": 1}, "root/../y": {"size": 1}}
    source = served(found, b"012345")
    assert source.files() == (FileEntry("a", 6), FileEntry("b/c", 0))
    assert source.faults() == (Fault("outside-folder", "a file name that leaves the checkpoint folder", "'../y'"),)
    assert (source.label, source.traits.remote, source.traits.gap, source.traits.workers) == (
        "test://x",
        True,
        1 << 14,
        8,
    )
    assert [source.read("a"), source.read("a", 2), source.read("a", 2, 3), source.read("a", 2, 0)] == [
        *(b"012345", b"2345", b"234", b"")
    ]
    assert source.traffic == Traffic(5, 13)
    assert source.local_path("a") is None


@pytest.mark.parametrize(("protocol", "local"), [("file", True), (("file", "local"), True), (("s3",), False)])
def test_what_is_on_this_machine(
    served: Callable[..., FsspecSource], protocol: str | tuple[str, ...], local: bool
) -> None:
    assert served(SIX, protocol=protocol).local_path("a") == (Path("root/a") if local else None)


def test_reads_that_fail(served: Callable[..., FsspecSource]) -> None:
    broken = served(SIX, OSError("gone"))
    assert refused(RemoteError, lambda: broken.read("a")) == ("test://x/a cannot be read: OSError: gone", None)
    short = served(SIX, b"0123")
    assert refused(RemoteError, lambda: short.read("a", 0, 6)) == ("test://x/a broke off after 4 of 6 bytes", None)


def test_a_url_that_nobody_understands(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(url: str) -> None:
        raise ValueError(f"Protocol not known: {url}")

    monkeypatch.setattr("fsspec.core.url_to_fs", fail)
    assert refused(UsageError, lambda: FsspecSource("odd://x")) == (
        "odd://x: ValueError: Protocol not known: odd://x",
        "hf://, s3://, gs://, file:// and the like",
    )


@pytest.mark.parametrize(("scheme", "extra"), [("S3", "s3"), ("s3a", "s3"), ("gcs", "gcs"), ("odd", "fsspec")])
def test_without_fsspec(monkeypatch: pytest.MonkeyPatch, scheme: str, extra: str) -> None:
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    assert refused(UsageError, lambda: FsspecSource(f"{scheme}://x")) == (
        f"{scheme}://x: reading URLs needs fsspec, which is not installed",
        f"pip install 'ckptkit-fp8[{extra}]'",
    )


def test_traffic_is_counted_and_heard() -> None:
    heard: list[tuple[int, int]] = []
    meter = Meter()
    meter.count(nbytes=5)
    with observed(lambda requests, nbytes: heard.append((requests, nbytes))):
        meter.count(requests=2)
        meter.count(1, 7)
    meter.count(1)
    assert meter.traffic.to_json() == {"requests": 4, "bytes": 12}
    assert heard == [(2, 0), (1, 7)]


@pytest.mark.parametrize(
    ("value", "strings", "text", "depth"),
    [
        ("a", 1, '"[["', 0),
        (["a", "b", 1], 2, "[[], [{}]]", 3),
        ({"a": "b", "c": "d"}, 4, '{"a": 1}', 1),
        ({"a": 1, "c": "d"}, 3, '{"a": [], "b": {"c": []}}', 3),
        ({"a": {"b": ["c", {}]}}, 3, "[[]][]", 2),
        ({}, 0, "1", 0),
    ],
)
def test_strings_and_levels_of_json(value: Any, strings: int, text: str, depth: int) -> None:
    assert (strings_in(value), nesting(text)) == (strings, depth)


def test_repeated_keys_at_any_level() -> None:
    assert repeated_keys('{"a": {"b": 1, "b": 2, "b": 3}, "c": [{"a": 1}], "a": 0}') == ["b", "b", "a"]


@pytest.mark.parametrize("kind", ["link", "file"])
def test_what_only_looks_staged_stays(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "model"
    target.mkdir()
    staged = staged_folder(target)
    if kind == "file":
        staged.write_bytes(b"mine")
    else:
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "elsewhere" / "mine").write_bytes(b"")
        staged.symlink_to(tmp_path / "elsewhere")
    assert replace.finish_interrupted(target) == 0
    assert staged.is_symlink() == (kind == "link") and staged.exists()
    assert kind == "file" or (tmp_path / "elsewhere" / "mine").exists()


def test_states_tell_files_apart() -> None:
    found: Any = SimpleNamespace(st_ino=1, st_size=2, st_mtime_ns=3)
    assert FileState.of(found)._asdict() == {"inode": 1, "size": 2, "modified": 3}
    error = source_changed(Path("a\x1b"), "read", "vanished")
    assert (error.message, error.help) == (
        "a\\x1b vanished while it was read",
        "do it again when nothing writes there any more",
    )
