"""What there is beside the formats with a reader, as data: methods of quantization, and kinds of folders.

As of November 2026. Sources: the quantizers of transformers and of vLLM at the releases that ``ckptkit.engines`` names,
mlx-lm, exllamav2 and exllamav3 for the names of tensors; peft, diffusers, sentence-transformers and mistral-common for
the files that tell their folders.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from ckptkit.errors import excerpt
from ckptkit.record import record

Document = Mapping[str, Any]


def _unknown(block: Document) -> None:
    return None


def _always(bits: int) -> Callable[[Document], int]:
    return lambda block: bits


def _by(*keys: str) -> Callable[[Document], int | None]:
    """The width under the first of some keys that has one."""
    return lambda block: next((width for key in keys if (width := _width(block.get(key)))), None)


def _width(value: Any) -> int | None:
    return value if type(value) is int and 0 < value <= 16 else None


def _bitsandbytes(block: Document) -> int | None:
    return 4 if block.get("load_in_4bit") is True else 8 if block.get("load_in_8bit") is True else None


def _hqq(block: Document) -> int | None:
    weights = block.get("quant_config", {}).get("weight_quant_params") if isinstance(block, dict) else None
    return _width(weights.get("nbits")) if isinstance(weights, dict) else None


def _mlx(block: Document) -> int | None:
    """One width for all; modules that have their own are listed beside it."""
    return None if any(isinstance(value, dict) for value in block.values()) else _width(block.get("bits"))


def _groups(block: Document) -> int | None:
    """The width that all groups of a compressed-tensors config share."""
    groups = block.get("config_groups")
    bodies = groups.values() if isinstance(groups, dict) else ()
    weights = [body.get("weights") for body in bodies if isinstance(body, dict)]
    widths = {_width(item.get("num_bits")) if isinstance(item, dict) else None for item in weights}
    return widths.pop() if len(widths) == 1 else None


def _modelopt(block: Document) -> int | None:
    """Four bits where the algorithm's name says so."""
    name = str(block.get("quant_algo") or "").upper()
    return 4 if "FP4" in name or name.startswith(("W4", "INT4")) else None


def _quark(block: Document) -> int | None:
    """The digits of the one dtype of weights, where no layer has another."""
    spec = block.get("global_quant_config")
    weight = spec.get("weight") if isinstance(spec, dict) and not block.get("layer_quant_config") else None
    dtype = str(weight.get("dtype")) if isinstance(weight, dict) else ""
    return {"fp4": 4, "int4": 4, "uint4": 4, "int8": 8, "uint8": 8}.get(dtype)


@record
class Method:
    """A method of quantization that is not FP8 with one scale.

    ``packed`` and ``scales`` are last parts of tensor names, or ends of them where they begin with ``_``: weights whose
    elements are packed, and all else that the method stores. ``telling`` are those of which all, in a checkpoint whose
    config declares nothing, leave no other guess. ``bits`` reads the width of an element off the quantization config.
    ``may_be_fp8``: some of its elements are FP8, in a layout of its own.
    """

    name: str
    packed: tuple[str, ...] = ()
    scales: tuple[str, ...] = ()
    telling: tuple[str, ...] = ()
    bits: Callable[[Document], int | None] = _unknown
    may_be_fp8: bool = False

    def in_words(self, block: Document) -> str:
        """The name, and the width of an element where the config gives it and the name does not."""
        bits = self.bits(block)
        return f"{self.name}, {bits}-bit" if bits and not self.name.startswith(("NVFP", "MXFP")) else self.name


_PACKED_INTEGERS = ("qweight",)
_GPTQ = Method("GPTQ", _PACKED_INTEGERS, ("qzeros", "scales", "g_idx"), ("qweight", "g_idx"), _by("bits"))
_AWQ = Method("AWQ", _PACKED_INTEGERS, ("qzeros", "scales"), ("qweight", "qzeros"), _by("bits", "w_bit"))
_BITSANDBYTES = Method(
    "bitsandbytes",
    (),
    ("absmax", "quant_map", "nested_absmax", "nested_quant_map", "_nf4", "_fp4", "SCB", "weight_format"),
    ("absmax", "quant_map"),
    _bitsandbytes,
)
_HQQ_PARTS = ("nbits", "group_size", "shape", "scale", "zero", "axis", "packing", "unpack_view_dtype", "view_as_float")
_MXFP4 = Method("MXFP4", ("_blocks",), ("_scales",), ("_blocks", "_scales"), _always(4))
_NVFP4 = Method("NVFP4", ("weight_packed",), bits=_always(4))
_TENSORS = Method("compressed-tensors", ("weight_packed",), bits=_groups)
MLX = Method("MLX", (), ("scales", "biases"), ("scales", "biases"), _mlx)

#: ``quant_method``, lower case with hyphens -> the method.
METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "aqlm": Method("AQLM", ("codes",), ("codebooks", "scales"), ("codes", "codebooks")),
        "auto-round": Method("AutoRound", _PACKED_INTEGERS, ("qzeros", "scales", "g_idx"), bits=_by("bits")),
        "awq": _AWQ,
        "bitnet": Method("BitNet", bits=_always(2)),
        "bitsandbytes": _BITSANDBYTES,
        "compressed-tensors": _TENSORS,
        "eetq": Method("EETQ, INT8", (), ("weight_scales",), ("weight_scales",)),
        "exl2": Method(
            "EXL2", ("q_weight",), ("q_scale", "q_scale_max", "q_groups", "q_invperm", "q_perm"), ("q_weight",)
        ),
        "exl3": Method("EXL3", ("trellis",), ("suh", "svh", "su", "sv", "mcg", "mul1"), ("trellis",)),
        "fp-quant": Method("FP-Quant", ("qweight",), ("scales",)),
        "gptq": _GPTQ,
        "higgs": Method("HIGGS"),
        "hqq": Method("HQQ", ("W_q",), _HQQ_PARTS, ("W_q",), _hqq),
        "mxfp4": _MXFP4,
        "modelopt-fp4": _NVFP4,
        "modelopt": Method("NVIDIA ModelOpt", bits=_modelopt),
        "nvfp4": _NVFP4,
        "quark": Method("AMD Quark", bits=_quark),
        "quanto": Method("Quanto", ("_data",), ("_scale", "_shift"), ("_data", "_scale"), may_be_fp8=True),
        "spqr": Method("SpQR"),
        "torchao": Method("TorchAO", may_be_fp8=True),
        "vptq": Method("VPTQ"),
        "w8a8-fp8": Method("FP8 in SGLang's own layout", bits=_always(8), may_be_fp8=True),
        "w8a8-int8": Method("INT8"),
    }
)
#: What is told by the names of tensors alone; the first whose names are all there.
_UNDECLARED = (
    *(METHODS[name] for name in ("gptq", "awq", "bitsandbytes", "hqq", "aqlm", "exl2", "exl3", "eetq")),
    replace(_NVFP4, telling=("weight_packed", "weight_global_scale")),
    Method("packed integers", ("weight_packed",), telling=("weight_packed", "weight_scale")),
    MLX,
    _MXFP4,
    METHODS["quanto"],
)


def undeclared(lasts: frozenset[str]) -> Method | None:
    """The method that the last parts of all tensors' names tell, if they do."""
    for method in _UNDECLARED:
        if all(_occurs(end, lasts) for end in method.telling):
            return method
    return None


def _occurs(end: str, lasts: frozenset[str]) -> bool:
    return any(last.endswith(end) for last in lasts) if end.startswith("_") else end in lasts


def _adapter(document: Document) -> str:
    kind, rank, base = (document.get(key) for key in ("peft_type", "r", "base_model_name_or_path"))
    kind = "LoRA" if kind in (None, "LORA") else excerpt(kind).strip("'")
    of = f" of rank {rank}" if type(rank) is int else ""
    return f"{kind} adapter{of}{f' for {base}' if isinstance(base, str) and base else ''}"


def _component(document: Document) -> str:
    name = document.get("_class_name")
    return f"part of a diffusers pipeline{f', {name}' if isinstance(name, str) else ''}"


def _pipeline(document: Document) -> str:
    name = document.get("_class_name")
    return f"diffusers pipeline{f', {name}' if isinstance(name, str) else ''}"


def _mistral(document: Document) -> str:
    return "model in Mistral's own format"


@record
class FolderKind:
    """A kind of folder that a file tells. ``shards``: how the names of its weight files begin, if they all do.

    ``is_model``: whether it holds a model as transformers and serving engines load one. ``by_shards``: the file lies in
    other folders too, so that only the shards tell.
    """

    file: str
    words: Callable[[Document], str]
    shards: str = ""
    is_pipeline: bool = False
    is_model: bool = False
    by_shards: bool = False
    #: The way to what the file says of quantization.
    quantization: str | None = None


#: The first whose file lies in the folder, and whose shards the folder's are.
FOLDERS: tuple[FolderKind, ...] = (
    FolderKind("adapter_config.json", _adapter, "adapter_"),
    FolderKind("params.json", _mistral, "consolidated", quantization="quantization"),
    FolderKind("model_index.json", _pipeline, is_pipeline=True),
    FolderKind("config.json", _component, "diffusion_pytorch_model", by_shards=True),
    FolderKind("config_sentence_transformers.json", lambda document: "sentence-transformers model", is_model=True),
)

#: Ends of names of files with weights that are not safetensors -> what they are.
OTHER_FILES: Mapping[str, str] = MappingProxyType(
    {".gguf": "GGUF", ".bin": "PyTorch", ".pt": "PyTorch", ".pth": "PyTorch", ".onnx": "ONNX", ".h5": "Keras"}
)
