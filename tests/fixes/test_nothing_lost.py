"""What --fix does unasked takes nothing away that cannot be had again: no tensor, no value, no trace of a lost one."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from ckptkit import api
from ckptkit.checks import registry
from ckptkit.checks.fixing import find_fixes
from ckptkit.checks.registry import Level
from ckptkit.edits.changes import LOSING_EDITS
from ckptkit.storage.container import CONFIG_FILE
from ckptkit.validation import write_fixes
from tests.damage import load, tensors_of
from tests.fixes.test_each import CASES, SHARDED, Case
from tests.raw import INDEX

SAFE = [case for case in CASES if not case.unsafe]


@pytest.mark.parametrize("case", SAFE, ids=lambda case: f"{case.code}-{case.name.replace(' ', '-')}")
def test_every_stored_byte_is_still_there(case: Case, tmp_path: Path) -> None:
    checkpoint = load(case.fixture)
    case.damage(checkpoint)
    before = Counter((tensor.dtype, tensor.data) for tensor in checkpoint.everything().values())
    folder = checkpoint.write(tmp_path / "checkpoint")
    result = find_fixes(api.open_files(folder), Level.SCALES)
    assert not [edit for fix in result.applied for edit in fix.edits if isinstance(edit, LOSING_EDITS)]
    write_fixes(result, folder)
    after = Counter((tensor.dtype, tensor.data) for tensor in tensors_of(folder).values())
    assert before <= after


def test_the_trace_of_a_lost_tensor_stays_in_the_index(tmp_path: Path) -> None:
    """One entry can be corrected, another is all that is left of its tensor."""
    checkpoint = load(SHARDED)
    assert checkpoint.index is not None
    first, *_ = weight_map = checkpoint.index["weight_map"]
    weight_map[first] = next(shard for shard in checkpoint.shards if shard != weight_map[first])
    lost = "model.layers.0.mlp.lost_proj.weight"
    weight_map[lost] = next(iter(checkpoint.shards))
    folder = checkpoint.write(tmp_path / "checkpoint")
    result = find_fixes(api.open_files(folder), Level.SCALES)
    write_fixes(result, folder)
    assert "CK105" in {fix.code for fix in result.applied}
    assert lost in json.loads((folder / INDEX).read_text())["weight_map"]
    assert [f.tensor for f in api.validate(folder).findings if f.code == "CK105"] == [lost]


@pytest.mark.parametrize("place", ["../elsewhere.safetensors", "model.bin", 7])
def test_an_entry_that_leads_astray_is_a_trace_too(place: object, tmp_path: Path) -> None:
    checkpoint = load(SHARDED)
    assert checkpoint.index is not None
    checkpoint.index["metadata"]["total_size"] = 1
    checkpoint.index["weight_map"]["model.layers.0.mlp.lost_proj.weight"] = place
    folder = checkpoint.write(tmp_path / "checkpoint")
    before = (folder / INDEX).read_bytes()
    assert not write_fixes(find_fixes(api.open_files(folder), Level.SCALES), folder)
    assert (folder / INDEX).read_bytes() == before


@pytest.mark.parametrize("value", ["fp8", 0, False, []])
def test_a_block_does_not_overwrite_what_stands_in_its_place(value: object, tmp_path: Path) -> None:
    checkpoint = load("llama/llmcompressor-dynamic")
    checkpoint.config["compression_config"] = checkpoint.config.pop("quantization_config")
    checkpoint.config["quantization_config"] = value
    rules = registry.select(["CK620"])
    result = find_fixes(api.open_files(checkpoint.write(tmp_path / "checkpoint")), Level.SCALES, rules=rules)
    assert result.workspace.documents[CONFIG_FILE] == checkpoint.config


def test_a_block_takes_the_place_of_null(tmp_path: Path) -> None:
    checkpoint = load("llama/llmcompressor-dynamic")
    checkpoint.config["compression_config"] = block = checkpoint.config.pop("quantization_config")
    checkpoint.config["quantization_config"] = None
    rules = registry.select(["CK620"])
    result = find_fixes(api.open_files(checkpoint.write(tmp_path / "checkpoint")), Level.SCALES, rules=rules)
    assert result.workspace.documents[CONFIG_FILE]["quantization_config"] == block
    assert "compression_config" not in result.workspace.documents[CONFIG_FILE]
