"""CK114 promised-tensors-absent."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Observation, Severity
from ckptkit.checks.registry import OnConversion, rule
from ckptkit.checks.skip_lists import builds_quantized, readings_of
from ckptkit.engines.architectures import RELEASED_PREFIXES
from ckptkit.engines.layers import Layer, layer_of
from ckptkit.engines.prediction import MTP_NAMES
from ckptkit.errors import Fault
from ckptkit.model import names
from ckptkit.rules.files.layer_counts import stored_layers

#: What stands between a tower and the language model.
_PROJECTOR = re.compile(r"(^|\.)\w*(projector|connector)\w*\.")
#: A linear layer of a tower beside such a projector.
_IN_A_TOWER = "vision_tower.encoder.layers.0.self_attn.q_proj"


@rule(
    "CK114",
    "promised-tensors-absent",
    Severity.ERROR,
    conversion=OnConversion.CARRIED,
    reports=(
        "vllm-project/llm-compressor#1630",
        "vllm-project/llm-compressor#2735",
        "intel/auto-round#1526",
    ),
)
def promised_tensors_absent(context: Context) -> Iterator[Fault]:
    """Layers, experts, a vision tower or prediction layers that the config promises are not stored, or a router is not.

    Why it hurts: transformers fills them with random numbers, vLLM does not check quantized models for completeness,
    and speculative decoding without its layer falls back or fails.

    Example: ``num_hidden_layers: 62`` where the headers know layers 0 to 60, or ``num_nextn_predict_layers: 1``
    without any tensor of layer 61.

    Fix: copy the missing tensors from the source checkpoint, or correct the config if they were left out on purpose.
    """
    size = context.dimensions
    stacks = stored_layers(context)
    missing = 0
    if size.layers is not None and stacks:
        best = max(stacks.values(), key=len)
        missing = size.layers - sum(1 for number in best if number < size.layers)
        if missing:
            message = f"{missing} of {size.layers} promised layers are not stored"
            found = f"no layer {_few(size.layers, best)}"
            yield Fault("layers-absent", message, "config.json", None, f"{size.layers} layers", found)
    if size.layers is not None and size.mtp_layers is not None and stacks and not missing:
        beyond = any(max(stored) >= size.layers for stored in stacks.values())
        if not beyond and not any(MTP_NAMES.search(name) for name in context.outside_experts):
            yield Observation(
                "mtp-absent",
                "layers for multi-token prediction are promised, but none is stored",
                "config.json",
                expected=f"{size.mtp_layers} more than {size.layers} layers, or mtp.*",
                found="nothing",
                severity=Severity.WARNING,
                variant="prediction",
            )
    promised = size.experts or 0
    for owner, stored in context.experts.items():
        if len(stored) < promised:
            numbers = {int(number) for number in stored if number.isdecimal()}
            absent = promised - sum(1 for number in numbers if number < promised)
            message = f"{absent} of {promised} promised experts are not stored"
            found = f"no expert {_few(promised, numbers)}"
            yield Observation("experts-absent", message, "config.json", owner, None, found, variant="experts")
    for owner in _without_router(context):
        message, found = "a router that other layers have is not stored", "experts, and no router"
        yield Observation("router-absent", message, None, owner, "a router beside them", found, variant="router")
    vision = isinstance(context.config.get("vision_config"), Mapping)
    beside = [name for name in context.outside_experts if names.other_tower(name)]
    if vision and stacks and all(_PROJECTOR.search(name) for name in beside):
        message = "a vision tower is promised, but none is stored"
        yield Observation(
            "tower-absent",
            message,
            "config.json",
            None,
            "vision tensors",
            "a projector alone" if beside else "none",
            variant="tower-unknown" if size.architecture in RELEASED_PREFIXES else _tower(context, beside),
            severity=Severity.WARNING,
        )


def _without_router(context: Context) -> Iterator[str]:
    """What holds experts without a router, where others of its kind have one."""
    owners: dict[str, list[str]] = {}
    for experts in context.experts:
        owner = names.parent(experts)
        owners.setdefault(names.generalise(owner), []).append(owner)
    routers = [name for name in context.outside_experts if layer_of(name) is Layer.ROUTER] if owners else []
    routed = {above for name in routers for above in (names.parent(name), names.parent(names.parent(name)))}
    for alike in owners.values():
        if not routed.isdisjoint(alike):
            yield from (owner for owner in alike if owner not in routed)


def _tower(context: Context, beside: Sequence[str]) -> str | None:
    """The variant of a tower that is absent beside its projector: who matches the skip list by names in memory may
    find that the tower, of which none is stored, is not on it."""
    if not beside:
        return None
    found = _PROJECTOR.search(beside[0])
    stem = beside[0] if found is None else found[0].strip(".")
    prefix = context.names_in_memory.get(beside[0], beside[0]).partition(stem)[0]
    readers = [reading for reading in readings_of(context).values() if reading.names_in_memory]
    built = any(builds_quantized(context, reading)(f"{prefix}{_IN_A_TOWER}") for reading in readers)
    return "tower-built" if built else "tower"


def _few(promised: int, stored: set[int]) -> str:
    """The first numbers that are missing; a config may promise more layers than any list could hold."""
    first = list(islice((number for number in range(promised) if number not in stored), 7))
    shown = ", ".join(map(str, first[:6]))
    return f"{shown}, ..." if len(first) > 6 else shown
