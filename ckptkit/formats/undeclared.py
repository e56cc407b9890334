"""What the tensors of a checkpoint say of a quantization that no config declares.

A config that was lost on the way leaves its scales behind. Which granularity they have is told by their shapes where
all of them have one; which inputs were quantized while running is not told at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ckptkit.dtypes import HIGH_PRECISION
from ckptkit.errors import Fault, plural
from ckptkit.formats import registry
from ckptkit.formats.assemble import Declaration, assemble
from ckptkit.formats.base import Format, WriteOptions, writable
from ckptkit.formats.dialect import Capabilities, Dialect
from ckptkit.model import names
from ckptkit.model.census import Census, Role, is_fp8, is_quantizer_name, take_census
from ckptkit.model.checkpoint import Checkpoint
from ckptkit.model.granularity import Granularity, PerBlock, PerChannel, PerGroup, PerTensor, PerToken
from ckptkit.model.scheme import InputKind, KVCacheScheme, Quantization, Scheme
from ckptkit.record import record
from ckptkit.storage.container import CONFIG_FILE, Container
from ckptkit.storage.payload import TensorRef

#: Kinds of faults: FP8 weights, scales beside weights of another type, and scales of a KV cache alone.
FP8, SCALES, KV_SCALES = "config-no-quantization", "config-lost", "config-lost-kv"
#: Ends of names of scales that belong to attention, on whichever module they are stored.
_ATTENTION = re.compile(r"(^|[._])([kqv]|kv|output|prob_output)_scale$")
#: Ends of names of scales, longest first; what is before one is the weight, or its module.
_SCALE_END = re.compile(r"[._]?(scale_inv|scale)(_\d)?$")
#: What raw dumps of quantizers put between a module and its scales.
_QUANTIZER = re.compile(r"\._?\w+_quantizer(\.\d+)?$")


def faults(container: Container) -> Iterator[Fault]:
    """The one thing that is wrong with a container without a config whose tensors were quantized; else nothing."""
    lost = _lost(container)
    tensors = container.tensors
    fp8 = next((t for t in tensors.values() if is_fp8(t.dtype) and not _is_scale(t, tensors)), None)
    help_text = f"restore the {missing(container)} that the exporter wrote"
    if fp8 is not None:
        count = sum(is_fp8(tensor.dtype) and len(tensor.shape) > 1 for tensor in tensors.values())
        found = f"{plural(count, 'FP8 weight')}, {plural(len(lost.scales), 'scale')} beside them"
        message = f"FP8 weights, but {_what(container)}"
        yield Fault(FP8, message, CONFIG_FILE, fp8.name, "a quantization_config", found, help_text)
    elif lost.scales:
        scale, weight = lost.scales[0]
        words = "plain" if weight.dtype in HIGH_PRECISION else "quantized"
        found = f"{plural(len(lost.scales), 'scale')} beside weights in {weight.dtype}"
        message = f"scales of {words} weights, but {_what(container)}"
        if weight.dtype in HIGH_PRECISION:
            help_text += ", or export again: weights that were saved uncompressed need no scales"
        yield Fault(SCALES, message, CONFIG_FILE, scale.name, "a quantization_config", found, help_text)
    elif lost.attention:
        found = f"{plural(len(lost.attention), 'scale')} of the KV cache or of attention"
        message = f"scales of an FP8 KV cache, but {_what(container)}"
        yield Fault(KV_SCALES, message, CONFIG_FILE, lost.attention[0].name, "a KV-cache scheme", found, help_text)


def bare_weights(container: Container) -> tuple[TensorRef, ...]:
    """Matrices in FP8 where no scale is stored beside any; nothing where one is."""
    if _lost(container).scales:
        return ()
    return tuple(tensor for tensor in container.tensors.values() if is_fp8(tensor.dtype) and len(tensor.shape) == 2)


def missing(container: Container) -> str:
    """What has to be restored."""
    return CONFIG_FILE if _is_absent(container) else "quantization_config"


def _what(container: Container) -> str:
    return "the folder has no config.json" if _is_absent(container) else "config.json has no quantization_config"


def _is_absent(container: Container) -> bool:
    return any(fault.kind == "config-absent" for fault in container.faults)


@record
class _Lost:
    """Scales without a config: those of weights, each with its weight, and those of attention."""

    scales: tuple[tuple[TensorRef, TensorRef], ...]
    attention: tuple[TensorRef, ...]


def _lost(container: Container) -> _Lost:
    tensors, scales, attention = container.tensors, [], []
    for tensor in tensors.values():
        if _ATTENTION.search(tensor.name):
            attention.append(tensor)
        elif is_quantizer_name(tensor.name) or _SCALE_END.search(tensor.name):
            weight = _weight_of(tensor, tensors)
            if weight is not None:
                scales.append((tensor, weight))
    return _Lost(tuple(scales), tuple(attention))


def _weight_of(scale: TensorRef, tensors: Mapping[str, TensorRef]) -> TensorRef | None:
    """The matrix that a tensor of a quantizer's name stands beside, if it can be a scale of it."""
    stem, module = _SCALE_END.sub("", scale.name), _QUANTIZER.sub("", scale.module)
    for name in (f"{module}.weight", stem, f"{stem}.weight"):
        weight = tensors.get(name)
        if weight is not None and weight is not scale and len(weight.shape) > 1:
            return weight if is_quantizer_name(scale.name) or _is_grid(scale, weight) else None
    return None


def _is_grid(scale: TensorRef, weight: TensorRef) -> bool:
    """Whether a tensor whose name models use too (``proj.scale``) has the shape of one scale for each block."""
    return len(scale.shape) > 1 and scale.shape == PerBlock(128, 128).scale_shape(weight.shape)


def _is_scale(tensor: TensorRef, tensors: Mapping[str, TensorRef]) -> bool:
    """Whether an FP8 tensor is the scale of a packed weight, as in NVFP4."""
    return is_quantizer_name(tensor.name) and _weight_of(tensor, tensors) is not None


def config_for(container: Container) -> tuple[Dialect, Mapping[str, Any]] | None:
    """A quantization config under which every tensor is what its name and shape say, and the dialect that it is of.

    None where the tensors leave it open: scales of several granularities, or of names and shapes that no format has.
    Inputs are static where every weight has a scale for them; else they are quantized while running, which the tensors
    cannot tell from no quantization at all.
    """
    for form in registry.formats():
        if form.is_read:
            for dialect, capabilities in writable(form, None) if any(d.mode for d in form.dialects) else ():
                checkpoint = _as_if(container, form, dialect, capabilities)
                if checkpoint is not None:
                    block = form.write(checkpoint, WriteOptions(dialect.mode)).quantization_config
                    return None if block is None else (dialect, block)
    return None


def _as_if(container: Container, form: Format, dialect: Dialect, capabilities: Capabilities) -> Checkpoint | None:
    """The checkpoint as a config of this dialect would declare it; None if no such config holds it as it is stored."""
    census = take_census(container.tensors, dialect.endings)
    if census.foreign or census.fp8_elsewhere or not _are_loaded(census, dialect):
        return None
    scheme = _scheme(census, form, capabilities)
    if scheme is None:
        return None
    stored = {role for role in _KV_ROLES if census.roles[role]}
    cache = KVCacheScheme(Quantization(PerTensor())) if stored else None
    declaration = Declaration(
        format=dialect.format,
        dialect=dialect.name,
        scheme_of=lambda module: scheme if is_fp8(census.weights[module].dtype) else None,
        is_excluded=lambda module: not is_fp8(census.weights[module].dtype),
        kv_cache=cache,
        raw={},
        understood={},
    )
    checkpoint = assemble(container, census, declaration)
    if checkpoint.orphans or checkpoint.stored_only or not _is_cache_loaded(checkpoint, dialect):
        return None
    for is_kind, allowed in (
        (names.is_head, capabilities.quantized_lm_head),
        (names.is_embedding, capabilities.quantized_embeddings),
    ):
        if not allowed and any(is_kind(module) for module in checkpoint.modules):
            return None
    return checkpoint


_KV_ROLES = (Role.K_SCALE, Role.V_SCALE, Role.KV_SCALE, Role.OUTPUT_SCALE)


def _are_loaded(census: Census, dialect: Dialect) -> bool:
    """Whether every scale has a name that engines map for this dialect."""
    for role, known in ((Role.WEIGHT_SCALE, dialect.weight_scale), (Role.INPUT_SCALE, dialect.input_scale)):
        ends = {tensor.name.removeprefix(f"{module}.") for module, tensor in census.roles[role].items()}
        if not ends <= set(known.loaded):
            return False
    return True


def _is_cache_loaded(checkpoint: Checkpoint, dialect: Dialect) -> bool:
    """Whether the scales of attention are one for a tensor, each under a name that engines map for this dialect."""
    for attention in checkpoint.kv_cache.attention if checkpoint.kv_cache else ():
        for role, scale in attention.stored().items():
            known = dialect.attention.get(role)
            name = scale.name.removeprefix(f"{attention.module}.")
            if known is None or name not in known.loaded or scale.numel != 1:
                return False
    return True


def _scheme(census: Census, form: Format, capabilities: Capabilities) -> Scheme | None:
    """The one scheme that the shapes of all scales have, in a format that can declare it."""
    scales, inputs = census.roles[Role.WEIGHT_SCALE], census.roles[Role.INPUT_SCALE]
    quantized = {name: weight for name, weight in census.weights.items() if is_fp8(weight.dtype)}
    if not quantized or any(name not in scales for name in quantized):
        return None
    if any(scales[name].dtype not in capabilities.scale_dtypes for name in quantized):
        return None
    if inputs and any(name not in inputs or inputs[name].numel != 1 for name in quantized):
        return None
    for granularity in _GRANULARITIES:
        shapes = (form.scale_shapes(granularity, weight.shape) for weight in quantized.values())
        fits = all(scales[name].shape in known for name, known in zip(quantized, shapes, strict=True))
        found = _declared(granularity, capabilities, static=bool(inputs)) if fits else None
        if found is not None:
            return found
    return None


_GRANULARITIES: tuple[Granularity, ...] = (PerTensor(), PerChannel(), PerBlock(128, 128))


def _declared(granularity: Granularity, capabilities: Capabilities, *, static: bool) -> Scheme | None:
    """The scheme with inputs that the format has beside such weights."""
    sizes = capabilities.block_sizes
    if isinstance(granularity, PerBlock) and sizes is not None and (granularity.rows, granularity.columns) not in sizes:
        return None
    dynamic: tuple[Granularity, ...] = (PerToken(), PerTensor())
    if isinstance(granularity, PerBlock):
        dynamic = (PerGroup(granularity.columns),)
    for kind in (PerTensor(),) if static else dynamic:
        inputs = Quantization(kind, dynamic=not static, upper_bound=None if static else capabilities.input_bound)
        if (type(granularity), InputKind.of(inputs)) in capabilities.schemes:
            return Scheme(Quantization(granularity), inputs)
    return None
