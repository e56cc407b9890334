"""CK210 bias-missing."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import rule
from ckptkit.errors import Fault
from ckptkit.model import names


@rule(
    "CK210",
    "bias-missing",
    Severity.ERROR,
    unreported="found by leaving out single tensors and loading what is left in three engines",
)
def bias_missing(context: Context) -> Iterator[Fault]:
    """A module has no bias, and the same module of other layers, of as many at least, has one.

    Why it hurts: engines build one class for all layers. vLLM and SGLang do not check quantized models for missing
    tensors, so that the bias keeps what the memory held; transformers makes one up, with a line in the log.

    Example: ``model.layers.0.self_attn.q_proj`` without ``bias`` in a Qwen2, whose other layers have it.

    Fix: export again; a bias cannot be made up.
    """
    if "bias" not in context.endings:
        return
    tensors = context.container.tensors
    having: dict[str, list[str]] = {}
    for name in tensors:
        if name.endswith(".bias"):
            module = name.removesuffix(".bias")
            having.setdefault(names.generalise(module), []).append(module)
    lacking: dict[str, list[str]] = {}
    for name in tensors:
        module = name.removesuffix(".weight")
        if module != name and f"{module}.bias" not in tensors and (kind := names.generalise(module)) in having:
            lacking.setdefault(kind, []).append(module)
    owners = {names.parent(module) for modules in having.values() for module in modules}
    for kind, modules in lacking.items():
        count, like = len(having[kind]), len(having[kind]) + len(modules)
        for module in modules if len(modules) <= count else ():
            # Of as many with and without, neighbours tell which of them are as they should be.
            if len(modules) < count or names.parent(module) in owners:
                weight, found = tensors[f"{module}.weight"], f"{count} of {like} modules like it have one"
                yield Fault(
                    "bias-missing", "the module has no bias", weight.shard, weight.name, f"{module}.bias", found
                )
