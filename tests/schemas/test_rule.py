"""CK629: fires where the library would refuse, stays silent where another rule has said it already."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ckptkit import api
from tests.damage import CT, CT_KV, QUARK, MutableCheckpoint, load

CUSTOM = "llama/quark-fp8-custom"


def codes(checkpoint: MutableCheckpoint, folder: Path) -> set[str]:
    return {finding.code for finding in api.validate(checkpoint.write(folder)).findings}


def change(checkpoint: MutableCheckpoint, path: str, value: Any) -> None:
    *way, last = path.split("/")
    target: Any = checkpoint.block
    for part in way:
        target = target[part]
    if value is None:
        del target[last]
    else:
        target[last] = value


@pytest.mark.parametrize(
    ("fixture", "path", "value"),
    [
        (CT, "config_groups/group_0/input_activations/dynamic", False),
        (CT, "config_groups/group_0/weights/block_structure", [128, 128]),
        (CT, "global_compression_ratio", "high"),
        (CT, "quantization_status", "done"),
        (QUARK, "global_quant_config/bias", None),
        (QUARK, "global_quant_config/weight/round_method", "up"),
        (QUARK, "global_quant_config/weight/observer_cls", "PerTensorMinMaxObserver"),
        (QUARK, "export/new_key", 1),
        (CUSTOM, "export/pack_method", "sideways"),
    ],
)
def test_it_fires(tmp_path: Path, fixture: str, path: str, value: Any) -> None:
    checkpoint = load(fixture)
    assert "CK629" not in codes(checkpoint, tmp_path / "sound")
    change(checkpoint, path, value)
    assert "CK629" in codes(checkpoint, tmp_path / "damaged")


@pytest.mark.parametrize(
    ("fixture", "path", "value", "told_by"),
    [
        (CT, "config_groups/group_0/weights/num_bit", 8, "CK619"),
        (CT, "config_groups/group_0/weights/strategy", "rows", "CK600"),
        (CT, "ignore", "lm_head", "CK600"),
        (QUARK, "layer_type_quant_config", None, "CK627"),
        (QUARK, "exclude", "lm_head", "CK600"),
    ],
)
def test_what_has_been_said_is_not_said_again(
    tmp_path: Path, fixture: str, path: str, value: Any, told_by: str
) -> None:
    checkpoint = load(fixture)
    change(checkpoint, path, value)
    found = codes(checkpoint, tmp_path / "damaged")
    assert told_by in found and "CK629" not in found


def test_keys_of_tomorrow_are_no_finding_where_the_library_ignores_them(tmp_path: Path) -> None:
    checkpoint = load(CT)
    change(checkpoint, "key_of_tomorrow", {"a": 1})
    assert "CK629" not in codes(checkpoint, tmp_path / "near miss")


def test_words_that_the_library_takes_in_any_case_are_no_finding(tmp_path: Path) -> None:
    checkpoint = load(CT_KV)
    for spec in (
        checkpoint.group["weights"],
        checkpoint.group["input_activations"],
        checkpoint.block["kv_cache_scheme"],
    ):
        spec.update(type=spec["type"].upper(), strategy=spec["strategy"].upper())
    assert "CK629" not in codes(checkpoint, tmp_path / "model")


@pytest.mark.parametrize(("status", "outcome"), [("done", "silent"), (None, "error")])
def test_a_status_of_another_word_and_none_do_different_things(
    tmp_path: Path, status: str | None, outcome: str
) -> None:
    checkpoint = load(CT)
    checkpoint.block["quantization_status"] = status
    findings = api.validate(checkpoint.write(tmp_path / "model"), select="CK629").findings
    assert [(e.engine, e.outcome.value) for f in findings for e in f.engines if e.outcome.harmful] == [
        ("transformers", outcome)
    ]


@pytest.mark.parametrize(("size", "known"), [([128, 128], True), ([64, 64], False)])
def test_a_block_size_that_is_only_declared_is_looked_at(tmp_path: Path, size: list[int], known: bool) -> None:
    """Of a checkpoint that was dequantized and kept its config."""
    checkpoint = load("llama-block-aligned/transformers-block")
    checkpoint.drop(r".*_scale_inv")
    checkpoint.change(r".*proj\.weight", lambda tensor: tensor._replace(dtype="BF16", data=bytes(2 * len(tensor.data))))
    checkpoint.block["weight_block_size"] = size
    found = api.validate(checkpoint.write(tmp_path / "model")).findings
    assert ("CK804" not in {finding.code for finding in found}) is known
    (nothing,) = (finding for finding in found if finding.code == "CK602")
    assert "layers are built plain" not in {effect.note for effect in nothing.engines}, "that is for weights by tensor"
