"""What is wrong with a native Quark config although it is understood: vLLM stops at it, or reads it otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ckptkit.edits.changes import ConfigEdit, Path, RenameKey, SetKey
from ckptkit.errors import Fault
from ckptkit.formats.base import ConfigFault
from ckptkit.model import names
from ckptkit.model.checkpoint import Checkpoint
from ckptkit.model.select import glob_or_exact

NULL_KEY, OLD_KEY, KV_GROUP = "quark-null-key", "quark-old-key", "quark-kv-group"
SPEC_LIST = "quark-spec-list"

_OLD_SPELLINGS = {"dynamic": "is_dynamic", "axis": "ch_axis"}


def required_keys(block: Mapping[str, Any], export: Mapping[str, Any], way: Path) -> Iterator[Fault]:
    """Keys that vLLM reads without asking whether they are there."""
    # Null here is harmless until there is a KV group, and is written out together with the others.
    also: tuple[ConfigEdit, ...] = ()
    if block.get("layer_quant_config") is None:
        also = (SetKey((*way, "layer_quant_config"), {}),)
    empty: Any
    for place, value, empty in (
        (("exclude",), block.get("exclude"), []),
        (("layer_type_quant_config",), block.get("layer_type_quant_config"), {}),
        (("export", "kv_cache_group"), export.get("kv_cache_group"), []),
    ):
        if value is None:
            path = ".".join(place)
            yield ConfigFault(
                NULL_KEY,
                f"{path} is null or missing, and readers take it for there",
                "config.json",
                expected=f"{path} = {empty}",
                found="nothing",
                path=place,
                edits=(SetKey((*way, *place), empty), *also),
            )


def read_faults(checkpoint: Checkpoint, block: Mapping[str, Any], way: Path) -> Iterator[Fault]:
    """Faults that show once it is known which modules the config means."""
    group = checkpoint.understood.get("kv_cache_group") or []
    layers = block.get("layer_quant_config") or {}
    without = list(_without_entries(group, layers))
    for entry in without:
        yield ConfigFault(
            KV_GROUP,
            "kv_cache_group names layers for which layer_quant_config has no entry",
            "config.json",
            expected=f"layer_quant_config[{entry!r}] with output_tensors",
            found=f"keys {list(layers)!r}"[:80],
            path=("layer_quant_config",),
            what="in-part" if len(without) < len(group) else "",
        )
    default = block.get("global_quant_config")
    absent = [key for key in ("output_tensors", "bias") if isinstance(default, Mapping) and key not in default]
    for key in absent if group else ():
        place = ("global_quant_config", key)
        yield ConfigFault(
            "quark-default-outputs",
            "the keys of the default and of the KV entries differ, and readers compare them",
            "config.json",
            expected=f"global_quant_config.{key} = null",
            found="no such key",
            path=place,
            edits=(SetKey((*way, *place), None),),
        )
    empty = [key for key in ("output_tensors", "bias") if isinstance(default, Mapping) and default.get(key) == []]
    for key in empty:
        place = ("global_quant_config", key)
        yield ConfigFault(
            "quark-empty-list",
            "a list of specs holds none: the library that wrote the format builds a quantizer of it all the same",
            "config.json",
            expected=f"global_quant_config.{key} = null",
            found="[]",
            path=place,
            edits=(SetKey((*way, *place), None),),
        )
    for scheme, members in checkpoint.schemes.items():
        if scheme.weight.dynamic:
            message = "weights are stored, and called dynamic: readers find no scheme for them"
            yield ConfigFault("quark-dynamic-weights", message, "config.json", members[0], "is_dynamic = false", "true")
        if scheme.output is not None:
            message = "quantized outputs of linear layers: readers find no scheme for them"
            found = str(scheme.output)
            yield ConfigFault("quark-outputs", message, "config.json", members[0], "output_tensors = null", found)


def left_plain(checkpoint: Checkpoint, declared: Callable[[str], bool]) -> Iterator[Fault]:
    """Linear modules that a spec leaves plain, and not the skip list, the first of each kind.

    ``declared`` says which the config quantizes or lists.
    """
    seen: set[str] = set()
    for module in checkpoint.unquantized:
        kind = names.generalise(module)
        if kind not in seen and not names.is_head(module):
            seen.add(kind)
            if not declared(module):
                message = "a spec without weights leaves this layer plain: engines want a scheme for what is not listed"
                name = names.join(module, "weight")
                yield Fault("quark-plain-layer", message, "config.json", name, "an entry of exclude", "weight = null")


def group_without_entries(block: Mapping[str, Any]) -> bool:
    """Whether the KV group names what ``layer_quant_config`` has no entry for."""
    group = (block.get("export") or {}).get("kv_cache_group") or ()
    return any(True for _ in _without_entries(group, block.get("layer_quant_config") or {}))


def _without_entries(group: Any, layers: Mapping[str, Any]) -> Iterator[str]:
    for entry in group:
        if not any(key == entry or glob_or_exact(entry).matches(key) for key in layers):
            yield entry


def new_spellings(block: Mapping[str, Any], way: Path) -> Iterator[ConfigEdit]:
    """Today's spellings of keys, in every tensor spec of a native config."""
    layers: list[tuple[Path, Any]] = [(("global_quant_config",), block.get("global_quant_config"))]
    for key in ("layer_quant_config", "kv_cache_quant_config"):
        layers += [((key, name), spec) for name, spec in (block.get(key) or {}).items()]
    for place, layer in layers:
        for role, spec in layer.items() if isinstance(layer, Mapping) else ():
            for old, new in _OLD_SPELLINGS.items() if isinstance(spec, Mapping) else ():
                if old in spec and new not in spec:
                    yield RenameKey((*way, *place, role, old), new)
