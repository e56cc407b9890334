"""Small checkpoints of the kinds that people report: how exporters, mergers and editors of configs get them wrong."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.accuracy.plain import FP8_VALUES, bf16_of, dequantized, tensors_in
from tests.damage import (
    BLOCK,
    CT,
    CT_FP8,
    CT_KV,
    MOE,
    QUARK,
    QUARK_CUSTOM,
    TIED,
    Damage,
    MutableCheckpoint,
    bf16,
    exactly,
    load,
    plain_fp8,
    set_block,
    skip,
    steps,
)
from tests.raw import RawTensor
from tests.rules.cases.values import scaled_twice

Files = dict[str, bytes]
VL, QWEN3, MIXTRAL, PHI3, MODELOPT = (
    "qwen2_5_vl/llmcompressor-dynamic",
    "qwen3/llmcompressor-dynamic",
    "mixtral/llmcompressor-dynamic",
    "phi3/llmcompressor-dynamic",
    "llama/modelopt-fp8",
)


@dataclass(frozen=True)
class Report:
    """A kind of report: how its checkpoint is made, and the sound one that was meant where that is another."""

    name: str
    make: Callable[[], Files]
    meant: Callable[[], Files] | None = None


def changed(fixture: str, *changes: Damage) -> Callable[[], Files]:
    """A fixture after changes."""

    def make() -> Files:
        checkpoint = load(fixture)
        steps(lambda c: None, *changes)(checkpoint)
        return checkpoint.to_files()

    return make


def quantize(pattern: str, shape: Callable[[int], tuple[int, ...]] = lambda rows: (rows, 1)) -> Damage:
    """Modules of BF16 in FP8 with one scale for all their rows, close to what they were."""

    def change(checkpoint: MutableCheckpoint) -> None:
        for name in checkpoint.names(rf"{pattern}\.weight"):
            tensor = checkpoint.get(name)
            values = bf16_of(tensor.data)
            scale = 2.0 ** math.ceil(math.log2(float(abs(values).max()) / 240))
            codes = FP8_VALUES.codes_of(values / scale)
            rows = tensor.shape[0]
            extents = shape(rows)
            count = rows if rows in extents else 1
            checkpoint.change(exactly(name), lambda t, d=codes: t._replace(dtype="F8_E4M3", data=d))  # type: ignore[misc]
            checkpoint.put(f"{name}_scale", "BF16", extents, bf16(scale) * count)

    return change


def _uncompressed(keep_config: bool) -> Damage:
    """Weights in BF16 beside the scales that they were multiplied with."""

    def change(checkpoint: MutableCheckpoint) -> None:
        other = tensors_in(dequantized(checkpoint.to_files()))["model.safetensors"]
        for name in checkpoint.names(r".*\.weight"):
            checkpoint.change(exactly(name), lambda t, n=name: other[n])  # type: ignore[misc]
        if not keep_config:
            del checkpoint.config["quantization_config"]

    return change


def _without_config(checkpoint: MutableCheckpoint) -> None:
    del checkpoint.config["quantization_config"]


def _only_side_file(checkpoint: MutableCheckpoint) -> None:
    del checkpoint.config["quantization_config"]


def _autofp8(scheme: str) -> Damage:
    """Plain fp8 by tensor, with the names that vLLM reads."""

    def change(checkpoint: MutableCheckpoint) -> None:
        checkpoint.config["quantization_config"] = {
            "quant_method": "fp8",
            "activation_scheme": scheme,
            "ignored_layers": ["lm_head"],
        }
        if scheme == "dynamic":
            checkpoint.drop(r".*\.input_scale")

    return change


def _transformers_names(checkpoint: MutableCheckpoint) -> None:
    """Plain fp8 by tensor, with the names that transformers reads."""
    checkpoint.rename(r"(.*)\.weight_scale", r"\1.weight_scale_inv")
    checkpoint.rename(r"(.*)\.input_scale", r"\1.activation_scale")
    checkpoint.config["quantization_config"] = {
        "quant_method": "fp8",
        "activation_scheme": "static",
        "modules_to_not_convert": ["lm_head"],
        "weight_block_size": None,
    }


def _int8(checkpoint: MutableCheckpoint) -> None:
    spec = checkpoint.block["global_quant_config"]
    for role in ("weight", "input_tensors"):
        spec[role]["dtype"] = "int8"
    checkpoint.change(r".*_proj\.weight", lambda t: t._replace(dtype="I8", data=bytes(len(t.data))))


def _prefixed(prefix: str) -> Damage:
    return lambda checkpoint: checkpoint.rename(r"(.*)", rf"{prefix}\1")


def _cut(name: str) -> Callable[[], Files]:
    def make() -> Files:
        files = load("llama/llmcompressor-dynamic-sharded").to_files()
        (shard,) = [file for file in sorted(files) if file.endswith(".safetensors")][:1]
        if name == "missing":
            del files[shard]
        elif name == "pointer":
            files[shard] = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 123\n"
        else:
            files[shard] = files[shard][: len(files[shard]) // 2]
        return files

    return make


def _side_file(**section: Any) -> Damage:
    def change(checkpoint: MutableCheckpoint) -> None:
        checkpoint.files["hf_quant_config.json"] = json.dumps(
            {"producer": {"name": "modelopt", "version": "0.40.0"}, "quantization": section}
        ).encode()

    return change


def _without_skip_list(checkpoint: MutableCheckpoint) -> None:
    for key in ("ignore", "exclude", "ignored_layers"):
        if key in checkpoint.block:
            checkpoint.block[key] = []


def _bias_for_bits(checkpoint: MutableCheckpoint) -> None:
    """Scales in F32, as many exporters store them."""
    checkpoint.change(
        r".*\.weight_scale",
        lambda t: RawTensor("F32", t.shape, b"".join(b"\0\0" + t.data[i : i + 2] for i in range(0, len(t.data), 2))),
    )


def meant(fixture: str) -> Callable[[], Files]:
    """The fixture itself."""
    return lambda: load(fixture).to_files()


def all_plain(fixture: str) -> Callable[[], Files]:
    """The fixture in BF16."""
    return lambda: dequantized(load(fixture).to_files())


REPORTS = (
    Report("frozen", changed(CT_FP8, set_block(quantization_status="frozen")), meant(CT_FP8)),
    Report("initialized", changed(CT, set_block(quantization_status="initialized")), meant(CT)),
    Report("status-null", changed(CT, set_block(quantization_status=None)), meant(CT)),
    Report(
        "tower-quantized",
        changed(
            VL,
            quantize(r"visual\.blocks\.0\.(attn|mlp)\.\w+"),
            _without_skip_list,
            skip("lm_head", "re:.*merger.*", "re:.*visual.blocks.[1-9].*"),
        ),
    ),
    Report("tower-quantized-and-listed", changed(VL, quantize(r"visual\.blocks\.0\.(attn|mlp)\.\w+")), meant(VL)),
    Report(
        "dead-skip-entry",
        changed(QWEN3, skip("re:.*mlp\\.gate$", "re:.*linear_attn.*", "model.visual.blocks.0")),
        meant(QWEN3),
    ),
    Report("embedding", changed(CT, quantize(r"model\.embed_tokens"))),
    Report("tied-embedding", changed(TIED, quantize(r"model\.embed_tokens"))),
    Report("scales-without-config", changed(CT, _uncompressed(False)), all_plain(CT)),
    Report("saved-uncompressed", changed(CT, _uncompressed(True)), all_plain(CT)),
    Report("saved-uncompressed-static", changed(CT_FP8, _uncompressed(True)), all_plain(CT_FP8)),
    Report("saved-uncompressed-quark", changed(QUARK, _uncompressed(True)), all_plain(QUARK)),
    Report("config-stripped", changed(CT, _without_config), meant(CT)),
    Report("config-stripped-quark", changed(QUARK, _without_config), meant(QUARK)),
    Report("config-stripped-block", changed(BLOCK, plain_fp8, _without_config), changed(BLOCK, plain_fp8)),
    Report("modelopt-side-file-only", changed(MODELOPT, _only_side_file), meant(MODELOPT)),
    Report("modelopt-side-file-kv", changed("llama/modelopt-fp8-kv", _only_side_file), meant("llama/modelopt-fp8-kv")),
    Report(
        "modelopt-experts-side-file",
        changed("qwen3_moe/modelopt-fp8", _only_side_file),
        meant("qwen3_moe/modelopt-fp8"),
    ),
    Report("fp8-transformers-names", changed(CT_FP8, _transformers_names), meant(CT_FP8)),
    Report("fp8-static", changed(CT_FP8, _autofp8("static")), meant(CT_FP8)),
    Report("fp8-dynamic", changed(CT_FP8, _autofp8("dynamic")), meant(CT_FP8)),
    Report(
        "fp8-static-experts",
        changed(
            "qwen3_moe/modelopt-fp8",
            lambda c: c.files.pop("hf_quant_config.json"),
            _autofp8("static"),
            set_block(ignored_layers=["lm_head", *(f"model.layers.{n}.mlp.gate" for n in range(2))]),
        ),
        meant("qwen3_moe/modelopt-fp8"),
    ),
    Report("fp8-block", changed(BLOCK, plain_fp8), meant(BLOCK)),
    Report("fp8-block-no-list", changed(BLOCK, plain_fp8, lambda c: c.block.pop("ignored_layers")), meant(BLOCK)),
    Report(
        "fp8-block-for-transformers",
        changed(BLOCK, plain_fp8, lambda c: c.block.update(modules_to_not_convert=c.block.pop("ignored_layers"))),
        meant(BLOCK),
    ),
    Report(
        "fp8-block-scale-names",
        changed(BLOCK, plain_fp8, lambda c: c.rename(r"(.*)\.weight_scale_inv", r"\1.weight_scale")),
        meant(BLOCK),
    ),
    Report("fp8-block-f32-scales", changed(BLOCK, _bias_for_bits, plain_fp8), meant(BLOCK)),
    Report("int8-quark", changed(QUARK, _int8)),
    Report("adapter-prefix", changed(CT, _prefixed("base_model.model.")), meant(CT)),
    Report("multimodal-prefix", changed(CT, _prefixed("language_model.")), meant(CT)),
    Report("scaled-twice", changed(CT, scaled_twice), meant(CT)),
    Report("scaled-twice-static", changed(CT_FP8, scaled_twice), meant(CT_FP8)),
    Report("kv-scheme-without-scales", changed(CT_KV, lambda c: c.drop(r".*\.[kv]_scale")), meant(CT_KV)),
    Report("head-quantized-not-listed", changed(CT, quantize("lm_head"), _without_skip_list)),
    Report("head-quantized-and-listed", changed(CT, quantize("lm_head"))),
    Report("head-quark", changed(QUARK, quantize("lm_head", lambda rows: (rows,)), _without_skip_list)),
    Report("head-fp8", changed(QUARK_CUSTOM, quantize("lm_head", lambda rows: (1,)), _without_skip_list)),
    Report("router-quantized", changed(MOE, quantize(r".*\.mlp\.gate"), set_block(ignore=["lm_head"]))),
    Report("router-quantized-mixtral", changed(MIXTRAL, quantize(r".*\.gate"), set_block(ignore=["lm_head"]))),
    Report("router-not-listed", changed(MOE, set_block(ignore=["lm_head"])), meant(MOE)),
    Report("router-not-listed-mixtral", changed(MIXTRAL, set_block(ignore=["lm_head"])), meant(MIXTRAL)),
    Report("no-skip-list", changed(CT, _without_skip_list), meant(CT)),
    Report("no-skip-list-quark", changed(QUARK, _without_skip_list), meant(QUARK)),
    Report("no-skip-list-phi3", changed(PHI3, _without_skip_list), meant(PHI3)),
    Report("f32-scales", changed(CT, _bias_for_bits), meant(CT)),
    Report("f32-scales-experts", changed(MOE, _bias_for_bits), meant(MOE)),
    Report("shard-missing", _cut("missing"), meant("llama/llmcompressor-dynamic-sharded")),
    Report("shard-pointer", _cut("pointer"), meant("llama/llmcompressor-dynamic-sharded")),
    Report("shard-cut", _cut("cut"), meant("llama/llmcompressor-dynamic-sharded")),
    Report("two-configs", changed(CT_FP8, _side_file(quant_algo="FP8", exclude_modules=["lm_head"])), meant(CT_FP8)),
    Report("kv-cache-quark-post-rope", meant("llama/quark-fp8-kv-post-rope")),
    Report("kv-both-halves-one", changed(CT_KV, lambda c: c.drop(r".*\.v_scale")), meant(CT_KV)),
)
