"""Heads, sections of configs, shards, layers that predict, lists, KV scales, groups, and other kinds beside FP8."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from tests.accuracy.again.drawn import add, declared, in_fp8
from tests.accuracy.again.hub import HEAD, compressed, each, kv_scales, ordered, with_prediction
from tests.accuracy.held.common import (
    GEMMA,
    MIXTRAL,
    MIXTRAL_QUARK,
    MODELOPT_BLOCK,
    MODELOPT_KV,
    MODELOPT_MOE,
    OWN,
    PHI3,
    PHI3_QUARK_KV,
    PLAIN_BLOCK,
    PLAIN_MOE,
    QWEN2_QUARK,
    QWEN3,
    QWEN3_QUARK,
    RAGGED,
    SIDE,
    TIED_MODELOPT,
    TIED_QUARK,
    VL,
    VL_KV,
    Held,
    alone,
    copied,
    listed,
    no_side_file,
    without,
)
from tests.accuracy.reports import quantize
from tests.damage import (
    BLOCK,
    CT,
    CT_FP8,
    CT_KV,
    GROUPS,
    QUARK,
    QUARK_FP8,
    QUARK_KV,
    SHARDED,
    TIED,
    Damage,
    MutableCheckpoint,
    drop,
    plain_fp8,
    rename,
    set_block,
    set_config,
    shape,
    steps,
)

_BY_HAND = "again/hub/"
NVFP4, _MXFP8 = "llama-block-aligned/modelopt-nvfp4", "llama-block-aligned/modelopt-mxfp8"


def _heads() -> Iterator[Held]:
    head = copied(r"model\.embed_tokens\.weight", lambda name: "lm_head.weight")
    tie = set_config(tie_word_embeddings=True)
    for name in ("glm4/ct", "exaone4/ct", "olmo2/quark"):
        short, base = name.replace("/", "-"), f"{_BY_HAND}{name}"
        yield Held(f"tied/one-alone/{short}", base, steps(drop(r"lm_head\.weight"), tie), OWN)
        yield Held(f"tied/said-of-two/{short}", base, tie)
        yield Held(f"tied/not-said-of-one/{short}", base, drop(r"lm_head\.weight"), OWN)
    for name, fixture in (("ct", TIED), ("modelopt", TIED_MODELOPT), ("quark", TIED_QUARK)):
        entry = {"ct": "ignore", "modelopt": "ignore", "quark": "exclude"}[name]
        yield Held(f"tied/untied-by-hand/{name}", fixture, steps(head, set_config(tie_word_embeddings=False)))
        yield Held(f"tied/not-listed/{name}", fixture, steps(no_side_file, listed(entry, add=False)))
        yield Held(f"tied/head-in-fp8/{name}", fixture, steps(no_side_file, head, quantize("lm_head")), OWN)
    for name, fixture, scale in (
        ("qwen3-ct", QWEN3, lambda rows: (rows, 1)),
        ("qwen3-quark", QWEN3_QUARK, lambda rows: (rows,)),
    ):
        key = "ignore" if name.endswith("ct") else "exclude"
        yield Held(
            f"head/in-fp8-by-name/{name}", fixture, steps(quantize("lm_head", scale), listed(key, add=False)), OWN
        )
    target = lambda c: c.group.update(targets=["Linear", "lm_head"])  # noqa: E731
    change = steps(quantize("lm_head", lambda rows: (rows, 1)), listed("ignore", add=False), target)
    yield Held("head/in-fp8-as-target/qwen3-ct", QWEN3, change, OWN)
    yield Held("head/embedding-in-fp8/ct", CT, quantize(r"model\.embed_tokens", lambda rows: (rows, 1)), OWN)


def _under(section: str, *, stays: bool = False) -> Damage:
    """The quantization config in a section, and at the top no more."""

    def change(checkpoint: MutableCheckpoint) -> None:
        block = checkpoint.config["quantization_config"] if stays else checkpoint.config.pop("quantization_config")
        checkpoint.config[section]["quantization_config"] = json.loads(json.dumps(block))

    return change


def _sections() -> Iterator[Held]:
    for name in ("qwen3-vl/fp8", "qwen3-vl/ct", "mistral3/ct", "mistral3/fp8", "llava/ct", "qwen3.5-vl/fp8"):
        short, base = name.replace("/", "-"), f"{_BY_HAND}{name}"
        yield Held(f"section/text/{short}", base, _under("text_config"))
    yield Held("section/text/gemma3-quark", GEMMA, _under("text_config"))
    yield Held("section/vision-too/vl-ct", VL, _under("vision_config", stays=True))
    for name, model in (("qwen3-vl/ct", "Qwen3VLModel"), ("mistral3/ct", "Mistral3Model"), ("llava/ct", "LlavaModel")):
        change = steps(set_config(architectures=[model]), drop(r"(.*\.)?lm_head\.weight"))
        yield Held(f"section/base-model/{name.replace('/', '-')}", f"{_BY_HAND}{name}", change, OWN)


def _in_two(pattern: str, *, index: bool = True, stale: bool = False) -> Damage:
    """What matches in a second shard; the index says so, says nothing, or is not there."""

    def change(checkpoint: MutableCheckpoint) -> None:
        (shard,) = checkpoint.shards.values()
        second = {name: shard[name] for name in shard if re.fullmatch(pattern, name)}
        first = {name: shard[name] for name in shard if name not in second}
        old = dict.fromkeys((*first, *second), "model-00001-of-00002.safetensors")
        checkpoint.shards = {
            "model-00001-of-00002.safetensors": first,
            "model-00002-of-00002.safetensors": second,
        }
        if index:
            checkpoint.true_index()
            if stale:
                assert checkpoint.index is not None
                checkpoint.index["weight_map"] = old

    return change


def _shards() -> Iterator[Held]:
    halves = {
        "scales": r".*_scale(_inv)?",
        "head": r"lm_head\.weight",
    }
    for part, pattern in halves.items():
        for name, fixture in (("ct", CT), ("fp8-blocks", PLAIN_BLOCK)):
            yield Held(f"shards/{part}/{name}", fixture, _in_two(pattern))
    for name, fixture in (("ct", CT_FP8), ("quark", QUARK_KV), ("modelopt", MODELOPT_KV)):
        yield Held(f"shards/no-index/{name}", fixture, _in_two(halves["scales"], index=False))
        yield Held(f"shards/stale-index/{name}", fixture, _in_two(halves["scales"], stale=True))
    yield Held("shards/other-set-too/ct", SHARDED, _other_set)
    for base in ("deepseek-v3/fp8", "qwen3-next/fp8"):
        yield Held(f"shards/scales/{base.replace('/', '-')}", f"{_BY_HAND}{base}", _in_two(halves["scales"]))


def _other_set(checkpoint: MutableCheckpoint) -> None:
    """Shards of an older upload, which no index names."""
    for number, shard in enumerate(list(checkpoint.shards.values())[:1], 1):
        older = {name: tensor._replace(data=tensor.data[::-1]) for name, tensor in shard.items()}
        checkpoint.shards[f"model-0000{number}-of-00009.safetensors"] = older


_GATE_2 = each("mlp.gate", layers=(2,))


def _prediction() -> Iterator[Held]:
    """Layers that predict, quantized or not, listed or not, or missing."""
    mtp = f"{_BY_HAND}deepseek-v3/fp8-mtp"
    layer = r"model\.layers\.2\.(self_attn|mlp).*_proj\w*"
    yield Held("mtp/plain-not-listed/deepseek-v3", mtp, alone(layer), OWN)
    plain = steps(alone(layer), listed("modules_to_not_convert", "model.layers.2"))
    yield Held("mtp/plain-and-listed/deepseek-v3", mtp, plain, OWN)
    yield Held("mtp/missing/deepseek-v3", mtp, drop(r"model\.layers\.2\..*"), OWN)
    yield Held("mtp/not-said/deepseek-v3", mtp, set_config(num_nextn_predict_layers=None))
    yield Held("mtp/scales-missing/deepseek-v3", mtp, drop(r"model\.layers\.2\..*weight_scale_inv"), OWN)
    yield Held("mtp/entry-missing/deepseek-v3", mtp, drop(r"model\.layers\.2\.(enorm|hnorm)\.weight"), OWN)
    glm = f"{_BY_HAND}glm4-moe/ct-mtp"
    yield Held("mtp/plain-not-listed/glm4-moe", glm, alone(layer), OWN)
    yield Held("mtp/missing/glm4-moe", glm, drop(r"model\.layers\.2\..*"), OWN)
    yield Held("mtp/not-listed/glm4-moe", glm, listed("ignore", *HEAD, "model.layers.1.mlp.gate", add=False))
    yield Held("mtp/head-in-fp8/glm4-moe", glm, quantize(r"model\.layers\.2\.shared_head\.head", lambda n: (n, 1)), OWN)
    parts = {
        f"mtp.{name}": (128,) for name in ("norm.weight", "pre_fc_norm_embedding.weight", "pre_fc_norm_hidden.weight")
    }
    parts |= {"mtp.fc.weight": (128, 256)}
    for name in ("qwen3-next/fp8", "qwen3.5-moe/fp8", "qwen3.5-vl/fp8"):
        short, base = name.replace("/", "-"), f"{_BY_HAND}{name}"
        yield Held(f"mtp/own-part-plain/{short}", base, add({**parts, "mtp.layers.0.mlp.gate.weight": (4, 128)}), OWN)
        q = {"mtp.layers.0.self_attn.o_proj.weight": (128, 128)}
        change = steps(add({**parts, **q}), in_fp8("block", "weight_scale_inv", "F32", only=r"mtp\..*o_proj"))
        yield Held(f"mtp/own-part-in-fp8/{short}", base, change, OWN)
    yield Held("mtp/of-a-dense-model/glm4-ct", f"{_BY_HAND}glm4/ct", set_config(num_nextn_predict_layers=1), OWN)
    late = steps(with_prediction, in_fp8("block", "weight_scale_inv", "F32", only=r"model\.layers\.2\..*_proj\w*"))
    yield Held("mtp/added-later/dots1-fp8", f"{_BY_HAND}dots1/fp8", late, OWN)


def _lists() -> Iterator[Held]:
    """Lists that were copied from another model, or in another spelling, or are gone."""
    for name, key, entries in (
        ("qwen3-next/fp8", "modules_to_not_convert", None),
        ("qwen3-next/fp8", "modules_to_not_convert", ("lm_head", "re:.*mlp.gate$", "re:.*linear_attn.*")),
        ("qwen3.5/fp8", "modules_to_not_convert", ("lm_head", "linear_attn.conv1d")),
        ("qwen3-vl/fp8", "modules_to_not_convert", ("lm_head", "visual")),
        ("qwen3-vl/ct", "ignore", ("lm_head",)),
        ("minimax-m2/fp8", "modules_to_not_convert", ("lm_head", "model.layers.0.block_sparse_moe.gate")),
        ("deepseek-v3/fp8", "modules_to_not_convert", ("lm_head", "model.layers.0.self_attn.kv_b_proj")),
        ("deepseek-v3/ct", "ignore", ("lm_head",)),
        ("deepseek-v3/modelopt", "ignore", ("lm_head",)),
        ("glm4-moe/ct", "ignore", ("lm_head", "re:.*gate$")),
        ("glm4-moe/modelopt", "ignore", ("lm_head",)),
        ("qwen2-moe/ct", "ignore", ("lm_head", "re:.*mlp.gate$")),
        ("qwen2-moe/autofp8", "ignored_layers", ("lm_head",)),
        ("olmoe/ct", "ignore", ("lm_head",)),
        ("mistral3/ct", "ignore", ("lm_head",)),
        ("mistral3/fp8", "modules_to_not_convert", ("vision_tower", "multi_modal_projector", "language_model.lm_head")),
        ("llava/ct", "ignore", ("language_model.lm_head", "vision_tower", "multi_modal_projector")),
        ("llava/autofp8", "ignored_layers", ("lm_head", "vision_tower", "multi_modal_projector")),
        ("bamba/ct", "ignore", ("lm_head",)),
        ("falcon-h1/modelopt", "ignore", ("lm_head",)),
        ("falcon-h1/ct", "ignore", ("lm_head", "re:.*in_proj")),
        ("nemotron-h/modelopt", "ignore", ("lm_head",)),
        ("nemotron-h/modelopt-plain-mamba", "ignore", ("lm_head", "model.layers.0.mixer*")),
        ("lfm2/ct", "ignore", ("lm_head", "re:.*conv$")),
        ("phi/ct", "ignore", ("lm_head", "model.layers.0.mlp.fc1")),
        ("gpt-neox/ct", "ignore", ("lm_head",)),
        ("gemma3/modelopt", "ignore", ()),
    ):
        spelled = [re.sub(r"\W+", "-", entry.replace("$", "-end"))[-16:].strip("-") for entry in entries or ()]
        number = "gone" if entries is None else "+".join(spelled) or "empty"
        change = without(key) if entries is None else listed(key, *entries, add=False)
        short = f"lists/{number}/{name.replace('/', '-')}"
        # The list of the export that it was made from leaves transformers a head without a scale: no measure.
        own = OWN if name == "gpt-neox/ct" else None
        yield Held(short, f"{_BY_HAND}{name}", steps(no_side_file, change), own)


def _kv() -> Iterator[Held]:
    scheme = {"num_bits": 8, "type": "float", "strategy": "tensor", "dynamic": False, "symmetric": True}
    ones = rename(r"(.*)\.[kv]_proj\.([kv])_scale", r"\1.\2_scale")
    for name in ("glm4-moe/ct", "mistral3/ct", "falcon-h1/ct"):
        short, base = name.replace("/", "-"), f"{_BY_HAND}{name}"
        new = steps(set_block(kv_cache_scheme=scheme), kv_scales, ones, shape(r".*\.[kv]_scale", 1))
        yield Held(f"kv/new-names/{short}", base, new, OWN)
        projections = steps(set_block(kv_cache_scheme=scheme), kv_scales, shape(r".*\.[kv]_scale", 1))
        yield Held(f"kv/on-projections/{short}", base, projections, OWN)
        yield Held(f"kv/declared-alone/{short}", base, set_block(kv_cache_scheme=scheme), OWN)
    mla = steps(set_block(kv_cache_scheme=scheme), _mla_scales)
    for name in ("deepseek-v3/ct", "deepseek-v2/ct"):
        yield Held(f"kv/mla/{name.replace('/', '-')}", f"{_BY_HAND}{name}", mla, OWN)
    older = rename(r"(.*\.self_attn)\.([kv])_scale", r"\1.\2_proj.output_scale")
    yield Held("kv/output-scales/ct-kv", CT_KV, older)
    yield Held("kv/one-for-both/ct-kv", CT_KV, steps(drop(r".*\.v_scale"), rename(r"(.*)\.k_scale", r"\1.kv_scale")))
    yield Held(
        "kv/one-for-both/modelopt-kv",
        MODELOPT_KV,
        steps(drop(r".*\.v_scale"), rename(r"(.*)\.k_proj\.k_scale", r"\1.kv_scale")),
    )
    yield Held("kv/names-of-ct/quark-kv", QUARK_KV, _quark_as_ct)
    yield Held("kv/names-of-ct/modelopt-kv", MODELOPT_KV, ones)
    yield Held("kv/names-of-modelopt/ct-kv", CT_KV, rename(r"(.*)\.([kv])_scale", r"\1.\2_proj.\2_scale"))
    yield Held("kv/names-of-modelopt/vl-kv", VL_KV, rename(r"(.*)\.([kv])_scale", r"\1.\2_proj.\2_scale"))
    yield Held("kv/under-mixer/nemotron-h", f"{_BY_HAND}nemotron-h/modelopt", ones)
    yield Held("kv/gone/nemotron-h", f"{_BY_HAND}nemotron-h/modelopt", drop(r".*\.[kv]_scale"))
    yield Held("kv/gone/glm4-moe", f"{_BY_HAND}glm4-moe/modelopt", drop(r".*\.[kv]_scale"))
    yield Held("kv/on-q-too/phi3-quark", PHI3_QUARK_KV, rename(r"(.*)\.output_scale", r"\1.k_scale"))


def _quark_as_ct(checkpoint: MutableCheckpoint) -> None:
    for part in "kv":
        checkpoint.rename(rf"(.*)\.{part}_proj\.output_scale", rf"\1.{part}_scale")


def _mla_scales(checkpoint: MutableCheckpoint) -> None:
    for layer in range(2):
        for part in "kv":
            checkpoint.put(f"model.layers.{layer}.self_attn.{part}_scale", "BF16", (1,), b"\x80\x3f")


def _group(targets: list[str], block: dict[str, Any]) -> dict[str, Any]:
    return {**block["config_groups"]["group_0"], "targets": targets}


def mixed(model_but: str, *groups: tuple[str, str, str | None, str]) -> Damage:
    """Several groups: grain, strategy of weights and of inputs, and the pattern of their modules."""
    changes = [in_fp8(grain, only=pattern, but=model_but) for grain, _, _, pattern in groups]
    made = compressed("channel", "token", ["lm_head", "re:.*gate$"], "0.13.0")
    made["config_groups"] = {
        f"group_{number}": _group([f"re:{pattern}$"], compressed(weights, inputs, [], "0.13.0"))
        for number, (_, weights, inputs, pattern) in enumerate(groups)
    }
    return steps(*changes, declared(made), ordered)


def _groups() -> Iterator[Held]:
    """Mixed groups, and other quantizations beside FP8."""
    attention, mlp, experts = r".*self_attn\..*", r".*mlp\.\w+_proj", r".*experts\..*"
    rows, tiles = ("row", "channel", "token"), ("block", "block", "group")
    yield Held("groups/rows-and-blocks/olmo2", "drawn/olmo2", mixed("", (*rows, attention), (*tiles, mlp)), OWN)
    yield Held("groups/blocks-in-experts/olmoe", "drawn/olmoe", mixed("", (*rows, attention), (*tiles, experts)), OWN)
    yield Held(
        "groups/weights-alone-in-mlp/gemma2",
        "drawn/gemma2",
        mixed("", (*rows, attention), ("row", "channel", None, mlp)),
        OWN,
    )
    yield Held("groups/attention-alone/qwen2-moe", "drawn/qwen2_moe", mixed("", (*rows, attention)), OWN)
    yield Held("groups/experts-alone/deepseek-v3", "drawn/deepseek_v3", mixed("", (*rows, experts)), OWN)
    yield Held(
        "groups/fused-in-parts/olmo2",
        "drawn/olmo2",
        mixed("", (*rows, r".*\.[qk]_proj"), ("one", "tensor", "token", r".*\.v_proj")),
        OWN,
    )
    yield Held(
        "groups/first-linear/ct", GROUPS, lambda c: c.block["config_groups"]["group_0"].update(targets=["Linear"])
    )
    for name, base in (("nvfp4", NVFP4), ("mxfp8", _MXFP8)):
        yield Held(f"other/{name}/config-alone", base, no_side_file)
        yield Held(f"other/{name}/side-file-alone", base, lambda c: c.config.pop("quantization_config"))
        yield Held(f"other/{name}/says-fp8", base, steps(no_side_file, set_block(quant_algo="FP8")))
        yield Held(f"other/{name}/scale-gone", base, drop(r"model\.layers\.0\.mlp\.down_proj\.weight_scale"))
    yield Held("other/modelopt-blocks/says-fp8", MODELOPT_BLOCK, steps(no_side_file, set_block(quant_algo="FP8")))
    yield Held("other/fbgemm/qwen2-quark", QWEN2_QUARK, _fbgemm_flat)
    yield Held("other/ragged/as-fp8", RAGGED, plain_fp8)
    yield Held("other/blocks/as-fp8-with-list", BLOCK, steps(plain_fp8, set_block(modules_to_not_convert=["lm_head"])))
    yield Held("other/experts/side-file-alone", MODELOPT_MOE, lambda c: c.config.pop("quantization_config"))
    yield Held("other/mixtral/older-names-listed", MIXTRAL, listed("ignore", "re:.*block_sparse_moe.gate", add=True))
    yield Held(
        "other/mixtral/quark-says-tensor",
        MIXTRAL_QUARK,
        lambda c: c.block["global_quant_config"]["weight"].update(qscheme="per_tensor", ch_axis=None),
    )
    yield Held("other/experts/blocks-of-64", PLAIN_MOE, set_block(weight_block_size=[64, 64]))
    yield Held("other/phi3/listed-by-parts", PHI3, listed("ignore", "re:.*q_proj", "re:.*gate_proj"))
    yield Held("other/quark/mode-of-files", QUARK_FP8, set_block(quant_mode=None, algo_config=[]))
    yield Held("other/quark/written-twice", QUARK, lambda c: c.files.update({SIDE: b"{}"}))


def _fbgemm_flat(checkpoint: MutableCheckpoint) -> None:
    checkpoint.config["quantization_config"] = {"quant_method": "fbgemm_fp8", "modules_to_not_convert": ["lm_head"]}


REST = (*_heads(), *_sections(), *_shards(), *_prediction(), *_lists(), *_kv(), *_groups())
