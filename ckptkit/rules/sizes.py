"""CK118, CK312, CK632 and CK633: the sizes in config.json against the tensors, and what loaders need beside them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Observation, Severity
from ckptkit.checks.registry import OnConversion, rule
from ckptkit.engines.decoder_shapes import STACKS, decoder_shapes, is_judged
from ckptkit.engines.dimensions import text_level
from ckptkit.engines.effects import Effect, Outcome
from ckptkit.engines.outcomes import outcomes_of
from ckptkit.errors import Fault, excerpt
from ckptkit.model.census import is_fp8
from ckptkit.rules.promises import stored_layers
from ckptkit.storage.payload import TensorRef

_TABLES = frozenset({"embed_tokens", "lm_head"})
#: Parts of a layer for multi-token prediction, which is stored behind the main stack.
_PREDICTION_PARTS = re.compile(r"\.(eh_proj|enorm|hnorm|shared_head)(\.|$)")

#: vLLM copies as many rows, or columns, as its parameter has.
_CUT = tuple(
    Effect("vllm", effect.versions, Outcome.SILENT, "only the first rows or columns are taken")
    if effect.engine == "vllm"
    else effect
    for effect in outcomes_of("CK312")
)

_SIZES = (
    *("hidden_size", "intermediate_size", "moe_intermediate_size", "num_attention_heads", "num_key_value_heads"),
    *("head_dim", "num_hidden_layers", "vocab_size"),
)
#: Sizes that are never zero in a model with attention.
_POSITIVE = frozenset({"hidden_size", "num_attention_heads", "num_key_value_heads", "num_hidden_layers", "vocab_size"})
#: What some architectures call the number of layers.
_LAYER_KEYS = ("num_hidden_layers", "num_layers", "n_layer", "n_layers", "num_decoder_layers", "decoder_layers")


@rule("CK312", "shape-contradicts-config", Severity.ERROR, conversion=OnConversion.CARRIED)
def shape_contradicts_config(context: Context) -> Iterator[Fault]:
    """A weight of the decoder has another extent than the sizes in config.json give.

    Why it hurts: engines build their layers from the config. vLLM stops at a weight that is too small and takes the
    first rows of one that is too large, without a word: fewer heads or neurons answer. An embedding or head with more
    rows than ``vocab_size`` is a warning, since some readers cut the padding off; vLLM does not.

    Example: ``mlp.up_proj.weight`` [80, 64] under ``intermediate_size: 96``.

    Mend: correct the key in config.json; if it is right, the tensors belong to another model.
    """
    if not is_judged(context.dimensions) or _has_sizes_by_layer(context):
        return
    shapes = decoder_shapes(context.dimensions)
    found: dict[tuple[str, int, int], list[TensorRef]] = {}
    for (kind, shape), weights in context.decoder_weights.items():
        wanted = shapes.get(kind, ())
        sizes = tuple(extent.size if extent else None for extent in wanted)
        if len(wanted) != len(shape) or shape == sizes:
            continue
        if shape[::-1] == sizes:  # CK307 says so of those in FP8
            weights = [weight for weight in weights if not is_fp8(weight.dtype)]
        for axis, extent in enumerate(wanted):
            if weights and extent is not None and shape[axis] != extent.size:
                found.setdefault((extent.keys, extent.size, shape[axis]), []).extend(weights)
    for (keys, size, stored), tensors in found.items():
        table = stored > size and all(tensor.module.rpartition(".")[2] in _TABLES for tensor in tensors)
        many = f", in {len(tensors)} tensors" if len(tensors) > 1 else ""
        yield Observation(
            "shape-config",
            f"another size than config.json gives{many}",
            tensors[0].shard,
            tensors[0].name,
            f"{keys} = {size}",
            f"{stored}, in {list(tensors[0].shape)}",
            f"correct {keys} in config.json",
            engines=_CUT if stored > size and not table and keys != "hidden_size" else None,
            severity=Severity.WARNING if table else None,
        )


def _has_sizes_by_layer(context: Context) -> bool:
    """Whether the config has a list of numbers with one for each layer, as pruned models have beside common sizes."""
    layers = context.dimensions.layers
    values = text_level(context.config).values()
    lists = [value for value in values if isinstance(value, list) and len(value) == layers]
    return any(all(type(item) is int for item in value) for value in lists)


@rule("CK118", "layers-beyond-config", Severity.WARNING, conversion=OnConversion.CARRIED)
def layers_beyond_config(context: Context) -> Iterator[Fault]:
    """More decoder layers are stored than ``num_hidden_layers`` says. Layers for multi-token prediction do not count.

    Why it hurts: vLLM stops at the name of a layer that it did not build; transformers leaves the layers out and only
    lists them, so that another model answers.

    Example: ``num_hidden_layers: 1`` where layers 0 and 1 are stored.

    Mend: correct ``num_hidden_layers``, or remove the layers that are not meant.
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
        yield Fault("layers-beyond", message, "config.json", None, f"num_hidden_layers = {promised}", f"also {found}")


@rule("CK632", "config-size-unusable", Severity.ERROR, conversion=OnConversion.CARRIED)
def config_size_unusable(context: Context) -> Iterator[Fault]:
    """A size in config.json is not a number, is not positive, or is missing where layers are stored.

    Why it hurts: loaders refuse the config, or build a model of default sizes that has nothing to do with the tensors.

    Example: ``hidden_size: "4096"``, ``num_attention_heads: 0``, or a config without ``num_hidden_layers``.

    Mend: write the number that the model was trained with.
    """
    text = text_level(context.config)
    prefix = "" if text is context.config else f"{next(k for k, v in context.config.items() if v is text)}."
    for key in _SIZES:
        value = text.get(key)
        if value is not None and not _is_size(value):
            yield _unusable(f"{prefix}{key}", "is not a number", "a whole number", excerpt(value))
        elif type(value) is int and value <= 0 and key in _POSITIVE and _has_attention(context):
            yield _unusable(f"{prefix}{key}", "is not positive", "1 or more", str(value))
    untold = not prefix and "hidden_size" in text and all(text.get(key) is None for key in _LAYER_KEYS)
    if untold and any("model" in stack for stack in stored_layers(context)):
        yield _unusable("num_hidden_layers", "is missing, and layers are stored", "the number of layers", "nothing")


def _unusable(key: str, what: str, expected: str, found: str) -> Fault:
    return Fault("config-size", f"{key} {what}", "config.json", None, expected, found)


def _is_size(value: Any) -> bool:
    """Whether loaders take a value for a size: a whole number, or one for each layer."""
    if isinstance(value, list):
        return all(item is None or _is_size(item) for item in value)
    return type(value) is int


def _has_attention(context: Context) -> bool:
    return any(name.endswith(("self_attn.q_proj", "self_attn.qkv_proj")) for name in context.module_names)


@rule("CK633", "architecture-unnamed", Severity.WARNING, conversion=OnConversion.CARRIED)
def architecture_unnamed(context: Context) -> Iterator[Fault]:
    """config.json names no model type, or no architecture.

    Why it hurts: vLLM and transformers choose the config's class by ``model_type`` and stop without it, unless the
    repository brings a class of its own. Without ``architectures`` current engines guess from the model type, older
    ones stop: that is a note.

    Example: a config.json that was written by hand and begins with ``hidden_size``.

    Mend: copy ``architectures`` and ``model_type`` from the original model's config.json.
    """
    config = context.config
    if context.located is None or "_class_name" in config:  # a part of a diffusers pipeline has neither
        return
    own_class = isinstance(config.get("auto_map"), Mapping) and "AutoConfig" in config["auto_map"]
    if not config.get("model_type") and not own_class:
        yield _unnamed("model_type", 'a word such as "llama"')
    if not config.get("architectures"):
        old = Effect("vllm", "older releases", Outcome.ERROR, "no model architectures are specified")
        fault = _unnamed("architectures", 'a list such as ["LlamaForCausalLM"]')
        yield Observation(**vars(fault), engines=(old,), severity=Severity.INFO)


def _unnamed(key: str, expected: str) -> Fault:
    return Fault("architecture-unnamed", f"{key} is missing", "config.json", None, expected, "nothing")
