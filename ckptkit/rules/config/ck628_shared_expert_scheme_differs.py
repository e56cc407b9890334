"""CK628 shared-expert-scheme-differs."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Observation, Severity
from ckptkit.checks.registry import rule
from ckptkit.checks.skip_lists import engines_that_build
from ckptkit.errors import Fault
from ckptkit.model import names


@rule(
    "CK628",
    "shared-expert-scheme-differs",
    Severity.INFO,
    reports=(
        "vllm-project/vllm#28920",
        "vllm-project/vllm#54206",
    ),
)
def shared_expert_scheme_differs(context: Context) -> Iterator[Fault]:
    """Shared and routed experts of one layer have different schemes.

    Why it hurts: ROCm's fusion of shared into routed experts is turned off, or fails; nothing else happens. Some
    classes of SGLang stop at a shared expert of which the down projection alone is in high precision.

    Example: routed experts per channel, the shared expert in BF16.

    Fix: quantize both alike where that fusion matters.
    """
    yield from _down_alone_plain(context)
    shared: dict[str, str] = {}
    for name in context.outside_experts:
        position = name.find(".shared_expert")
        if position >= 0 and not name.endswith("_gate"):
            shared.setdefault(name[:position], _scheme(context, name))
    if not shared:
        return
    routed: dict[str, str] = {}
    for name in context.linear_names:
        position = name.find(".experts.")
        if position >= 0 and name[:position] not in routed:
            routed[name[:position]] = _scheme(context, name)
    seen: set[tuple[str, str]] = set()
    for owner, scheme in shared.items():
        other = routed.get(owner)
        if other is not None and other != scheme and (other, scheme) not in seen:
            seen.add((other, scheme))
            message = "shared and routed experts have different schemes"
            yield Fault("shared-scheme", message, None, owner, "one scheme", f"routed: {other}; shared: {scheme}")


def _down_alone_plain(context: Context) -> Iterator[Observation]:
    """A shared expert of which all is quantized but what leads down."""
    plain = context.checkpoint.unquantized if context.checkpoint is not None else ()
    for name in context.outside_experts:
        owner, _, last = name.rpartition(".")
        quantized = [part for part in ("gate_proj", "up_proj", "gate_up_proj") if names.join(owner, part) in plain]
        if last == "down_proj" and ".shared_experts" in name and name in plain and not quantized:
            yield Observation(
                "shared-scheme",
                "gate and up of a shared expert are quantized, and its down projection is not",
                None,
                name,
                "one scheme",
                "high precision",
                variant="down-plain",
                severity=Severity.WARNING,
                only=engines_that_build(context, name, quantized=False),
            )
            return


def _scheme(context: Context, name: str) -> str:
    module = context.checkpoint.modules.get(name) if context.checkpoint else None
    return "not quantized" if module is None else str(module.scheme)
