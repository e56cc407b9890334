"""What is wrong with a compressed-tensors config although it is understood: some loader reads garbage, or stops."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ckptkit.edits.changes import ConfigEdit, RemoveKey, RenameKey, SetKey
from ckptkit.errors import Fault
from ckptkit.formats import config_block
from ckptkit.formats.base import ConfigFault
from ckptkit.formats.compressed_tensors.args import LATER_ARGS
from ckptkit.formats.compressed_tensors.config import FP8_FORMATS, ROLES
from ckptkit.formats.compressed_tensors.other import OTHER_STORAGES
from ckptkit.formats.compressed_tensors.spec import STORAGE
from ckptkit.formats.dialect import texts
from ckptkit.model import names

#: What vLLM takes for a KV cache; it has no default.
_KV_STRATEGIES = ("tensor", "attn_head")


class Beside(NamedTuple):
    """What config.json has under the usual key although the block sits under the older one."""

    value: Any


def config_faults(located: config_block.Located, beside: Beside | None) -> Iterator[Fault]:
    """Faults of the keys themselves. The block is moved to the usual key only where nothing is lost by that."""
    block = located.block
    yield from _missing_keys(block, located.way)
    yield from _groups(block, located.way)
    yield from _kv_cache(block)
    yield from _recent_keys(block, located.way)
    sparsity = block.get("sparsity_config")
    if isinstance(sparsity, dict) and sparsity.get("targets"):
        dense = sparsity.get("format") in (None, "dense")
        yield ConfigFault(
            "ct-sparsity",
            "a sparsity_config with targets, although the storage is dense",
            "config.json",
            expected="sparsity_config = {}",
            found="targets",
            path=("sparsity_config",),
            edits=(RemoveKey((*located.way, "sparsity_config")),) if dense else (),
        )
    if "ignore" in block and block["ignore"] is None:
        message = "ignore is null, and readers go through it"
        yield ConfigFault(
            "ct-null-list",
            message,
            "config.json",
            expected="ignore = []",
            found="null",
            path=("ignore",),
            edits=(SetKey((*located.way, "ignore"), []),),
        )
    classes = sorted(names.LINEAR_CLASSES.intersection(texts(block.get("ignore"))))
    if classes:
        message = "a class name in ignore: some readers skip all such modules, others none"
        yield ConfigFault(
            "ct-ignore-class", message, "config.json", None, "module names", ", ".join(classes), path=("ignore",)
        )
    if located.path == config_block.LEGACY_KEY:
        move: tuple[ConfigEdit, ...] = (RenameKey((config_block.LEGACY_KEY,), config_block.KEY),)
        if beside is not None:
            move = (RemoveKey((config_block.KEY,)), *move) if beside.value is None else ()
        yield ConfigFault(
            "config-legacy-key",
            "the block sits under a key that newer readers do not look at",
            "config.json",
            edits=move,
        )


def _missing_keys(block: Mapping[str, Any], way: tuple[str, ...]) -> Iterator[Fault]:
    """Keys without which one of the loaders reads garbage although the tensors are right."""
    status = block.get("quantization_status")
    if status != "compressed":
        yield ConfigFault(
            "ct-status",
            "the config does not say that the weights are stored compressed",
            "config.json",
            expected='quantization_status "compressed"',
            found=repr(status) if status is not None else "nothing",
            path=("quantization_status",),
            edits=(SetKey((*way, "quantization_status"), "compressed"),),
        )
    groups = _bodies(block)
    own = [group.get("format") for group in groups.values()]
    # Without groups only the KV cache is quantized, and no format is asked for.
    known = {*FP8_FORMATS, *OTHER_STORAGES}
    if block.get("config_groups") and block.get("format") not in known and not (own and all(own)):
        presets = len(groups) != len(block["config_groups"])  # writing these out writes their formats too
        yield ConfigFault(
            "ct-format",
            "no FP8 scheme is found without the format",
            "config.json",
            expected=f'format "{STORAGE}"',
            found=repr(block.get("format")),
            path=("format",),
            edits=() if presets else (SetKey((*way, "format"), STORAGE),),
        )


def _groups(block: Mapping[str, Any], way: tuple[str, ...]) -> Iterator[Fault]:
    """Consumers that know one group look for it by name, and apply it to every module."""
    groups = _bodies(block)
    if len(groups) == 1 and "group_0" not in groups:
        (name,) = groups
        yield ConfigFault(
            "group-name",
            "some consumers look for the group by name",
            "config.json",
            expected="config_groups.group_0",
            found=f"config_groups.{name}",
            path=("config_groups", name),
            edits=(RenameKey((*way, "config_groups", name), "group_0"),) if len(block["config_groups"]) == 1 else (),
        )
    elif len(groups) > 1:
        message = "consumers that know one scheme apply the first group to every module"
        yield ConfigFault(
            "groups-several", message, "config.json", found=", ".join(groups)[:80], path=("config_groups",)
        )


def _recent_keys(block: Mapping[str, Any], way: tuple[str, ...]) -> Iterator[Fault]:
    """Arguments that only newer versions of the library know: the older ones refuse a config for one of them."""
    places = [
        ("config_groups", name, role) for name, group in _bodies(block).items() for role in ROLES if role in group
    ]
    specs: dict[tuple[str, ...], Any] = {(group, name, role): block[group][name][role] for group, name, role in places}
    specs[("kv_cache_scheme",)] = block.get("kv_cache_scheme")
    found = [
        (*place, key)
        for place, spec in specs.items()
        if isinstance(spec, Mapping)
        for key in sorted(LATER_ARGS)
        if key in spec
    ]
    if not found:
        return
    last = {place[-1]: place for place in found}
    null = [place for place in found if specs[place[:-1]][place[-1]] is None]
    yield ConfigFault(
        "ct-key-recent",
        "older releases of compressed-tensors refuse these keys, even when they are null",
        "config.json",
        expected="no such keys",
        found=", ".join(".".join(place) if len(last) == 1 else key for key, place in last.items()),
        edits=tuple(RemoveKey((*way, *place)) for place in null),
    )


def _bodies(block: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    groups = block.get("config_groups")
    items = groups.items() if isinstance(groups, Mapping) else ()
    return {str(name): group for name, group in items if isinstance(group, Mapping)}


def _kv_cache(block: Mapping[str, Any]) -> Iterator[Fault]:
    """A scheme of the KV cache that no engine has."""
    scheme = block.get("kv_cache_scheme")
    if not isinstance(scheme, Mapping):
        return
    strategy = scheme.get("strategy")
    if strategy not in _KV_STRATEGIES:
        message, expected = (
            "the KV cache has two strategies and no default",
            "kv_cache_scheme.strategy tensor or attn_head",
        )
        yield _kv_fault("kv-strategy", message, expected, "nothing" if strategy is None else repr(strategy), "strategy")
    kind = scheme.get("type")
    if isinstance(kind, str) and kind != "float" and kind.lower() == "float":
        message = "the library takes any case, other readers this one only"
        yield _kv_fault("kv-type", message, 'kv_cache_scheme.type = "float"', repr(kind), "type")
    for key, said in (("num_bits", "8"), ("type", '"float"')):
        if scheme.get(key) is None:
            message = "the library has a default, and other readers take its absence for another value"
            yield _kv_fault("kv-unsaid", message, f"kv_cache_scheme.{key} = {said}", "nothing", key)
    if scheme.get("symmetric") is None:
        message = "without the library's defaults its absence is taken for asymmetric"
        found = "null" if "symmetric" in scheme else "nothing"
        yield _kv_fault("kv-symmetric", message, "kv_cache_scheme.symmetric = true", found, "symmetric")
    if scheme.get("dynamic") is True:
        message = "no engine computes KV scales while running"
        yield _kv_fault("kv-dynamic", message, "kv_cache_scheme.dynamic = false", repr(scheme["dynamic"]), "dynamic")


def _kv_fault(kind: str, message: str, expected: str, found: str, key: str) -> ConfigFault:
    return ConfigFault(kind, message, "config.json", None, expected, found, path=("kv_cache_scheme", key))
