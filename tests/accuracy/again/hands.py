"""What people do to checkpoints by hand: merge, rename, cast, retag, reshard, fold adapters in, copy configs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tests.accuracy.again.hub import compressed, ordered
from tests.accuracy.held.common import (
    MODELOPT,
    MODELOPT_CHANNEL,
    MODELOPT_MOE,
    OWN,
    PHI3,
    PHI3_QUARK,
    PLAIN_BLOCK,
    QWEN2_QUARK,
    SIDE,
    Held,
    alone,
    listed,
    mapped,
    no_side_file,
    stored_as,
    transposed,
)
from tests.accuracy.plain import Numbers, bf16_of, to_bf16
from tests.damage import (
    BLOCK,
    CT,
    CT_FP8,
    CT_KV,
    QUARK,
    QUARK_CUSTOM,
    QUARK_FP8,
    Damage,
    MutableCheckpoint,
    drop,
    load,
    rename,
    shape,
    steps,
)
from tests.raw import RawTensor

_SCALES = r".*\.weight_scale(_inv)?"
_BY_HAND = "again/hub/"


def _folded(module: str) -> Damage:
    """An adapter folded into modules: in BF16, with other numbers than before, and without a scale."""

    def fold(tensor: RawTensor) -> RawTensor:
        values = bf16_of(tensor.data).reshape(tensor.shape)
        rows, columns = np.arange(tensor.shape[0])[:, None], np.arange(tensor.shape[1])[None, :]
        delta = ((rows * 7 + columns * 3) % 11 - 5).astype(np.float32) / 1024
        return tensor._replace(data=to_bf16(values + delta))

    return steps(alone(module), lambda checkpoint: checkpoint.change(rf"{module}\.weight", fold))


def _adapters() -> Iterator[Held]:
    """Folded adapters with the list that was there, and with one that says so."""
    both = r"model\.layers\.\d+\.self_attn\.[qv]_proj"
    for name, fixture, key in (
        ("ct", CT, "ignore"),
        ("ct-tensor", CT_FP8, "ignore"),
        ("quark", QWEN2_QUARK, "exclude"),
        ("modelopt", MODELOPT, "ignore"),
        ("fp8", QUARK_CUSTOM, "ignored_layers"),
        ("fp8-blocks", PLAIN_BLOCK, "modules_to_not_convert"),
    ):
        yield Held(f"adapter/stale-list/{name}", fixture, steps(no_side_file, _folded(both)), OWN)
        some = [f"model.layers.{layer}.self_attn.{part}_proj" for layer in range(2) for part in "qv"]
        yield Held(f"adapter/listed/{name}", fixture, steps(no_side_file, _folded(both), listed(key, *some)), OWN)
    for name, fixture in (("phi3-ct", PHI3), ("phi3-quark", PHI3_QUARK)):
        module = r"model\.layers\.\d+\.self_attn\.o_proj"
        yield Held(f"adapter/stale-list/{name}", fixture, _folded(module), OWN)
    for name, base, module in (
        ("deepseek-v3-fp8", "deepseek-v3/fp8", r"model\.layers\.\d\.self_attn\.(q_b|kv_b)_proj"),
        ("qwen3-next-fp8", "qwen3-next/fp8", r"model\.layers\.0\.linear_attn\.out_proj"),
        ("glm4-ct", "glm4/ct", r"model\.layers\.\d\.mlp\.gate_up_proj"),
        ("mistral3-ct", "mistral3/ct", r"language_model\.model\.layers\.\d\.self_attn\.o_proj"),
        ("minimax-fp8", "minimax-m2/fp8", r"model\.layers\.\d\.self_attn\.o_proj"),
        ("falcon-h1-modelopt", "falcon-h1/modelopt", r"model\.layers\.\d\.mamba\.in_proj"),
        ("qwen2-moe-ct", "qwen2-moe/ct", r"model\.layers\.\d\.mlp\.shared_expert\.\w+_proj"),
        ("olmoe-ct", "olmoe/ct", r"model\.layers\.0\.mlp\.experts\.\d\.\w+_proj"),
    ):
        yield Held(f"adapter/stale-list/{name}", f"{_BY_HAND}{base}", _folded(module), OWN)


def _block_of(base: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(load(base).block))
    return found


def _config_of(other: str) -> Damage:
    """The quantization config of another export."""
    return lambda checkpoint: checkpoint.config.update(quantization_config=_block_of(other))


def _shards_of(other: str, pattern: str) -> Damage:
    """Tensors of another export of the same model in the place of these modules' own."""

    def change(checkpoint: MutableCheckpoint) -> None:
        for shard in checkpoint.shards.values():
            for name in [name for name in shard if re.match(pattern, name)]:
                del shard[name]
        for name, tensor in load(other).everything().items():
            if re.match(pattern, name):
                next(iter(checkpoint.shards.values()))[name] = tensor

    return change


def _merges() -> Iterator[Held]:
    """Two exports in one folder, and configs of others."""
    layer = r"model\.layers\.1\."
    for name, first, second in (
        ("tensor-in-channel", CT, CT_FP8),
        ("channel-in-tensor", CT_FP8, CT),
        ("quark-in-ct", CT, QUARK),
        ("ct-in-quark", QUARK, CT),
        ("plain-in-ct", CT, "llama/bf16"),
        ("plain-in-modelopt", MODELOPT, "llama/bf16"),
        ("quark-tensor-in-channel", QUARK, QUARK_FP8),
    ):
        yield Held(f"merge/layer/{name}", first, _shards_of(second, layer), OWN)
    for name, base, other in (
        ("quark-on-ct", CT, QUARK),
        ("ct-on-quark", QUARK, CT),
        ("ct-tensor-on-quark-tensor", QUARK_FP8, CT_FP8),
        ("quark-tensor-on-ct-tensor", CT_FP8, QUARK_FP8),
        ("modelopt-on-ct-tensor", CT_FP8, MODELOPT),
        ("fp8-on-modelopt", MODELOPT, QUARK_CUSTOM),
        ("ct-tensor-on-modelopt", MODELOPT, CT_FP8),
        ("ct-blocks-on-fp8-blocks", PLAIN_BLOCK, BLOCK),
        ("fp8-blocks-on-ct-blocks", BLOCK, PLAIN_BLOCK),
        ("fp8-blocks-on-ct", CT, PLAIN_BLOCK),
        ("ct-on-ct-tensor", CT_FP8, CT),
        ("kv-on-none", CT_FP8, CT_KV),
        ("none-on-kv", CT_KV, CT_FP8),
        ("channel-on-tensor-modelopt", MODELOPT, MODELOPT_CHANNEL),
    ):
        # What transformers makes of ModelOpt's exports is no measure: it reads none.
        own = OWN if base == MODELOPT else None
        yield Held(f"merge/config/{name}", base, steps(no_side_file, _config_of(other)), own)
    yield Held("merge/config/older-llmcompressor", CT, _older("0.4.0"))
    yield Held("merge/config/newer-llmcompressor", CT, _older("0.15.0"))
    yield Held("merge/config/side-file-of-experts", MODELOPT, _foreign_side_file)
    yield Held("merge/config/side-file-beside-ct", CT, _foreign_side_file)
    yield Held("merge/config/side-file-says-kv", MODELOPT, _side_file_says_kv)


def _older(version: str) -> Damage:
    return lambda c: c.config.update(quantization_config=compressed("channel", "token", ["lm_head"], version))


def _foreign_side_file(checkpoint: MutableCheckpoint) -> None:
    checkpoint.files[SIDE] = load(MODELOPT_MOE).files[SIDE]


def _side_file_says_kv(checkpoint: MutableCheckpoint) -> None:
    document = json.loads(checkpoint.files[SIDE])
    document["quantization"]["kv_cache_quant_algo"] = "FP8"
    checkpoint.files[SIDE] = json.dumps(document).encode()


def _names() -> Iterator[Held]:
    """Other prefixes and other names."""
    to_new = rename(r"language_model\.model\.(.*)", r"model.language_model.\1")
    head = rename(r"language_model\.lm_head\.(.*)", r"lm_head.\1")
    towers = rename(r"(vision_tower|multi_modal_projector)\.(.*)", r"model.\1.\2")
    for name in ("mistral3/ct", "mistral3/fp8", "mistral3/ct-newer-names", "llava/ct"):
        short = name.replace("/", "-")
        yield Held(f"names/newer/{short}", f"{_BY_HAND}{name}", steps(to_new, head, towers))
        yield Held(f"names/tower-dropped/{short}", f"{_BY_HAND}{name}", drop(r"vision_tower\..*"), OWN)
    older = steps(rename(r"model\.language_model\.(.*)", r"model.\1"), rename(r"model\.visual\.(.*)", r"visual.\1"))
    first = rename(r"model\.language_model\.(.*)", r"language_model.model.\1")
    for name in ("qwen3-vl/fp8", "qwen3-vl/ct", "qwen3.5-vl/fp8"):
        short = name.replace("/", "-")
        yield Held(f"names/older/{short}", f"{_BY_HAND}{name}", older)
        yield Held(f"names/language-model-first/{short}", f"{_BY_HAND}{name}", first)
    bare = rename(r"model\.(.*)", r"\1")
    for name in ("deepseek-v3/fp8", "glm4/ct", "gemma2/autofp8"):
        short = name.replace("/", "-")
        yield Held(f"names/no-model/{short}", f"{_BY_HAND}{name}", bare)
    backbone = rename(r"backbone\.(.*)", r"model.\1")
    yield Held("names/model-for-backbone/nemotron-h-modelopt", f"{_BY_HAND}nemotron-h/modelopt", backbone)
    yield Held("names/mlp-for-sparse/minimax-fp8", f"{_BY_HAND}minimax-m2/fp8", _block_to_mlp)
    yield Held(
        "names/sparse-for-mlp/olmoe-ct", f"{_BY_HAND}olmoe/ct", rename(r"(.*)\.mlp\.(.*)", r"\1.block_sparse_moe.\2")
    )
    yield Held(
        "names/shared-expert-singular/deepseek-v3",
        f"{_BY_HAND}deepseek-v3/fp8",
        rename(r"(.*)\.shared_experts\.(.*)", r"\1.shared_expert.\2"),
    )
    yield Held(
        "names/self-attention/glm4-ct", f"{_BY_HAND}glm4/ct", rename(r"(.*)\.self_attn\.(.*)", r"\1.attention.\2")
    )
    for old, new, name, base in (
        ("weight_scale_inv", "weight_scale", "inverse-to-scale", "deepseek-v3/fp8"),
        ("weight_scale_inv", "scale", "inverse-to-short", "minimax-m2/fp8"),
        ("weight_scale_inv", "weight_scale", "inverse-to-scale", "qwen3-next/fp8"),
        ("weight_scale", "weight_scale_inv", "scale-to-inverse", "glm4-moe/ct"),
        ("weight_scale", "scale", "scale-to-short", "olmo2/ct"),
        ("weight_scale", "scale_weight", "scale-to-weight", "gemma3/modelopt"),
        ("input_scale", "act_scale", "input-to-act", "gemma2/autofp8"),
        ("input_scale", "activation_scale", "input-to-activation", "starcoder2/autofp8"),
    ):
        change = rename(rf"(.*)\.{old}", rf"\1.{new}")
        # What transformers makes of ModelOpt's exports is no measure: it reads none.
        own = OWN if base.endswith("modelopt") else None
        yield Held(f"names/{name}/{base.replace('/', '-')}", f"{_BY_HAND}{base}", change, own)


def _block_to_mlp(checkpoint: MutableCheckpoint) -> None:
    checkpoint.rename(r"(.*)\.block_sparse_moe\.(.*)", r"\1.mlp.\2")
    for old, new in (("w1", "gate_proj"), ("w2", "down_proj"), ("w3", "up_proj")):
        checkpoint.rename(rf"(.*)\.{old}\.(.*)", rf"\1.{new}.\2")


def _casts() -> Iterator[Held]:
    """Scales of other types, shapes and values in the models that fixtures lack."""
    for base in (
        "deepseek-v3/fp8",
        "qwen3-next/fp8",
        "falcon-h1/modelopt",
        "glm4/ct",
    ):
        short = base.replace("/", "-")
        for code in ("BF16", "F16", "F32", "F64"):
            if not (code == "BF16" and base.endswith("ct")) and not (code == "F32" and not base.endswith("ct")):
                yield Held(f"cast/{code}/{short}", f"{_BY_HAND}{base}", steps(stored_as(_SCALES, code), ordered))
    for base, one in (
        ("deepseek-v3/fp8", r"model\.layers\.0\.self_attn\.kv_b_proj"),
        ("deepseek-v3/fp8-mtp", r"model\.layers\.2\.mlp\.experts\.1\.down_proj"),
        ("glm4/fp8", r"model\.layers\.0\.mlp\.gate_up_proj"),
        ("qwen3-next/fp8", r"model\.layers\.0\.linear_attn\.in_proj_qkvz"),
        ("minimax-m2/fp8", r"model\.layers\.0\.block_sparse_moe\.experts\.1\.w2"),
        ("qwen3-vl/fp8", r"model\.language_model\.layers\.0\.mlp\.down_proj"),
    ):
        short = base.replace("/", "-")
        yield Held(f"shape/transposed/{short}", f"{_BY_HAND}{base}", transposed(rf"{one}\.weight_scale_inv"))
        yield Held(f"shape/gone/{short}", f"{_BY_HAND}{base}", drop(rf"{one}\.weight_scale_inv"))
    for base, one in (
        ("glm4-moe/ct", r"model\.layers\.1\.mlp\.shared_experts\.up_proj"),
        ("qwen2-moe/ct", r"model\.layers\.0\.mlp\.shared_expert\.down_proj"),
        ("deepseek-v2/ct", r"model\.layers\.1\.self_attn\.kv_a_proj_with_mqa"),
        ("bamba/ct-all", r"model\.layers\.0\.mamba\.in_proj"),
        ("nemotron/ct", r"model\.layers\.0\.mlp\.up_proj"),
        ("ernie4.5-moe/ct", r"model\.layers\.1\.mlp\.experts\.3\.gate_proj"),
    ):
        short = base.replace("/", "-")
        yield Held(f"shape/flat/{short}", f"{_BY_HAND}{base}", shape(rf"{one}\.weight_scale", -1))
        yield Held(f"shape/gone/{short}", f"{_BY_HAND}{base}", drop(rf"{one}\.weight_scale"))
    for base in ("falcon-h1/modelopt", "nemotron-h/modelopt", "gemma2/autofp8", "deepseek-v2/autofp8"):
        short = base.replace("/", "-")
        yield Held(f"shape/inputs-gone/{short}", f"{_BY_HAND}{base}", drop(r".*(down|out)_proj\.input_scale"))
        yield Held(f"shape/rows/{short}", f"{_BY_HAND}{base}", _as_rows)
    half: Callable[[Numbers], Numbers] = lambda values: values / 2  # noqa: E731
    for base in ("deepseek-v3/ct", "olmoe/autofp8"):
        reciprocal = mapped(_SCALES, lambda values: (1 / values).astype(np.float32))
        short = base.replace("/", "-")
        yield Held(f"value/reciprocal/{short}", f"{_BY_HAND}{base}", reciprocal)
        yield Held(f"value/half/{short}", f"{_BY_HAND}{base}", mapped(_SCALES, half), OWN)


def _as_rows(checkpoint: MutableCheckpoint) -> None:
    """One scale a row in the place of one for the tensor: the same number for all."""
    for name in checkpoint.names(r".*(down|out|o)_proj\.weight_scale"):
        rows = checkpoint.get(name.removesuffix("_scale")).shape[0]
        checkpoint.change(re.escape(name), lambda t, n=rows: t._replace(shape=(n,), data=t.data * n))  # type: ignore[misc]


HANDS = (*_adapters(), *_merges(), *_names(), *_casts())
