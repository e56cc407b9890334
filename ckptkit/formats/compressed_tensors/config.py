"""Reading a compressed-tensors ``quantization_config``: from JSON to declared schemes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ckptkit.errors import Fault, FormatError
from ckptkit.formats.base import ConfigReader
from ckptkit.model.granularity import (
    Granularity,
    PerBlock,
    PerChannel,
    PerGroup,
    PerHead,
    PerTensor,
    PerToken,
)
from ckptkit.model.scheme import KVCacheScheme, Quantization, Scheme
from ckptkit.model.select import Exact, Pattern, Regex, Selector, regex_or_exact

#: Formats that store an FP8 weight as F8_E4M3 beside a ``weight_scale``.
FP8_FORMATS = ("float-quantized", "naive-quantized")
#: Formats of the same library that store something else. An unknown one is a mistake, these are none.
_OTHER_FORMATS = frozenset(
    {
        *("int-quantized", "pack-quantized", "marlin-24", "sparse-bitmask", "sparse-24-bitmask"),
        *("nvfp4-pack-quantized", "mxfp4-pack-quantized", "mxfp8-quantized"),
    }
)
#: The kind of the fault for a key that no version of the library knows.
UNKNOWN_KEY = "config-unknown-key"
#: Class names in ``targets`` that stand for every linear module.
LINEAR_CLASSES = frozenset({"Linear", "LinearBase"})

_PRESETS: Mapping[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "FP8": ({"strategy": "tensor", "dynamic": False}, {"strategy": "tensor", "dynamic": False}),
    "FP8_DYNAMIC": ({"strategy": "channel", "dynamic": False}, {"strategy": "token", "dynamic": True}),
    "FP8_BLOCK": (
        {"strategy": "block", "dynamic": False, "block_structure": [128, 128]},
        {"strategy": "group", "dynamic": True, "group_size": 128},
    ),
}


#: Every key that some version of the library writes. QuantizationArgs and groups forbid others, the top level not.
_KNOWN_KEYS = frozenset(
    {
        *("quant_method", "format", "quantization_status", "config_groups", "ignore", "kv_cache_scheme", "version"),
        *("global_compression_ratio", "sparsity_config", "transform_config", "moe_sparsity_config", "run_compressed"),
        *("total_num_heads", "total_num_kv_heads"),
    }
)
_KNOWN_GROUP_KEYS = frozenset({"targets", "weights", "input_activations", "output_activations", "format"})
_KNOWN_ARGS = frozenset(
    {
        *("num_bits", "type", "symmetric", "group_size", "strategy", "block_structure", "dynamic", "actorder"),
        *("scale_dtype", "zp_dtype", "observer", "observer_kwargs"),
    }
)


@dataclass(frozen=True)
class Group:
    """One entry of ``config_groups``: a scheme, the modules it applies to, and its own format."""

    name: str
    scheme: Scheme
    targets: tuple[str, ...]

    @property
    def patterns(self) -> tuple[Pattern, ...]:
        return tuple(regex_or_exact(target) for target in self.targets)

    @property
    def covers_linear(self) -> bool:
        return any(target in LINEAR_CLASSES for target in self.targets)


@dataclass(frozen=True)
class ParsedConfig:
    """A whole compressed-tensors config in canonical words."""

    groups: tuple[Group, ...]
    ignore: tuple[str, ...]
    kv_cache: KVCacheScheme | None
    effective: dict[str, Any]
    faults: tuple[Fault, ...]
    records: tuple[str, ...] = ()

    @cached_property
    def is_excluded(self) -> Callable[[str], bool]:
        """Whether the skip list names a linear module, or all of them by their class."""
        if LINEAR_CLASSES.intersection(self.ignore):
            return lambda module: True
        return Selector.of(regex_or_exact(entry) for entry in self.ignore).matches

    @cached_property
    def scheme_of(self) -> Callable[[str], Scheme | None]:
        """The scheme of a linear module: None if ignored, else by exact name, else by regex, else by class.

        Of two groups that name one target, the last has it: the library and vLLM fill one table in order.
        """
        ignored = self.is_excluded
        exact: dict[str, Scheme] = {}
        by_regex: dict[Regex, Scheme] = {}
        for group in self.groups:
            for pattern in group.patterns:
                if isinstance(pattern, Exact):
                    exact[pattern.text] = group.scheme
                elif isinstance(pattern, Regex):
                    by_regex[pattern] = group.scheme
        regexes = sorted(by_regex.items(), key=lambda item: item[0].text)
        by_class = next((group.scheme for group in reversed(self.groups) if group.covers_linear), None)

        def scheme_of(module: str) -> Scheme | None:
            if ignored(module):
                return None
            if module in exact:
                return exact[module]
            for pattern, scheme in regexes:
                if pattern.matches(module):
                    return scheme
            return by_class

        return scheme_of


def parse(block: Mapping[str, Any], label: str) -> ParsedConfig:
    """Parse a config block. Raises FormatError when it describes something that is not FP8 or not readable."""
    reader = ConfigReader()
    faults: list[Fault] = []
    _refuse_transforms(reader, block)
    values = reader.mapping(block.get("config_groups"), "config_groups", required=True)
    _refuse_other_formats(block, values, label)
    groups = [
        group
        for name, value in values.items()
        if (group := _parse_group(reader, faults, block, name, value)) is not None
    ]
    kv_value = block.get("kv_cache_scheme")
    kv_cache = None
    if kv_value is not None:
        path = "kv_cache_scheme"
        quantization = _parse_args(reader, faults, reader.mapping(kv_value, path), path)
        # Both llm-compressor and vLLM look at keys and values where they enter the cache.
        kv_cache = KVCacheScheme(quantization, basis="post-rope") if quantization else None
    ignore = tuple(reader.strings(block.get("ignore"), "ignore"))
    faults += _unknown_keys(block, _KNOWN_KEYS, "")
    format_name = reader.text(block.get("format"), "format")
    reader.raise_faults(label)
    effective = {
        "format": format_name or "float-quantized",
        "quantization_status": block.get("quantization_status"),
        "groups": {group.name: {"targets": list(group.targets), "scheme": str(group.scheme)} for group in groups},
        "ignore": list(ignore),
        "kv_cache": None if kv_cache is None else str(kv_cache),
    }
    records = [f"config_groups.{name} (attention)" for name, value in values.items() if _is_attention_group(value)]
    records += [fault.found for fault in faults if fault.kind == UNKNOWN_KEY and fault.found]
    return ParsedConfig(tuple(groups), ignore, kv_cache, effective, tuple(faults), tuple(records))


def _refuse_other_formats(block: Mapping[str, Any], groups: Mapping[str, Any], label: str) -> None:
    """Refuse what is sound and not FP8 as that, and not as a mistake."""
    declared = [group.get("format") for group in groups.values() if isinstance(group, dict)]
    other = [name for name in (*declared, block.get("format")) if isinstance(name, str) and name in _OTHER_FORMATS]
    if other:
        message = f"{label}: the compressed-tensors format {other[0]!r} is not supported"
        raise FormatError(message, help=f"ckptkit handles FP8 checkpoints: {', '.join(FP8_FORMATS)}")


def _refuse_transforms(reader: ConfigReader, block: Mapping[str, Any]) -> None:
    """Note everything that changes what the stored numbers mean and that has no place in the model."""
    for key, what in (
        ("transform_config", "nothing: rotations are part of the numbers"),
        ("moe_sparsity_config", "nothing: it says which experts exist"),
    ):
        if reader.mapping(block.get(key), key):
            reader.wrong(key, what, block[key], "ckptkit does not handle such checkpoints")
    sparsity = reader.mapping(block.get("sparsity_config"), "sparsity_config")
    if sparsity.get("format") not in (None, "dense"):
        reader.wrong("sparsity_config.format", "dense", sparsity["format"], "sparse storage is not FP8 storage")


def _unknown_keys(body: Mapping[str, Any], known: frozenset[str], path: str) -> list[Fault]:
    """Faults for keys that no version of the library writes: misspelt ones are dropped there without a word."""
    return [
        Fault(UNKNOWN_KEY, "a key that compressed-tensors does not know", "config.json", None, None, f"{path}{key}")
        for key in body
        if key not in known
    ]


def _is_attention_group(value: Any) -> bool:
    """A group for attention modules: vLLM skips it, since KV-cache scales say the same."""
    targets = value.get("targets") if isinstance(value, dict) else None
    return isinstance(targets, list) and bool(targets) and all(str(target).endswith("Attention") for target in targets)


def _parse_group(
    reader: ConfigReader, faults: list[Fault], block: Mapping[str, Any], name: str, value: Any
) -> Group | None:
    path = f"config_groups.{name}"
    if isinstance(value, list):
        return _preset_group(reader, faults, name, value, path)
    if _is_attention_group(value):
        return None
    body = reader.mapping(value, path, required=True)
    declared = reader.text(body.get("format"), f"{path}.format") or block.get("format")
    if declared is not None and declared not in FP8_FORMATS and declared != "mixed-precision":
        reader.wrong(f"{path}.format", "float-quantized", declared, "ckptkit handles FP8 checkpoints only")
        return None
    targets = tuple(reader.strings(body.get("targets"), f"{path}.targets"))
    faults += _unknown_keys(body, _KNOWN_GROUP_KEYS, f"{path}.")
    weights = body.get("weights")
    if weights is None:
        reader.wrong(f"{path}.weights", "an object", None, "a group without weight quantization is not FP8 storage")
        return None
    roles = {}
    for role in ("weights", "input_activations", "output_activations"):
        item = body.get(role)
        roles[role] = (
            None if item is None else _parse_args(reader, faults, reader.mapping(item, path), f"{path}.{role}")
        )
    if roles["weights"] is None:
        return None
    scheme = Scheme(roles["weights"], roles["input_activations"], roles["output_activations"])
    return Group(name, scheme, targets)


def _preset_group(reader: ConfigReader, faults: list[Fault], name: str, value: list[Any], path: str) -> Group | None:
    """The short form ``{"FP8_DYNAMIC": ["Linear"]}``, which transformers reads and vLLM does not."""
    preset = _PRESETS.get(name.upper())
    if preset is None:
        reader.wrong(path, f"one of {', '.join(_PRESETS)}", name)
        return None
    faults.append(
        Fault(
            "ct-preset-group",
            "the group is given as a preset name; vLLM cannot read that form",
            "config.json",
            expected="a full group with targets, weights and input_activations",
            found=f"{path}: {value!r}",
        )
    )
    weights, inputs = (_granularity_of(reader, args, path) for args in preset)
    if weights is None or inputs is None:
        return None
    scheme = Scheme(Quantization(weights), Quantization(inputs, dynamic=bool(preset[1]["dynamic"])))
    return Group(name, scheme, tuple(reader.strings(value, path)))


def _parse_args(reader: ConfigReader, faults: list[Fault], args: Mapping[str, Any], path: str) -> Quantization | None:
    """Parse QuantizationArgs. ``type`` defaults to "int" in the library, which no FP8 checkpoint means."""
    kind = _lower(args.get("type"))
    faults += _unknown_keys(args, _KNOWN_ARGS, f"{path}.")
    if kind is None:
        faults.append(
            Fault(
                "ct-type-missing",
                "the quantization type is missing and defaults to int: vLLM then loads an INT8 scheme",
                "config.json",
                expected=f'{path}.type = "float"',
                found="nothing",
            )
        )
    elif kind != "float":
        reader.wrong(f"{path}.type", "float", kind, "ckptkit handles FP8 checkpoints only")
    if args.get("num_bits", 8) != 8:
        reader.wrong(f"{path}.num_bits", "8", args.get("num_bits"), "ckptkit handles FP8 checkpoints only")
    if reader.truth(args.get("symmetric"), f"{path}.symmetric", default=True) is False:
        reader.wrong(f"{path}.symmetric", "true", False, "FP8 storage has no zero points")
    dynamic = reader.truth(args.get("dynamic", False), f"{path}.dynamic")
    if dynamic is None:
        return None
    granularity = _granularity_of(reader, args, path)
    return None if granularity is None else Quantization(granularity, dynamic=dynamic)


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _granularity_of(reader: ConfigReader, args: Mapping[str, Any], path: str) -> Granularity | None:
    strategy, group_size = _lower(args.get("strategy")), args.get("group_size")
    if strategy is None:
        strategy = "tensor" if group_size is None else "channel" if group_size == -1 else "group"
    if strategy == "tensor":
        return PerTensor()
    if strategy == "channel":
        return PerChannel()
    if strategy == "token":
        return PerToken()
    if strategy == "attn_head":
        return PerHead()
    if strategy == "group" and type(group_size) is int and group_size > 0:
        return PerGroup(group_size)
    if strategy == "block":
        size = args.get("block_structure")
        if isinstance(size, str) and all(part.isdigit() for part in size.split("x")):
            size = [int(part) for part in size.split("x")]
        if isinstance(size, list) and len(size) == 2 and all(type(n) is int and n > 0 for n in size):
            return PerBlock(size[0], size[1])
        reader.wrong(f"{path}.block_structure", "[rows, columns]", args.get("block_structure"))
        return None
    reader.wrong(f"{path}.strategy", "tensor, channel, token, group, block or attn_head", strategy)
    return None
