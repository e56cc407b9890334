"""A value of the wrong JSON type is never taken for true or false, in any reader."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ckptkit import api
from ckptkit.checks.fixing import find_fixes
from ckptkit.checks.registry import Level
from ckptkit.errors import FormatError
from ckptkit.formats.base import ConfigReader
from ckptkit.validation import write_fixes
from tests.damage import MutableCheckpoint, load
from tests.faults.snapshot import snapshot

#: What Python takes for true or false although JSON has other words for them.
IMPOSTORS: tuple[Any, ...] = ("false", "False", "no", "true", "", 0, 1, 1.0, [], [False], {}, {"value": False})
#: Everything that a config answers with true or false in these formats.
FIXTURES = ("llama/quark-ptpc", "llama/quark-fp8-kv", "llama/llmcompressor-dynamic", "llama/llmcompressor-fp8-kv")


def truths(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every true or false in JSON."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        if isinstance(inner, bool):
            yield (*way, key)
        yield from truths(inner, (*way, key))


@pytest.mark.parametrize("value", IMPOSTORS, ids=repr)
def test_only_true_and_false_are_read_as_such(value: Any) -> None:
    reader = ConfigReader()
    assert reader.truth(value, "some.key", default=True) is None
    assert [(fault.expected, fault.message) for fault in reader.faults] == [("true or false", "some.key is not valid")]


def test_null_is_the_default_where_there_is_one() -> None:
    reader = ConfigReader()
    assert reader.truth(None, "some.key", default=False) is False and not reader.faults
    assert reader.truth(None, "some.key") is None and reader.faults


@pytest.mark.parametrize("fixture", FIXTURES)
def test_no_reader_takes_an_impostor(fixture: str, tmp_path: Path) -> None:
    """Each key that decides what is read, with each impostor: the reader refuses, and names the key."""
    checkpoint = load(fixture)
    ways = [way for way in truths(checkpoint.block) if way[-1] in ("is_dynamic", "dynamic", "symmetric")]
    # Of the KV section only the outputs are read: what it says of weights is said in layer_quant_config too.
    ways = [way for way in ways if way[0] != "kv_cache_quant_config" or "output_tensors" in way]
    assert len(ways) >= 4
    before = checkpoint.block
    for number, (way, value) in enumerate((way, value) for way in ways for value in IMPOSTORS):
        block = json.loads(json.dumps(before))
        target = block
        for part in way[:-1]:
            target = target[part]
        target[way[-1]] = value
        checkpoint.config["quantization_config"] = block
        folder = checkpoint.write(tmp_path / str(number))
        with pytest.raises(FormatError) as refused:
            api.open(folder)
        assert any(f".{way[-1]} is not valid" in fault.message for fault in refused.value.faults)


@pytest.mark.parametrize(
    ("key", "value"), [("kv_cache_post_rope", "false"), ("algo_config", [{"name": "rotation", "r3": "false"}])]
)
def test_what_quark_says_beside_its_specs(key: str, value: Any, tmp_path: Path) -> None:
    checkpoint = load("llama/quark-fp8-kv")
    checkpoint.block[key] = value
    with pytest.raises(FormatError) as refused:
        api.open(checkpoint.write(tmp_path / "checkpoint"))
    assert [fault.expected for fault in refused.value.faults] == ["true or false"]


def with_input_scales(checkpoint: MutableCheckpoint) -> MutableCheckpoint:
    """Calibrated input scales for every quantized module."""
    for _, name in list(checkpoint.places(r".*\.weight_scale")):
        checkpoint.put(name.replace("weight_scale", "input_scale"), "BF16", (), bytes.fromhex("003d"))
    return checkpoint


@pytest.mark.parametrize("unsafe", [False, True])
@pytest.mark.parametrize("value", IMPOSTORS, ids=repr)
def test_no_fix_throws_away_what_an_invalid_config_does_not_want(value: Any, unsafe: bool, tmp_path: Path) -> None:
    checkpoint = with_input_scales(load("llama/quark-ptpc"))
    checkpoint.block["global_quant_config"]["input_tensors"]["is_dynamic"] = value
    folder = checkpoint.write(tmp_path / "checkpoint")
    before = snapshot(folder)
    result = find_fixes(api.open_files(folder), Level.SCALES, unsafe=unsafe)
    assert "CK600" in {finding.code for finding in result.after.findings}
    write_fixes(result, folder)
    assert {name for name in snapshot(folder) if name.endswith("safetensors")} <= before.keys()
    after = snapshot(folder)
    assert {name: after[name] for name in before if name.endswith("safetensors")} == {
        name: before[name] for name in before if name.endswith("safetensors")
    }


def test_nothing_goes_while_another_rule_calls_the_config_invalid(tmp_path: Path) -> None:
    """Dynamic inputs are declared well; something else in the same config is not."""
    checkpoint = with_input_scales(load("llama/quark-ptpc"))
    checkpoint.block["global_quant_config"]["input_tensors"]["max_input_numel"] = "many"
    result = find_fixes(api.open_files(checkpoint.write(tmp_path / "invalid")), Level.SCALES, unsafe=True)
    assert "CK622" not in {fix.code for fix in result.applied}
    assert ["correct the config first" in item.reason for item in result.reverted if item.code == "CK622"] == [True]
    checkpoint.block["global_quant_config"]["input_tensors"]["max_input_numel"] = 1
    result = find_fixes(api.open_files(checkpoint.write(tmp_path / "valid")), Level.SCALES, unsafe=True)
    assert "CK622" in {fix.code for fix in result.applied}


def test_a_block_size_that_is_none_renames_nothing(tmp_path: Path) -> None:
    checkpoint = load("llama/quark-fp8-kv")
    checkpoint.config["quantization_config"] = {
        "quant_method": "fp8",
        "activation_scheme": "dynamic",
        "weight_block_size": "no",
    }
    folder = checkpoint.write(tmp_path / "checkpoint")
    assert "CK203" not in {finding.code for finding in api.validate(folder).findings}
