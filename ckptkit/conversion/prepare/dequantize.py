"""FP8 modules in high precision again: all of them for a target without quantization, or those that the user names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from ckptkit.conversion.grouped import announcement
from ckptkit.conversion.grouped import drops as mx_drops
from ckptkit.conversion.grouped import product as mx_product
from ckptkit.conversion.prepare.prepared import Prepared, stand_in
from ckptkit.conversion.prepare.select import selected
from ckptkit.conversion.request import ConversionRequest
from ckptkit.formats.base import Changes
from ckptkit.model.checkpoint import AttentionScales, Checkpoint, KVCache, QuantizedModule
from ckptkit.model.names import DTYPE_KEYS, TEXT_CONFIGS
from ckptkit.operations.dequantize import block_shape
from ckptkit.operations.outputs import computed
from ckptkit.storage.output import Drop, OutputTensor

#: Types as they are called in config.json.
TORCH_NAMES: Mapping[str, str] = MappingProxyType({"BF16": "bfloat16", "F16": "float16", "F32": "float32"})


def step(prepared: Prepared, request: ConversionRequest) -> Prepared:
    """Modules become plain weights where the target asks for a type of weights; all, or those of ``modules``."""
    dtype = request.target.weight_dtype
    if dtype is None or not (prepared.checkpoint.modules or prepared.checkpoint.opaque):
        return prepared
    known = (*prepared.checkpoint.modules, *_in_groups(prepared.checkpoint, dtype))
    return dequantized(prepared, selected(known, request.modules), dtype)


def _in_groups(checkpoint: Checkpoint, dtype: str) -> dict[str, OutputTensor]:
    """The plain weights of the modules with scales of groups."""
    products = ((name, mx_product(module, dtype)) for name, module in checkpoint.opaque.items())
    return {name: product for name, product in products if product is not None}


def dequantized(prepared: Prepared, names: tuple[str, ...], dtype: str) -> Prepared:
    """The checkpoint with some modules in high precision; without its KV cache's scales where these are all."""
    checkpoint = prepared.checkpoint
    in_groups = _in_groups(checkpoint, dtype)
    found = {name: in_groups.get(name) or _product(checkpoint, name, dtype) for name in names}
    products = {name: product for name, product in found.items() if product is not None}
    chosen = {name: checkpoint.modules[name] for name in products if name in checkpoint.modules}
    others = {name: checkpoint.opaque[name] for name in products if name in in_groups}
    made = {stand_in(product): product for product in products.values()}
    weights = dict(zip(products, made, strict=True))
    whole = len(products) == len(checkpoint.modules) + len(checkpoint.opaque)
    left = {name: module for name, module in checkpoint.opaque.items() if name not in others}
    plain = replace(
        checkpoint,
        modules={name: module for name, module in checkpoint.modules.items() if name not in chosen},
        opaque=left,
        kv_cache=None if whole else checkpoint.kv_cache,
        plain=(*checkpoint.plain, *weights.values()),
        unquantized={**checkpoint.unquantized, **weights},
    )
    drops = [*_module_drops(chosen.values()), *mx_drops(others.values(), products)]
    drops += _attention_drops(checkpoint.kv_cache) if whole else ()
    reasons = tuple(_reasons(chosen.values(), checkpoint.kv_cache if whole else None, dtype))
    announced = announcement(checkpoint, left, dtype.lower())
    if whole:
        typed, told = _typed(checkpoint, dtype)
        announced, reasons = {**announced, **typed}, (*reasons, *told)
    changes = Changes(rounds=frozenset({"dequantize", "mx-dequantize", "nvfp4-dequantize"}), reasons=reasons)
    return prepared.then(plain, made, tuple(drops), changes, config=announced)


def _typed(checkpoint: Checkpoint, dtype: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What config.json says of the type of a model's weights, where it says another one, and what is told of it."""
    config, word = checkpoint.config, TORCH_NAMES[dtype]
    found: dict[str, Any] = {key: word for key in DTYPE_KEYS if _says_other(config, key, word)}
    for level in TEXT_CONFIGS:
        inner = config.get(level)
        own = {key: word for key in DTYPE_KEYS if isinstance(inner, Mapping) and _says_other(inner, key, word)}
        if own and isinstance(inner, Mapping):
            found[level] = {**inner, **own}
    others = {tensor.dtype for tensor in checkpoint.plain} & TORCH_NAMES.keys() - {dtype}
    told = [f"config.json says {word} then, in which the model is loaded"] if found else []
    told += [f"what was not quantized keeps its type ({', '.join(sorted(others))})"] if others else []
    return found, tuple(told)


def _says_other(config: Mapping[str, Any], key: str, word: str) -> bool:
    said = config.get(key)
    return isinstance(said, str) and said.removeprefix("torch.") != word


def _product(checkpoint: Checkpoint, name: str, dtype: str) -> OutputTensor | None:
    """The plain weight of an FP8 module; None where the file lacks the scale, which no conversion lets pass."""
    module = checkpoint.modules[name]
    if module.weight_scale is None:
        return None
    parameters = {"dtype": dtype, "block_shape": block_shape(module.scheme.weight.granularity)}
    inputs = (module.weight, module.weight_scale)
    return computed(module.weight.name, "dequantize", inputs, parameters, "weights times their scales")


def _module_drops(modules: Iterable[QuantizedModule]) -> Iterator[Drop]:
    for module in modules:
        if module.weight_scale is not None:
            yield Drop(module.weight_scale, "multiplied into the weight")
        if module.input_scale is not None:
            yield Drop(module.input_scale, "inputs are no longer quantized")


def _attention_drops(cache: KVCache | None) -> Iterator[Drop]:
    stored = (tensor for attention in _attention(cache) for tensor in attention.stored().values())
    for tensor in dict.fromkeys(stored):
        yield Drop(tensor, "the KV cache is no longer quantized")


def _attention(cache: KVCache | None) -> tuple[AttentionScales, ...]:
    return cache.attention if cache is not None else ()


def _reasons(modules: Iterable[QuantizedModule], cache: KVCache | None, dtype: str) -> Iterator[str]:
    yield f"weights become {dtype}: the float32 product of code and scale, rounded once"
    if any(module.input_scale is not None for module in modules):
        yield "static scales of inputs go: weights in high precision have no place for them"
    if any(attention.stored() for attention in _attention(cache)):
        yield "scales of the KV cache and of attention go: a plain checkpoint has no place for them"
