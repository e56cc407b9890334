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
    tensors = context.container.tensors
    biases: dict[str, int] = {}
    for name in tensors:
        if name.endswith(".bias"):
            kind = names.generalise(name.removesuffix(".bias"))
            biases[kind] = biases.get(kind, 0) + 1
    without: dict[str, list[str]] = {}
    for name in tensors if biases else ():
        module = name.removesuffix(".weight")
        if module != name and f"{module}.bias" not in tensors and names.generalise(module) in biases:
            without.setdefault(names.generalise(module), []).append(module)
    for kind, modules in without.items():
        # Of as many with and without, neighbours tell which of them are as they should be.
        as_many = len(modules) == biases[kind]
        owners = (
            {names.parent(name.removesuffix(".bias")) for name in tensors if name.endswith(".bias")} if as_many else ()
        )
        for module in modules if len(modules) <= biases[kind] else ():
            if not as_many or names.parent(module) in owners:
                found = f"{biases[kind]} of {biases[kind] + len(modules)} modules like it have one"
                weight = tensors[f"{module}.weight"]
                yield Fault(
                    "bias-missing", "the module has no bias", weight.shard, weight.name, f"{module}.bias", found
                )
