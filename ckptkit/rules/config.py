"""CK6xx: the config against the tensors, and config values that some loader cannot take."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.errors import Fault
from ckptkit.formats import config as location
from ckptkit.model import names
from ckptkit.model.select import Exact, glob_or_exact, regex_or_exact
from ckptkit.rules.context import Context
from ckptkit.rules.finding import Severity
from ckptkit.rules.registry import OnConversion, rule

#: format -> the key that lists modules left alone, and how its entries match.
_SKIP_LISTS = {"compressed-tensors": ("ignore", regex_or_exact), "quark": ("exclude", glob_or_exact)}


@rule("CK600", "config-not-understood", Severity.ERROR)
def config_not_understood(context: Context) -> Iterator[Fault]:
    """The quantization config holds values that its format does not allow, or describes another storage.

    Nothing else can be said about such a checkpoint, so no further rule about tensors runs.

    Mend: correct the named key; for formats that ckptkit does not read, nothing is judged.
    """
    yield from context.faults("config-value", "pattern-invalid", "config-unsupported")


@rule("CK601", "quantization-config-missing", Severity.ERROR)
def quantization_config_missing(context: Context) -> Iterator[Fault]:
    """FP8 weights are stored, but config.json has no quantization_config.

    Engines then load the bytes as if they were the values, or stop at the first scale they do not know.

    Mend: restore the block that the exporter wrote.
    """
    yield from context.faults("config-no-quantization")


@rule("CK602", "nothing-quantized", Severity.ERROR)
def nothing_quantized(context: Context) -> Iterator[Fault]:
    """The config declares FP8 quantization, but no weight is stored in FP8.

    The checkpoint was saved again in high precision, or the quantizer matched nothing.

    Mend: remove the quantization_config, or export again.
    """
    checkpoint = context.checkpoint
    if checkpoint is not None and not checkpoint.modules and not checkpoint.stored_only:
        yield Fault(
            "nothing-quantized",
            "the config declares FP8 weights and the shards hold none",
            "config.json",
            expected="at least one F8_E4M3 weight",
            found=f"{len(checkpoint.unquantized)} linear modules in high precision",
        )


@rule("CK605", "skip-list-incomplete", Severity.WARNING, conversion=OnConversion.MENDED)
def skip_list_incomplete(context: Context) -> Iterator[Fault]:
    """A linear module is stored in high precision, but the config does not exclude it.

    vLLM builds it as an FP8 layer and casts the weight to FP8 by value, without a scale and without a word.
    Typical are router gates and experts that the quantizer did not reach.

    Mend: add the exact name to the skip list. A conversion does.
    """
    checkpoint = context.checkpoint
    if checkpoint is None:
        return
    key, _ = _SKIP_LISTS.get(checkpoint.format, ("skip list", None))
    for name in checkpoint.declared_only:
        weight = checkpoint.unquantized[name]
        yield Fault(
            "skip-list-incomplete",
            "stored in high precision, but the config calls it quantized",
            weight.shard,
            weight.name,
            expected=f"{name} in {key}",
            found=f"{weight.dtype}, no scale",
            help=f"add {name!r} to {key}",
        )


@rule("CK606", "excluded-but-quantized", Severity.ERROR)
def excluded_but_quantized(context: Context) -> Iterator[Fault]:
    """A weight is stored in FP8, but the config does not declare it quantized.

    Engines create no scale parameter for it: they stop at the scale's name, or load raw codes as values.

    Mend: take the module out of the skip list, or add it to the targets.
    """
    for tensor in context.checkpoint.stored_only if context.checkpoint else ():
        yield Fault(
            "excluded-but-quantized",
            "stored in FP8, but the config does not call it quantized",
            tensor.shard,
            tensor.name,
            expected="a module that the config quantizes",
            found=f"{tensor.dtype} {list(tensor.shape)}",
            help="take it out of the skip list, or add it to the targets",
        )


@rule("CK607", "skip-entry-matches-nothing", Severity.INFO, conversion=OnConversion.MENDED)
def skip_entry_matches_nothing(context: Context) -> Iterator[Fault]:
    """An entry of the skip list matches no stored module.

    A stale prefix or a misspelt name: the module it was meant for is then quantized or cast.

    Mend: correct the entry or remove it.
    """
    checkpoint = context.checkpoint
    if checkpoint is None or checkpoint.format not in _SKIP_LISTS:
        return
    key, parse = _SKIP_LISTS[checkpoint.format]
    if key not in checkpoint.raw:
        key = "ignored_layers"
    modules = {*checkpoint.linear_modules, *(tensor.module for tensor in checkpoint.plain)}
    for entry in checkpoint.raw.get(key) or ():
        pattern = parse(entry)
        if entry == names.LM_HEAD and checkpoint.tied_head:
            continue
        found = entry in modules if isinstance(pattern, Exact) else any(pattern.matches(m) for m in modules)
        if not found and not any(module.startswith(f"{entry}.") for module in modules):
            message = "an entry of the skip list matches no stored module"
            yield Fault("skip-entry-dead", message, "config.json", None, "a module's name", f"{key}: {entry!r}")


@rule("CK618", "ct-config-incomplete", Severity.ERROR, conversion=OnConversion.MENDED)
def ct_config_incomplete(context: Context) -> Iterator[Fault]:
    """A compressed-tensors config lacks what one of its loaders cannot do without.

    Without ``format`` vLLM finds no scheme; without ``type: float`` it loads an INT8 scheme; unless
    ``quantization_status`` is "compressed" transformers makes up scales; a preset name instead of a group stops
    vLLM.

    Mend: write the key; converting the checkpoint to compressed-tensors does.
    """
    yield from context.faults("ct-format", "ct-type-missing", "ct-status", "ct-preset-group")


@rule("CK620", "config-legacy-key", Severity.WARNING, conversion=OnConversion.MENDED)
def config_legacy_key(context: Context) -> Iterator[Fault]:
    """The quantization config sits under ``compression_config``, which newer readers do not look at.

    Mend: move it to ``quantization_config``.
    """
    yield from context.faults("config-legacy-key")


@rule("CK621", "input-scale-missing", Severity.ERROR)
def input_scale_missing(context: Context) -> Iterator[Fault]:
    """Static activations are declared, but a module has no input scale.

    vLLM loads it all the same and computes with the value the scale was allocated with. Quark's file-to-file
    export declares static inputs and stores none.

    Mend: calibrate and export again, or declare dynamic activations.
    """
    for module in context.checkpoint.modules.values() if context.checkpoint else ():
        if module.scheme.has_static_input and module.input_scale is None:
            yield Fault(
                "input-scale-missing",
                "static activations are declared, but the input scale is not stored",
                module.weight.shard,
                names.join(module.name, "input_scale"),
                expected="one value",
                found="nothing",
                help="calibrate and export again, or declare dynamic activations",
            )


@rule("CK622", "input-scale-unexpected", Severity.ERROR, conversion=OnConversion.MENDED)
def input_scale_unexpected(context: Context) -> Iterator[Fault]:
    """Dynamic activations are declared, but an input scale is stored.

    vLLM creates no parameter for it and stops at its name.

    Mend: drop it, or declare static activations. A conversion drops it and says so.
    """
    for module in context.checkpoint.modules.values() if context.checkpoint else ():
        if module.input_scale is not None and not module.scheme.has_static_input:
            yield Fault(
                "input-scale-unexpected",
                "activations are dynamic, but an input scale is stored",
                module.input_scale.shard,
                module.input_scale.name,
                expected="nothing",
                found=f"{module.input_scale.dtype} {list(module.input_scale.shape)}",
                help="drop it, or declare static activations",
            )


@rule("CK627", "quark-config-incomplete", Severity.ERROR, conversion=OnConversion.MENDED)
def quark_config_incomplete(context: Context) -> Iterator[Fault]:
    """A Quark config is written in a way that vLLM cannot read although the tensors are right.

    Null where a list is iterated, ``dynamic`` for ``is_dynamic``, per-type specs that nothing applies, or a
    ``kv_cache_group`` without entries of ``layer_quant_config`` that match it.

    Mend: converting the checkpoint to Quark again writes every key.
    """
    yield from context.faults("quark-null-key", "quark-old-key", "quark-layer-type")
    located = location.locate(context.container.config)
    checkpoint = context.checkpoint
    if located is None or checkpoint is None or checkpoint.dialect != "native":
        return
    group = checkpoint.effective.get("kv_cache_group") or []
    layers = located.block.get("layer_quant_config") or {}
    for entry in group:
        if not any(glob_or_exact(entry).matches(key) or key == entry for key in layers):
            yield Fault(
                "quark-kv-group",
                "kv_cache_group names layers for which layer_quant_config has no entry: vLLM refuses that",
                "config.json",
                expected=f"layer_quant_config[{entry!r}] with output_tensors",
                found=f"keys {list(layers)!r}"[:80],
            )
