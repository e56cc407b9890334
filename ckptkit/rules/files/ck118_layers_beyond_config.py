"""CK118 layers-beyond-config."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Observation, Severity
from ckptkit.checks.registry import OnConversion, rule
from ckptkit.engines.decoder_shapes import STACKS
from ckptkit.errors import Fault
from ckptkit.rules.files.copies import alike
from ckptkit.rules.files.layer_counts import stored_layers

#: Parts of a layer for multi-token prediction, which is stored behind the main stack.
_PREDICTION_PARTS = re.compile(r"\.(eh_proj|enorm|hnorm|shared_head)(\.|$)")


@rule(
    "CK118",
    "layers-beyond-config",
    Severity.WARNING,
    conversion=OnConversion.CARRIED,
    reports=(
        "vllm-project/vllm#30433",
        "vllm-project/vllm#39480",
    ),
)
def layers_beyond_config(context: Context) -> Iterator[Fault]:
    """More decoder layers are stored than ``num_hidden_layers`` says. Layers for multi-token prediction do not count.

    Why it hurts: vLLM stops at the name of a layer that it did not build; transformers leaves the layers out and only
    lists them, so that another model answers.

    Example: ``num_hidden_layers: 1`` where layers 0 and 1 are stored.

    Fix: correct ``num_hidden_layers``, or remove the layers that are not meant.
    """
    promised = context.dimensions.layers
    stacks = stored_layers(context)
    if promised is None or not stacks or context.dimensions.mtp_layers is not None:
        return
    # Of several stacks the language model's counts; which one that is, its prefix must say.
    known = {prefix: stored for prefix, stored in stacks.items() if prefix in STACKS}
    if not known and len(stacks) > 1:
        return
    prefix, stored = max((known or stacks).items(), key=lambda item: len(item[1]))
    predicting = {
        name[len(prefix) + 7 :].partition(".")[0]
        for name in context.outside_experts
        if name.startswith(f"{prefix}layers.") and _PREDICTION_PARTS.search(name)
    }
    beyond = sorted(number for number in stored if number >= promised and str(number) not in predicting)
    if beyond:
        message = "more layers are stored than the config says"
        found = f"{prefix}layers.{beyond[0]}" + (f" to {beyond[-1]}" if len(beyond) > 1 else "")
        yield Observation(
            "layers-beyond",
            message,
            "config.json",
            expected=f"num_hidden_layers = {promised}",
            found=f"also {found}",
            variant=_variant(context, prefix, beyond[0], promised),
        )


def _variant(context: Context, prefix: str, number: int, promised: int) -> str | None:
    """What engines tell apart: a few tensors of a layer, and a layer that repeats one of those before it."""
    if not _is_whole(context, prefix, number):
        return "stray"
    stem = f"{prefix}layers.{number}."
    tensors = context.container.tensors
    own = next((t for name, t in tensors.items() if name.startswith(stem) and len(t.shape) > 1 and t.nbytes), None)
    if own is None:
        return None
    inner = own.name.removeprefix(stem)
    others = (tensors.get(f"{prefix}layers.{layer}.{inner}") for layer in range(promised))
    return "copies" if any(other is not None and alike(context.container, own, other) for other in others) else None


def _is_whole(context: Context, prefix: str, number: int) -> bool:
    """Whether a layer holds what the first has: a few tensors of it are left behind, and no layer."""
    kinds: dict[str, set[str]] = {"0": set(), str(number): set()}
    for name in context.outside_experts:
        if name.startswith(f"{prefix}layers."):
            layer, _, inner = name[len(prefix) + 7 :].partition(".")
            if layer in kinds:
                kinds[layer].add(inner)
    return kinds["0"] <= kinds[str(number)]
