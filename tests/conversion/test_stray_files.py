"""Weight files that the model's index does not name: what is said of them, and what becomes of them in a conversion."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

import ckptkit
from ckptkit.conversion.plan import Verdict
from tests.damage import SHARDED, load, tensors_of
from tests.raw import INDEX, RawTensor, shard_bytes

convert = partial(ckptkit.convert, fsync=False)
STRAY = "extra.safetensors"
NEW = {"adapter.weight": RawTensor("BF16", (2, 2), bytes(8))}


def beside(folder: Path, stray: bytes, name: str = STRAY) -> Path:
    """A checkpoint of several shards with one more weight file."""
    draft = load(SHARDED)
    draft.files[name] = stray
    return draft.write(folder)


def copies() -> bytes:
    """All tensors of the first shard once more."""
    return shard_bytes(next(iter(load(SHARDED).shards.values())), {"format": "pt"})


@pytest.mark.parametrize("to", ["quark", "ct", "modelopt", "bf16"])
@pytest.mark.parametrize("limit", [None, "1GB"])
def test_it_is_copied_as_it_is_and_the_plan_says_so(to: str, limit: str | None, tmp_path: Path) -> None:
    source = beside(tmp_path / "source", shard_bytes(NEW))
    plan = convert(source, tmp_path / "out", to=to, max_shard_size=limit).plan
    assert plan.verdict is (Verdict.LOSSY if to == "bf16" else Verdict.LOSSLESS)
    (said,) = [note for note in plan.notes if STRAY in note]
    assert "copied unchanged" in said and "TensorRT-LLM" in said
    assert (tmp_path / "out" / STRAY).read_bytes() == shard_bytes(NEW)
    places = json.loads((tmp_path / "out" / INDEX).read_text(encoding="utf-8"))["weight_map"]
    assert STRAY not in places.values() and "adapter.weight" not in places


def test_there_and_back(tmp_path: Path) -> None:
    source = beside(tmp_path / "source", copies())
    convert(source, tmp_path / "there", to="quark")
    convert(tmp_path / "there", tmp_path / "back", to="ct")
    assert ckptkit.diff(source, tmp_path / "back").same
    assert tensors_of(source) == tensors_of(tmp_path / "back")


def test_a_file_below_is_no_such_file(tmp_path: Path) -> None:
    source = beside(tmp_path / "source", copies(), "original/weights.safetensors")
    (said,) = [note for note in convert(source, tmp_path / "out", to="quark").plan.notes if "original" in note]
    assert "TensorRT-LLM" not in said
    assert not [finding for finding in ckptkit.validate(source).findings if finding.code == "CK108"]


@pytest.mark.parametrize(
    ("stray", "found", "verdict"),
    [
        (copies(), "all in the model's shards too", "loads"),
        (shard_bytes(NEW), "1 in no shard of the model", "silently wrong"),
    ],
)
def test_what_it_holds_decides(stray: bytes, found: str, verdict: str, tmp_path: Path) -> None:
    result = ckptkit.validate(beside(tmp_path / "source", stray), matrix=True)
    (finding,) = [finding for finding in result.findings if finding.code == "CK108"]
    assert finding.severity.value == "warning" and (finding.found or "").endswith(found)
    assert result.matrix is not None
    assert next(row.verdict for row in result.matrix.rows if row.engine == "vllm") == verdict


def test_a_file_that_cannot_be_read_is_still_named(tmp_path: Path) -> None:
    source = beside(tmp_path / "source", b"no header")
    assert [finding.file for finding in ckptkit.validate(source).findings if finding.code == "CK108"] == [STRAY]
