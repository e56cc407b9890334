"""Reading a compressed-tensors ``quantization_config``: from JSON to declared schemes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

from ckptkit.edits.changes import Path, SetKey
from ckptkit.errors import Fault, UnsupportedFormat
from ckptkit.formats.base import KV_KINDS, ConfigFault, ConfigReader
from ckptkit.formats.compressed_tensors import spec
from ckptkit.formats.compressed_tensors.args import UNKNOWN_KEY, ArgsReader, unknown_keys
from ckptkit.formats.compressed_tensors.other import (
    FLOAT_STORAGES,
    OTHER_STORAGES,
    PACKED_INTEGERS,
    WHOLE_STORAGES,
    other_scheme,
    says_fp8,
)
from ckptkit.model import names
from ckptkit.model.granularity import PerBlock, PerChannel, PerGroup, PerTensor, PerToken
from ckptkit.model.scheme import Declared, KVCacheScheme, OtherScheme, Quantization, Scheme
from ckptkit.model.select import Exact, Pattern, Regex, Selector, regex_or_exact
from ckptkit.record import record

#: Formats that store an FP8 weight as F8_E4M3 beside a ``weight_scale``.
FP8_FORMATS = (spec.STORAGE, "naive-quantized")

#: What the library's short names of groups stand for.
_PRESETS: Mapping[str, Scheme] = {
    "FP8": Scheme(Quantization(PerTensor()), Quantization(PerTensor())),
    "FP8_DYNAMIC": Scheme(Quantization(PerChannel()), Quantization(PerToken(), dynamic=True)),
    "FP8_BLOCK": Scheme(Quantization(PerBlock(128, 128)), Quantization(PerGroup(128), dynamic=True)),
}
_GROUPS = "config_groups"
#: What a group may quantize.
ROLES = ("weights", "input_activations", "output_activations")
#: What an empty object in the place of arguments is called in engines' tables.
_EMPTY = {"input_activations": "inputs-empty", "output_activations": "outputs-empty"}

#: Every key that some version of the library writes. QuantizationArgs and groups forbid others, the top level not.
_KNOWN_KEYS = frozenset(
    {
        *("quant_method", "format", "quantization_status", _GROUPS, "ignore", "kv_cache_scheme", "version"),
        *("global_compression_ratio", "sparsity_config", "transform_config", "moe_sparsity_config", "run_compressed"),
        *("total_num_heads", "total_num_kv_heads"),
    }
)
_KNOWN_GROUP_KEYS = frozenset({"targets", *ROLES, "format"})


@record
class Group:
    """One entry of ``config_groups``: a scheme, the modules it applies to, and its own format."""

    name: str
    scheme: Declared
    targets: tuple[str, ...]

    @property
    def patterns(self) -> tuple[Pattern, ...]:
        """The targets that are names or regular expressions."""
        return tuple(regex_or_exact(target) for target in self.targets)

    @property
    def covers_linear(self) -> bool:
        """Whether the class of all linear modules is among the targets."""
        return any(target in names.LINEAR_CLASSES for target in self.targets)


@record
class CompressedTensorsConfig:
    """A whole compressed-tensors config in canonical words."""

    groups: tuple[Group, ...]
    ignore: tuple[str, ...]
    kv_cache: KVCacheScheme | None
    understood: dict[str, Any]
    faults: tuple[Fault, ...]
    provenance: tuple[str, ...] = ()

    @property
    def has_others(self) -> bool:
        """Whether some group is of another storage than FP8."""
        return any(isinstance(group.scheme, OtherScheme) for group in self.groups)

    @cached_property
    def is_excluded(self) -> Callable[[str], bool]:
        """Whether the skip list names a linear module, or all of them by their class."""
        if names.LINEAR_CLASSES.intersection(self.ignore):
            return lambda module: True
        return Selector.of(regex_or_exact(entry) for entry in self.ignore).matches

    @cached_property
    def scheme_of(self) -> Callable[[str], Declared | None]:
        """The scheme of a linear module: None if ignored, else by exact name, else by regex, else by class.

        Of two groups that name one target, the last has it: the library and vLLM fill one table in order.
        """
        ignored = self.is_excluded
        exact: dict[str, Declared] = {}
        by_regex: dict[Regex, Declared] = {}
        for group in self.groups:
            for pattern in group.patterns:
                if isinstance(pattern, Exact):
                    exact[pattern.text] = group.scheme
                elif isinstance(pattern, Regex):
                    by_regex[pattern] = group.scheme
        regexes = sorted(by_regex.items(), key=lambda item: item[0].text)
        by_class = next((group.scheme for group in reversed(self.groups) if group.covers_linear), None)

        def scheme_of(module: str) -> Declared | None:
            if ignored(module):
                return None
            if module in exact:
                return exact[module]
            for pattern, scheme in regexes:
                if pattern.matches(module):
                    return scheme
            return by_class

        return scheme_of


def parse(block: Mapping[str, Any], label: str, way: Path = ()) -> CompressedTensorsConfig:
    """Parse a config block, found at ``way`` in config.json.

    Raises UnsupportedFormat when it describes nothing in FP8 and no floats of four bits, and FormatError when it is not
    readable.
    """
    reader = ConfigReader(kinds={**KV_KINDS, "sparsity_config": "sparsity-value"})
    args = ArgsReader(reader, way)
    _refuse_transforms(reader, block)
    values = reader.mapping(block.get(_GROUPS), _GROUPS, required=True, missing="no-groups")
    _refuse_other_storages(block, values, label)
    groups = [group for name, value in values.items() if (group := _parse_group(args, block, name, value)) is not None]
    kv_value = block.get("kv_cache_scheme")
    kv_cache = None
    if kv_value is not None:
        place = ("kv_cache_scheme",)
        quantization = args.read(reader.mapping(kv_value, place[0]), place)
        # Both llm-compressor and vLLM look at keys and values where they enter the cache.
        kv_cache = KVCacheScheme(quantization, basis="post-rope") if quantization else None
    ignore = tuple(reader.strings(block.get("ignore"), "ignore"))
    faults = [*args.faults, *unknown_keys(block, _KNOWN_KEYS, (), way)]
    faults += _preset_faults(values, groups, way)
    storage = reader.text(block.get("format"), "format")
    reader.raise_faults(label)
    understood = {
        "format": storage or spec.STORAGE,
        "quantization_status": block.get("quantization_status"),
        "groups": {group.name: {"targets": list(group.targets), "scheme": str(group.scheme)} for group in groups},
        "ignore": list(ignore),
        "kv_cache": None if kv_cache is None else str(kv_cache),
    }
    provenance = [f"{_GROUPS}.{name} (attention)" for name, value in values.items() if _is_attention_group(value)]
    provenance += [fault.found for fault in faults if fault.kind == UNKNOWN_KEY and fault.found]
    return CompressedTensorsConfig(tuple(groups), ignore, kv_cache, understood, tuple(faults), tuple(provenance))


def _storage(block: Mapping[str, Any], body: Mapping[str, Any]) -> Any:
    """The format of a group: its own, or the whole config's."""
    return body.get("format") or block.get("format")


def _refuse_other_storages(block: Mapping[str, Any], groups: Mapping[str, Any], label: str) -> None:
    """Refuse what is sound and holds no group with elements that are floats as that, and not as a mistake."""
    bodies = [value for value in groups.values() if isinstance(value, dict) and not _is_attention_group(value)]
    storages = [_storage(block, body) for body in bodies] or [block.get("format")]
    unread = (OTHER_STORAGES | WHOLE_STORAGES) - FLOAT_STORAGES
    others = [name for name in storages if isinstance(name, str) and name in unread]
    whole = [name for name in (*others, block.get("format")) if isinstance(name, str) and name in WHOLE_STORAGES]
    has_fp8 = any(isinstance(value, list) for value in groups.values()) or any(map(says_fp8, bodies))
    if whole or (len(others) == len(storages) and not has_fp8):
        named = dict.fromkeys(
            other_scheme(storage, body).name for storage, body in zip(storages, bodies, strict=False) if not whole
        )
        what = f" ({', '.join(named)})" if named else ""
        first = (*whole, *others)[0]
        message = f"{label}: the compressed-tensors{what} format {first!r} is not supported"
        raise UnsupportedFormat(message, help=f"ckptkit reads {', '.join((*FP8_FORMATS, *sorted(FLOAT_STORAGES)))}")


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
        reader.wrong(
            "sparsity_config.format",
            "dense",
            sparsity["format"],
            "sparse storage is not FP8 storage",
            what=_sparse(block, sparsity),
            instead=(None,),
        )


def _sparse(block: Mapping[str, Any], sparsity: Mapping[str, Any]) -> str:
    """What a sparse storage is to engines' tables: one of no modules, one that kernels exist for, or any other."""
    if not sparsity.get("targets"):
        return "sparse-nowhere"
    groups = block.get(_GROUPS)
    bodies = groups.values() if isinstance(groups, Mapping) else ()
    inputs = any(isinstance(body, Mapping) and body.get("input_activations") for body in bodies)
    pairs = (sparsity.get("format"), sparsity.get("sparsity_structure")) == ("sparse-24-bitmask", "2:4")
    return "sparse-in-pairs" if pairs and inputs else "sparse"


def _is_attention_group(value: Any) -> bool:
    """A group for attention modules: vLLM skips it, since KV-cache scales say the same."""
    targets = value.get("targets") if isinstance(value, dict) else None
    return isinstance(targets, list) and bool(targets) and all(str(target).endswith("Attention") for target in targets)


def _parse_group(args: ArgsReader, block: Mapping[str, Any], name: str, value: Any) -> Group | None:
    reader, place = args.reader, (_GROUPS, name)
    path = ".".join(place)
    if isinstance(value, list):
        return _preset_group(reader, name, value, path)
    if _is_attention_group(value):
        return None
    body = reader.mapping(value, path, required=True)
    declared = reader.text(body.get("format"), f"{path}.format") or block.get("format")
    targets = tuple(reader.strings(body.get("targets"), f"{path}.targets"))
    if isinstance(declared, str) and declared in OTHER_STORAGES and says_fp8(body):
        help_text = "the group's weights are floats of eight bits, which no such storage holds"
        alone = "-alone" * (declared == PACKED_INTEGERS and not body.get("input_activations"))
        what = f"stored-{declared.removesuffix('-quantized')}{alone}"
        where = f"{path}.format" if body.get("format") else "format"
        reader.wrong(where, spec.STORAGE, declared, help_text, what=what, instead=(spec.STORAGE,))
        return None
    if isinstance(declared, str) and declared in OTHER_STORAGES:
        return Group(name, other_scheme(declared, body), targets)
    if declared is not None and declared not in FP8_FORMATS and declared != spec.MIXED:
        what = "stored-dense" if declared == "dense" else "stored-otherwise"
        reader.wrong(f"{path}.format", spec.STORAGE, declared, "ckptkit handles FP8 checkpoints only", what=what)
        return None
    args.faults += unknown_keys(body, _KNOWN_GROUP_KEYS, place, args.way)
    weights = body.get("weights")
    if weights is None:
        help_text = "a group without weight quantization is not FP8 storage"
        reader.wrong(f"{path}.weights", "an object", None, help_text, what="no-weights")
        return None
    roles = {}
    args.weights_alone = not body.get("input_activations")
    for role in ROLES:
        item = body.get(role)
        if item == {} and role != "weights":
            help_text = "the library reads integers out of nothing said, and engines no scheme at all"
            reader.wrong(
                f"{path}.{role}", "null or an object with a type", {}, help_text, what=_EMPTY[role], instead=(None,)
            )
            item = None
        roles[role] = None if item is None else args.read(reader.mapping(item, f"{path}.{role}"), (*place, role))
    if roles["weights"] is None:
        return None
    scheme = Scheme(roles["weights"], roles["input_activations"], roles["output_activations"])
    return Group(name, scheme, targets)


def _preset_group(reader: ConfigReader, name: str, value: list[Any], path: str) -> Group | None:
    """The short form ``{"FP8_DYNAMIC": ["Linear"]}``, which transformers reads and vLLM does not."""
    scheme = _PRESETS.get(name.upper())
    if scheme is None:
        reader.wrong(path, f"one of {', '.join(_PRESETS)}", name)
        return None
    return Group(name, scheme, tuple(reader.strings(value, path)))


def _preset_faults(values: Mapping[str, Any], groups: list[Group], way: Path) -> list[Fault]:
    """A fault for each preset; the first holds the edit that writes all groups out, which suits them all."""
    presets = [name for name, value in values.items() if isinstance(value, list)]
    if not presets:
        return []
    whole = {
        f"group_{number}": spec.group(group.scheme, group.targets)
        for number, group in enumerate(groups)
        if isinstance(group.scheme, Scheme)
    }
    edits = (SetKey((*way, _GROUPS), whole),) if len(whole) == len(values) else ()
    return [
        ConfigFault(
            "ct-preset-group",
            "the group is given as a preset name, which not every reader takes",
            "config.json",
            expected="a full group with targets, weights and input_activations",
            found=f"{_GROUPS}.{name}: {values[name]!r}",
            path=(_GROUPS, name),
            edits=edits if name == presets[0] else (),
        )
        for name in presets
    ]
