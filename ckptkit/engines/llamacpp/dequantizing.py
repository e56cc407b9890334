"""Which stored tensors llama.cpp's converter multiplies, and what it throws away.

It is ``dequant_model`` and the beginning of ``prepare_tensors`` in ``conversion/base.py`` at 0c1e57098bba (b11312), and
in ``convert_hf_to_gguf.py`` at f49e9178767d (b8643), followed on names, shapes and the config.
It goes by ``quant_method``, and by a few keys for each method. The granularity of a scale is nowhere declared to it:
what broadcasts is multiplied.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ckptkit.engines.releases import Range, Release
from ckptkit.record import record

Shape = tuple[int, ...]
#: Since ggml-org/llama.cpp#22356: static inputs, and scales without their weight; and groups of NVFP4 in
#: compressed-tensors, a producer in place of a method, and NVFP4 with plain inputs, which b11312 has and b8643 not.
_NEWER = Range(since="2026-04-27")
_FP8, _CT, _MODELOPT = "fp8", "compressed-tensors", "modelopt"
_CT_MULTIPLIED = ("float-quantized", "int-quantized", "naive-quantized")
_NVFP4_FORMAT = "nvfp4-pack-quantized"
_EXPERT = re.compile(r"\.experts\.\d+\.")
_NVFP4_EXPERT = re.compile(r"\.experts\.\d+\.(gate_proj|up_proj|down_proj)\.weight$")
_NVFP4_PARTS = (".weight_scale", ".weight_scale_2", ".input_scale")
_BROADCAST = "RuntimeError: Attempting to broadcast a dimension ..."


class StopError(Exception):
    """The converter stops here; the message is its own words."""


@record
class Dequantized:
    """What is left of the stored tensors: their shapes by name, and those that were ``multiplied`` with a scale.

    ``packed`` are weights of NVFP4, which go into the GGUF as they are, ``dropped`` tensors that are never read.
    ``odd`` is the first weight of which some element meets a scale that is not its own.
    """

    shapes: Mapping[str, Shape]
    multiplied: frozenset[str]
    packed: tuple[str, ...] = ()
    dropped: frozenset[str] = frozenset()
    odd: str = ""


@record
class _Declared:
    """What the converter takes from the config, and from ModelOpt's file beside it."""

    block: Mapping[str, Any]
    method: Any
    algorithm: Any
    layers: Mapping[str, Any]

    @property
    def compressed_nvfp4(self) -> bool:
        """Whether compressed-tensors declares NVFP4, in one format or in all groups of several."""
        groups = self.block.get("config_groups") or {}
        formats = [g.get("format") for g in groups.values() if isinstance(g, Mapping)] if _is_map(groups) else []
        kind = self.block.get("format")
        mixed = kind == "mixed-precision" and bool(groups) and all(name == _NVFP4_FORMAT for name in formats)
        return self.method == _CT and (kind == _NVFP4_FORMAT or mixed)

    def is_nvfp4(self, newer: bool) -> bool:
        """Whether weights are looked through for those of NVFP4 first."""
        algorithms = [str(v.get("quant_algo")) for v in self.layers.values() if isinstance(v, Mapping)]
        some = any(name.endswith("NVFP4") if newer else name == "NVFP4" for name in algorithms)
        known = ("NVFP4", "W4A16_NVFP4") if newer else ("NVFP4",)
        return self.algorithm in known or some or (newer and self.compressed_nvfp4)


def dequantize(
    shapes: Mapping[str, Shape], block: object, side: Mapping[str, Any] | None, release: Release
) -> Dequantized:
    """What becomes of stored tensors under a quantization config, and ModelOpt's own beside it.

    Raises StopError where the converter stops.
    """
    newer = _NEWER.holds(release)
    if block and not isinstance(block, Mapping):
        raise StopError(f"AttributeError: {type(block).__name__!r} object has no attribute 'get'")
    declared = _declared(block if isinstance(block, Mapping) else {}, side, newer)
    _check_layers(declared, shapes, newer)
    left = dict(shapes)
    packed: tuple[str, ...] = ()
    if declared.is_nvfp4(newer):
        if declared.compressed_nvfp4:
            left = _renamed(left)
        packed = tuple(_take_nvfp4(left))
        if not any(name.endswith((".weight_scale", ".weight_scale_inv")) for name in left):
            return Dequantized(left, frozenset(), packed)
    return _by_method(declared, left, packed, newer)


def _by_method(declared: _Declared, left: dict[str, Shape], packed: tuple[str, ...], newer: bool) -> Dequantized:
    block, method = declared.block, declared.method
    pairs: dict[str, str] = {}
    dropped: list[str] = []
    size: object = None
    if block and method == _FP8:
        size = block.get("weight_block_size")
        for name in left:
            if name.endswith("_scale_inv"):
                pairs[name] = name.removesuffix("_scale_inv")
            elif name.endswith(".qscale_weight"):
                pairs[name] = name.removesuffix("qscale_weight") + "weight"
            elif name.endswith((".activation_scale", "_activation_scale", ".qscale_act")):
                dropped.append(name)
    elif block and method == _CT:
        size, multiplied = _compressed(block, declared.compressed_nvfp4 and newer, newer)
        pairs = {n: n.removesuffix("_scale") for n in left if multiplied and n.endswith(".weight_scale")}
        if block.get("format") == "pack-quantized":
            dropped, plain = _packed_integers(left)
            left |= dict.fromkeys(plain, ())
    elif block and method == _MODELOPT:
        pairs = {name: name.removesuffix("_scale") for name in left if name.endswith(".weight_scale")}
        lost = [name for name, weight in pairs.items() if weight not in left] if newer else []
        dropped += lost
        for name in lost:
            del pairs[name]
        dropped += [n for n in left if n.endswith((".k_scale", ".v_scale", *((".input_scale",) if newer else ())))]
    elif block and method is not None:
        raise StopError(f"NotImplementedError: Quant method is not yet supported: {method!r}")
    odd = next((weight for weight in pairs.values() if weight not in left), None)
    if odd is not None:
        raise StopError(f"KeyError: {odd!r}")
    wrong = [weight for name, weight in pairs.items() if not _fits(left[weight], left[name], size)]
    kept = {name: shape for name, shape in left.items() if name not in pairs and name not in dropped}
    return Dequantized(kept, frozenset(pairs.values()), packed, frozenset(dropped), wrong[0] if wrong else "")


def _declared(block: Mapping[str, Any], side: Mapping[str, Any] | None, newer: bool) -> _Declared:
    method, algorithm = block.get("quant_method"), block.get("quant_algo")
    layers = block.get("quantized_layers") or {}
    if (not algorithm or not layers) and side is not None:
        section, producer = side.get("quantization") or {}, side.get("producer") or {}
        if method is None and newer:
            method = str(producer.get("name") or "").lower() if _is_map(producer) else ""
            block = {**block, "quant_method": method}
        if _is_map(section):
            algorithm = section.get("quant_algo", algorithm)
            layers = section.get("quantized_layers", layers) or {}
    return _Declared(block, method, algorithm, layers if _is_map(layers) else {})


def _check_layers(declared: _Declared, shapes: Mapping[str, Shape], newer: bool) -> None:
    """Newer builds look for the modules that ModelOpt lists by name."""
    if not newer or not declared.layers:
        return
    modules = {name[:end] for name in shapes for end in range(len(name)) if name[end] == "."}
    for name, entry in declared.layers.items():
        if isinstance(entry, Mapping) and name.replace("language_model.", "") not in modules:
            raise StopError(f"AssertionError: quantized_layers entry {name!r} is not in the model tensors")


def _compressed(block: Mapping[str, Any], nvfp4: bool, newer: bool) -> tuple[object, bool]:
    """The size of blocks, and whether weights are multiplied; raises StopError for what it does not expect."""
    for key in ("format", "config_groups"):
        if key not in block:
            raise StopError(f"KeyError: {key!r}")
    kind, groups = block["format"], block["config_groups"]
    if not hasattr(groups, "__len__"):
        raise StopError(f"TypeError: object of type {type(groups).__name__!r} has no len()")
    if len(groups) > 1 and not nvfp4:
        raise StopError("NotImplementedError: Can't handle multiple config groups for compressed-tensors yet")
    if not isinstance(groups, Mapping) or not groups:
        raise StopError("IndexError: tuple index out of range" if _is_map(groups) else "AttributeError: 'values'")
    first = next(iter(groups.values()))
    if not isinstance(first, Mapping):
        raise StopError("TypeError: list indices must be integers or slices, not str")
    if "weights" not in first:
        raise StopError("KeyError: 'weights'")
    weights = first["weights"]
    if kind in (*_CT_MULTIPLIED, "pack-quantized") and not isinstance(weights, Mapping):
        raise StopError(f"AttributeError: {type(weights).__name__!r} object has no attribute 'get'")
    if kind in _CT_MULTIPLIED:
        if weights.get("strategy") not in ("channel", "block"):
            raise StopError('AssertionError: assert strategy == "channel" or strategy == "block"')
        if weights.get("group_size") is not None:
            raise StopError('AssertionError: assert weight_config.get("group_size") is None')
        return weights.get("block_structure"), True
    if kind == "pack-quantized":
        if weights.get("strategy") != "group":
            raise StopError('AssertionError: assert weight_config.get("strategy") == "group"')
        if weights.get("type", "int") != "int":
            raise StopError('AssertionError: assert weight_config.get("type", "int") == "int"')
        if not isinstance(weights.get("num_bits"), int) or not isinstance(weights.get("group_size"), int):
            raise StopError("AssertionError: assert isinstance(group_size, int)")
        return None, False
    if nvfp4:
        return None, False
    raise StopError(f"NotImplementedError: Quant format {kind!r} for method {_CT!r} is not yet supported")


def _packed_integers(left: Mapping[str, Shape]) -> tuple[list[str], list[str]]:
    """What belongs to packed integers, and the weights that they become."""
    plain = [name.removesuffix("_packed") for name in left if name.endswith(".weight_packed")]
    for base in plain:
        for end in ("_scale", "_shape"):
            if base + end not in left:
                raise StopError(f"KeyError: {base + end!r}")
    return [base + end for base in plain for end in ("_packed", "_shape", "_scale", "_zero_point")], plain


def _renamed(left: Mapping[str, Shape]) -> dict[str, Shape]:
    """compressed-tensors' names of NVFP4's tensors, as ModelOpt calls them."""
    ends = {"_packed": "", "_global_scale": "_scale_2"}
    found: dict[str, Shape] = {}
    for name, shape in left.items():
        other = name
        if name.endswith(".input_global_scale"):
            other = name.replace(".input_global_scale", ".input_scale")
        for end, become in ends.items():
            if name.endswith(f".weight{end}"):
                other = name.removesuffix(end) + become
        found[name if other in left else other] = shape
    return found


def _take_nvfp4(left: dict[str, Shape]) -> Iterator[str]:
    """The weights of NVFP4, which leave ``left`` with all that belongs to them: those with a scale of two axes."""
    for name in [name for name in left if name.endswith(".weight")]:
        scale = left.get(f"{name}_scale")
        if scale is None or len(scale) < 2:
            continue
        if _EXPERT.search(name) and not _NVFP4_EXPERT.search(name):
            raise StopError(f"ValueError: Can not map tensor {name!r}")
        rows, columns = left[name][0], left[name][-1]
        if len(left[name]) != 2 or scale[1] * 8 != columns or scale[0] != rows or scale[1] % 4:
            raise StopError(f"RuntimeError: shape {list(left[name])} is invalid for NVFP4, with scales {list(scale)}")
        for part in (name, *(name.removesuffix(".weight") + end for end in _NVFP4_PARTS)):
            left.pop(part, None)
        yield name
    for name in [name for name in left if name.endswith((".k_scale", ".v_scale"))]:
        del left[name]


def _fits(weight: Shape, scale: Shape, block: object) -> bool:
    """Whether the product is of the weight's shape and each element meets the scale of it, as far as shapes tell;
    raises StopError where the two do not broadcast.

    >>> _fits((256, 128), (2, 1), [128, 128]), _fits((256, 128), (256,), None), _fits((1, 128), (4, 1), None)
    (True, True, False)
    >>> _fits((64, 64), (64, 1), [128, 128])
    False
    """
    own = True
    if block is not None:
        sizes = _sizes(block)
        if len(sizes) > len(scale) or len(scale) < len(weight):
            raise StopError("IndexError: Dimension out of range")
        first = len(scale) - len(sizes)
        own = not any(_is_finer(*pair) for pair in zip(scale[first:], weight[-len(sizes) :], sizes, strict=False))
        grid = [extent * (sizes[axis - first] if axis >= first else 1) for axis, extent in enumerate(scale)]
        cut = [min(pair) for pair in zip(grid, weight, strict=False)]
        scale = (*cut, *grid[len(weight) :])
    scale = scale + (1,) * (len(weight) - len(scale))
    pairs = [*zip(reversed(weight), reversed(scale), strict=False)]
    if any(mine != other and 1 not in (mine, other) for mine, other in pairs):
        raise StopError(_BROADCAST)
    return own and len(scale) <= len(weight) and all(other <= mine for mine, other in pairs)


def _is_finer(extent: int, length: int, size: int) -> bool:
    """Whether an axis has a scale for each element, or for blocks half as large or smaller: each is repeated all the
    same, and those at the end are cut off. A few more than there are blocks may be there to fill up."""
    blocks = -(-length // size)
    return extent > blocks and (extent == length or extent >= 2 * blocks)


def _sizes(block: object) -> list[int]:
    if not isinstance(block, (list, tuple)) or any(type(size) is not int for size in block):
        raise StopError("TypeError: repeat_interleave() received an invalid combination of arguments")
    if any(size <= 0 for size in block):
        raise StopError("RuntimeError: repeats must be positive")
    return list(block)


def _is_map(value: object) -> bool:
    return isinstance(value, Mapping)
