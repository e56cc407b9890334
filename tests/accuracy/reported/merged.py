"""What is reported of models that were merged, edited, cut and cast, and then saved."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from tests.accuracy.again.drawn import in_fp8
from tests.accuracy.again.hub import ordered
from tests.accuracy.held.common import OWN, PLAIN_BLOCK, QWEN2_QUARK, SIDE, Held, alone, cut, listed
from tests.accuracy.plain import FP8_VALUES, bf16_of, in_high_precision, to_bf16
from tests.damage import CT, Damage, MutableCheckpoint, drop, exactly, rename, set_block, set_config, steps
from tests.raw import RawTensor, shard_bytes

HUB = "again/hub/"
SCALES = r".*\.(weight_scale(_inv)?|input_scale|activation_scale)"


def short(name: str) -> str:
    """A base's name as a part of an id."""
    return name.removeprefix(HUB).replace("/", "-")


def fp8_weights(checkpoint: MutableCheckpoint, pattern: str = r".*") -> list[str]:
    """Weights in FP8 of modules that match."""
    return [
        name
        for name, tensor in checkpoint.everything().items()
        if tensor.dtype == "F8_E4M3" and name.endswith(".weight") and re.fullmatch(pattern, name[: -len(".weight")])
    ]


def in_bf16(pattern: str = r".*", *, scales: bool = False) -> Damage:
    """Modules multiplied with their scales; these go, or stay."""

    def change(checkpoint: MutableCheckpoint) -> None:
        everything = checkpoint.everything()
        for name in fp8_weights(checkpoint, pattern):
            plain = in_high_precision(name, everything)
            checkpoint.change(exactly(name), lambda t, p=plain: p)  # type: ignore[misc]
            if not scales:
                stem = re.escape(name.removesuffix("weight"))
                checkpoint.drop(rf"{stem}(weight_scale(_inv)?|input_scale|activation_scale)")
        ordered(checkpoint)

    return change


def without_config(checkpoint: MutableCheckpoint) -> None:
    """Nothing says that the model is quantized."""
    checkpoint.config.pop("quantization_config", None)
    checkpoint.files.pop(SIDE, None)


def _raw(checkpoint: MutableCheckpoint) -> None:
    """Codes as numbers in BF16, as a cast makes them."""
    for name in fp8_weights(checkpoint):
        checkpoint.change(exactly(name), lambda t: RawTensor("BF16", t.shape, to_bf16(FP8_VALUES.values_of(t.data))))
    ordered(checkpoint)


def _saved() -> Iterator[Held]:
    """Merges and scripts that save in 16 bits."""
    # unslothai/unsloth#4919, unslothai/unsloth-zoo#803: codes and scales stay, the config goes.
    for name in ("mistral3/fp8", "deepseek-v3/fp8", "qwen3-vl/ct", "bamba/ct-all", "falcon-h1/modelopt"):
        own = OWN if "modelopt" in name else None
        yield Held(f"merged16/config-gone/{short(name)}", f"{HUB}{name}", without_config, own)
    for name in ("mistral3/fp8", "deepseek-v3/fp8", "falcon-h1/modelopt"):
        yield Held(f"merged16/sound/{short(name)}", f"{HUB}{name}", steps(in_bf16(), without_config), OWN)
    # sgl-project/sglang#6054, huggingface/transformers#37250: in BF16, and the config stays.
    for name in ("deepseek-v3/fp8", "qwen3-next/fp8", "olmo2/ct", "olmo2/quark", "gemma2/autofp8", "mistral3/fp8"):
        yield Held(f"cast-script/config-left/{short(name)}", f"{HUB}{name}", in_bf16(), OWN)
    dequantize = steps(in_bf16(), set_block(dequantize=True))
    yield Held("cast-script/says-dequantize/deepseek-v3-fp8", f"{HUB}deepseek-v3/fp8", dequantize, OWN)
    for name in ("deepseek-v3/fp8", "olmo2/ct"):
        stale = steps(_index_of_all, in_bf16(), without_config)
        yield Held(f"cast-script/index-names-scales/{short(name)}", f"{HUB}{name}", stale, OWN)
    # radixark/miles#1640: a weight whose scale is not found is copied as it is.
    for name, module in (
        ("deepseek-v3/fp8", r"model\.layers\.0\.self_attn\.o_proj"),
        ("qwen2-moe/ct", r"model\.layers\.1\.mlp\.shared_expert\.down_proj"),
    ):
        change = steps(drop(rf"{module}\.weight_scale(_inv)?"), in_bf16(rf"(?!{module}$).*"), without_config)
        yield Held(f"cast-script/one-left/{short(name)}", f"{HUB}{name}", change)
    # wuwangzhang1216/abliterix#93, Lightricks/LTX-2#172: codes cast without their scales.
    for name in ("glm4/ct", "deepseek-v3/fp8"):
        base = f"{HUB}{name}"
        yield Held(f"raw-cast/scales-left/{short(name)}", base, steps(_raw, without_config))
        yield Held(f"raw-cast/all-left/{short(name)}", base, _raw)
        yield Held(f"raw-cast/nothing-left/{short(name)}", base, steps(drop(SCALES), _raw, without_config))


def _index_of_all(checkpoint: MutableCheckpoint) -> None:
    checkpoint.true_index()


def _to_codes(pattern: str) -> Damage:
    """Numbers cast to FP8 without a scale."""

    def cast(tensor: RawTensor) -> RawTensor:
        return RawTensor("F8_E4M3", tensor.shape, FP8_VALUES.codes_of(bf16_of(tensor.data).reshape(-1)))

    return steps(lambda c: c.change(pattern, cast), ordered)


def _ones(checkpoint: MutableCheckpoint) -> None:
    for name in fp8_weights(checkpoint):
        checkpoint.put(f"{name}_scale", "F32", (), b"\0\0\x80\x3f")
    ordered(checkpoint)


def _cast() -> Iterator[Held]:
    """Whole models stored in FP8 by a cast, as uploads that were saved with that type."""
    linears = r"model\.layers\.\d+\.(self_attn|mlp)\.\w+_proj\.weight"
    block = {"quant_method": "fp8", "activation_scheme": "dynamic", "ignored_layers": ["lm_head"]}
    declared = set_config(quantization_config=block)
    for model in ("olmo2", "gemma2"):
        yield Held(f"saved-as-fp8/all/{model}", f"drawn/{model}", _to_codes(r".*\.weight"), OWN)
        yield Held(f"saved-as-fp8/linears/{model}", f"drawn/{model}", _to_codes(linears), OWN)
        yield Held(f"saved-as-fp8/declared/{model}", f"drawn/{model}", steps(_to_codes(linears), declared), OWN)
        sound = steps(_to_codes(linears), _ones, declared)
        yield Held(f"saved-as-fp8/scales-of-one/{model}", f"drawn/{model}", sound, OWN)


def _beside(weights: bool) -> Damage:
    """An adapter's files beside a merged model."""

    def change(checkpoint: MutableCheckpoint) -> None:
        config: dict[str, Any] = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}
        config |= {"base_model_name_or_path": "base", "task_type": "CAUSAL_LM"}
        checkpoint.files["adapter_config.json"] = json.dumps(config).encode()
        if weights:
            checkpoint.files["adapter_model.safetensors"] = shard_bytes(_low_rank(checkpoint), {"format": "pt"})

    return change


def _low_rank(checkpoint: MutableCheckpoint) -> dict[str, RawTensor]:
    stem = "base_model.model.model.layers.0.self_attn.q_proj.lora_"
    rows, columns = checkpoint.get("model.layers.0.self_attn.q_proj.weight").shape
    return {
        f"{stem}A.weight": RawTensor("BF16", (4, columns), to_bf16(np.full(4 * columns, 0.5, np.float32))),
        f"{stem}B.weight": RawTensor("BF16", (rows, 4), to_bf16(np.full(4 * rows, 0.25, np.float32))),
    }


def _not_folded(checkpoint: MutableCheckpoint) -> None:
    """Matrices of an adapter among the model's own tensors."""
    for name, tensor in _low_rank(checkpoint).items():
        own = name.removeprefix("base_model.model.").replace(".weight", ".default.weight")
        checkpoint.put(own, *tensor)
    ordered(checkpoint)


def _adapters() -> Iterator[Held]:
    """Adapters that were not merged, or merged and scaled anew."""
    # NVIDIA/Model-Optimizer#2064: names of the wrapper stay.
    wrapped = rename(r"(.*\.q_proj)\.(weight\w*)", r"\1.base_layer.\2")
    for name, base in (("ct", CT), ("fp8-blocks", PLAIN_BLOCK), ("quark", QWEN2_QUARK)):
        yield Held(f"adapter/base-layer/{name}", base, wrapped)
    for name, base in (("ct", CT), ("fp8-blocks", PLAIN_BLOCK)):
        yield Held(f"adapter/not-folded/{name}", base, _not_folded)
        yield Held(f"adapter/files-beside/{name}", base, _beside(True))
    yield Held("adapter/config-beside/ct", CT, _beside(False))
    # modelscope/ms-swift#7907: what was merged is scaled otherwise than the config says.
    for name, grain, scale, module in (
        ("deepseek-v3/fp8", "tensor", "weight_scale_inv", r"model\.layers\.\d\.self_attn\.o_proj"),
        ("qwen3-next/fp8", "tensor", "weight_scale_inv", r"model\.layers\.0\.linear_attn\.out_proj"),
        ("exaone4/fp8", "row", "weight_scale_inv", r"model\.layers\.\d\.mlp\.down_proj"),
        ("glm4/ct", "block", "weight_scale", r"model\.layers\.\d\.mlp\.gate_up_proj"),
        ("gemma2/autofp8", "row", "weight_scale", r"model\.layers\.\d\.mlp\.down_proj"),
    ):
        dtype = "BF16" if name.endswith("ct") else "F32"
        change = steps(in_bf16(module), in_fp8(grain, scale, dtype, only=module), ordered)
        yield Held(f"adapter/scaled-by-{grain}/{short(name)}", f"{HUB}{name}", change, OWN)
    # p-e-w/heretic#182: the projections that write to the stream are edited in high precision.
    for name, key, module in (
        ("olmoe/ct", "ignore", r".*(o_proj|experts\.\d\.down_proj)"),
        ("qwen3.5/fp8", "modules_to_not_convert", r".*(o_proj|out_proj|down_proj)"),
        ("olmo2/quark", "exclude", r".*(o_proj|down_proj)"),
    ):
        base = f"{HUB}{name}"
        yield Held(f"abliterated/not-listed/{short(name)}", base, in_bf16(module), OWN)
        yield Held(f"abliterated/listed/{short(name)}", base, steps(in_bf16(module), _listed_as(key, module)), OWN)


def _listed_as(key: str, pattern: str) -> Damage:
    """Modules that match, each by its name."""

    def change(checkpoint: MutableCheckpoint) -> None:
        names = [name.removesuffix(".weight") for name in checkpoint.names(rf"{pattern}\.weight")]
        listed(key, *names)(checkpoint)

    return change


def _layers(*order: int, said: bool = True, key: str = "") -> Damage:
    """Layers of a model in another order, and as often as is said; a list of ``key`` follows."""

    def change(checkpoint: MutableCheckpoint) -> None:
        (shard,) = checkpoint.shards.values()
        found: dict[str, RawTensor] = {}
        for name, tensor in shard.items():
            match = re.match(r"(.*\.layers\.)(\d+)(\..*)", name)
            places = [n for n, old in enumerate(order) if match and int(match[2]) == old]
            found |= {f"{match[1]}{n}{match[3]}": tensor for n in places} if match else {name: tensor}
        shard.clear()
        shard.update(found)
        if said:
            checkpoint.config["num_hidden_layers"] = len(order)
            for kind in ("layer_types", "mlp_layer_types"):
                if kind in checkpoint.config:
                    checkpoint.config[kind] = [checkpoint.config[kind][n] for n in order]
        if key:
            every = [
                re.sub(r"\.layers\.\d+\.", f".layers.{n}.", entry)
                for entry in checkpoint.block[key]
                for n in range(len(order))
            ]
            checkpoint.block[key] = list(dict.fromkeys(every))
        ordered(checkpoint)

    return change


def _of_layers() -> Iterator[Held]:
    """Merges by layers: the list names those of the first model alone."""
    for name, key in (("olmoe/autofp8", "ignored_layers"), ("qwen2-moe/quark", "exclude")):
        base = f"{HUB}{name}"
        yield Held(f"stacked-layers/list-stale/{short(name)}", base, _layers(0, 1, 0, 1), OWN)
        yield Held(f"stacked-layers/list-follows/{short(name)}", base, _layers(0, 1, 0, 1, key=key), OWN)
    for name in ("olmoe/ct", "exaone4/fp8"):
        yield Held(f"stacked-layers/no-layer-listed/{short(name)}", f"{HUB}{name}", _layers(0, 1, 0, 1), OWN)
    for name in ("exaone4/fp8", "olmo2/quark"):
        yield Held(f"stacked-layers/not-said/{short(name)}", f"{HUB}{name}", _layers(0, 1, 0, 1, said=False))
    yield Held("stacked-layers/one-alone/exaone4-fp8", f"{HUB}exaone4/fp8", _layers(1), OWN)


def _pruned(*, said: bool = True, router: bool = True, bias: bool = True) -> Damage:
    """The first two experts of four."""

    def change(checkpoint: MutableCheckpoint) -> None:
        drop(r".*\.experts\.[23]\..*")(checkpoint)
        if router:
            cut(r".*(mlp|moe)\.gate\.weight", -2)(checkpoint)
        if bias and any(name.endswith("e_score_correction_bias") for name in checkpoint.everything()):
            cut(r".*e_score_correction_bias", -2)(checkpoint)
        for key in ("num_experts", "n_routed_experts", "num_local_experts"):
            if said and key in checkpoint.config:
                checkpoint.config[key] = 2
        ordered(checkpoint)

    return change


def _of_experts() -> Iterator[Held]:
    """Experts that were cut out (vllm-project/llm-compressor#2864, #3003, jundot/omlx#3610)."""
    for name in ("olmoe/ct", "minimax-m2/fp8", "glm4-moe/fp8"):
        base = f"{HUB}{name}"
        yield Held(f"pruned-experts/sound/{short(name)}", base, _pruned(), OWN)
        yield Held(f"pruned-experts/not-said/{short(name)}", base, _pruned(said=False), OWN)
    yield Held("pruned-experts/router-whole/olmoe-ct", f"{HUB}olmoe/ct", _pruned(router=False), OWN)
    for name in ("minimax-m2/fp8", "glm4-moe/fp8"):
        yield Held(f"pruned-experts/bias-whole/{short(name)}", f"{HUB}{name}", _pruned(bias=False), OWN)
    # vllm-project/vllm#36997, radixark/miles#1317: saved as the newer classes hold them, in one tensor.
    for name in ("qwen3-next/fp8", "deepseek-v3/fp8", "qwen3.5-vl/fp8", "qwen2-moe/ct"):
        yield Held(f"experts-in-one/{short(name)}", f"{HUB}{name}", _in_one)


def _in_one(checkpoint: MutableCheckpoint) -> None:
    ending = "weight_scale" if checkpoint.block["quant_method"] == "compressed-tensors" else "weight_scale_inv"
    stems = {name.partition(".experts.")[0] for name in checkpoint.names(r".*\.experts\.0\.down_proj\.weight")}
    for stem in sorted(stems):
        for part in ("weight", ending):

            def parts(module: str, part: str = part, stem: str = stem) -> list[RawTensor]:
                return [checkpoint.get(f"{stem}.experts.{n}.{module}_proj.{part}") for n in range(4)]

            gate, up, down = parts("gate"), parts("up"), parts("down")
            tail = part.removeprefix("weight")
            both = b"".join(g.data + u.data for g, u in zip(gate, up, strict=True))
            rows, *rest = gate[0].shape
            checkpoint.put(f"{stem}.experts.gate_up_proj{tail}", gate[0].dtype, (4, 2 * rows, *rest), both)
            data = b"".join(d.data for d in down)
            checkpoint.put(f"{stem}.experts.down_proj{tail}", down[0].dtype, (4, *down[0].shape), data)
    checkpoint.drop(r".*\.experts\.\d+\..*")
    ordered(checkpoint)


def _of_inputs() -> Iterator[Held]:
    """Scales of inputs: shared ones that are saved once, and experts that no token met."""
    # neuralmagic/AutoFP8#28: equal scales share their storage, and one of them is saved.
    for name in ("gemma2/autofp8", "olmoe/autofp8", "starcoder2/autofp8", "falcon-h1/modelopt"):
        own = OWN if name.endswith("modelopt") else None
        yield Held(f"shared-scales/saved-once/{short(name)}", f"{HUB}{name}", _once, own)
    # NVIDIA/TensorRT-LLM#6530, NVIDIA/Model-Optimizer#1410, intel/auto-round#1390.
    for name, module in (
        ("olmoe/autofp8", r"model\.layers\.0\.mlp\.experts\.3\.\w+_proj"),
        ("deepseek-v2/autofp8", r"model\.layers\.1\.mlp\.experts\.2\.up_proj"),
        ("deepseek-v2/ct-old", r"model\.layers\.1\.mlp\.experts\.\d\.\w+_proj"),
        ("glm4-moe/modelopt", r"model\.layers\.1\.mlp\.experts\.1\.\w+_proj"),
    ):
        base = f"{HUB}{name}"
        yield Held(f"uncalibrated/missing/{short(name)}", base, drop(rf"{module}\.input_scale"), OWN)
    ones = lambda c: c.change(r".*experts\.\d\..*input_scale", lambda t: t._replace(data=b"\0\0\x80\x3f"))  # noqa: E731
    yield Held("uncalibrated/ones/olmoe-autofp8", f"{HUB}olmoe/autofp8", ones, OWN)
    left = steps(alone(r"model\.layers\.0\.mlp\.experts\.3\.\w+_proj"), ordered)
    yield Held("uncalibrated/in-bf16/olmoe-autofp8", f"{HUB}olmoe/autofp8", left, OWN)


def _once(checkpoint: MutableCheckpoint) -> None:
    first = checkpoint.names(r".*\.input_scale")[0]
    checkpoint.drop(rf"(?!{re.escape(first)}$).*\.input_scale")


MERGED = (*_saved(), *_cast(), *_adapters(), *_of_layers(), *_of_experts(), *_of_inputs())
