"""Reading Quark's two configs, ``quant_method: quark`` and the ``fp8`` custom mode, into declared schemes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

from ckptkit.edits.changes import Path
from ckptkit.errors import Fault, UnsupportedFormat
from ckptkit.formats.base import ConfigReader
from ckptkit.formats.fp8_fields import SKIP_LIST, field_faults
from ckptkit.formats.quark.faults import KV_GROUP, OLD_KEY, SPEC_LIST, required_keys
from ckptkit.formats.quark.other import is_mxfp4, other_scheme
from ckptkit.model import names
from ckptkit.model.granularity import Granularity, PerBlock, PerChannel, PerGroup, PerTensor, PerToken
from ckptkit.model.scheme import Declared, KVCacheScheme, OtherScheme, Quantization, Scheme
from ckptkit.model.select import Exact, Pattern, Selector, glob_or_exact
from ckptkit.record import record

#: Where a config says how weights are stored, and the word for codes.
STORED_AS, STORED = "export.weight_format", "real_quantized"
#: Quark's types of what is not quantized.
_PLAIN_DTYPES = ("bfloat16", "float16", "float32")
#: The key of ``layer_type_quant_config`` for linear modules.
LINEAR = "Linear"
#: Projections whose quantized output is the KV cache or an attention operand, not a linear layer's output.
ATTENTION_OUTPUTS = frozenset({*names.SEPARATE_KV.values(), *names.FUSED_QKV})


@record
class QuarkConfig:
    """A Quark config in canonical words. ``layers`` is in the config's order."""

    dialect: str
    default: Declared | None
    layers: tuple[tuple[Pattern, Declared | None], ...]
    exclude: tuple[str, ...]
    kv_cache: KVCacheScheme | None
    understood: dict[str, Any]
    faults: tuple[Fault, ...]
    provenance: tuple[str, ...] = ()

    @property
    def has_others(self) -> bool:
        """Whether some layer is of another storage than FP8."""
        return any(isinstance(scheme, OtherScheme) for scheme in (self.default, *(scheme for _, scheme in self.layers)))

    @cached_property
    def is_excluded(self) -> Callable[[str], bool]:
        """Whether the skip list names a linear module."""
        return Selector.of(glob_or_exact(entry) for entry in self.exclude).matches

    @cached_property
    def scheme_of(self) -> Callable[[str], Declared | None]:
        """The scheme of a linear module: None if excluded, else by exact name, by the first glob, or the default.

        That is the order in which Quark quantizes. Its own reload, and vLLM, take the first match of any kind.
        """
        excluded = self.is_excluded
        exact = {pattern.text: scheme for pattern, scheme in self.layers if isinstance(pattern, Exact)}
        globs = [(pattern, scheme) for pattern, scheme in self.layers if not isinstance(pattern, Exact)]

        def scheme_of(module: str) -> Declared | None:
            if excluded(module):
                return None
            if module in exact:
                return exact[module]
            for pattern, scheme in globs:
                if pattern.matches(module):
                    return scheme
            return self.default

        return scheme_of


def parse_native(block: Mapping[str, Any], label: str, way: Path = ()) -> QuarkConfig:
    """Parse ``quant_method: quark``, found at ``way`` in config.json.

    Raises UnsupportedFormat when no layer is FP8 or MXFP4, and FormatError when the config cannot be understood.
    """
    reader, faults = ConfigReader(), list[Fault]()
    export = _export_block(reader, block)
    layer_specs = reader.mapping(block.get("layer_quant_config"), "layer_quant_config")
    missing = "" if layer_specs else "default-missing"
    default_spec = reader.mapping(
        block.get("global_quant_config"), "global_quant_config", required=True, missing=missing
    )
    type_specs = reader.mapping(block.get("layer_type_quant_config"), "layer_type_quant_config")
    kv_specs = reader.mapping(block.get("kv_cache_quant_config"), "kv_cache_quant_config")
    kv_group = _group(reader, export.get("kv_cache_group"), layer_specs)
    exclude = reader.strings(block.get("exclude"), "exclude")
    layers = tuple(
        (glob_or_exact(pattern), _parse_layer(reader, faults, spec, f"layer_quant_config.{pattern}", pattern))
        for pattern, spec in layer_specs.items()
    )
    default_path = "global_quant_config"
    if any(spec != default_spec or name != LINEAR for name, spec in type_specs.items()):
        faults.append(_layer_type_fault(list(type_specs)))
    if LINEAR in type_specs:
        default_spec, default_path = type_specs[LINEAR], f"layer_type_quant_config.{LINEAR}"
    default = _parse_layer(reader, faults, default_spec, default_path)
    faults += required_keys(block, export, way)
    basis = _basis(reader, block)
    kv_cache = _kv_cache(reader, faults, basis, kv_group, layer_specs, kv_specs)
    provenance = _provenance(reader, block)
    reader.raise_faults(label, faults)
    _refuse_other_storage(default, default_path, default_spec, layers, label)
    understood = {
        "exclude": list(exclude),
        "default": str(default),
        "layers": {pattern.text: str(scheme) for pattern, scheme in layers},
        "kv_cache": None if kv_cache is None else str(kv_cache),
        "kv_cache_group": kv_group,
        "version": block.get("version"),
    }
    return QuarkConfig("native", default, layers, tuple(exclude), kv_cache, understood, tuple(faults), provenance)


def _group(reader: ConfigReader, value: Any, layers: Mapping[str, Any]) -> list[str]:
    """The layers with a quantized cache; a text or an object is no list, but means one to who iterates it."""
    if not isinstance(value, (str, dict)) or not value:
        return reader.strings(value, "export.kv_cache_group")
    meant = ["*"] if isinstance(value, str) and "*" in value else list(value)
    matched = any(entry == key or glob_or_exact(entry).matches(key) for entry in meant for key in layers)
    what = "kv-group" if matched else "kv-group-of-none"
    reader.wrong("export.kv_cache_group", "a list of strings", value, what=what, instead=(meant if matched else [],))
    return meant if matched else []


def _refuse_other_storage(
    default: Declared | None,
    path: str,
    spec: Mapping[str, Any],
    layers: tuple[tuple[Pattern, Declared | None], ...],
    label: str,
) -> None:
    """Refuse what is sound and holds no layer of floats with known scales as that, and not as a mistake."""
    schemes = [scheme for scheme in (default, *(scheme for _, scheme in layers)) if scheme is not None]
    others = [scheme for scheme in schemes if isinstance(scheme, OtherScheme) and not is_mxfp4(scheme)]
    if others and len(others) == len(schemes):
        named = ", ".join(dict.fromkeys(scheme.name for scheme in others))
        weight = spec.get("weight")
        dtype = f", {path}.weight.dtype {weight.get('dtype')!r}" if isinstance(weight, Mapping) else ""
        message = f"{label}: a Quark checkpoint of another storage than FP8 ({named}{dtype}) is not supported"
        raise UnsupportedFormat(message, help="ckptkit handles FP8 E4M3 checkpoints")


def _layer_type_fault(types: list[str]) -> Fault:
    return Fault(
        "quark-layer-type",
        "layer_type_quant_config is set, which the library applies and other readers do not",
        "config.json",
        expected="layer_type_quant_config = {}, and the same specs by name",
        found=", ".join(types),
    )


def _provenance(reader: ConfigReader, block: Mapping[str, Any]) -> tuple[str, ...]:
    """Algorithms that were folded into the weights. Rotations at run time are part of the numbers and refused."""
    entries = block.get("algo_config")
    names_of = []
    for entry in entries if isinstance(entries, list) else [entries] if entries else []:
        name = str(entry.get("name")) if isinstance(entry, dict) else repr(entry)
        names_of.append(f"algo_config: {name}")
        if isinstance(entry, dict) and _rotates_at_run_time(reader, entry):
            reader.wrong("algo_config", "no rotation at run time", name, "ckptkit does not handle rotated checkpoints")
    return tuple(names_of)


def _rotates_at_run_time(reader: ConfigReader, entry: Mapping[str, Any]) -> bool:
    """Whether activations are rotated in every forward pass; other rotations are folded into the weights."""
    name, at_run_time = str(entry.get("name")).lower(), ("online_r1_rotation", "r3", "r4")
    if name != "rotation":
        return name == "quarot"
    return any(reader.truth(entry.get(key), f"algo_config.{key}", default=False) for key in at_run_time)


def parse_custom(block: Mapping[str, Any], label: str) -> QuarkConfig:
    """Parse the ``fp8`` custom mode: one per-tensor scheme for all linear modules that are not ignored."""
    reader = ConfigReader()
    export = _export_block(reader, block)
    scheme_name = block.get("activation_scheme")
    inputs = {
        "static": Quantization(PerTensor()),
        "dynamic": Quantization(PerTensor(), dynamic=True),
        None: None,
    }
    if scheme_name not in tuple(inputs):  # a tuple also takes what cannot be hashed
        reader.wrong("activation_scheme", "static, dynamic or null", scheme_name)
    if block.get("weight_block_size") is not None:
        reader.wrong("weight_block_size", "null in Quark's fp8 mode", block["weight_block_size"])
    ignored = reader.skip_list(block, SKIP_LIST.keys)
    kv_name = block.get("kv_cache_scheme")
    if kv_name not in (None, "static", "dynamic"):
        reader.wrong("kv_cache_scheme", "static, dynamic or null", kv_name, instead=(None,))
    reader.strings(export.get("kv_cache_group"), "export.kv_cache_group")
    basis = _basis(reader, block)
    faults = tuple(field_faults(block))
    provenance = _provenance(reader, block)
    reader.raise_faults(label, faults)
    kv_cache = None
    if kv_name is not None:
        kv_cache = KVCacheScheme(Quantization(PerTensor(), dynamic=kv_name == "dynamic"), basis)
    default = Scheme(Quantization(PerTensor()), inputs[scheme_name])
    understood = {"ignored_layers": ignored, "default": str(default), "kv_cache": kv_cache and str(kv_cache)}
    return QuarkConfig("fp8", default, (), tuple(ignored), kv_cache, understood, faults, provenance)


def _export_block(reader: ConfigReader, block: Mapping[str, Any]) -> dict[str, Any]:
    export = reader.mapping(block.get("export"), "export", required=True, missing="export-missing", instead=({},))
    weight_format = export.get("weight_format")
    if weight_format not in (None, STORED):
        reader.wrong(
            STORED_AS,
            STORED,
            weight_format,
            "the weights are not stored in FP8 and load as garbage; export with weight_format='real_quantized'",
            what="weight-format",
            instead=(STORED,),
        )
    return export


def _parse_layer(
    reader: ConfigReader, faults: list[Fault], value: Any, path: str, pattern: str = ""
) -> Declared | None:
    """A layer spec; None where the weight is not quantized. ``pattern`` tells attention outputs from others."""
    spec = reader.mapping(value, path, required=True)
    other = other_scheme(spec)
    if other is not None:
        return other
    weight = _parse_tensor(reader, faults, spec.get("weight"), f"{path}.weight")
    inputs = _parse_tensor(reader, faults, spec.get("input_tensors"), f"{path}.input_tensors", is_input=True)
    output = None
    if not _is_attention_output(pattern):
        output = _parse_tensor(reader, faults, spec.get("output_tensors"), f"{path}.output_tensors")
    if spec.get("bias") is not None:
        reader.wrong(f"{path}.bias", "null", spec["bias"], "no engine reads quantized biases", what="bias")
    return None if weight is None else Scheme(weight, inputs, output)


def _is_attention_output(pattern: str) -> bool:
    return names.last_part(pattern).lstrip("*") in ATTENTION_OUTPUTS


def _parse_tensor(
    reader: ConfigReader, faults: list[Fault], value: Any, path: str, *, is_input: bool = False
) -> Quantization | None:
    if isinstance(value, list):
        if len(value) > 1:
            reader.wrong(path, "one spec", value, "two-level scales are not FP8 storage that ckptkit handles")
        elif value:
            message = "a list of one spec, which some engines take for the spec itself"
            faults.append(Fault(SPEC_LIST, message, "config.json", expected=f"{path} as an object", found="a list"))
        value = value[0] if value else None
    if value is None:
        return None
    spec, role = reader.mapping(value, path), "input" if is_input else path.rpartition(".")[2]
    if spec.get("dtype") != "fp8_e4m3":
        dtype = spec.get("dtype")
        kind = "e5m2" if dtype == "fp8_e5m2" else "dtype" if dtype not in _PLAIN_DTYPES else ""
        what = f"{role}-{kind}" if kind and role in ("weight", "input") else ""
        help_text = "ckptkit handles FP8 E4M3 checkpoints only"
        # Inputs are rounded while running, and say nothing of what is stored.
        instead = ("fp8_e4m3",) if what == "input-e5m2" else ()
        reader.wrong(f"{path}.dtype", "fp8_e4m3", spec.get("dtype"), help_text, what=what, instead=instead)
        return None
    if reader.truth(spec.get("symmetric"), f"{path}.symmetric", default=True) is False:
        help_text = "FP8 storage has no zero points"
        reader.wrong(f"{path}.symmetric", "true", False, help_text, what=f"{role}-asymmetric", instead=(True,))
    dynamic, key = spec.get("is_dynamic"), "is_dynamic"
    if dynamic is None and "dynamic" in spec:
        dynamic, key = spec["dynamic"], "dynamic"
        faults.append(
            Fault(
                OLD_KEY,
                "an old spelling that newer readers pass over: the tensor is then static",
                "config.json",
                expected=f"{path}.is_dynamic",
                found=f"{path}.dynamic = {dynamic!r}",
            )
        )
    granularity = _granularity(reader, spec, path, is_input=is_input)
    declared = reader.truth(dynamic, f"{path}.{key}")
    return None if granularity is None or declared is None else Quantization(granularity, dynamic=declared)


def _granularity(reader: ConfigReader, spec: Mapping[str, Any], path: str, *, is_input: bool) -> Granularity | None:
    qscheme = spec.get("qscheme")
    axis = spec.get("ch_axis", spec.get("axis"))
    if qscheme == "per_tensor":
        return PerTensor()
    if qscheme == "per_channel":
        # For an activation [tokens, K] Quark calls a scale for each row "per channel along axis 1".
        # The rows of a weight are its first axis, and its second from the end.
        wanted, what = (1, "input-axis") if is_input else (0, "weight-axis")
        if axis not in (wanted, None) and (is_input or axis != -2):
            reader.wrong(f"{path}.ch_axis", str(wanted), axis, what=what, instead=(wanted,))
        return PerToken() if is_input else PerChannel()
    if qscheme == "per_group" and type(spec.get("group_size")) is int and spec["group_size"] > 0:
        return PerGroup(spec["group_size"])
    if qscheme == "per_block":
        size = spec.get("block_size")
        if isinstance(size, list) and len(size) == 2 and all(type(n) is int and n > 0 for n in size):
            return PerBlock(size[0], size[1])
        reader.wrong(f"{path}.block_size", "[rows, columns]", size)
        return None
    what = "" if is_input else "weight-granularity"
    reader.wrong(f"{path}.qscheme", "per_tensor, per_channel, per_group or per_block", qscheme, what=what)
    return None


def _kv_cache(
    reader: ConfigReader,
    faults: list[Fault],
    basis: str,
    group: list[str],
    layer_specs: Mapping[str, Any],
    kv_specs: Mapping[str, Any],
) -> KVCacheScheme | None:
    """The KV scheme: the output spec of the key and value projections.

    Quark repeats it today in ``kv_cache_quant_config``; older exports have it in ``layer_quant_config`` only, and
    ``kv_cache_group`` names the entries, which is what vLLM goes by.
    """
    found: dict[Quantization, str] = {}
    sections = (("kv_cache_quant_config", kv_specs), ("layer_quant_config", layer_specs))
    for section, pattern, value in ((name, p, v) for name, specs in sections for p, v in specs.items()):
        in_group = any(glob_or_exact(entry).matches(pattern) or entry == pattern for entry in group)
        if in_group or (_is_attention_output(pattern) and names.last_part(pattern).lstrip("*") != "q_proj"):
            path = f"{section}.{pattern}"
            spec = reader.mapping(value, path).get("output_tensors")
            output = _parse_tensor(reader, faults, spec, f"{path}.output_tensors")
            if output is not None:
                found.setdefault(output, path)
    if group and not found:
        reader.wrong("export.kv_cache_group", "layer_quant_config entries with output_tensors", group)
    if not found:
        return None
    if not group:
        message = "outputs of key and value projections are quantized, but kv_cache_group is empty"
        wanted = "export.kv_cache_group names those entries"
        faults.append(Fault(KV_GROUP, message, "config.json", None, wanted, "[]"))
    if len(found) > 1:
        reader.wrong("kv_cache_quant_config", "one output spec for keys and values", list(found.values()))
    quantization = next(iter(found))
    if quantization.granularity != PerTensor():
        reader.wrong("kv_cache_quant_config", "per_tensor", str(quantization), "Quark KV scales are scalars")
    return KVCacheScheme(quantization, basis)


def _basis(reader: ConfigReader, block: Mapping[str, Any]) -> str:
    after = reader.truth(block.get("kv_cache_post_rope"), "kv_cache_post_rope", default=False)
    return "post-rope" if after else "pre-rope"


def declares(block: Mapping[str, Any]) -> Callable[[str], bool]:
    """Whether a native config quantizes the weight of a module, the skip list aside, read without judging it."""
    default = _quantizes(block.get("global_quant_config"))
    layers = block.get("layer_quant_config")
    patterns = [
        (glob_or_exact(text), _quantizes(spec)) for text, spec in (layers.items() if isinstance(layers, dict) else ())
    ]
    exact = {pattern.text: quantizes for pattern, quantizes in patterns}
    globs = [(pattern, quantizes) for pattern, quantizes in patterns if not isinstance(pattern, Exact)]

    def declared(name: str) -> bool:
        if name in exact:
            return exact[name]
        return next((quantizes for pattern, quantizes in globs if pattern.matches(name)), default)

    return declared


def _quantizes(spec: Any) -> bool:
    return isinstance(spec, dict) and spec.get("weight") is not None
