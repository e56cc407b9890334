"""CK207 expert-layout."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Observation, Severity
from ckptkit.checks.registry import rule
from ckptkit.checks.skip_lists import builds_quantized, declared, matchers_of, readings_of
from ckptkit.engines.architectures import EXPERT_PARTS, ExpertNames
from ckptkit.engines.dialects import fact_of
from ckptkit.engines.registry import asked_about
from ckptkit.errors import Fault, plural
from ckptkit.model import names
from ckptkit.model.census import is_fp8
from ckptkit.storage.payload import TensorRef


@rule(
    "CK207",
    "expert-layout",
    Severity.WARNING,
    reports=(
        "vllm-project/llm-compressor#2833",
        "vllm-project/vllm#44739",
        "huggingface/transformers#44222",
    ),
)
def expert_layout(context: Context) -> Iterator[Fault]:
    """Experts are stored in a layout that engines do not map: fused in three dimensions, or under other names.

    Why it hurts: quantizers that look for two-dimensional ``.weight`` tensors pass fused experts by, so that the
    config calls quantized what is stored in high precision. Experts under names that the architecture does not use
    stay at random values in transformers; vLLM maps some of them and stops at others. Fused experts that the skip list
    names are meant to be as they are.

    Example: ``mlp.experts.gate_up_proj`` [4, 128, 64] in BF16 under a config that quantizes every linear layer, or
    Mixtral experts called ``gate_proj`` where the model has ``w1``.

    Fix: split the experts into one module each before quantizing; rename them to what the architecture uses.
    """
    yield from _fused_experts(context)
    yield from _stacked_experts(context)
    yield from _experts_left_out(context)
    yield from _taken_one_by_one(context)
    parts = EXPERT_PARTS.get(context.dimensions.architecture or "")
    if parts is None:
        return
    wrong: dict[str, tuple[str, bool]] = {}
    stacks = {module.name for module in context.stacks}
    for name in context.linear_kinds:
        position = name.find(".experts.")
        if position < 0:
            continue
        last = names.last_part(name)
        misplaced = not name[: position + len(".experts")].endswith(parts.container)
        if misplaced or last not in parts.projections:
            wrong.setdefault(last, (name, misplaced))
    for last, (name, misplaced) in wrong.items():
        known = last in parts.known_to_vllm and not misplaced
        yield Observation(
            "expert-names",
            f"{context.dimensions.architecture} has no experts of this name",
            None,
            name,
            expected=f"{parts.container}.N.{'/'.join(parts.projections)}",
            found=last,
            variant=None if known else "misplaced" if misplaced else f"unmapped{'/stack' * (name in stacks)}",
        )


def _fused_experts(context: Context) -> Iterator[Fault]:
    """Experts in three dimensions, in FP8 or where the config calls them quantized."""
    deep = [t for t in context.container.tensors.values() if len(t.shape) == 3]
    if not deep or context.checkpoint is None:
        return
    fused = [tensor for tensor in deep if ".experts" in tensor.name]
    yield from _renamed_experts(context, [tensor for tensor in deep if ".experts" not in tensor.name])
    parts = EXPERT_PARTS.get(context.dimensions.architecture or "")
    stacked = {tensor.name for module in context.stacks for tensor in (module.weight, *module.scales)}
    stacked |= context.opaque_parts.keys()
    listed, covered = matchers_of(context).values(), declared(context)
    for tensor in fused:
        if tensor.name in stacked or tensor.name.endswith(("_scale", "_scale_inv")):
            continue
        if is_fp8(tensor.dtype):
            message = "fused experts in FP8: few engines map their scales"
        elif not covered(tensor.name) or any(matches(n) for matches in listed for n in (tensor.module, tensor.name)):
            continue
        else:
            message = "fused experts are in high precision, and the config calls them quantized"
        yield Observation(
            "expert-layout",
            message,
            tensor.shard,
            tensor.name,
            expected="one 2-D weight for each expert, or the experts in the skip list",
            found=f"{tensor.dtype} {list(tensor.shape)}",
            variant=_fused(tensor, parts),
        )


def _renamed_experts(context: Context, others: list[TensorRef]) -> Iterator[Observation]:
    """Experts in high precision in three dimensions that only have another name: some engine builds them quantized."""
    plain = [t for t in others if not is_fp8(t.dtype) and not t.name.endswith(("_scale", "_scale_inv"))]
    for engine, reading in readings_of(context).items() if plain else ():
        asked, builds = reading.asked(context.dimensions.architecture), builds_quantized(context, reading)
        for tensor in plain:
            if asked(tensor.module).endswith(".experts") and builds(tensor.module):
                yield Observation(
                    "expert-layout",
                    "fused experts are in high precision, and the config calls them quantized",
                    tensor.shard,
                    tensor.name,
                    expected=f"{asked(tensor.module)} in the skip list",
                    found=f"{tensor.dtype} {list(tensor.shape)}",
                    variant="fused",
                    only=frozenset({engine}),
                )


def _fused(tensor: TensorRef, parts: ExpertNames | None) -> str:
    """What engines tell apart of fused experts: where they are, and whether they are codes."""
    if parts is not None and not tensor.module.endswith(parts.container):
        return "fused-misplaced"
    return "fused-codes" if is_fp8(tensor.dtype) else "fused"


def _stacked_experts(context: Context) -> Iterator[Observation]:
    """Experts in three dimensions with a scale beside them: sound, for the few classes that store them so."""
    for module in context.stacks:
        weight, scale = module.weight, module.weight_scale
        if scale is not None:
            yield Observation(
                "experts-stacked",
                "all experts of a layer are one FP8 tensor, which few model classes load",
                weight.shard,
                weight.name,
                expected="one 2-D weight for each expert where other engines are to load it",
                found=f"{weight.dtype} {list(weight.shape)}, scale {list(scale.shape)}",
                variant="stacked",
                severity=Severity.INFO,
            )


def _experts_left_out(context: Context) -> Iterator[Fault]:
    """Single experts of a class that some engine holds in one tensor, without a mapping between the two."""
    architecture = context.dimensions.architecture
    dialect = context.dialect.key if context.dialect is not None else ""
    takers = [e.label for e in asked_about().values() if architecture in (fact_of(dialect, e.experts_left_out) or ())]
    if not takers:
        return
    single = [name for name in context.linear_names if names.experts_owner(name) is not None]
    if single:
        yield Fault(
            "experts-left-out",
            f"{' and '.join(takers)} maps no single experts for {architecture}: they stay at random values",
            None,
            single[0],
            found=plural(len(single), "module"),
        )


def _taken_one_by_one(context: Context) -> Iterator[Observation]:
    """Experts in three dimensions of a class of which some engine takes single ones."""
    architecture = context.dimensions.architecture
    dialect = context.dialect.key if context.dialect is not None else ""
    known = asked_about().items()
    takers = {name: e.label for name, e in known if architecture in (fact_of(dialect, e.experts_one_by_one) or ())}
    fused = (t for t in context.container.tensors.values() if len(t.shape) == 3 and ".experts" in t.name)
    weight = next((t for t in fused if not t.name.endswith(("_scale", "_scale_inv"))), None)
    if takers and weight is not None:
        meant = any(matches(n) for matches in matchers_of(context).values() for n in (weight.module, weight.name))
        yield Observation(
            "experts-one-by-one",
            f"{' and '.join(takers.values())} looks for single experts of {architecture}, and finds none",
            weight.shard,
            weight.name,
            expected="one 2-D weight for each expert",
            found=f"{weight.dtype} {list(weight.shape)}",
            variant=f"one-by-one{'' if meant else '/quantized'}",
            only=frozenset(takers),
        )
