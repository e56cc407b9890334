"""CK632 config-size-unusable."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Observation, Severity
from ckptkit.checks.registry import OnConversion, rule
from ckptkit.engines.decoder_shapes import is_judged
from ckptkit.engines.dimensions import text_level
from ckptkit.errors import Fault, excerpt
from ckptkit.rules.files.layer_counts import stored_layers

_SIZES = (
    *("hidden_size", "intermediate_size", "moe_intermediate_size", "num_attention_heads", "num_key_value_heads"),
    *("head_dim", "num_hidden_layers", "vocab_size"),
)

#: Sizes that are never zero in a model with attention.
_POSITIVE = frozenset({"hidden_size", "num_attention_heads", "num_key_value_heads", "num_hidden_layers", "vocab_size"})

#: A word that says of every layer what it is, and so how many there are.
_PATTERN = "hybrid_override_pattern"
#: What some architectures call the number of layers.
_LAYER_KEYS = ("num_hidden_layers", "num_layers", "n_layer", "n_layers", "num_decoder_layers", "decoder_layers")

#: Activations by the names that transformers gives them.
_ACTIVATIONS = frozenset(
    {
        *("gelu", "gelu_10", "gelu_accurate", "gelu_fast", "gelu_new", "gelu_python", "gelu_pytorch_tanh"),
        *("gelu_python_tanh", "geglu", "swiglu", "laplace", "leaky_relu", "linear", "mish", "prelu", "quick_gelu"),
        *("relu", "relu2", "relu6", "sigmoid", "silu", "swish", "tanh", "xielu"),
    }
)


@rule(
    "CK632",
    "config-size-unusable",
    Severity.ERROR,
    conversion=OnConversion.CARRIED,
    reports=("sgl-project/sglang#32028",),
)
def config_size_unusable(context: Context) -> Iterator[Fault]:
    """A size in config.json is no number, not positive, missing, or not that of its list of layers; or no activation.

    Why it hurts: loaders refuse the config, or build a model of default sizes that has nothing to do with the tensors.

    Example: ``hidden_size: "4096"``, ``num_attention_heads: 0``, or a config without ``num_hidden_layers``.

    Fix: write the number that the model was trained with.
    """
    text = text_level(context.config)
    prefix = "" if text is context.config else f"{next(k for k, v in context.config.items() if v is text)}."
    for key in _SIZES:
        value = text.get(key)
        if value is not None and not _is_size(value):
            yield _unusable(f"{prefix}{key}", "is not a number", "a whole number", excerpt(value))
        elif type(value) is int and value <= 0 and key in _POSITIVE and _has_attention(context):
            yield _unusable(f"{prefix}{key}", "is not positive", "1 or more", str(value))
    activation = text.get("hidden_act")
    if isinstance(activation, str) and activation not in _ACTIVATIONS and is_judged(context.dimensions):
        unknown = _unusable(
            f"{prefix}hidden_act", "is no activation that engines know", "a word such as silu", activation
        )
        yield Observation.of(unknown, variant="activation")
    layers, types = text.get("num_hidden_layers"), text.get("layer_types")
    if type(layers) is int and isinstance(types, list) and len(types) != layers:
        counted = _unusable(
            f"{prefix}layer_types", "has another length", f"{layers}, one for each layer", str(len(types))
        )
        yield Observation.of(counted, variant="layer-types")
    keys = _LAYER_KEYS[:1] if is_judged(context.dimensions) else _LAYER_KEYS
    untold = not prefix and "hidden_size" in text and all(text.get(key) is None for key in (*keys, _PATTERN))
    if untold and any("model" in stack for stack in stored_layers(context)):
        missing = _unusable("num_hidden_layers", "is missing, and layers are stored", "the number of layers", "nothing")
        yield Observation.of(missing, variant="missing")


def _unusable(key: str, what: str, expected: str, found: str) -> Fault:
    return Fault("config-size", f"{key} {what}", "config.json", None, expected, found)


def _is_size(value: Any) -> bool:
    """Whether loaders take a value for a size: a whole number, or one for each layer."""
    if isinstance(value, list):
        return all(item is None or _is_size(item) for item in value)
    return type(value) is int


def _has_attention(context: Context) -> bool:
    return any(name.endswith(("self_attn.q_proj", "self_attn.qkv_proj")) for name in context.module_names)
