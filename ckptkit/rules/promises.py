"""CK112 to CK114: what config and index promise about the set of tensors, against the tensors."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Observation, Severity
from ckptkit.checks.registry import OnConversion, rule
from ckptkit.engines.dimensions import TEXT_CONFIGS
from ckptkit.errors import Fault
from ckptkit.model import names

_TIE = "tie_word_embeddings"
#: Parts of names of multi-token prediction layers.
MTP_NAMES = re.compile(r"(^|\.)(mtp\w*|nextn\w*)(\.|$)")


@rule("CK112", "weight-and-scale-apart", Severity.INFO, fix="unsafe")
def weight_and_scale_apart(context: Context) -> Iterator[Fault]:
    """A weight and its scale are stored in different shards.

    Why it hurts: engines do not mind, but tools that go shard by shard (casts, dequantizers, streaming converters)
    fail on the pair or leave the weight unscaled.

    Example: ``model.layers.9.mlp.down_proj.weight`` in shard 1 and its ``weight_scale`` in shard 2.

    Mend: write the shards again with both in one; nothing needs to be recomputed.
    """
    if len(context.container.headers) < 2:
        return
    for module in context.modules:
        for scale in (module.weight_scale, module.input_scale):
            if scale is not None and scale.shard != module.weight.shard:
                yield Fault(
                    "weight-and-scale-apart",
                    "the scale is not in the shard of its weight",
                    scale.shard,
                    scale.name,
                    expected=f"in {module.weight.shard}",
                    found=f"in {scale.shard}",
                )


@rule("CK113", "tied-head-contradiction", Severity.WARNING, fix="safe")
def tied_head_contradiction(context: Context) -> Iterator[Fault]:
    """``tie_word_embeddings`` says one thing about the output head and the tensors or another level say the other.

    Why it hurts: with the flag set, engines drop a stored head or stop at its name; with the flag cleared and no
    head stored, transformers makes one up from random numbers.

    Example: ``tie_word_embeddings: true`` beside a stored ``lm_head.weight`` that was fine-tuned.

    Mend: clear the flag on every level of the config, or drop a head that is bit for bit the embedding.
    """
    flags = dict(_tie_flags(context.config))
    tensors = context.container.tensors
    head = next(
        (name for name in (names.LM_HEAD, "language_model.lm_head", "model.lm_head") if f"{name}.weight" in tensors),
        None,
    )
    if len(set(flags.values())) > 1:
        found = ", ".join(f"{path} = {str(value).lower()}" for path, value in flags.items())
        yield Fault("tie-flags-differ", "levels of the config disagree", "config.json", None, "one value", found)
        return
    if not flags:
        return
    tied = next(iter(flags.values()))
    path = next(iter(flags))
    if tied and head is not None:
        tensor = tensors[f"{head}.weight"]
        message = "the head is stored although the config ties it to the embedding"
        yield Fault("tie-head-stored", message, tensor.shard, tensor.name, f"{path} = false, or no head", "both")
    causal = (context.dimensions.architecture or "").endswith("ForCausalLM")
    embedded = any(name.endswith("embed_tokens.weight") for name in tensors)
    if not tied and head is None and causal and embedded:
        message = "the config says that the head is not tied, but none is stored"
        yield Fault("tie-head-missing", message, "config.json", None, f"lm_head.weight, or {path} = true", "no head")


def _tie_flags(config: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    for path, level in (("", config), *((f"{key}.", config.get(key)) for key in TEXT_CONFIGS)):
        if isinstance(level, Mapping) and isinstance(level.get(_TIE), bool):
            yield f"{path}{_TIE}", level[_TIE]


@rule("CK114", "promised-tensors-absent", Severity.ERROR, conversion=OnConversion.CARRIED)
def promised_tensors_absent(context: Context) -> Iterator[Fault]:
    """Layers, experts, a vision tower or prediction layers that the config promises are not stored.

    Why it hurts: transformers fills them with random numbers, vLLM does not check quantized models for completeness,
    and speculative decoding without its layer falls back or fails.

    Example: ``num_hidden_layers: 62`` where the headers know layers 0 to 60, or ``num_nextn_predict_layers: 1``
    without any tensor of layer 61.

    Mend: copy the missing tensors from the source checkpoint, or correct the config if they were left out on purpose.
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
            )
    promised = size.experts or 0
    for owner, stored in context.experts.items():
        if len(stored) < promised:
            numbers = {int(number) for number in stored if number.isdecimal()}
            absent = promised - sum(1 for number in numbers if number < promised)
            message = f"{absent} of {promised} promised experts are not stored"
            found = f"no expert {_few(promised, numbers)}"
            yield Fault("experts-absent", message, "config.json", owner, None, found)
    vision = isinstance(context.config.get("vision_config"), Mapping)
    if vision and stacks and not any(names.other_tower(name) for name in context.outside_experts):
        message = "a vision tower is promised, but none is stored"
        yield Observation(
            "tower-absent", message, "config.json", None, "vision tensors", "none", severity=Severity.WARNING
        )


def stored_layers(context: Context) -> dict[str, set[int]]:
    """Prefix of a layer stack of the language model -> the numbers of its stored layers.

    Nothing for an encoder with a decoder: configs count the layers of only one of them.
    """
    if context.config.get("is_encoder_decoder"):
        return {}
    stacks: dict[str, set[int]] = {}
    for name in (*context.outside_experts, *context.experts):
        position = name.find("layers.")
        if position < 0 or (position and name[position - 1] != "."):
            continue
        number = name[position + 7 :].partition(".")[0]
        if number.isdecimal():
            stacks.setdefault(name[:position], set()).add(int(number))
    return {prefix: stored for prefix, stored in stacks.items() if names.other_tower(prefix) is None}


def _few(promised: int, stored: set[int]) -> str:
    """The first numbers that are missing; a config may promise more layers than any list could hold."""
    first = list(islice((number for number in range(promised) if number not in stored), 7))
    shown = ", ".join(map(str, first[:6]))
    return f"{shown}, ..." if len(first) > 6 else shown
