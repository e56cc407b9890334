"""Writing Quark: where attention scales go, which layers get entries, and what engines make of each layout."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ckptkit.errors import ConversionRefused
from ckptkit.formats.base import Draft, WriteOptions
from ckptkit.formats.quark import Quark
from ckptkit.model.checkpoint import Checkpoint
from ckptkit.model.granularity import PerTensor
from ckptkit.model.scheme import Quantization, Scheme
from tests.formats.synthetic import files, read
from tests.formats.told import told

ATTENTION = "model.layers.0.self_attn"
PROJECTIONS = {f"{ATTENTION}.{last}_proj": "tensor" for last in "qkv"}
PLAIN = read(files(PROJECTIONS))
CACHE = read(files(PROJECTIONS, kv=True))
QUERIES = read(files(PROJECTIONS, kv=True, q=True))

POST_ROPE = (
    "the config says that the KV scales were measured after RoPE (kv_cache_post_rope: true), as tools other than Quark "
    "do; of Quark's own scales that came here by way of another format that is not true"
)


def written(checkpoint: Checkpoint, mode: str = "quark") -> Draft:
    return Quark().write(checkpoint, WriteOptions(mode=mode))


def dynamic(checkpoint: Checkpoint) -> Checkpoint:
    scheme = Scheme(Quantization(PerTensor()), Quantization(PerTensor(), dynamic=True))
    modules = {name: module._replace(scheme=scheme, input_scale=None) for name, module in checkpoint.modules.items()}
    return replace(checkpoint, modules=modules)


@pytest.mark.parametrize(
    ("checkpoint", "mode", "notes"),
    [
        (PLAIN, "quark", []),
        (PLAIN, "fp8", []),
        (CACHE, "quark", [POST_ROPE]),
        (QUERIES, "fp8", [POST_ROPE]),
        (dynamic(PLAIN), "fp8", []),
    ],
)
def test_notes(checkpoint: Checkpoint, mode: str, notes: list[str]) -> None:
    assert list(written(checkpoint, mode).notes) == notes


@pytest.mark.parametrize(
    ("mode", "names", "reason"),
    [
        ("quark", "{0}_proj.output_scale", "KV scales are outputs of the projections"),
        ("fp8", "{0}_scale", "KV scales sit on the attention"),
    ],
)
def test_where_attention_scales_go(mode: str, names: str, reason: str) -> None:
    found = [
        (tensor.name, tensor.shape, [source.name for source in tensor.inputs], tensor.reason)
        for tensor in written(QUERIES, mode).tensors
        if tensor.inputs[0].module == ATTENTION
    ]
    assert found == [(f"{ATTENTION}.{names.format(role)}", (), [f"{ATTENTION}.{role}_scale"], reason) for role in "kvq"]


@pytest.mark.parametrize(
    ("checkpoint", "entries", "group"),
    [(PLAIN, [], []), (CACHE, ["*k_proj", "*v_proj"], ["*k_proj", "*v_proj"]), (QUERIES, None, ["*k_proj", "*v_proj"])],
)
def test_entries_of_layers(checkpoint: Checkpoint, entries: list[str] | None, group: list[str]) -> None:
    """Query projections have an entry too where they have scales, and are no part of the KV cache."""
    block = written(checkpoint).quantization_config
    assert block is not None
    layers = block["layer_quant_config"]
    assert list(layers) == (["*k_proj", "*v_proj", "*q_proj"] if entries is None else entries)
    assert all(layer["output_tensors"]["qscheme"] == "per_tensor" for layer in layers.values())
    assert all(layer["weight"] == block["global_quant_config"]["weight"] for layer in layers.values())
    assert list(block["kv_cache_quant_config"]) == group
    assert block["export"] == {
        "kv_cache_group": group,
        "min_kv_scale": 0.0,
        "pack_method": "reorder",
        "weight_format": "real_quantized",
        "weight_merge_groups": None,
    }
    assert block["kv_cache_post_rope"] is bool(group)


@pytest.mark.parametrize(
    ("checkpoint", "inputs", "cache"),
    [(PLAIN, "static", None), (CACHE, "static", "static"), (dynamic(PLAIN), "dynamic", None)],
)
def test_the_config_of_the_fp8_mode(checkpoint: Checkpoint, inputs: str, cache: str | None) -> None:
    block = written(checkpoint, "fp8").quantization_config
    assert block is not None
    assert {key: block[key] for key in block if key not in ("export", "kv_cache_post_rope")} == {
        "quant_method": "fp8",
        "activation_scheme": inputs,
        "ignored_layers": ["lm_head"],
        "modules_to_not_convert": ["lm_head"],
        "weight_block_size": None,
        "kv_cache_scheme": cache,
    }
    assert block.get("kv_cache_post_rope") is (True if cache else None)


def test_query_projections_of_several_schemes_are_refused() -> None:
    second = {name.replace("layers.0", "layers.1"): "channel" for name in PROJECTIONS}
    checkpoint = read(files({**PROJECTIONS, **second}, kv=True, q=True))
    with pytest.raises(ConversionRefused) as error:
        written(checkpoint)
    assert error.value.message == "Quark cannot hold these attention scales"
    message = "query projections have several schemes, and readers look for one entry, *q_proj"
    assert told(error.value.faults) == [f"query-scale-mixed: {message}"]
