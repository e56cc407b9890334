"""CK628 shared-expert-scheme-differs."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import rule
from ckptkit.errors import Fault


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

    Why it hurts: ROCm's fusion of shared into routed experts is turned off, or fails; nothing else happens.

    Example: routed experts per channel, the shared expert in BF16.

    Fix: quantize both alike where that fusion matters.
    """
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


def _scheme(context: Context, name: str) -> str:
    module = context.checkpoint.modules.get(name) if context.checkpoint else None
    return "not quantized" if module is None else str(module.scheme)
