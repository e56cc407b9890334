"""MXFP8, which is only read: groups of 32 under one power of two."""

from __future__ import annotations

from pathlib import Path

import pytest

import ckptkit
from ckptkit.errors import FormatError, UsageError
from tests.damage import BLOCK, CT, REAL, MutableCheckpoint
from tests.formats.fp8_files import codes, groups_of_32, written


def test_mxfp8_is_read_and_named(tmp_path: Path) -> None:
    source = written(BLOCK, lambda draft: groups_of_32(draft, ["lm_head"]), tmp_path / "source")
    found = ckptkit.open(source)
    assert found.format == "mxfp8" and not found.modules and len(found.opaque) == 7
    assert set(found.unquantized) == {"lm_head"} and not (found.declared_only or found.foreign or found.orphans)
    assert "MXFP8" in ckptkit.inspect(source).scheme
    assert codes(source) == set()
    assert "7 MXFP8 modules become FP8 in blocks of 128x128" in " ".join(ckptkit.plan(source, to="fp8").notes)
    with pytest.raises(UsageError, match="only read"):
        ckptkit.plan(REAL / CT, to="mxfp8")


@pytest.mark.parametrize(("listed", "left"), [(["lm_head"], True), (["lm"], False), ([], False)])
def test_what_mxfp8_leaves_alone(listed: list[str], left: bool, tmp_path: Path) -> None:
    source = written(BLOCK, lambda draft: groups_of_32(draft, listed), tmp_path / "source")
    assert ("lm_head" not in ckptkit.open(source).declared_only) is left


def test_groups_of_another_size_are_no_mxfp8(tmp_path: Path) -> None:
    def change(checkpoint: MutableCheckpoint) -> None:
        groups_of_32(checkpoint, ["lm_head"])
        checkpoint.block["weight_block_size"] = [1, 16]

    with pytest.raises(FormatError, match="weight_block_size"):
        ckptkit.open(written(BLOCK, change, tmp_path / "source"))


@pytest.mark.parametrize(
    ("architecture", "vllm", "sglang"),
    [
        ("LlamaForCausalLM", "unknown", "silently wrong"),
        ("MiniMaxM3SparseForCausalLM", "loads", "loads"),
        ("Qwen3ForCausalLM", "unknown", "loads"),
    ],
)
def test_engines_that_read_it(architecture: str, vllm: str, sglang: str, tmp_path: Path) -> None:
    """By their sources: the scales' name has a place in some classes only."""

    def change(checkpoint: MutableCheckpoint) -> None:
        groups_of_32(checkpoint, ["lm_head"])
        checkpoint.config["architectures"] = [architecture]

    table = ckptkit.validate(written(BLOCK, change, tmp_path / "source"), matrix=True).matrix
    assert table is not None
    parts = {row.engine: row.parts for row in table.rows}
    said = {
        engine: next((answer for answer, words in parts[engine].items() if any("MXFP8" in w for w in words)), "loads")
        for engine in ("vllm", "sglang")
    }
    assert said == {"vllm": vllm, "sglang": sglang}
