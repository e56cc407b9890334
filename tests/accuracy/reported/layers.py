"""Reports to serving engines that are about kinds of layers: experts, routers, state spaces, gated attention.

Each function names the threads that its checkpoints come from.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from tests.accuracy.again.drawn import GRAINS, add, declared, in_fp8
from tests.accuracy.again.hub import (
    HEAD,
    autofp8,
    blocks,
    channels,
    compressed,
    deepseek,
    each,
    modelopt,
    ordered,
    quark,
    static,
)
from tests.accuracy.held.common import (
    OWN,
    STORES,
    Held,
    first_value,
    listed,
    mapped,
    no_side_file,
)
from tests.accuracy.plain import FP8_VALUES, bf16_of
from tests.accuracy.reports import quantize
from tests.damage import Damage, MutableCheckpoint, drop, exactly, set_config, steps

_HUB = "again/hub/"
_ROUTER = ("re:.*mlp.gate$",)
_SHARED = each("mlp.gate", "mlp.shared_expert_gate")


def stacked(pattern: str, scale: Callable[[str], str]) -> Damage:
    """Experts that are stored as one tensor in FP8, with a scale for each row of each."""

    def change(checkpoint: MutableCheckpoint) -> None:
        for name in checkpoint.names(pattern):
            tensor = checkpoint.get(name)
            values = bf16_of(tensor.data).reshape(tensor.shape)
            pairs = [GRAINS["row"](expert) for expert in values]
            codes = b"".join(FP8_VALUES.codes_of(v / wide) for v, (_, wide) in zip(values, pairs, strict=True))
            checkpoint.change(exactly(name), lambda t, d=codes: t._replace(dtype="F8_E4M3", data=d))  # type: ignore[misc]
            rows = np.stack([row for row, _ in pairs])
            checkpoint.put(scale(name), "BF16", rows.shape, STORES["BF16"](rows.reshape(-1)))

    return change


def _granite() -> Iterator[Held]:
    """Stacked experts and routers of Granite, and its hybrids: vllm#42463, vllm#44739, llm-compressor#2339, vllm#21608,
    llm-compressor#2714."""
    experts = stacked(r".*block_sparse_moe\.(in|out)put_linear\.weight", lambda name: f"{name}_scale")
    router = ("re:.*router.*",)
    for model in ("granitemoe", "granitemoehybrid"):
        made = steps(channels((*HEAD, *router), but=r".*router.*"), experts, ordered)
        yield Held(f"served-experts/stacked/{model}", f"drawn/{model}", made, OWN)
        left = channels((*HEAD, "re:.*block_sparse_moe.*"), but=r".*router.*")
        yield Held(f"served-experts/stacked-plain/{model}", f"drawn/{model}", steps(left, ordered), OWN)
        both = steps(channels(HEAD), experts, ordered)
        yield Held(f"served-router/in-fp8/{model}", f"drawn/{model}", both, OWN)
    plain = channels((*HEAD, "re:.*block_sparse_moe.*", "re:.*mamba.*"), but=r".*(router|mamba\.\w+_proj).*")
    yield Held("served-mamba/left-alone/granitemoehybrid", "drawn/granitemoehybrid", steps(plain, ordered), OWN)


def _architectures() -> Iterator[Held]:
    """Exports of models that threads are about: vllm#16474, vllm#20419 (Llama 4), GLM-V#178, vllm#8588 (Phi MoE),
    HabanaAI/vllm-fork#1833 (Hunyuan),
    llm-compressor#2714 (routers under a name of their own)."""
    but = r"(vision_model\..*|multi_modal_projector\..*|.*self_attn\..*)"
    towers = ("re:.*lm_head", "re:.*self_attn", "re:.*router", "re:.*vision_model", "re:.*multi_modal_projector")
    apart = steps(_unstacked, channels(towers, "0.9.4", but=but))
    yield Held("served-experts/apart/llama4-ct", "drawn/llama4", steps(apart, ordered), OWN)
    whole = stacked(r".*experts\.(gate_up|down)_proj", lambda name: f"{name}_scale")
    yield Held(
        "served-experts/stacked/llama4-ct", "drawn/llama4", steps(channels(towers, but=but), whole, ordered), OWN
    )
    plain = channels((*towers, "re:.*experts.*"), but=but)
    yield Held("served-experts/stacked-plain/llama4-ct", "drawn/llama4", steps(plain, ordered), OWN)
    text = "model.language_model.layers"
    gates = each("mlp.gate", prefix=text)
    for name, model, made in (
        ("listed/qwen3-vl-moe-fp8", "qwen3_vl_moe", deepseek((*HEAD, "model.visual", *gates))),
        ("not-listed/qwen3-vl-moe-fp8", "qwen3_vl_moe", deepseek((*HEAD, "model.visual"))),
        ("listed/glm4v-moe-ct", "glm4v_moe", channels((*HEAD, "re:.*visual.*", *_ROUTER))),
        ("listed/glm4v-moe-fp8", "glm4v_moe", deepseek((*HEAD, "model.visual", *gates[1:]))),
        ("listed/phimoe-ct", "phimoe", channels((*HEAD, "re:.*block_sparse_moe.gate$"))),
        ("listed/hunyuan-moe-autofp8", "hunyuan_v1_moe", autofp8((*HEAD, *each("mlp.gate.wg")))),
        ("not-listed/hunyuan-moe-autofp8", "hunyuan_v1_moe", autofp8((*HEAD, *each("mlp.gate")))),
        ("listed/exaone-moe-fp8", "exaone_moe", deepseek((*HEAD, *each("mlp.gate", layers=(1,))))),
        ("listed/jamba-ct", "jamba", channels((*HEAD, "re:.*mamba.*", "re:.*router$"), but=r".*mamba\..*")),
        ("not-listed/jamba-ct", "jamba", channels((*HEAD, "re:.*router$"), but=r".*mamba\..*")),
    ):
        yield Held(f"served-router/{name}", f"drawn/{model}", steps(made, ordered), OWN)


def _unstacked(checkpoint: MutableCheckpoint) -> None:
    """Each of Llama 4's experts apart, turned as linear layers are."""
    for name in checkpoint.names(r".*experts\.(gate_up|down)_proj"):
        tensor = checkpoint.get(name)
        values = bf16_of(tensor.data).reshape(tensor.shape)
        checkpoint.drop(exactly(name))
        stem, part = name.rsplit(".", 1)
        for number, expert in enumerate(values):
            halves = np.split(expert, 2, axis=1) if part == "gate_up_proj" else [expert]
            for short, half in zip(("gate", "up") if len(halves) == 2 else ("down",), halves, strict=True):
                turned = np.ascontiguousarray(half.T)
                data = STORES["BF16"](turned.reshape(-1))
                checkpoint.put(f"{stem}.{number}.{short}_proj.weight", "BF16", turned.shape, data)


def _routers() -> Iterator[Held]:
    """Routers and gates in FP8, and lists that lack them because they are no linear layers: llm-compressor#2714,
    vllm#48606."""
    for name, modules, entries in (
        ("deepseek-v3/ct", r"model\.layers\.1\.mlp\.gate", HEAD),
        ("minimax-m2/ct", r".*block_sparse_moe\.gate", HEAD),
        ("qwen2-moe/ct", r".*\.shared_expert_gate", (*HEAD, *_ROUTER)),
    ):
        change = steps(quantize(modules), listed("ignore", *entries, add=False))
        yield Held(f"served-router/in-fp8/{name.replace('/', '-')}", f"{_HUB}{name}", change, OWN)
    for name in ("qwen2-moe/quark", "deepseek-v3/quark"):
        change = listed("exclude", *HEAD, add=False)
        yield Held(f"served-router/not-listed/{name.replace('/', '-')}", f"{_HUB}{name}", change)


def _shared() -> Iterator[Held]:
    """Shared experts left alone beside routed ones in FP8, and the other way round: amd/Quark#25, sglang#33759,
    sglang#40628, sglang#22948."""
    gate = each("mlp.gate", layers=(1,))
    shared = r".*\.shared_experts?\.\w+_proj"
    routed = r".*\.experts\.\d\.\w+_proj"
    parts = ("gate_proj", "up_proj", "down_proj")
    one = each(*(f"mlp.shared_experts.{part}" for part in parts), layers=(1,))
    two = each(*(f"mlp.shared_expert.{part}" for part in parts))
    linear = each("linear_attn.conv1d", "linear_attn.in_proj_ba", layers=(0,))
    for name, model, made in (
        ("plain/deepseek-v3-fp8", "deepseek_v3", deepseek((*HEAD, *gate, *one), but=shared)),
        ("plain/deepseek-v3-quark", "deepseek_v3", quark((*HEAD, *gate, "*shared_experts*"), but=shared)),
        ("plain/glm4-moe-modelopt", "glm4_moe", modelopt((*HEAD, "*mlp.gate", "*shared_experts*"), but=shared)),
        ("plain/qwen3-next-fp8", "qwen3_next", deepseek((*HEAD, *_SHARED, *linear, *two), but=shared)),
        ("routed-plain/deepseek-v3-ct", "deepseek_v3", channels((*HEAD, *_ROUTER, r"re:.*\.experts\..*"), but=routed)),
    ):
        yield Held(f"served-shared/{name}", f"drawn/{model}", steps(made, ordered), OWN)


def _inputs() -> Iterator[Held]:
    """Experts that calibration never reached: no scale of inputs, zero, or infinity: vllm#45212,
    compressed-tensors#595, vllm#51525."""
    for name in ("qwen2-moe/autofp8", "deepseek-v2/autofp8", "glm4-moe/modelopt"):
        change = drop(r"model\.layers\.1\.mlp\.experts\.3\.\w+\.input_scale")
        yield Held(f"served-inputs/gone/{name.replace('/', '-')}", f"{_HUB}{name}", change, OWN)
    one = r"model\.layers\.1\.mlp\.experts\.3\.down_proj\.input_scale"
    infinite = mapped(one, first_value(math.inf))
    yield Held("served-inputs/infinite/glm4-moe-modelopt", f"{_HUB}glm4-moe/modelopt", infinite)
    other = mapped(r"model\.layers\.0\.mlp\.experts\.2\.gate_proj\.input_scale", first_value(0.5))
    yield Held("served-inputs/unequal/qwen2-moe-autofp8", f"{_HUB}qwen2-moe/autofp8", other, OWN)


def _narrow() -> Iterator[Held]:
    """Layers that are no multiple of a tile: sglang#26107, vllm#54178, miles#303, vllm#50617."""
    gate = each("mlp.gate", layers=(1,))
    linear = each("linear_attn.conv1d", "linear_attn.in_proj_ba", layers=(0,))
    in_shared = steps(_size(r".*\.shared_expert\.", 64), set_config(shared_expert_intermediate_size=64))
    in_experts = steps(_size(r".*\.experts\.\d\.", 64), set_config(moe_intermediate_size=64))
    in_mlp = steps(_size(r".*\.layers\.\d\.mlp\.", 192), set_config(intermediate_size=192))
    low_rank = steps(
        add({f"model.layers.{n}.self_attn.{k}.weight": s for n in range(2) for k, s in _LOW_RANK.items()}),
        set_config(q_lora_rank=64),
    )
    for name, model, change, made in (
        ("shared-expert/qwen3-next-fp8", "qwen3_next", in_shared, deepseek((*HEAD, *_SHARED, *linear))),
        ("experts/qwen2-moe-fp8", "qwen2_moe", in_experts, deepseek((*HEAD, *_SHARED))),
        ("low-rank/deepseek-v3-fp8", "deepseek_v3", low_rank, deepseek((*HEAD, *gate))),
        ("low-rank/deepseek-v3-ct", "deepseek_v3", low_rank, blocks((*HEAD, *_ROUTER))),
        ("mlp/exaone4-fp8", "exaone4", in_mlp, deepseek(HEAD)),
        ("mlp/glm4-ct", "glm4", steps(_merged_192, set_config(intermediate_size=192)), blocks(HEAD)),
    ):
        yield Held(f"served-narrow/{name}", f"drawn/{model}", steps(change, made, ordered), OWN)


_LOW_RANK = {"q_a_proj": (64, 128), "q_a_layernorm": (64,), "q_b_proj": (256, 64)}


def _size(pattern: str, size: int) -> Damage:
    """Gated layers of another size, with numbers of their own."""

    def change(checkpoint: MutableCheckpoint) -> None:
        names = checkpoint.names(rf"{pattern}(gate|up|down)_proj\.weight")
        shapes = {name: checkpoint.get(name).shape for name in names}
        add({n: (s[0], size) if "down_proj" in n else (size, s[1]) for n, s in shapes.items()})(checkpoint)

    return change


def _merged_192(checkpoint: MutableCheckpoint) -> None:
    names = {"gate_up_proj": (384, 128), "down_proj": (128, 192)}
    add({f"model.layers.{n}.mlp.{k}.weight": s for n in range(2) for k, s in names.items()})(checkpoint)


def _gated() -> Iterator[Held]:
    """Scales of the fused input projections of linear attention: vllm#47396, vllm#38197."""
    gates = each("linear_attn.conv1d", "linear_attn.in_proj_a", "linear_attn.in_proj_b", layers=(0,))
    linear = each("linear_attn.conv1d", "linear_attn.in_proj_ba", layers=(0,))
    rows = steps(in_fp8("row", inputs="input_scale"), declared(compressed("channel", "tensor", (*HEAD, *gates))))
    for name, model, made in (
        ("tensor/qwen3.5-modelopt", "qwen3_5_text", modelopt((*HEAD, *gates), "0.41.0")),
        ("tensor/qwen3.5-ct", "qwen3_5_text", static((*HEAD, *gates), "0.13.0")),
        ("rows-and-tensor/qwen3.5-ct", "qwen3_5_text", rows),
        ("tensor/qwen3-next-modelopt", "qwen3_next", modelopt((*HEAD, *linear, *_SHARED), "0.37.0")),
        ("blocks/qwen3.5-ct", "qwen3_5_text", blocks((*HEAD, *gates), "0.14.0")),
    ):
        yield Held(f"served-gated/{name}", f"drawn/{model}", steps(made, ordered), OWN)
    three = lambda t: t._replace(shape=(3,), data=t.data * 3)  # noqa: E731
    change = steps(no_side_file, lambda c: c.change(r".*in_proj_qkv\.weight_scale", three))
    base = "reported/served-gated/tensor/qwen3.5-modelopt"
    yield Held("served-gated/one-a-part/qwen3.5-modelopt", base, change)


def _targets() -> Iterator[Held]:
    """Groups of which one names layers and the other their class: vllm#49483, vllm#12617."""
    attention = r".*self_attn\.\w_proj"
    for model, rest in (("olmo2", r".*mlp\.\w+_proj"), ("qwen2_moe", r".*(experts\.\d|shared_expert)\.\w+_proj")):
        for kind, order in (("names-first", ("names", "class")), ("class-first", ("class", "names"))):
            made = steps(
                in_fp8("row", only=attention), in_fp8("block", only=rest), _two_groups(attention, order), ordered
            )
            yield Held(f"served-groups/{kind}/{model}", f"drawn/{model}", made, OWN)


def _two_groups(attention: str, order: tuple[str, ...]) -> Damage:
    def change(checkpoint: MutableCheckpoint) -> None:
        names = [name.removesuffix(".weight") for name in checkpoint.names(rf"{attention}\.weight")]
        ignore = [*HEAD, "re:.*mlp.gate$", "re:.*shared_expert_gate$"]
        groups = {
            "names": {**compressed("channel", "token", [], "0.14.0")["config_groups"]["group_0"], "targets": names},
            "class": compressed("block", "group", [], "0.14.0")["config_groups"]["group_0"],
        }
        made = compressed("channel", "token", ignore, "0.14.0")
        made["config_groups"] = {f"group_{number}": groups[kind] for number, kind in enumerate(order)}
        declared(made)(checkpoint)

    return change


LAYERS: tuple[Held, ...] = (
    *(*_granite(), *_architectures(), *_routers(), *_shared(), *_inputs(), *_narrow(), *_gated(), *_targets()),
)
