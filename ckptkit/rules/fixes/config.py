"""Fixes of config.json that several formats share: where the block sits, skip lists, the model's own dtype."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Finding
from ckptkit.checks.fixers import fix
from ckptkit.dtypes import DTYPES
from ckptkit.edits.changes import AddItem, Edit, Path, RemoveItem, RemoveKey, RenameKey, SetKey
from ckptkit.engines.dimensions import TEXT_CONFIGS
from ckptkit.formats import config as location
from ckptkit.model import names
from ckptkit.model.select import Exact, glob_or_exact, regex_or_exact

_HIGH_PRECISION = ("BF16", "F16", "F32")
_DTYPE_KEYS = ("dtype", "torch_dtype")
_EXPERT_LEAF = re.compile(r"\.experts\.\d+\.")
#: Every key under which some format lists modules to be left alone.
SKIP_KEYS = ("ignore", "exclude", "ignored_layers", "modules_to_not_convert")


def block_path(context: Context) -> Path:
    """The way to the quantization config, as edits spell it."""
    return tuple(context.located.path.split(".")) if context.located else (location.KEY,)


def skip_keys(context: Context) -> tuple[str, ...]:
    """The keys of the block that list modules left alone: the one to write first, then others that are in use."""
    if context.method == "compressed-tensors":
        return ("ignore",)
    if context.method == "quark":
        return ("exclude",)
    others = tuple(key for key in ("modules_to_not_convert",) if isinstance(context.block.get(key), list))
    return ("ignored_layers", *others)


@fix("safe", "CK605", "CK614")
def list_module(context: Context, finding: Finding) -> Iterator[Edit]:
    """Add a module that is stored in high precision to the skip list, by its exact name, which every engine reads."""
    if finding.tensor is not None and finding.tensor.endswith(".weight"):
        module = finding.tensor.removesuffix(".weight")
        for name in (module, context.names_in_memory.get(module)):
            if name is not None:
                yield from (AddItem((*block_path(context), key), name) for key in skip_keys(context))


@fix("unsafe", "CK606")
def unlist_module(context: Context, finding: Finding) -> Iterator[Edit]:
    """Take a module that is stored in FP8 out of the skip list, if it is there by its exact name.

    Its scale may still be another tool's, so that somebody has to say that it is meant.
    """
    module = (finding.tensor or "").removesuffix(".weight")
    for key in skip_keys(context):
        if module in (context.block.get(key) or ()):
            yield RemoveItem((*block_path(context), key), module)


@fix("safe", "CK607")
def drop_dead_entry(context: Context, finding: Finding) -> Iterator[Edit]:
    """Drop an entry of the skip list that matches no module."""
    for key in skip_keys(context):
        for entry in context.block.get(key) or ():
            if isinstance(entry, str) and (finding.found or "").endswith(repr(entry)):
                yield RemoveItem((*block_path(context), key), entry)


@fix("safe", "CK608")
def list_exact_names(context: Context, finding: Finding) -> Iterator[Edit]:
    """Write exact names for what engines read differently: the modules that are stored in high precision.

    Those of multimodal models under their names in memory too, since transformers knows no others.
    """
    checkpoint = context.checkpoint
    if checkpoint is None:
        return
    parse = regex_or_exact if context.method == "compressed-tensors" else glob_or_exact
    for key in skip_keys(context):
        listed = [entry for entry in context.block.get(key) or () if isinstance(entry, str)]
        patterns = {entry: parse(entry) for entry in listed}
        plain = [
            entry
            for entry, pattern in patterns.items()
            if isinstance(pattern, Exact) or not any(pattern.matches(name) for name in checkpoint.linear_modules)
        ]
        others = (context.names_in_memory.get(name) for name in checkpoint.unquantized)
        wanted = dict.fromkeys([*checkpoint.unquantized, *filter(None, others)])
        exact = [name for name in sorted(wanted, key=names.natural) if name not in plain]
        if plain + exact != listed:
            yield SetKey((*block_path(context), key), plain + exact)


@fix("unsafe", "CK609")
def join_lists(context: Context, finding: Finding) -> Iterator[Edit]:
    """Write the union of the lists under each of their keys. Which list was meant is a guess."""
    keys = [key for key in SKIP_KEYS if isinstance(context.block.get(key), list)]
    union = dict.fromkeys(entry for key in keys for entry in context.block[key])
    yield from (SetKey((*block_path(context), key), list(union)) for key in keys)


@fix("safe", "CK610")
def list_stored_names(context: Context, finding: Finding) -> Iterator[Edit]:
    """Name the parts of a fused layer instead of the layer, and beside single experts their container."""
    path, modules = block_path(context), set(context.checkpoint.linear_modules if context.checkpoint else ())
    for key in skip_keys(context):
        for entry in context.block.get(key) or ():
            owner, last = names.parent(entry), names.last_part(entry)
            parts = [name for part in names.FUSED_GROUPS.get(last, ()) if (name := names.join(owner, part)) in modules]
            if parts and entry not in modules:
                yield RemoveItem((*path, key), entry)
                yield from (AddItem((*path, key), part) for part in parts)
            if (leaf := _EXPERT_LEAF.search(entry)) is not None:
                yield AddItem((*path, key), entry[: leaf.start()] + ".experts")


@fix("safe", "CK625")
def copy_block_to_top(context: Context, finding: Finding) -> Iterator[Edit]:
    """Put the block at the top level too, where every engine looks first."""
    if context.located is not None and "." in context.located.path:
        yield SetKey((location.KEY,), dict(context.located.block))


@fix("safe", "CK620")
def move_legacy_block(context: Context, finding: Finding) -> Iterator[Edit]:
    """Put the block under the key that readers look at, and leave out a sparse compression that says "none"."""
    if location.LEGACY_KEY in context.config:
        if location.KEY in context.config:
            yield RemoveKey((location.LEGACY_KEY,))
        else:
            yield RenameKey((location.LEGACY_KEY,), location.KEY)
        return
    sparsity = context.block.get("sparsity_config")
    if isinstance(sparsity, dict) and sparsity.get("format") in (None, "dense"):
        yield RemoveKey((*block_path(context), "sparsity_config"))


@fix("safe", "CK408")
def declare_dtype(context: Context, finding: Finding) -> Iterator[Edit]:
    """Say the dtype in which the model computes: that of most of the weights that are not quantized."""
    stored: Counter[str] = Counter()
    for tensor in context.container.tensors.values():
        if tensor.dtype in _HIGH_PRECISION and not names.last_part(tensor.name).endswith("scale"):
            stored[tensor.dtype] += tensor.numel
    if not stored:
        return
    wanted = DTYPES[stored.most_common(1)[0][0]].torch_name
    levels: list[tuple[Path, Any]] = [
        ((), context.config),
        *(((key,), context.config.get(key)) for key in TEXT_CONFIGS),
    ]
    named = [
        (*way, key)
        for way, level in levels
        for key in _DTYPE_KEYS
        if isinstance(level, Mapping) and "float8" in str(level.get(key))
    ]
    yield from (SetKey(way, wanted) for way in named or [("dtype",)])
