"""Any URL that fsspec reads, by the same code."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

import ckptkit
from ckptkit.checks.registry import Level
from ckptkit.errors import CkptkitError, UsageError
from ckptkit.storage import fsspec_source
from tests.hub.conftest import REAL

MODEL = REAL / "llama" / "quark-ptpc-sharded"


@pytest.fixture
def memory() -> Iterator[str]:
    """A checkpoint in fsspec's file system in memory."""
    filesystem = fsspec.filesystem("memory")
    for path in MODEL.iterdir():
        filesystem.pipe_file(f"/bucket/model/{path.name}", path.read_bytes())
    yield "memory://bucket/model"
    filesystem.rm("/bucket", recursive=True)


@pytest.mark.parametrize("ending", ["", "/"])
def test_memory(memory: str, ending: str) -> None:
    report = ckptkit.validate(memory + ending, level=Level.SCALES)
    local = ckptkit.validate(MODEL)
    assert (report.findings, report.tensors, report.shards) == (local.findings, local.tensors, local.shards)
    assert report.traffic is not None
    assert report.traffic.requests < 12
    assert ckptkit.validate(memory).level is Level.HEADERS
    assert ckptkit.diff(memory, MODEL, level=Level.FULL).same


def test_file() -> None:
    url = MODEL.resolve().as_uri()
    assert ckptkit.validate(url, level=Level.SCALES).clean
    assert ckptkit.diff(url, MODEL, level=Level.FULL).same


def test_conversion_from_a_url(memory: str, tmp_path: Path) -> None:
    ckptkit.convert(memory, tmp_path / "out", to="ct", fsync=False)
    assert ckptkit.diff(tmp_path / "out", MODEL).same


def test_damage_is_a_finding(memory: str) -> None:
    filesystem = fsspec.filesystem("memory")
    path = "/bucket/model/model-00001-of-00003.safetensors"
    filesystem.pipe_file(path, filesystem.cat_file(path)[:-10])
    assert not ckptkit.validate(memory).clean


@pytest.mark.parametrize("url", ["memory://bucket/nothing", "nonsense://x/y", "file:///does/not/exist"])
def test_what_cannot_be_read_is_one_error(url: str) -> None:
    with pytest.raises(CkptkitError):
        ckptkit.validate(url)


@pytest.mark.parametrize(
    ("url", "help"),
    [
        ("s3://bucket/model", "pip install 'ckptkit-fp8[s3]'"),
        ("gs://bucket/model", "pip install 'ckptkit-fp8[gcs]'"),
        ("abfs://bucket/model", "Install adlfs"),
    ],
)
def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, url: str, help: str) -> None:
    def missing(url: str) -> None:
        raise ImportError("Install adlfs to access Azure\nand more")

    monkeypatch.setattr("fsspec.core.url_to_fs", missing)
    with pytest.raises(UsageError, match=f"a package that reads {url.partition(':')[0]}:// is not installed") as caught:
        ckptkit.validate(url)
    assert str(caught.value.help).startswith(help)


def test_extras_that_are_named_exist() -> None:
    declared = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert all(f"\n{extra} = [" in declared for extra in {*fsspec_source._EXTRAS.values(), "fsspec"})


def test_a_read_that_fails_is_no_finding(memory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from fsspec.implementations.memory import MemoryFileSystem

    def fail(*arguments: object, **options: object) -> bytes:
        raise PermissionError("AccessDenied: key AKIA... may not read")

    monkeypatch.setattr(MemoryFileSystem, "cat_file", fail)
    with pytest.raises(CkptkitError, match="cannot be read"):
        ckptkit.validate(memory)
