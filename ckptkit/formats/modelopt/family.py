"""What is known of ModelOpt checkpoints, for which there is no reader."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from ckptkit.errors import CkptkitError, Fault, excerpt
from ckptkit.formats import config as location
from ckptkit.formats.base import Family
from ckptkit.formats.dialect import Dialect, ScaleNames, SkipList, texts
from ckptkit.model.census import is_fp8
from ckptkit.model.checkpoint import Checkpoint
from ckptkit.model.granularity import Granularity, PerBlock, PerChannel, PerTensor
from ckptkit.model.select import PatternKind
from ckptkit.storage.container import CONFIG_FILE, Container
from ckptkit.storage.index import parse_json_object

NAME = "modelopt"
SIDE_FILE = "hf_quant_config.json"

DIALECT = Dialect(
    format=NAME,
    name="ModelOpt",
    key=NAME,
    skip_list=SkipList(("ignore", "exclude_modules"), ("ignore",), PatternKind.SUBSTRING),
    weight_scale=ScaleNames("weight_scale", ("weight_scale",)),
    input_scale=ScaleNames("input_scale", ("input_scale",)),
    attention=MappingProxyType(
        {
            "k": ScaleNames("k_proj.k_scale", ("k_proj.k_scale", "k_scale")),
            "v": ScaleNames("v_proj.v_scale", ("v_proj.v_scale", "v_scale")),
        }
    ),
    endings=MappingProxyType({}),
    schema="modelopt",
    kv_key="kv_cache_scheme",
    algorithm_key="quant_algo",
    side_files=(SIDE_FILE,),
    tool="NVIDIA ModelOpt",
    tag=NAME,
)


#: kind of weight granularity -> what ModelOpt calls such FP8 weights.
_ALGORITHMS: Mapping[type[Granularity], frozenset[str]] = MappingProxyType(
    {
        PerTensor: frozenset({"FP8"}),
        PerChannel: frozenset({"FP8_PER_CHANNEL_PER_TOKEN"}),
        PerBlock: frozenset({"FP8_PB_WO", "FP8_BLOCK_SCALES"}),
    }
)


class ModelOpt(Family):
    """Exports of NVIDIA ModelOpt: described in config.json, or only in a file beside it."""

    name = NAME
    dialects = (DIALECT,)

    def dialect_of(self, container: Container) -> Dialect | None:
        """The dialect of a container; None when it is not ours."""
        located = location.locate(container.config)
        ours = _own_section(container) is not None if located else _side_section(container) is not None
        return DIALECT if ours else None

    def describe(self, container: Container) -> str:
        """What a container of ours holds, in a few words."""
        located = location.locate(container.config)
        method = location.quant_method(located.block) if located else ""
        algorithm = _algorithm(_own_section(container) or _side_section(container) or {})
        words = f"quant_method {method!r}" if method else SIDE_FILE if located is None else "a config without a method"
        return f"{words} (NVIDIA ModelOpt{f', {algorithm}' if algorithm else ''})"

    def config_faults(
        self, container: Container, dialect: Dialect | None, checkpoint: Checkpoint | None
    ) -> Iterator[Fault]:
        """What a config of ours says that some reader takes wrongly."""
        own, side = _own_section(container), _side_section(container)
        for file, section in ((CONFIG_FILE, own), (SIDE_FILE, side)):
            if section is not None:
                yield from _nothing_quantized(file, section)
        if own is not None and _algorithm(own) == "FP8_PB_WO":
            yield from _flat_grids(container)
        located = location.locate(container.config)
        if located is not None and located.block and _side_document(container) is not None:
            yield from _disagreements(located.block, own, side or {}, dialect, checkpoint)


def _own_section(container: Container) -> Mapping[str, Any] | None:
    """The part of a config in config.json that names the algorithm, where the config is ModelOpt's."""
    located = location.locate(container.config)
    if located is None:
        return None
    nested, method = located.block.get("quantization"), location.quant_method(located.block)
    inner = nested if isinstance(nested, Mapping) else None
    # Older exports leave the method out.
    if method != NAME and (method or not any("quant_algo" in part for part in (located.block, inner or {}))):
        return None
    return located.block if inner is None else inner


def _side_document(container: Container) -> Mapping[str, Any] | None:
    """The file beside config.json, when a sound one lies in the folder."""
    try:
        data = container.side_file(SIDE_FILE)
    except CkptkitError:
        return None
    return None if data is None else parse_json_object(SIDE_FILE, data)[0]


def _side_section(container: Container) -> Mapping[str, Any] | None:
    section = (_side_document(container) or {}).get("quantization")
    return section if isinstance(section, Mapping) else None


def _algorithm(section: Mapping[str, Any]) -> str:
    return str(section.get("quant_algo") or "").upper()


def _nothing_quantized(file: str, section: Mapping[str, Any]) -> Iterator[Fault]:
    algorithm = _algorithm(section)
    if not algorithm:
        found = excerpt(section.get("quant_algo"))
        yield Fault("modelopt-nothing", "no quant_algo", file, None, "an algorithm", found)
    elif algorithm == "MIXED_PRECISION" and not section.get("quantized_layers") and not section.get("config_groups"):
        yield Fault("modelopt-nothing", "mixed precision without layers", file, None, "quantized_layers", "none")


def _flat_grids(container: Container) -> Iterator[Fault]:
    """Block scales without the two dimensions of one that this algorithm's have."""
    for name, scale in container.tensors.items():
        weight = container.tensors.get(name.removesuffix("_scale")) if name.endswith(".weight_scale") else None
        if weight is not None and is_fp8(weight.dtype) and len(weight.shape) > 1 and len(scale.shape) == 2:
            message = "vLLM squeezes the second and fourth dimension of an FP8_PB_WO scale, and this one has two"
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
    algorithm, wanted = _algorithm(side), _algorithms(own, checkpoint)
    if wanted and algorithm and algorithm not in wanted:
        yield _disagreement("quantization.quant_algo", " or ".join(sorted(wanted)), algorithm)
    declared = bool(block.get("kv_cache_scheme") or block.get("kv_cache_quant_algo"))
    if checkpoint is not None:
        declared = checkpoint.kv_cache is not None and checkpoint.kv_cache.scheme is not None
    if bool(side.get("kv_cache_quant_algo")) != declared:
        where = "config.json declares an FP8 KV cache" if declared else "config.json declares none"
        yield _disagreement("quantization.kv_cache_quant_algo", where, str(side.get("kv_cache_quant_algo")))
    theirs = side.get("exclude_modules")
    if isinstance(theirs, list) and dialect is not None:
        ours = {entry for key in dialect.skip_list.keys for entry in texts(block.get(key))}
        difference = sorted(ours ^ set(texts(theirs)))
        if difference:
            differ = f"differ in {difference[0]!r}"
            yield _disagreement("quantization.exclude_modules", "the same entries as config.json", differ)


def _disagreement(path: str, expected: str, found: str) -> Fault:
    return Fault("configs-disagree", f"{path} says otherwise than config.json", SIDE_FILE, None, expected, found)


def _algorithms(own: Mapping[str, Any] | None, checkpoint: Checkpoint | None) -> frozenset[str]:
    """ModelOpt's words for what config.json declares; empty when they cannot be told."""
    if own is not None:
        algorithm = _algorithm(own)
        return frozenset({algorithm}) if algorithm else frozenset()
    found: set[str] = set()
    for scheme in checkpoint.schemes if checkpoint else ():
        found |= _ALGORITHMS.get(type(scheme.weight.granularity), frozenset())
    return frozenset({*found, "MIXED_PRECISION"}) if found else frozenset()
