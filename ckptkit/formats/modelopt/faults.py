"""What ModelOpt configs say that some reader takes wrongly, and where the two files disagree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from ckptkit.errors import Fault, excerpt
from ckptkit.formats import config_block
from ckptkit.formats.dialect import Dialect, texts
from ckptkit.formats.modelopt.facts import MIXED, SIDE_FILE
from ckptkit.formats.modelopt.sections import algorithm, own_section, side_document, side_faults, side_section
from ckptkit.model.census import is_fp8
from ckptkit.model.checkpoint import Checkpoint
from ckptkit.model.granularity import Granularity, PerBlock, PerChannel, PerTensor
from ckptkit.storage.container import CONFIG_FILE, Container

#: kind of weight granularity -> what ModelOpt calls such FP8 weights.
_ALGORITHMS: Mapping[type[Granularity], frozenset[str]] = MappingProxyType(
    {
        PerTensor: frozenset({"FP8"}),
        PerChannel: frozenset({"FP8_PER_CHANNEL_PER_TOKEN"}),
        PerBlock: frozenset({"FP8_PB_WO", "FP8_BLOCK_SCALES"}),
    }
)


def config_faults(container: Container, dialect: Dialect | None, checkpoint: Checkpoint | None) -> Iterator[Fault]:
    """What a config of ours, or the file beside another format's, says that some reader takes wrongly."""
    own, side = own_section(container), side_section(container)
    for file, section in ((CONFIG_FILE, own), (SIDE_FILE, side)):
        if section is not None:
            yield from _nothing_quantized(file, section)
    if own is not None and algorithm(own) == "FP8_PB_WO":
        yield from _flat_grids(container)
    located = config_block.locate(container.config)
    if located is None:
        yield from side_faults(container)
    if located is not None and located.block and side_document(container) is not None:
        yield from _disagreements(located.block, own, side or {}, dialect, checkpoint)


def _nothing_quantized(file: str, section: Mapping[str, Any]) -> Iterator[Fault]:
    name = algorithm(section)
    if not name:
        found = excerpt(section.get("quant_algo"))
        yield Fault("modelopt-nothing", "no quant_algo", file, None, "an algorithm", found)
    elif name == MIXED and not section.get("quantized_layers") and not section.get("config_groups"):
        yield Fault("modelopt-nothing", "mixed precision without layers", file, None, "quantized_layers", "none")
    elif name == MIXED and isinstance(layers := section.get("quantized_layers"), Mapping):
        words = {algorithm(own) for own in layers.values() if isinstance(own, Mapping)}
        if words and not any("NVFP4" in word for word in words):
            message = "mixed precision without a layer in NVFP4: some readers take it for INT4 experts beside FP8"
            yield Fault("modelopt-mixed-fp8", message, file, None, "one algorithm", ", ".join(sorted(words)))


def _flat_grids(container: Container) -> Iterator[Fault]:
    """Block scales without the two dimensions of one that this algorithm's have."""
    for name, scale in container.tensors.items():
        weight = container.tensors.get(name.removesuffix("_scale")) if name.endswith(".weight_scale") else None
        if weight is not None and is_fp8(weight.dtype) and len(weight.shape) > 1 and len(scale.shape) == 2:
            message = "an FP8_PB_WO scale has four dimensions, the second and fourth of one, and this one has two"
            rows, columns = scale.shape
            wanted, found = f"[{rows}, 1, {columns}, 1]", str(list(scale.shape))
            yield Fault("block-grid-flat", message, scale.shard, name, wanted, found)


def _disagreements(
    block: Mapping[str, Any],
    own: Mapping[str, Any] | None,
    side: Mapping[str, Any],
    dialect: Dialect | None,
    checkpoint: Checkpoint | None,
) -> Iterator[Fault]:
    """What the side file says otherwise than config.json, whatever format that one is in."""
    name, wanted = algorithm(side), _algorithms(own, checkpoint)
    if wanted and name and name not in wanted:
        yield _disagreement("quantization.quant_algo", " or ".join(sorted(wanted)), name)
    declared = bool(block.get("kv_cache_scheme") or block.get("kv_cache_quant_algo"))
    if checkpoint is not None:
        declared = checkpoint.kv_cache is not None and checkpoint.kv_cache.scheme is not None
    if bool(side.get("kv_cache_quant_algo")) != declared:
        where = "config.json declares an FP8 KV cache" if declared else "config.json declares none"
        yield _disagreement("quantization.kv_cache_quant_algo", where, str(side.get("kv_cache_quant_algo")))
    theirs = side.get("exclude_modules")
    if isinstance(theirs, list) and dialect is not None:
        ours = {entry for key in dialect.skip_list.keys for entry in texts((block if own is None else own).get(key))}
        difference = sorted(ours ^ set(texts(theirs)))
        if difference:
            differ = f"differ in {difference[0]!r}"
            yield _disagreement("quantization.exclude_modules", "the same entries as config.json", differ)


def _disagreement(path: str, expected: str, found: str) -> Fault:
    return Fault("configs-disagree", f"{path} says otherwise than config.json", SIDE_FILE, None, expected, found)


def _algorithms(own: Mapping[str, Any] | None, checkpoint: Checkpoint | None) -> frozenset[str]:
    """ModelOpt's words for what config.json declares; empty when they cannot be told."""
    if own is not None:
        name = algorithm(own)
        return frozenset({name}) if name else frozenset()
    found: set[str] = set()
    for scheme in checkpoint.schemes if checkpoint else ():
        found |= _ALGORITHMS.get(type(scheme.weight.granularity), frozenset())
    return frozenset({*found, MIXED}) if found else frozenset()
