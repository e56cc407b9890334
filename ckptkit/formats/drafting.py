"""What the writers of all formats do alike: weights and plain tensors stay, scales get names and shapes."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import field
from typing import Protocol, TypeVar

from ckptkit.model import names
from ckptkit.model.checkpoint import Checkpoint, QuantizedModule
from ckptkit.model.granularity import Granularity, PerHead, PerTensor
from ckptkit.model.scheme import OtherScheme, Scheme
from ckptkit.operations.cast import exact_cast
from ckptkit.operations.outputs import as_stored, computed, kept, likewise
from ckptkit.record import record
from ckptkit.storage.output import Drop, OutputTensor
from ckptkit.storage.payload import TensorRef, same_count

#: FP8 or another quantization; schemes are the keys of groups.
AnyScheme = TypeVar("AnyScheme", bound="Scheme | OtherScheme")


class ScaleShapes(Protocol):
    """The part of a format that the helpers here need."""

    def scale_shapes(self, granularity: Granularity, weight_shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        """Stored shapes, the written one first."""


@record
class Names:
    """What a target calls scales: those beside a weight, and those of an attention module by role, below the module."""

    weight_scale: str = "weight_scale"
    input_scale: str = "input_scale"
    attention: Mapping[str, str] = field(default_factory=dict)


_USUAL_NAMES = Names()


def tensors(
    checkpoint: Checkpoint, shapes: ScaleShapes, scale_dtypes: frozenset[str], spelling: Names
) -> Iterator[OutputTensor]:
    """Every tensor of a target that keeps attention scales below the attention module: see the two parts of it."""
    yield from module_tensors(checkpoint, shapes, scale_dtypes, spelling)
    yield from attention_tensors(checkpoint, shapes, scale_dtypes, spelling)


def module_tensors(
    checkpoint: Checkpoint, shapes: ScaleShapes, scale_dtypes: frozenset[str], spelling: Names = _USUAL_NAMES
) -> Iterator[OutputTensor]:
    """Weight and input scales in the target's names and shapes; weights, plain tensors and all others as they are.

    What modules that are alike have in common comes one after the other, as it does in most files.
    """
    yield from kept((*checkpoint.plain, *checkpoint.opaque_tensors()))
    for kind in checkpoint.alike:
        granularity, inputs = kind.first.scheme.weight.granularity, kind.first.scheme.input
        yield from kept([module.weight for module in kind.modules])
        if kind.first.weight_scale is not None:
            shape = shapes.scale_shapes(granularity, kind.first.weight.shape)[0]
            scales = ((m.weight_scale, _scale_name(m, spelling.weight_scale)) for m in kind.modules if m.weight_scale)
            first = scale(kind.first.weight_scale, "", shape, scale_dtypes, f"{granularity} weight scales")
            yield from likewise(first, scales)
        if kind.first.input_scale is not None and inputs is not None and not inputs.dynamic:
            shape = shapes.scale_shapes(inputs.granularity, kind.first.input_scale.shape)[0]
            scales = ((m.input_scale, names.join(m.name, spelling.input_scale)) for m in kind.modules if m.input_scale)
            yield from likewise(scale(kind.first.input_scale, "", shape, scale_dtypes, "static input scales"), scales)


def _scale_name(module: QuantizedModule, ending: str) -> str:
    """The name of a weight's scale; that of a stack without ``.weight`` in its name goes on from the stack's."""
    if module.weight.name == module.name:
        return module.name + ending.removeprefix("weight")
    return names.join(module.name, ending)


def attention_tensors(
    checkpoint: Checkpoint, shapes: ScaleShapes, scale_dtypes: frozenset[str], spelling: Names
) -> Iterator[OutputTensor]:
    """The scales of the KV cache and of attention operands, below their attention module; roles without a name go."""
    for attention in checkpoint.kv_cache.attention if checkpoint.kv_cache else ():
        used: set[str] = set()
        for role, tensor in attention.stored().items():
            if role not in spelling.attention:
                continue
            reason = "attention scales sit beside the attention, not on its projections"
            if tensor.name in used:
                reason = "one stored scale stood for keys and values; each gets its own"
            yield scale(
                tensor,
                names.join(attention.module, spelling.attention[role]),
                attention_shape(checkpoint, tensor, shapes),
                scale_dtypes,
                reason,
                duplicate=tensor.name in used,
            )
            used.add(tensor.name)


def module_drops(checkpoint: Checkpoint) -> Iterator[Drop]:
    """Stored input scales that nothing reads because the activations are dynamic."""
    for module in checkpoint.modules.values():
        if module.input_scale is not None and not module.scheme.has_static_input:
            yield Drop(module.input_scale, "activations are dynamic: nothing reads it")


def scale(
    tensor: TensorRef,
    name: str,
    shape: tuple[int, ...],
    scale_dtypes: frozenset[str],
    reason: str,
    *,
    duplicate: bool = False,
) -> OutputTensor:
    """One scale in the target's spelling; its dtype changes only where the target cannot hold it, and then exactly.

    A scale of more elements than are stored is each of these repeated, as for blocks of a weight with one scale.
    """
    dtype = exact_cast(tensor.dtype, scale_dtypes)
    if dtype is not None and not same_count(shape, tensor.shape):
        return computed(name, "repeat", (tensor,), {"shape": list(shape), "dtype": dtype}, reason)
    if dtype is None or dtype == tensor.dtype:
        return as_stored(tensor, name, shape, reason, duplicate=duplicate)
    return computed(name, "cast", (tensor,), {"dtype": dtype}, reason, shape=shape)


def attention_shape(checkpoint: Checkpoint, tensor: TensorRef, shapes: ScaleShapes) -> tuple[int, ...]:
    """The target's shape for one attention scale: a scalar, or one value for each head."""
    scheme = checkpoint.kv_cache.scheme if checkpoint.kv_cache else None
    granularity = scheme.quantization.granularity if scheme else None
    if isinstance(granularity, PerHead):
        return shapes.scale_shapes(granularity, (tensor.numel,))[0]
    return shapes.scale_shapes(PerTensor(), ())[0]


def skip_list(checkpoint: Checkpoint) -> list[str]:
    """Every linear module that is not stored quantized, by exact name, and the head even when it is tied.

    Layers that engines fuse are listed under that name too where none of their parts is quantized: SGLang asks for
    it. Modules of a multimodal model are listed under their names in memory too: transformers matches those, and vLLM
    takes either. An entry that matches nothing does no harm.
    """
    stored = {*checkpoint.modules, *checkpoint.opaque, *checkpoint.unquantized}
    other_names = names.in_memory([*checkpoint.modules, *checkpoint.unquantized], checkpoint.config)
    found = left_alone(checkpoint.unquantized, stored, other_names)
    if not checkpoint.has_head:
        found.add(names.LM_HEAD)
    return sorted(found, key=names.natural)


def left_alone(modules: Collection[str], stored: Collection[str], other_names: Mapping[str, str]) -> set[str]:
    """Every name under which an engine may ask for modules of a checkpoint that are left alone.

    ``stored`` are all its linear modules, ``other_names`` those in memory.
    """
    others = {other_names[name] for name in modules if name in other_names}
    memory = {other_names.get(name, name) for name in stored} if others else ()
    return {*modules, *others, *names.whole_layers(modules, stored), *names.whole_layers(others, memory)}


def short_names(groups: Mapping[AnyScheme, Iterable[str]]) -> dict[str, str]:
    """For each module the shortest text that tells it from modules of other schemes: numbers generalised, or not.

    A generalised name (``model.layers.*.mlp.up_proj``) is used when all quantized modules of that form share one
    scheme; otherwise the modules are listed one by one. Unquantized modules do not matter: skip lists come first
    in every format.
    """
    forms: dict[str, str] = {}
    users: dict[str, set[AnyScheme]] = {}
    for scheme, members in groups.items():
        own = {module: names.generalise(module) for module in members}
        forms.update(own)
        for form in set(own.values()):
            users.setdefault(form, set()).add(scheme)
    return {module: form if len(users[form]) == 1 else module for module, form in forms.items()}


def as_regex(form: str, *, anywhere: bool = False, children: bool = False) -> str:
    """A generalised name as a regular expression over the whole name, with ``children`` over what is below it too.

    With ``anywhere``, what comes before the part that is followed by the first number is left open. Engines
    rename that prefix in multimodal models, and follow suit in the exact names of a config but not in its
    regular expressions.

    >>> as_regex("model.layers.*.mlp.up_proj")
    're:^model\\\\.layers\\\\.\\\\d+\\\\.mlp\\\\.up_proj$'
    >>> as_regex("model.layers.0.mlp.experts", anywhere=True, children=True)
    're:(.*\\\\.)?layers\\\\.0\\\\.mlp\\\\.experts(\\\\..*)?$'
    """
    parts = form.split(".")
    first = next((index for index, part in enumerate(parts) if part == "*" or part.isdigit()), 0)
    start = max(first - 1, 0) if anywhere else 0
    body = r"\.".join(r"\d+" if part == "*" else re.escape(part) for part in parts[start:])
    before = r"(.*\.)?" if start else "^"
    after = r"(\..*)?" if children else ""
    return f"re:{before}{body}{after}$"
