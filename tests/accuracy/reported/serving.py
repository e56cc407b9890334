"""What reports to vLLM, SGLang and TensorRT-LLM are about: skip lists and the names that they are asked under.

Each function names the threads that its checkpoints come from. What is about kinds of layers is in ``layers.py``, and
about caches and prediction in ``caches.py``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from tests.accuracy.again.drawn import declared, in_fp8
from tests.accuracy.again.hub import HEAD, autofp8, channels, compressed, deepseek, each, modelopt, ordered, quark
from tests.accuracy.held.common import (
    MODELOPT_CHANNEL,
    MODELOPT_MOE,
    OWN,
    SIDE,
    WEIGHT_ONLY,
    Held,
    alone,
    listed,
    no_side_file,
)
from tests.accuracy.reported.caches import CACHES, SCHEME, scales
from tests.accuracy.reported.layers import LAYERS
from tests.accuracy.reports import quantize
from tests.damage import QUARK_BLOCK, Damage, MutableCheckpoint, drop, rename, set_block, set_config, steps

_HUB = "again/hub/"
_KEYS = {"fp8": "modules_to_not_convert", "autofp8": "ignored_layers", "quark": "exclude"}


def _key(base: str) -> str:
    """The key of the list in the config of an export."""
    return _KEYS.get(base.rpartition("/")[2].partition("-")[0], "ignore")


def _plain(base: str, modules: str, *entries: str) -> Damage:
    """Modules in high precision, and entries of the list that are meant to say so."""
    return steps(no_side_file, alone(modules), listed(_key(base), *entries))


def _short() -> Iterator[Held]:
    """Entries that are the end or a part of a name: vllm#44628, vllm#21669. The mend is the whole name."""
    linear = ("in_proj_qkv", "in_proj_z", "out_proj")
    attention = tuple(f"{part}_proj" for part in "qkvo")
    shared = tuple(f"{part}_proj" for part in ("gate", "up", "down"))
    for name, prefix, parts, short in (
        ("qwen3.5/fp8", "model.layers.0.linear_attn", linear, [f"linear_attn.{part}" for part in linear]),
        ("qwen3-next/fp8", "model.layers.1.self_attn", attention, [f"self_attn.{part}" for part in attention]),
        ("glm4-moe/fp8", "model.layers.1.mlp.shared_experts", shared, ["shared_experts"]),
        ("minimax-m2/fp8", "model.layers.1.self_attn", attention, ["layers.1.self_attn"]),
    ):
        modules = rf"{re.escape(prefix)}\.({'|'.join(parts)})"
        base, tail = f"{_HUB}{name}", name.replace("/", "-")
        yield Held(f"served-list/short/{tail}", base, _plain(name, modules, *short), OWN)
        if len(short) > 1:
            whole = [f"{prefix}.{part}" for part in parts]
            yield Held(f"served-list/whole/{tail}", base, _plain(name, modules, *whole), OWN)


def _shadows() -> Iterator[Held]:
    """The router of another model in the list of a dense one, which is the beginning of ``gate_proj``: sglang#23467,
    sglang#23687."""
    gates = each("mlp.gate", "mlp.shared_expert_gate")
    text = each("mlp.gate", prefix="model.language_model.layers")
    for name, entries, add in (
        ("qwen3.5/fp8", gates, True),
        ("exaone4/fp8", ("mlp.gate",), True),
        ("glm4/fp8", gates, True),
        ("qwen3-vl/fp8", text, True),
        ("glm4-moe/fp8", ("lm_head", "mlp.gate"), False),
    ):
        change = listed(_key(name), *entries, add=add)
        yield Held(f"served-list/router-of-another/{name.replace('/', '-')}", f"{_HUB}{name}", change)


def _fused() -> Iterator[Held]:
    """Layers listed as engines fuse them, or as they are stored: vllm#43981, sglang#26213, sglang#19995, sglang#18189,
    vllm#40252, sglang#23973."""
    for name, prefix, parts, fused in (
        ("deepseek-v3/fp8", "model.layers.1.mlp.shared_experts", ("gate_proj", "up_proj"), "gate_up_proj"),
        ("qwen2-moe/autofp8", "model.layers.0.mlp.shared_expert", ("gate_proj", "up_proj"), "gate_up_proj"),
        ("minimax-m2/ct", "model.layers.0.self_attn", ("q_proj", "k_proj", "v_proj"), "qkv_proj"),
        ("deepseek-v3/modelopt", "model.layers.0.mlp", ("gate_proj", "up_proj"), "gate_up_proj"),
    ):
        modules = rf"{re.escape(prefix)}\.({'|'.join(parts)})"
        base, tail = f"{_HUB}{name}", name.replace("/", "-")
        yield Held(f"served-list/fused/{tail}", base, _plain(name, modules, f"{prefix}.{fused}"), OWN)
        if len(parts) == 3 or name.endswith("fp8"):
            some = [f"{prefix}.{part}" for part in parts]
            yield Held(f"served-list/parts/{tail}", base, _plain(name, modules, *some), OWN)
    attention = r"model\.layers\.0\.self_attn\.[qkv]_proj"
    some = [f"model.layers.0.self_attn.{part}_proj" for part in "qkv"]
    made = modelopt((*HEAD, *each("block_sparse_moe.gate"), *some), "0.41.0", but=attention, kv=True)
    yield Held("served-list/parts/minimax-m2-modelopt", "drawn/minimax_m2", steps(made, ordered), OWN)
    yield Held("served-list/parts/experts-modelopt", MODELOPT_MOE, _plain("modelopt", attention, *some), OWN)
    gated = ("linear_attn.in_proj_qkv", "linear_attn.in_proj_z", "linear_attn.in_proj_b", "linear_attn.in_proj_a")
    merged = ("linear_attn.conv1d", "linear_attn.in_proj_ba", "linear_attn.in_proj_qkvz", "linear_attn.out_proj")
    routers = each("mlp.gate", "mlp.shared_expert_gate")
    for name, entries in (
        ("qwen3.5/fp8", (*HEAD, *each(*merged[:2], layers=(0,)))),
        ("qwen3-next/fp8", (*HEAD, *each("linear_attn.conv1d", *gated[2:], layers=(0,)), *routers)),
        ("qwen3-next/ct", (*HEAD, *each(*gated, "linear_attn.out_proj", layers=(0,)), *routers)),
        ("qwen3.5/ct", (*HEAD, *each(*merged, layers=(0,)))),
        # llm-compressor#2482: the module around them.
        ("qwen3.5/ct-around", (*HEAD, *each("linear_attn", "linear_attn.norm", layers=(0,)))),
    ):
        base = name.removesuffix("-around")
        change = listed(_key(base), *entries, add=False)
        yield Held(f"served-list/gated/{name.replace('/', '-')}", f"{_HUB}{base}", change)
    # The list that sglang#30598 gives, which names both.
    endings = ("embed_tokens", "mlp.gate", "shared_expert_gate", "conv1d", "in_proj_a", "in_proj_b", "in_proj_ba")
    both = ("lm_head", *(f"re:.*{ending.replace('.', '[.]')}$" for ending in endings), "re:.*mtp.*", "re:.*visual.*")
    yield Held("served-list/gated-by-pattern/qwen3.5", "drawn/qwen3_5_text", steps(channels(both), ordered), OWN)


def _latent() -> Iterator[Held]:
    """Projections of latent attention, which engines fuse, left alone by their checkpoint names: amd/Quark#25,
    sglang#22543, vllm#36247."""
    first, both = r".*kv_a_proj_with_mqa", r".*(q_a_proj|kv_a_proj_with_mqa)"
    names = ("*.self_attn.kv_a_proj_with_mqa", "*.self_attn.q_a_proj")
    gate = each("mlp.gate", layers=(1,))
    some = each("self_attn.q_a_proj", "self_attn.kv_a_proj_with_mqa")
    for name, made in (
        ("one/quark", quark((*HEAD, *gate, *names[:1]), but=first)),
        ("both/quark", quark((*HEAD, *gate, *names), but=both)),
        ("one/ct", channels((*HEAD, "re:.*mlp.gate$", "re:.*kv_a_proj_with_mqa$"), but=first)),
        ("both/ct", channels((*HEAD, "re:.*mlp.gate$", "re:.*kv_a_proj_with_mqa$", "re:.*q_a_proj$"), but=both)),
        ("both/fp8", deepseek((*HEAD, *gate, *some), but=both)),
    ):
        yield Held(f"served-list/latent/{name}", "drawn/deepseek_v3", steps(made, ordered), OWN)


def _prefixes() -> Iterator[Held]:
    """Lists in the names of the checkpoint or of a class, where these differ: vllm#54547, sglang#24927."""
    for name, module, other in (
        ("qwen3-vl/quark", "model.language_model.layers.0.self_attn.o_proj", "language_model.model"),
        ("qwen3-vl/ct", "model.language_model.layers.0.self_attn.o_proj", "language_model.model"),
        ("qwen3-vl/modelopt", "model.language_model.layers.0.self_attn.o_proj", "language_model.model"),
        ("qwen3-vl/fp8", "model.language_model.layers.0.self_attn.o_proj", "language_model.model"),
        ("mistral3/ct", "language_model.model.layers.0.mlp.down_proj", "model.language_model"),
    ):
        base, tail = f"{_HUB}{name}", name.replace("/", "-")
        if not name.endswith("vl/ct") and not name.endswith("modelopt"):
            yield Held(f"served-prefix/as-stored/{tail}", base, _plain(name, re.escape(module), module), OWN)
        renamed = re.sub(r"^(model\.language_model|language_model\.model)", other, module)
        yield Held(f"served-prefix/otherwise/{tail}", base, _plain(name, re.escape(module), renamed), OWN)
    for tail, ending in (("exact", ""), ("linear", ".linear")):
        yield Held(f"served-prefix/tower-{tail}/mistral3-ct", f"{_HUB}mistral3/ct", _tower_by_name(ending))


def _tower_by_name(ending: str) -> Damage:
    def change(checkpoint: MutableCheckpoint) -> None:
        modules = checkpoint.names(r"(vision_tower|multi_modal_projector)\..*(proj|fc\d|linear_\d|layer)\.weight")
        entries = [f"{name.removesuffix('.weight')}{ending}" for name in modules]
        checkpoint.block["ignore"] = ["re:.*lm_head", *entries]

    return change


def _towers() -> Iterator[Held]:
    """Towers and projectors that were quantized, meant or not: llm-compressor#1306, llm-compressor#2597,
    llm-compressor#2072, vllm#19424."""
    # The pattern is of names as stored; in memory the tower was called otherwise, and so it was quantized.
    for name, model, tower, ignore in (
        ("tower/llava", "llava", r"vision_tower\.encoder\..*", ("re:.*lm_head", "re:multi_modal_projector.*")),
        ("tower-though-listed/qwen2-vl", "qwen2_vl", r"visual\.(blocks|merger)\..*", ("re:.*lm_head", "re:visual.*")),
        (
            "tower-though-listed/qwen3-vl",
            "qwen3_vl",
            r"model\.visual\.(blocks|merger|deepstack)\S*",
            ("re:.*lm_head", "re:visual.*"),
        ),
        ("merger/qwen2-vl", "qwen2_vl", r"visual\.merger\..*", ("re:.*lm_head", "re:visual.blocks.*")),
        ("projector/llava", "llava", r"multi_modal_projector\..*", ("re:.*lm_head", "re:vision_tower.*")),
        ("projector/internvl", "internvl", r"multi_modal_projector\..*", ("re:.*lm_head", "re:.*vision_tower.*")),
    ):
        made = steps(channels(ignore), in_fp8("row", only=tower), ordered)
        yield Held(f"served-tower/{name}", f"drawn/{model}", made, OWN)
    usual = ("re:.*lm_head", "re:.*vision_tower.*", "re:.*multi_modal_projector.*", "re:.*visual.*")
    for model in ("qwen2_vl", "internvl"):
        yield Held(f"served-tower/left-alone/{model}", f"drawn/{model}", steps(channels(usual), ordered), OWN)


def _heads() -> Iterator[Held]:
    """Heads in FP8: vllm#40999, vllm#41000, vllm#52543, TRT-LLM#17728; and ties said in the wrong place: vllm#51063,
    transformers#43429, Qwen3-VL-Embedding#89."""
    in_blocks = steps(
        quantize("lm_head", lambda rows: (1, 1)), rename(r"lm_head\.weight_scale", "lm_head.weight_scale_inv")
    )
    for name, entries in (
        ("exaone4/fp8", ()),
        ("qwen3.5/fp8", each("linear_attn.conv1d", "linear_attn.in_proj_a", "linear_attn.in_proj_b", layers=(0,))),
    ):
        key = _key(name)
        change = steps(in_blocks, listed(key, *entries, add=False))
        tail = name.replace("/", "-")
        if name == "exaone4/fp8":
            yield Held(f"served-head/blocks/{tail}", f"{_HUB}{name}", change, OWN)
        yield Held(f"served-head/blocks-said/{tail}", f"{_HUB}{name}", steps(change, set_block(lm_head=True)), OWN)
    rows = steps(no_side_file, quantize("lm_head", lambda n: (n,)), listed("ignore", add=False))
    yield Held("served-head/rows/modelopt-channel", MODELOPT_CHANNEL, rows, OWN)
    target = lambda c: c.group.update(targets=["Linear", "re:.*lm_head"])  # noqa: E731
    change = steps(quantize("lm_head"), listed("ignore", add=False), target)
    yield Held("served-head/weights-alone/ct", WEIGHT_ONLY, change, OWN)
    text = lambda c: c.config["text_config"].update(tie_word_embeddings=True)  # noqa: E731
    for name in ("mistral3/ct", "qwen3-vl/ct"):
        base, tail = f"{_HUB}{name}", name.replace("/", "-")
        yield Held(f"served-tied/top-says-so/{tail}", base, set_config(tie_word_embeddings=True))
        no_head = steps(drop(r"(.*\.)?lm_head\.weight"), text, set_config(tie_word_embeddings=None))
        yield Held(f"served-tied/text-says-so/{tail}", base, no_head, OWN)
    missing = drop(r"lm_head\.weight")
    yield Held("served-tied/not-said/qwen3-vl-fp8", f"{_HUB}qwen3-vl/fp8", missing, OWN)


def _names() -> Iterator[Held]:
    """Prefixes and endings of other classes: vllm#15031, unsloth#2086, unsloth#5845, trl#5269, vllm#41982, vllm#34016,
    vllm#54770, vllm#54556."""
    before = rename(r"model\.(.*)", r"language_model.model.\1")
    inside = rename(r"model\.(.*)", r"model.language_model.\1")
    yield Held("served-name/language-model/gemma3-ct", f"{_HUB}gemma3/ct", before)
    yield Held("served-name/language-model-inside/gemma3-ct", f"{_HUB}gemma3/ct", inside)
    yield Held("served-name/language-model-inside/qwen3.5-fp8", f"{_HUB}qwen3.5/fp8", inside)
    twice = rename(r"model\.language_model\.(.*)", r"model.language_model.language_model.\1")
    yield Held("served-name/twice/qwen3.5-vl-fp8", f"{_HUB}qwen3.5-vl/fp8", twice)
    alone_in_it = steps(drop(r"model\.visual\..*"), rename(r"model\.language_model\.(.*)", r"model.\1"))
    yield Held("served-name/text-in-composite/qwen3.5-vl-fp8", f"{_HUB}qwen3.5-vl/fp8", alone_in_it, OWN)
    theirs = steps(
        rename(r"(.*)\.weight_scale", r"\1.weight_scale_inv"),
        rename(r"(.*)\.input_scale", r"\1.activation_scale"),
        lambda c: c.block.update(modules_to_not_convert=c.block.pop("ignored_layers"), weight_block_size=None),
    )
    for name in ("glm4/autofp8", "qwen2-moe/autofp8"):
        yield Held(f"served-name/of-mistral/{name.replace('/', '-')}", f"{_HUB}{name}", theirs)
    inverse = rename(r"(.*)\.weight_scale", r"\1.weight_scale_inv")
    yield Held("served-name/inverse/quark-block", QUARK_BLOCK, inverse)
    block = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}
    as_fp8 = declared({**block, "modules_to_not_convert": ["lm_head"]})
    yield Held("served-name/as-fp8/quark-block", QUARK_BLOCK, as_fp8)
    yield Held("served-name/as-fp8-inverse/quark-block", QUARK_BLOCK, steps(inverse, as_fp8))


def _modelopt_mixed() -> Iterator[Held]:
    """A table of layers in the place of one algorithm: vllm#36312, vllm#47318, sglang#32740. Lists of hybrids that name
    other modules: TRT-LLM#3891, TRT-LLM#18607."""
    for name, fused, but, in_config in (
        ("all/exaone4", False, "", True),
        ("all-side-file/exaone4", False, "", False),
        ("fused-names/exaone4", True, "", True),
        ("some/exaone4", False, r".*\.([qkv]|gate|up)_proj", True),
    ):
        made = steps(modelopt(HEAD, "0.41.0", but=but, where="both" if in_config else "side"), _table(fused), ordered)
        yield Held(f"served-mixed/{name}", "drawn/exaone4", made, OWN)
    mamba = f"{_HUB}nemotron-h/modelopt-plain-mamba"
    own = each("mixer.in_proj", "mixer.out_proj", "mixer.conv1d", layers=(0,), prefix="backbone.layers")
    for name, entries in (
        ("of-export", [entry.replace("backbone", "model.layers.backbone") for entry in own]),
        ("ending", [f"{entry}_quantizer" for entry in own]),
    ):
        change = steps(no_side_file, listed("ignore", "lm_head", *entries, add=False))
        yield Held(f"served-mixed/mamba-{name}/nemotron-h", mamba, change)
    # compressed-tensors#171: no layer at all, and scales of the cache alone.
    cache = compressed("tensor", "tensor", (*HEAD, "re:.*proj"), "0.9.4")
    cache = {**cache, "kv_cache_scheme": SCHEME, "config_groups": {}}
    made = steps(declared(cache), scales("{0}_scale", 0.5, "BF16", (1,)))
    yield Held("served-mixed/cache-alone/exaone4", "drawn/exaone4", made, OWN)


def _table(fused: bool) -> Damage:
    """Every layer that is in FP8, by name."""

    def change(checkpoint: MutableCheckpoint) -> None:
        stems = [name.removesuffix(".weight_scale") for name in checkpoint.names(r".*\.weight_scale")]
        if fused:
            stems = [
                re.sub(r"\.[qkv]_proj$", ".qkv_proj", re.sub(r"\.(gate|up)_proj$", ".gate_up_proj", s)) for s in stems
            ]
        table = {"quant_algo": "MIXED_PRECISION", "quantized_layers": {s: {"quant_algo": "FP8"} for s in sorted(stems)}}
        if "quantization_config" in checkpoint.config:
            checkpoint.block.pop("config_groups")
            checkpoint.block.update(table)
        document = json.loads(checkpoint.files[SIDE])
        document["quantization"].update(table)
        checkpoint.files[SIDE] = json.dumps(document).encode()

    return change


def _old_exports() -> Iterator[Held]:
    """Layers that are stored fused with one scale: vllm#5915, vllm#39765, TRT-LLM#6761, sglang#28546."""
    for name, made in (
        ("modelopt", modelopt(HEAD, "0.29.0")),
        ("autofp8", autofp8(HEAD)),
    ):
        yield Held(f"served-fused/one-scale/phi3-{name}", "phi3/bf16", steps(made, ordered), OWN)
    yield Held("served-fused/one-scale/glm4-modelopt", "drawn/glm4", steps(modelopt(HEAD), ordered), OWN)
    repeated = steps(no_side_file, _repeated({"qkv_proj": 3, "gate_up_proj": 2}))
    yield Held("served-fused/one-scale-a-part/phi3-modelopt", "reported/served-fused/one-scale/phi3-modelopt", repeated)
    repeated = _repeated({"gate_up_proj": 2})
    yield Held("served-fused/one-scale-a-part/glm4-autofp8", f"{_HUB}glm4/autofp8", repeated)


def _repeated(parts: dict[str, int]) -> Damage:
    """One scale for each part of a fused layer, the same for all."""

    def change(checkpoint: MutableCheckpoint) -> None:
        for part, count in parts.items():
            checkpoint.change(
                rf".*\.{part}\.weight_scale",
                lambda t, n=count: t._replace(shape=(n,), data=t.data * n),  # type: ignore[misc]
            )

    return change


SERVING: tuple[Held, ...] = (
    *(*_short(), *_shadows(), *_fused(), *_latent(), *_prefixes(), *_towers(), *_heads(), *_names()),
    *(*_modelopt_mixed(), *_old_exports(), *LAYERS, *CACHES),
)
