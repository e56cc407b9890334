"""Reports to serving engines about scales of the cache, and about layers that predict.

Each function names the threads that its checkpoints come from.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

import numpy as np

from tests.accuracy.again.drawn import add, in_fp8
from tests.accuracy.again.hub import HEAD, channels, each, modelopt, ordered, quark, with_prediction
from tests.accuracy.held.common import MODELOPT_KV, MODELOPT_MOE, OWN, STORES, Held, listed, mapped, no_side_file
from tests.damage import MOE, Damage, MutableCheckpoint, set_block, set_config, steps
from tests.raw import RawTensor

_HUB = "again/hub/"
_ROUTER = ("re:.*mlp.gate$",)
_SHARED = each("mlp.gate", "mlp.shared_expert_gate")
#: What compressed-tensors says of a cache with one scale for keys and one for values.
SCHEME = {"num_bits": 8, "type": "float", "strategy": "tensor", "dynamic": False, "symmetric": True}


def scales(under: str, value: float, dtype: str = "F32", extents: tuple[int, ...] = (), parts: str = "kv") -> Damage:
    """Scales of the cache beside each key projection; ``under`` spells their names, ``{0}`` each of ``parts``."""

    def change(checkpoint: MutableCheckpoint) -> None:
        for name in checkpoint.names(r".*\.(k_proj|kv_b_proj)\.weight"):
            if not re.search(r"vision|visual", name):
                stem = re.sub(r"(k_proj|kv_b_proj)\.weight$", "", name)
                for part in parts:
                    data = STORES[dtype](np.full(math.prod(extents), value, np.float32))
                    checkpoint.put(f"{stem}{under.format(part)}", dtype, extents, data)

    return change


def _cache() -> Iterator[Held]:
    """Scales of the cache: vllm#37214, vllm#25968, vllm#54623, sglang#35455, vllm#25047, llm-compressor#967,
    vllm#15734, sglang#1835, sglang#1559, vllm#6081, sglang#40243, vllm#15784."""
    on_projection = scales("{0}_proj.{0}_scale", 0.5)
    beside = steps(set_block(kv_cache_scheme=SCHEME), scales("{0}_scale", 0.5, "BF16", (1,)))
    gates = each("linear_attn.conv1d", "linear_attn.in_proj_a", "linear_attn.in_proj_b", layers=(0,))
    linear = each("linear_attn.conv1d", "linear_attn.in_proj_ba", layers=(0,))
    for name, model, made in (
        ("minimax-m2", "minimax_m2", modelopt((*HEAD, "*block_sparse_moe.gate"), "0.41.0", kv=True)),
        ("deepseek-v3", "deepseek_v3", steps(modelopt((*HEAD, "*mlp.gate")), _says_cache)),
        ("qwen3.5", "qwen3_5_text", modelopt((*HEAD, *gates), "0.41.0", kv=True)),
        ("qwen3-next", "qwen3_next", modelopt((*HEAD, *linear, *_SHARED), "0.37.0", kv=True)),
        ("qwen3-vl", "qwen3_vl", modelopt((*HEAD, "model.visual*"), kv=True)),
    ):
        made = steps(made, on_projection, ordered)
        yield Held(f"served-cache/modelopt/{name}", f"drawn/{model}", made, OWN)
    for name in ("qwen3.5/ct", "qwen3-next/ct", "minimax-m2/ct", "starcoder2/ct"):
        yield Held(f"served-cache/ct/{name.partition('/')[0]}", f"{_HUB}{name}", beside, OWN)
    yield Held("served-cache/ct/qwen3-moe", MOE, beside, OWN)
    yield Held("served-cache/modelopt/qwen3-moe", MODELOPT_MOE, steps(on_projection, _says_cache), OWN)
    yield Held("served-cache/not-said/qwen3-moe-modelopt", MODELOPT_MOE, on_projection, OWN)
    one = steps(set_block(kv_cache_scheme="static"), scales("kv_scale", 0.5, "F32", (1,), "k"))
    for name in ("exaone4/fp8", "olmoe/autofp8"):
        yield Held(f"served-cache/one-for-both/{name.replace('/', '-')}", f"{_HUB}{name}", one, OWN)
    infinite = mapped(r".*\.k_scale", lambda values: np.full_like(values, math.inf))
    yield Held("served-cache/infinite/modelopt", MODELOPT_KV, infinite)
    query = steps(*(scales(name, 0.5, "F32", (1,), "k") for name in ("q_scale", "prob_output_scale")))
    yield Held("served-cache/query-too/modelopt", MODELOPT_KV, query)
    by_token = set_block(kv_cache_scheme={**SCHEME, "strategy": "token", "dynamic": True})
    yield Held("served-cache/scheme-of-tokens/ct", f"{_HUB}glm4/ct", by_token, OWN)


def _says_cache(checkpoint: MutableCheckpoint) -> None:
    """ModelOpt's config says that the cache is in FP8."""
    no_side_file(checkpoint)
    checkpoint.block["kv_cache_scheme"] = {"dynamic": False, "num_bits": 8, "type": "float"}


_OWN_PART: dict[str, tuple[int, ...]] = {
    **{f"mtp.{name}.weight": (128,) for name in ("norm", "pre_fc_norm_embedding", "pre_fc_norm_hidden")},
    "mtp.fc.weight": (128, 256),
    "mtp.layers.0.self_attn.o_proj.weight": (128, 128),
}


def _prediction() -> Iterator[Held]:
    """Layers that predict: vllm#43319, vllm#44087, vllm#49187, vllm#46757, vllm#35031, vllm#35548, vllm#29855,
    llm-compressor#2482, ATOM#755."""
    layer = r"model\.layers\.2\.(self_attn|mlp).*_proj\w*"
    gate = each("mlp.gate", layers=(1,))
    for name, model, made in (
        ("star/deepseek-v3-modelopt", "deepseek_v3", modelopt((*HEAD, "*mlp.gate", "model.layers.2*"), but=layer)),
        ("pattern/glm4-moe-ct", "glm4_moe", channels((*HEAD, *_ROUTER, "re:model.layers.2.*"), but=layer)),
        ("pattern/deepseek-v3-quark", "deepseek_v3", quark((*HEAD, *gate, "re:model.layers.2.*"), but=layer)),
        ("not-listed/deepseek-v3-quark", "deepseek_v3", quark((*HEAD, *gate), but=layer)),
        ("in-fp8/glm4-moe-modelopt", "glm4_moe", modelopt((*HEAD, "*mlp.gate", "*eh_proj", "*shared_head*"))),
    ):
        yield Held(f"served-mtp/{name}", f"drawn/{model}", steps(with_prediction, made, ordered), OWN)
    mtp = f"{_HUB}deepseek-v3/fp8-mtp"
    yield Held("served-mtp/entry-in-fp8/deepseek-v3-fp8", mtp, _entry_in_fp8, OWN)
    yield Held("served-mtp/more-said/deepseek-v3-fp8", mtp, set_config(num_nextn_predict_layers=3), OWN)
    said = set_config(use_mtp=True, num_mtp_modules=3, mtp_transformer_layers=1)
    yield Held("served-mtp/said-alone/minimax-m2-fp8", f"{_HUB}minimax-m2/fp8", said)
    said = set_config(num_nextn_predict_layers=1)
    yield Held("served-mtp/said-alone/exaone-moe-fp8", "reported/served-router/listed/exaone-moe-fp8", said)
    for kind, indexed in (("own-file", False), ("own-file-indexed", True)):
        change = steps(add(_OWN_PART), _in_own_file(indexed))
        yield Held(f"served-mtp/{kind}/qwen3-next-fp8", f"{_HUB}qwen3-next/fp8", change, OWN)
    listed_too = steps(add(_OWN_PART), listed("ignore", "re:.*mtp.*"))
    yield Held("served-mtp/own-part-listed/qwen3.5-ct", f"{_HUB}qwen3.5/ct", listed_too, OWN)


def _entry_in_fp8(checkpoint: MutableCheckpoint) -> None:
    """The projection before a layer that predicts, which exporters leave alone, in FP8 like the others."""
    checkpoint.rename(r"(.*)\.eh_proj\.weight", r"\1.eh.weight")
    in_fp8("block", "weight_scale_inv", "F32", only=r".*\.eh")(checkpoint)
    checkpoint.rename(r"(.*)\.eh\.(.*)", r"\1.eh_proj.\2")


def _in_own_file(indexed: bool) -> Damage:
    """The part that predicts in a file of its own, which the index names or not."""

    def change(checkpoint: MutableCheckpoint) -> None:
        (first,) = checkpoint.shards.values()
        own: dict[str, RawTensor] = {name: first.pop(name) for name in list(first) if name.startswith("mtp.")}
        checkpoint.shards = {"model-00001-of-00001.safetensors": first}
        if not indexed:
            checkpoint.true_index()
        checkpoint.shards["model_mtp.safetensors"] = own
        if indexed:
            checkpoint.true_index()

    return change


CACHES: tuple[Held, ...] = (*_cache(), *_prediction())
