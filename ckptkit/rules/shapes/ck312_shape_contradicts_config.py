"""CK312 shape-contradicts-config."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Observation, Severity
from ckptkit.checks.registry import OnConversion, rule
from ckptkit.engines.attention import seen_by
from ckptkit.engines.decoder_shapes import decoder_shapes, is_judged
from ckptkit.engines.dimensions import Dimensions, text_level
from ckptkit.engines.registry import counters_by_shapes, engines
from ckptkit.errors import Fault
from ckptkit.model.census import is_fp8
from ckptkit.rules.shapes.heads import ENDS_OF_NORMS, OF_HEADS, heads_by_shapes
from ckptkit.storage.payload import TensorRef

#: How numbers that correct a router's choice are called, one for each expert.
_ROUTER_BIAS = "e_score_correction_bias"
_TABLES = frozenset({"embed_tokens", "lm_head"})


@rule(
    "CK312",
    "shape-contradicts-config",
    Severity.ERROR,
    conversion=OnConversion.CARRIED,
    reports=(
        "vllm-project/vllm#31454",
        "vllm-project/vllm#44836",
    ),
)
def shape_contradicts_config(context: Context) -> Iterator[Fault]:
    """A weight of the decoder has another extent than the sizes in config.json give.

    Why it hurts: engines build their layers from the config. vLLM stops at a weight that is too small and takes the
    first rows of one that is too large, without a word: fewer heads or neurons answer. An embedding or head with more
    rows than ``vocab_size`` is a warning, since some readers cut the padding off; vLLM does not.

    Example: ``mlp.up_proj.weight`` [80, 64] under ``intermediate_size: 96``.

    Fix: correct the key in config.json; if it is right, the tensors belong to another model.
    """
    yield from _experts_in_dense_layers(context)
    yield from _biases_of_routers(context)
    if not is_judged(context.dimensions) or _has_sizes_by_layer(context):
        return
    views = seen_by({name: engine.attention for name, engine in engines().items()}, context.dimensions)
    misfits = {dimensions: _misfits(context, dimensions) for dimensions in views}
    for misfit in dict.fromkeys(misfit for found in misfits.values() for misfit in found):
        seen = [dimensions for dimensions, found in misfits.items() if misfit in found]
        only = frozenset[str]().union(*(views[dimensions] for dimensions in seen))
        yield _observed(context, seen[0], misfit, misfits[seen[0]], only if len(seen) < len(views) else None)


class _Misfit(NamedTuple):
    """An extent that is stored otherwise than the config gives it, by the keys that give it."""

    keys: str
    size: int
    stored: int


def _misfits(context: Context, dimensions: Dimensions) -> dict[_Misfit, list[TensorRef]]:
    """Extents that do not fit sizes, with the weights that have them."""
    shapes = decoder_shapes(dimensions)
    found: dict[_Misfit, list[TensorRef]] = {}
    for (kind, shape), weights in context.decoder_weights.items():
        wanted = shapes.get(kind, ())
        sizes = tuple(extent.size if extent else None for extent in wanted)
        if len(wanted) != len(shape) or shape == sizes:
            continue
        if shape[::-1] == sizes:  # CK307 says so of those in FP8
            weights = [weight for weight in weights if not is_fp8(weight.dtype)]
        for axis, extent in enumerate(wanted):
            if weights and extent is not None and shape[axis] != extent.size:
                found.setdefault(_Misfit(extent.keys, extent.size, shape[axis]), []).extend(weights)
    return found


def _observed(
    context: Context,
    dimensions: Dimensions,
    misfit: _Misfit,
    found: Mapping[_Misfit, list[TensorRef]],
    only: frozenset[str] | None,
) -> Observation:
    keys, size, stored = misfit
    tensors = found[misfit]
    table = stored > size and all(tensor.module.rpartition(".")[2] in _TABLES for tensor in tensors)
    many = f", in {len(tensors)} tensors" if len(tensors) > 1 else ""
    counting = counters_by_shapes(dimensions.architecture) & (frozenset(engines()) if only is None else only)
    of_heads = OF_HEADS in keys or tensors[0].module.endswith(ENDS_OF_NORMS)
    heads = heads_by_shapes(context, dimensions) if counting and of_heads else None
    return Observation(
        "shape-config",
        f"another size than config.json gives{many}",
        tensors[0].shard,
        tensors[0].name,
        f"{keys} = {size}",
        f"{stored}, in {list(tensors[0].shape)}",
        f"correct {keys} in config.json",
        variant=_variant(context, dimensions, misfit, tensors, {other.keys for other in found}),
        severity=Severity.WARNING if table else None,
        only=only,
        apart=None if heads is None else (f"heads-{heads}", counting),
    )


def _experts_in_dense_layers(context: Context) -> Iterator[Observation]:
    """Experts in layers that the config calls dense, by their numbers."""
    text = text_level(context.config)
    listed = text.get("mlp_only_layers")
    dense = {number for number in listed if type(number) is int} if isinstance(listed, list) else set[int]()
    for owner in context.experts if dense else ():
        number = owner.partition("layers.")[2].partition(".")[0]
        if number.isdecimal() and int(number) in dense:
            message = "experts in a layer that the config calls dense"
            expected = f"no {number} in mlp_only_layers"
            yield Observation("shape-config", message, None, owner, expected, str(listed)[:80], variant="dense-layer")


def _biases_of_routers(context: Context) -> Iterator[Observation]:
    """Numbers that correct the router's choice, of more or fewer experts than the config has: pruning left them."""
    wanted = context.dimensions.experts
    for tensor in context.container.tensors.values() if wanted is not None else ():
        if tensor.name.endswith(_ROUTER_BIAS) and len(tensor.shape) == 1 and tensor.shape[0] != wanted:
            message = "the router's bias has another length than there are experts"
            expected, found = f"{wanted} experts, as in the config", f"{tensor.shape[0]} numbers"
            yield Observation(
                "shape-config", message, tensor.shard, tensor.name, expected, found, variant="router-bias"
            )


def _variant(
    context: Context, dimensions: Dimensions, misfit: _Misfit, tensors: list[TensorRef], all_keys: set[str]
) -> str:
    """What engines tell apart: too large ("cut") or too small ("short"), of heads or of other layers, and whether all
    weights agree with each other or some do not ("in-part"). Of the hidden size and the vocabulary nothing can be cut.
    """
    shapes = decoder_shapes(dimensions)
    tables = all(tensor.module.rpartition(".")[2] in _TABLES for tensor in tensors)
    found = {
        shape[axis]
        for (name, shape) in context.decoder_weights
        for axis, extent in enumerate(shapes.get(name, ()))
        if extent is not None and extent.keys == misfit.keys and axis < len(shape)
    }
    routers = all(tensor.module.endswith(".gate") for tensor in tensors)
    kind = "hidden" if misfit.keys == "hidden_size" else "table" if tables else "router" if routers else None
    if OF_HEADS in misfit.keys and any(tensor.module.endswith(ENDS_OF_NORMS) for tensor in tensors):
        kind = "norm"
    kind = kind or f"{_of_heads(misfit.keys, all_keys)}{'cut' if misfit.stored > misfit.size else 'short'}"
    if len(found) == 1:
        one_head = misfit.stored * (dimensions.kv_heads or 0) == misfit.size
        return "keys-one" if kind == "keys-short" and one_head else kind
    return f"{kind}-in-part"


def _of_heads(keys: str, all_keys: set[str]) -> str:
    """Which number of heads a size comes from: that of queries, of keys, or the size of both."""
    attention = {name for name in all_keys if OF_HEADS in name}
    if keys not in attention:
        return ""
    both = len({name.startswith("num_key") for name in attention}) == 2
    return "head-size-" if both else "keys-" if keys.startswith("num_key") else "queries-"


def _has_sizes_by_layer(context: Context) -> bool:
    """Whether the config has a list of numbers with one for each layer, as pruned models have beside common sizes."""
    layers = context.dimensions.layers
    values = text_level(context.config).values()
    lists = [value for value in values if isinstance(value, list) and len(value) == layers]
    return any(all(type(item) is int for item in value) for value in lists)
