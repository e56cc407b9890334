"""The schemas: sound themselves, true to the dtype table, fitting every real fixture, and helpful when refused."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from ckptkit.checks import runner, schema
from ckptkit.dtypes import DTYPES
from ckptkit.errors import Fault, UsageError
from ckptkit.formats import registry
from ckptkit.formats.base import WriteOptions
from ckptkit.storage.container import open_container
from ckptkit.storage.source import LocalSource
from tests.schemas import strategies

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = sorted(path.parent for path in (ROOT / "fixtures" / "real").glob("*/*/config.json"))
CONFIGS = [folder for folder in FIXTURES if "quantization_config" in json.loads((folder / "config.json").read_text())]


def fixture_id(folder: Path) -> str:
    return f"{folder.parent.name}/{folder.name}"


@pytest.mark.parametrize("name", schema.names())
def test_a_schema_is_sound_and_uses_known_keywords(name: str) -> None:
    document = schema.load(name)
    Draft202012Validator.check_schema(document)
    assert document["$id"] == f"urn:ckptkit:schema:{name}"
    assert document["title"] and document["description"]
    assert set(_keywords(document)) <= schema.KEYWORDS


def _keywords(document: Any) -> list[str]:
    """Every keyword of a schema: keys of schema objects, but not the names of properties and definitions."""
    if isinstance(document, list):
        return [word for item in document for word in _keywords(item)]
    if not isinstance(document, dict):
        return []
    found = list(document)
    for key, value in document.items():
        if key in ("properties", "$defs"):
            found += [word for item in value.values() for word in _keywords(item)]
        elif key not in ("enum", "const", "required", "type"):
            found += _keywords(value)
    return found


def test_the_header_schema_knows_every_dtype() -> None:
    entry = schema.load("safetensors-header")["additionalProperties"]
    assert sorted(entry["properties"]["dtype"]["enum"]) == sorted(DTYPES)


def test_the_schemas_are_packaged_under_the_name_that_the_code_reads() -> None:
    assert '"schemas/*.json"' in (ROOT / "pyproject.toml").read_text()
    assert {path.name for path in (ROOT / "ckptkit/schemas").iterdir()} == {f"{name}.json" for name in schema.names()}


def test_a_plain_copy_of_the_package_is_whole(tmp_path: Path) -> None:
    """As a zip file or a system without symbolic links gives it."""
    assert not [path for path in (ROOT / "ckptkit").rglob("*") if path.is_symlink()]
    shutil.copytree(ROOT / "ckptkit", tmp_path / "ckptkit", ignore=shutil.ignore_patterns("__pycache__"))
    code = "import ckptkit; from ckptkit.checks import schema; print(ckptkit.__file__, len(schema.names()))"
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert result.stdout.split() == [str(tmp_path / "ckptkit" / "__init__.py"), str(len(schema.names()))]


@pytest.mark.parametrize("folder", CONFIGS, ids=fixture_id)
def test_real_configs_fit(folder: Path) -> None:
    context = runner.read_context(open_container(LocalSource(folder)))
    assert context.dialect is not None and context.dialect.schema in schema.names()
    assert schema.config_faults(context.block, context.dialect.schema) == []


@pytest.mark.parametrize("folder", CONFIGS, ids=fixture_id)
def test_configs_that_we_write_fit(folder: Path) -> None:
    context = runner.read_context(open_container(LocalSource(folder)))
    if context.checkpoint is None or context.format is None:
        assert "fake" in folder.name
        return
    written = context.format.write(context.checkpoint, WriteOptions()).quantization_config
    assert schema.config_faults(json.loads(json.dumps(written)), context.format.name) == []


@pytest.mark.parametrize("folder", FIXTURES, ids=fixture_id)
def test_real_headers_and_indexes_fit(folder: Path) -> None:
    for path in folder.glob("*.safetensors"):
        raw = path.read_bytes()
        (length,) = struct.unpack_from("<Q", raw)
        assert schema.faults("safetensors-header", json.loads(raw[8 : 8 + length]), file=path.name) == []
    for path in folder.glob("*.index.json"):
        assert schema.faults("index", json.loads(path.read_text()), file=path.name) == []


@given(strategies.compressed_tensors(valid=True))
def test_valid_compressed_tensors_configs_fit(config: dict[str, Any]) -> None:
    assert schema.config_faults(config, "compressed-tensors") == []


@given(strategies.quark(valid=True))
def test_valid_quark_configs_fit(config: dict[str, Any]) -> None:
    assert schema.config_faults(config, "quark") == []


GENERATED = {
    "compressed-tensors": strategies.compressed_tensors(valid=True) | strategies.compressed_tensors(valid=False),
    "quark": strategies.quark(valid=True) | strategies.quark(valid=False),
}


@given(st.data())
@pytest.mark.parametrize("name", sorted(GENERATED))
def test_both_gears_come_to_the_same_verdict(name: str, data: st.DataObject) -> None:
    config = data.draw(strategies.damaged(GENERATED[name]) | GENERATED[name])
    document = schema.load(name)
    verdict = Draft202012Validator(document).is_valid(config)
    assert schema.conforms(config, document, document) is verdict
    assert bool(schema.config_faults(config, name)) is not verdict


def _ct() -> dict[str, Any]:
    return {
        "quant_method": "compressed-tensors",
        "config_groups": {
            "group_0": {
                "targets": ["Linear"],
                "weights": {"num_bits": 8, "type": "float", "strategy": "channel"},
                "input_activations": {"num_bits": 8, "type": "float", "strategy": "token", "dynamic": True},
            }
        },
    }


def _args(config: dict[str, Any]) -> dict[str, Any]:
    args: dict[str, Any] = config["config_groups"]["group_0"]["weights"]
    return args


Change = Callable[[dict[str, Any]], Any]
WORDING: list[tuple[Change, str, str | None]] = [
    (
        lambda c: _args(c).update(num_bit=8),
        "config_groups.group_0.weights.num_bit is not a key that is known here",
        "did you mean num_bits?",
    ),
    (lambda c: _args(c).update(dynamic="yes"), "config_groups.group_0.weights.dynamic is not valid", "(expected true"),
    (lambda c: c["config_groups"]["group_0"].pop("targets"), "config_groups.group_0.targets is missing", "a list"),
    (lambda c: c.update(ignore="lm_head"), "ignore is not valid", "expected a list or null, found 'lm_head'"),
    (lambda c: _args(c).update(strategy="block"), "block_structure is missing", None),
    (lambda c: _args(c).update(strategy="token"), "config_groups.group_0.weights.dynamic is missing", "expected true"),
    (lambda c: c.update(quantization_status="done"), "quantization_status is not valid", '"compressed"'),
    (lambda c: c.pop("config_groups"), "config_groups is missing", "an object"),
    (lambda c: c["config_groups"].update({"*.a": 3}), 'config_groups["*.a"] is not valid', "an object or a list"),
]


@pytest.mark.parametrize(("change", "what", "more"), WORDING)
def test_a_refusal_says_where_and_what(change: Change, what: str, more: str | None) -> None:
    config = _ct()
    assert schema.config_faults(config, "compressed-tensors") == []
    change(config)
    found = schema.config_faults(config, "compressed-tensors")
    said = [str(fault) for fault in found]
    assert all(isinstance(fault, Fault) and fault.file == "config.json" for fault in found)
    assert any(what in line and (more or "") in line for line in said), said


@pytest.mark.parametrize(
    ("name", "config", "sound"),
    [
        ("fp8", {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}, True),
        ("fp8", {"quant_method": "fp8", "activation_scheme": "static", "weight_block_size": [128, 128]}, False),
        ("fp8", {"quant_method": "fp8"}, False),
        ("fp8", {"quant_method": "fp8", "activation_scheme": "static", "ignored_layers": None}, True),
        ("modelopt", {"quant_method": "modelopt", "quant_algo": "FP8", "ignore": ["lm_head"]}, True),
        ("modelopt", {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "FP8"}}, True),
        ("modelopt", {"producer": {"name": "modelopt"}, "quantization": {"exclude_modules": []}}, False),
        ("modelopt", {"quant_method": "modelopt"}, False),
        ("modelopt", {"quant_method": "modelopt", "quant_algo": "FP8", "ignore": None}, False),
        ("index", {"weight_map": {"a": "model.safetensors"}}, True),
        ("index", {"weight_map": {"a": "/etc/passwd"}}, False),
        ("index", {"weight_map": {}}, False),
        ("safetensors-header", {"a": {"dtype": "XF99", "shape": [], "data_offsets": [0, 1]}}, False),
        ("safetensors-header", {"a": {"dtype": "C64", "shape": [1], "data_offsets": [0, 8]}}, True),
        ("safetensors-header", {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0]}}, False),
        ("safetensors-header", {"__metadata__": {"format": 1}}, False),
    ],
)
def test_other_schemas(name: str, config: dict[str, Any], sound: bool) -> None:
    assert (schema.faults(name, config, file="x") == []) is sound


def test_a_schema_is_one_that_is_shipped_or_one_of_another_package() -> None:
    assert {dialect.schema for dialect in registry.dialects()} - {None} <= {*schema.names()}
    with pytest.raises(UsageError, match="no schema 'awq'"):
        schema.config_faults({"anything": 1}, "awq")
    theirs = {"properties": {"left": {"uniqueItems": True}}, "dependentRequired": {"left": ["right"]}}
    assert "uniqueItems" not in schema.KEYWORDS, "what our own interpreter does not know is not passed over"
    assert len(schema.config_faults({"left": [1, 1]}, theirs)) == 2
    assert schema.config_faults({"left": [1, 2], "right": 0}, theirs) == []
