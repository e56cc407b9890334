"""FP8 modules in high precision again: all of them for a target without quantization, or those that the user names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from ckptkit.conversion.options import Options
from ckptkit.conversion.prepare.mx_modules import announcement, elements_of
from ckptkit.conversion.prepare.mx_modules import drops as mx_drops
from ckptkit.conversion.prepare.mx_modules import product as mx_product
from ckptkit.conversion.prepare.prepared import Prepared, stand_in
from ckptkit.conversion.prepare.select import selected
from ckptkit.formats.base import Changes, Format
from ckptkit.model.checkpoint import AttentionScales, Checkpoint, KVCache, QuantizedModule
from ckptkit.operations.dequantize import block_shape
from ckptkit.operations.outputs import computed
from ckptkit.storage.output import Drop, OutputTensor


def step(prepared: Prepared, target: Format, options: Options) -> Prepared:
    """Modules become plain weights where the target asks for a type of weights; all, or those of ``modules``."""
    dtype = target.weight_dtype
    if dtype is None:
        return prepared
    known = (*prepared.checkpoint.modules, *_microscaled(prepared.checkpoint))
    return dequantized(prepared, selected(known, options.modules), dtype)


def _microscaled(checkpoint: Checkpoint) -> dict[str, str]:
    """The modules with E8M0 scales of groups, each with the type of its elements."""
    return {name: kind for name, module in checkpoint.opaque.items() if (kind := elements_of(module)) is not None}


def dequantized(prepared: Prepared, names: tuple[str, ...], dtype: str) -> Prepared:
    """The checkpoint with some modules in high precision; without its KV cache's scales where these are all."""
    checkpoint = prepared.checkpoint
    kinds = _microscaled(checkpoint)
    products = {name: product for name in names if (product := _product(checkpoint, name, kinds, dtype)) is not None}
    chosen = {name: checkpoint.modules[name] for name in products if name in checkpoint.modules}
    microscaled = {name: checkpoint.opaque[name] for name in products if name in kinds}
    made = {stand_in(product): product for product in products.values()}
    weights = dict(zip(products, made, strict=True))
    whole = len(products) == len(checkpoint.modules) + len(checkpoint.opaque)
    left = {name: module for name, module in checkpoint.opaque.items() if name not in microscaled}
    plain = replace(
        checkpoint,
        modules={name: module for name, module in checkpoint.modules.items() if name not in chosen},
        opaque=left,
        kv_cache=None if whole else checkpoint.kv_cache,
        plain=(*checkpoint.plain, *weights.values()),
        unquantized={**checkpoint.unquantized, **weights},
    )
    drops = [*_module_drops(chosen.values()), *mx_drops(microscaled.values())]
    drops += _attention_drops(checkpoint.kv_cache) if whole else ()
    reasons = tuple(_reasons(chosen.values(), checkpoint.kv_cache if whole else None, dtype))
    changes = Changes(rounds=frozenset({"dequantize", "mx-dequantize"}), reasons=reasons)
    announced = announcement(checkpoint, left, dtype.lower())
    return prepared.then(plain, made, tuple(drops), changes, config=announced)


def _product(checkpoint: Checkpoint, name: str, kinds: Mapping[str, str], dtype: str) -> OutputTensor | None:
    """The plain weight; None where the file lacks the scale, which no conversion lets pass."""
    if name in kinds:
        return mx_product(checkpoint.opaque[name], kinds[name], dtype)
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
