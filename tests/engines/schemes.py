"""Real fixtures brought into other schemes: what some engine refuses, has, or gets wrong without a defect of the file.

Each scheme names the engines' verdicts that were checked: by running vLLM and transformers, and by reading the sources
of SGLang and TensorRT-LLM. ``tests/interop/test_support.py`` runs them again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.damage import BLOCK, CT, MOE, QUARK, QUARK_MOE, Damage, MutableCheckpoint, bf16, f32, steps
from tests.raw import RawTensor

LOADS, REFUSES, SILENT, UNKNOWN = "loads", "refuses", "silently wrong", "unknown"
_SCALE, _INPUT_SCALE = bf16(2.0**-9), bf16(2.0**-6)


@dataclass(frozen=True)
class Scheme:
    """A change of a fixture's scheme, config and tensors alike, and engine -> verdict."""

    name: str
    base: str
    change: Damage
    verdicts: Mapping[str, str]


def _inputs(strategy: str, **more: Any) -> dict[str, Any]:
    return {"num_bits": 8, "type": "float", "symmetric": True, "strategy": strategy, **more}


_TOKEN = _inputs("token", dynamic=True)
_DYNAMIC_TENSOR = _inputs("tensor", dynamic=True)
_STATIC = _inputs("tensor", dynamic=False)
_GROUP = _inputs("group", dynamic=True, group_size=128)


def _input_scales(checkpoint: MutableCheckpoint, shape: tuple[int, ...]) -> None:
    for name in checkpoint.names(r".*\.weight_scale"):
        checkpoint.put(name.replace("weight_scale", "input_scale"), "BF16", shape, _INPUT_SCALE)


def _halved(tensor: RawTensor) -> RawTensor:
    """Codes of half the size: with one scale for all rows, they cannot all reach the largest."""
    return tensor._replace(data=bytes(code & 0x80 | max(0, (code & 0x7F) - 8) for code in tensor.data))


def _one_scale(checkpoint: MutableCheckpoint, shape: tuple[int, ...]) -> None:
    checkpoint.change(r".*_proj\.weight", _halved)
    checkpoint.change(r".*\.weight_scale", lambda tensor: RawTensor("BF16", shape, _SCALE))


def compressed_tensors(weights: str, inputs: dict[str, Any] | None) -> Damage:
    """Weights by tensor, by channel (as they are) or in blocks, and inputs."""

    def change(checkpoint: MutableCheckpoint) -> None:
        checkpoint.group["input_activations"] = inputs
        checkpoint.group["weights"]["strategy"] = weights
        if inputs is _STATIC:
            _input_scales(checkpoint, (1,))
        if weights == "tensor":
            _one_scale(checkpoint, (1,))
        elif weights == "block":
            checkpoint.group["weights"]["block_structure"] = [128, 128]
            for name in checkpoint.names(r".*\.weight_scale"):
                rows, columns = checkpoint.get(name.replace("weight_scale", "weight")).shape
                grid = (-(-rows // 128), -(-columns // 128))
                checkpoint.change(
                    name.replace(".", r"\."), lambda t, g=grid: RawTensor("BF16", g, _SCALE * g[0] * g[1])
                )

    return change


def quark(weights: str, inputs: dict[str, Any] | None) -> Damage:
    """Weights by tensor or by channel (as they are), and inputs; None for weight-only."""

    def change(checkpoint: MutableCheckpoint) -> None:
        spec = checkpoint.block["global_quant_config"]
        if inputs is None:
            spec["input_tensors"] = None
        else:
            spec["input_tensors"].update(inputs)
        if weights == "per_tensor":
            spec["weight"].update(qscheme="per_tensor", ch_axis=None, observer_cls="PerTensorMinMaxObserver")
            _one_scale(checkpoint, ())
        if inputs is not None and not inputs.get("is_dynamic", True):
            _input_scales(checkpoint, ())

    return change


_QUARK_TENSOR = {"qscheme": "per_tensor", "ch_axis": None, "observer_cls": "PerTensorMinMaxObserver"}


def _quantized(pattern: str, shape_of_scale: Any, **config: Any) -> Damage:
    """Modules stored in FP8 that were not, under a config that is changed so."""

    def change(checkpoint: MutableCheckpoint) -> None:
        for name in checkpoint.names(pattern):
            rows, columns = checkpoint.get(name).shape
            checkpoint.put(name, "F8_E4M3", (rows, columns), bytes([0x30]) * rows * columns)
            checkpoint.put(f"{name}_scale", "BF16", shape_of_scale(rows), _SCALE * rows)
        checkpoint.block.update(config)

    return change


def _column(rows: int) -> tuple[int, int]:
    return rows, 1


def _row(rows: int) -> tuple[int]:
    return (rows,)


def _targets_too(*targets: str) -> Damage:
    def change(checkpoint: MutableCheckpoint) -> None:
        _quantized(r"lm_head\.weight", _column, ignore=[])(checkpoint)
        checkpoint.group["targets"] += targets

    return change


def _blocks_of(name: str, dtype: str, scale: bytes, *, four: bool) -> Damage:
    """A weight in FP8 under a scale for each block of 128 by 128, in a grid of two dimensions or ModelOpt's four."""

    def change(checkpoint: MutableCheckpoint) -> None:
        rows, columns = checkpoint.get(f"{name}.weight").shape
        grid = (-(-rows // 128), -(-columns // 128))
        checkpoint.put(f"{name}.weight", "F8_E4M3", (rows, columns), bytes([0x30]) * rows * columns)
        shape = (grid[0], 1, grid[1], 1) if four else grid
        checkpoint.put(f"{name}.weight_scale", dtype, shape, scale * grid[0] * grid[1])
        checkpoint.block["ignore"] = [entry for entry in checkpoint.block["ignore"] if entry != name]

    return change


def _head_in_blocks(checkpoint: MutableCheckpoint) -> None:
    _blocks_of("lm_head", "BF16", _SCALE, four=False)(checkpoint)
    checkpoint.group["targets"] += ["lm_head"]


def _modelopt_head_in_blocks(checkpoint: MutableCheckpoint) -> None:
    _blocks_of("lm_head", "F32", f32(2.0**-9), four=True)(checkpoint)
    checkpoint.files.pop("hf_quant_config.json")


SCHEMES = (
    Scheme(
        "experts by tensor, inputs by token",
        MOE,
        compressed_tensors("tensor", _TOKEN),
        {"vllm": REFUSES, "sglang": REFUSES, "trtllm": REFUSES, "transformers": LOADS},
    ),
    Scheme(
        "experts by tensor, static inputs",
        MOE,
        compressed_tensors("tensor", _STATIC),
        {"vllm": LOADS, "sglang": LOADS, "trtllm": REFUSES, "transformers": LOADS},
    ),
    Scheme(
        "experts by channel, static inputs",
        MOE,
        compressed_tensors("channel", _STATIC),
        {"vllm": REFUSES, "sglang": REFUSES, "trtllm": REFUSES},
    ),
    Scheme(
        "experts by channel, inputs by tensor",
        MOE,
        compressed_tensors("channel", _DYNAMIC_TENSOR),
        {"vllm": REFUSES, "sglang": REFUSES, "trtllm": REFUSES},
    ),
    Scheme(
        "experts by channel, weight-only",
        MOE,
        compressed_tensors("channel", None),
        {"vllm": REFUSES, "sglang": REFUSES, "trtllm": REFUSES, "transformers": LOADS},
    ),
    Scheme(
        "experts by tensor, weight-only",
        MOE,
        compressed_tensors("tensor", None),
        {"vllm": REFUSES, "sglang": REFUSES, "trtllm": REFUSES, "transformers": LOADS},
    ),
    Scheme("experts by channel", MOE, lambda checkpoint: None, {"vllm": LOADS, "sglang": LOADS, "trtllm": REFUSES}),
    Scheme(
        "by channel, static inputs",
        CT,
        compressed_tensors("channel", _STATIC),
        {"vllm": LOADS, "sglang": LOADS, "trtllm": REFUSES, "transformers": LOADS},
    ),
    Scheme(
        "by tensor, inputs by token",
        CT,
        compressed_tensors("tensor", _TOKEN),
        {"vllm": LOADS, "sglang": LOADS, "trtllm": REFUSES, "transformers": LOADS},
    ),
    Scheme(
        "by tensor, weight-only",
        CT,
        compressed_tensors("tensor", None),
        {"vllm": LOADS, "sglang": LOADS, "trtllm": REFUSES, "transformers": LOADS},
    ),
    Scheme(
        "by channel, weight-only",
        CT,
        compressed_tensors("channel", None),
        {"vllm": LOADS, "sglang": LOADS, "trtllm": REFUSES, "transformers": LOADS},
    ),
    Scheme(
        "blocks, weight-only",
        BLOCK,
        compressed_tensors("block", None),
        {"vllm": REFUSES, "sglang": REFUSES, "trtllm": REFUSES},
    ),
    Scheme(
        "blocks, inputs by token",
        BLOCK,
        compressed_tensors("block", _TOKEN),
        {"vllm": LOADS, "sglang": LOADS, "trtllm": REFUSES},
    ),
    Scheme(
        "blocks in a layer that is stored merged",
        "phi3/llmcompressor-dynamic",
        steps(lambda c: c.change(r".*_proj\.weight", _halved), compressed_tensors("block", _GROUP)),
        {"vllm": REFUSES, "sglang": REFUSES, "transformers": REFUSES},
    ),
    Scheme("head by name", CT, _targets_too("lm_head"), {"vllm": LOADS, "sglang": LOADS, "transformers": LOADS}),
    Scheme("head in blocks", BLOCK, _head_in_blocks, {"vllm": REFUSES, "sglang": REFUSES, "transformers": LOADS}),
    Scheme(
        "ModelOpt head in blocks",
        "llama-block-wide/modelopt-block",
        _modelopt_head_in_blocks,
        {"vllm": REFUSES, "sglang": REFUSES},
    ),
    Scheme("head by class", CT, _targets_too(), {"vllm": REFUSES, "transformers": LOADS}),
    Scheme(
        "embedding",
        CT,
        _quantized(r"model\.embed_tokens\.weight", _column),
        {"vllm": REFUSES, "sglang": SILENT, "trtllm": SILENT, "transformers": SILENT},
    ),
    Scheme(
        "Quark weight-only",
        QUARK,
        quark("per_channel", None),
        {"vllm": REFUSES, "sglang": REFUSES, "trtllm": "does not read", "transformers": LOADS, "quark": LOADS},
    ),
    Scheme(
        "Quark by channel, static inputs",
        QUARK,
        quark("per_channel", {**_QUARK_TENSOR, "is_dynamic": False}),
        {"vllm": LOADS, "sglang": LOADS},
    ),
    Scheme("Quark by tensor, inputs by token", QUARK, quark("per_tensor", {}), {"vllm": LOADS, "sglang": LOADS}),
    Scheme(
        "Quark experts", QUARK_MOE, lambda checkpoint: None, {"vllm": LOADS, "sglang": LOADS, "transformers": REFUSES}
    ),
    Scheme(
        "Quark experts by channel, static inputs",
        QUARK_MOE,
        quark("per_channel", {**_QUARK_TENSOR, "is_dynamic": False}),
        {"vllm": REFUSES, "transformers": REFUSES},
    ),
    Scheme(
        "Quark experts by tensor, inputs by token",
        QUARK_MOE,
        quark("per_tensor", {}),
        {"vllm": REFUSES, "transformers": REFUSES},
    ),
    Scheme("Quark experts by tensor", QUARK_MOE, quark("per_tensor", _QUARK_TENSOR), {"vllm": LOADS}),
    Scheme(
        "Quark experts, weight-only",
        QUARK_MOE,
        quark("per_channel", None),
        {"vllm": REFUSES, "sglang": REFUSES, "transformers": REFUSES},
    ),
    Scheme("Quark head", QUARK, _quantized(r"lm_head\.weight", _row, exclude=[]), {"vllm": REFUSES, "sglang": SILENT}),
    Scheme(
        "Quark embedding",
        QUARK,
        _quantized(r"model\.embed_tokens\.weight", _row),
        {"vllm": REFUSES, "transformers": SILENT},
    ),
)
