"""ModelOpt's mixed precision: which layer a name in ``quantized_layers`` means, and what engines make of the others."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ckptkit
from ckptkit.formats.modelopt.facts import MIXED
from tests.damage import MutableCheckpoint, load

FP8, EXPERTS = "llama/modelopt-fp8", "qwen3_moe/modelopt-fp8"
SIDE_FILE = "hf_quant_config.json"
ENTRY = {"quant_algo": "FP8"}
ATTENTION = ("q_proj", "k_proj", "v_proj")


def mixed(fixture: str, folder: Path, named: Callable[[list[str]], list[str]]) -> Path:
    """An export in FP8 whose config lists layers: the names that ``named`` makes of those of its modules."""
    draft: MutableCheckpoint = load(fixture)
    modules = [name.removesuffix("_scale").removesuffix(".weight") for name in draft.names(r".*\.weight_scale")]
    layers: dict[str, Any] = dict.fromkeys(named(modules), ENTRY)
    ignored = draft.block["ignore"]
    for key in ("config_groups", "quant_algo"):
        draft.block.pop(key, None)
    draft.block.update(quant_algo=MIXED, quantized_layers=layers)
    side = {"quant_algo": MIXED, "quantized_layers": layers, "kv_cache_quant_algo": None, "exclude_modules": ignored}
    draft.files[SIDE_FILE] = json.dumps({"producer": {"name": "modelopt"}, "quantization": side}).encode()
    return draft.write(folder)


def as_fused(modules: list[str]) -> list[str]:
    def fused(module: str) -> str:
        owner, _, last = module.rpartition(".")
        if last in ATTENTION:
            return f"{owner}.qkv_proj"
        return f"{owner}.gate_up_proj" if last in ("gate_proj", "up_proj") else module

    return list(dict.fromkeys(map(fused, modules)))


def as_one(modules: list[str]) -> list[str]:
    return list(
        dict.fromkeys(
            module.partition(".experts.")[0] + ".experts" if ".experts." in module else module for module in modules
        )
    )


def by_the_first(modules: list[str]) -> list[str]:
    return [module for module in modules if ".experts." not in module or ".experts.0." in module]


def by_a_pattern(modules: list[str]) -> list[str]:
    return [name if not name.endswith(".experts") else f"{name}.*" for name in as_one(modules)]


@pytest.mark.parametrize(
    ("fixture", "named"),
    [
        (FP8, list),
        (FP8, as_fused),
        (EXPERTS, list),
        (EXPERTS, as_one),
        (EXPERTS, by_the_first),
        (EXPERTS, by_a_pattern),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_layers_under_every_name_that_engines_look_up(
    fixture: str, named: Callable[[list[str]], list[str]], tmp_path: Path
) -> None:
    source = mixed(fixture, tmp_path / "source", named)
    found, plain = ckptkit.open(source), ckptkit.open(mixed(fixture, tmp_path / "plain", list))
    assert found.modules.keys() == plain.modules.keys() and not (found.stored_only or found.orphans)
    assert not ckptkit.validate(source).errors
    ckptkit.convert(source, tmp_path / "out", to="ct", fsync=False)
    assert ckptkit.open(tmp_path / "out").modules.keys() == plain.modules.keys()


@pytest.mark.parametrize("fixture", [FP8, EXPERTS])
def test_layers_that_are_not_listed_are_built_plain(fixture: str, tmp_path: Path) -> None:
    """Their scales have no parameter in vLLM, and SGLang takes codes for values."""
    source = mixed(fixture, tmp_path / "source", lambda modules: [m for m in modules if "layers.0." in m])
    result = ckptkit.validate(source, matrix=True)
    assert {"CK202", "CK606"} <= {finding.code for finding in result.errors}
    assert result.matrix is not None
    verdicts = {row.engine: row.verdict for row in result.matrix.rows}
    assert {verdicts["vllm"], verdicts["sglang"]}.isdisjoint({"loads", "unknown"})


def test_a_pattern_means_nothing_outside_experts(tmp_path: Path) -> None:
    source = mixed(FP8, tmp_path / "source", lambda modules: ["model.layers.*.self_attn.*", "model.layers.*.mlp.*"])
    assert not ckptkit.open(source).modules
    result = ckptkit.validate(source, matrix=True)
    assert result.matrix is not None
    assert next(row.verdict for row in result.matrix.rows if row.engine == "vllm") == "refuses"


def test_plain_layers_that_are_not_listed_are_no_fault(tmp_path: Path) -> None:
    draft = load(FP8)
    draft.block.update(quant_algo=MIXED, quantized_layers={"model.layers.0.mlp.down_proj": ENTRY})
    keep = "model.layers.0.mlp.down_proj"
    for name in draft.names(r".*\.weight_scale|.*\.input_scale"):
        if not name.startswith(keep):
            draft.drop(name.replace(".", r"\."))
    for name in draft.names(r".*_proj\.weight"):
        if not name.startswith(keep):
            draft.change(name.replace(".", r"\."), lambda t: t._replace(dtype="BF16", data=t.data * 2))
    draft.files.pop(SIDE_FILE)
    source = draft.write(tmp_path / "source")
    assert not ckptkit.validate(source).errors
    assert "CK605" not in {finding.code for finding in ckptkit.validate(source).findings}
