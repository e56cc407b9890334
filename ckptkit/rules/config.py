"""CK6xx: what the quantization config declares, against what is stored and what loaders demand."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Observation, Severity
from ckptkit.checks.registry import OnConversion, rule
from ckptkit.engines.methods import KNOWN_METHODS
from ckptkit.errors import Fault
from ckptkit.model import names
from ckptkit.model.select import glob_or_exact


@rule("CK600", "config-not-understood", Severity.ERROR)
def config_not_understood(context: Context) -> Iterator[Fault]:
    """The quantization config holds values that its format does not allow, or describes another storage.

    Why it hurts: nothing else can be said about such a checkpoint, so no rule about its modules runs.

    Example: ``export.weight_format: fake_quantized`` in a Quark config: the weights are BF16, and engines load them as
    if they were codes.

    Mend: correct the named key; for formats that ckptkit does not read, little is judged.
    """
    for fault in context.faults("config-value", "pattern-invalid"):
        if not fault.message.startswith(("kv_cache_scheme", "sparsity_config")):
            yield fault
    # A checkpoint that is not FP8, or in a format that ckptkit does not read, is not a broken one.
    severity = Severity.INFO if context.located is None else Severity.WARNING
    if context.located is None or context.method in KNOWN_METHODS:
        for fault in context.faults("config-unsupported"):
            message = f"{fault.message}: only its files were judged"
            yield Observation(fault.kind, message, fault.file, help=fault.help, severity=severity)


@rule("CK601", "quantization-config-missing", Severity.ERROR)
def quantization_config_missing(context: Context) -> Iterator[Fault]:
    """FP8 weights are stored, but config.json has no quantization_config.

    Why it hurts: engines load the bytes as if they were the values, or stop at the first scale they do not know.

    Example: the recipe was left in ``recipe.yaml`` and never reached config.json.

    Mend: restore the block that the exporter wrote.
    """
    yield from context.faults("config-no-quantization")


@rule("CK602", "nothing-quantized", Severity.ERROR)
def nothing_quantized(context: Context) -> Iterator[Fault]:
    """The config declares FP8 quantization, but no weight is stored in FP8.

    Why it hurts: engines build FP8 layers and cast the high-precision weights into them without a scale, or stop
    because scales are missing.

    Example: a model was dequantized and saved again, and ``quantization_config`` stayed.

    Mend: remove the quantization_config, or export again.
    """
    checkpoint = context.checkpoint
    # A config may be about the KV cache alone: then it calls no module quantized.
    if checkpoint is not None and nothing_is_quantized(context) and checkpoint.declared_only:
        yield Fault(
            "nothing-quantized",
            "the config declares FP8 weights and the shards hold none",
            "config.json",
            expected="at least one F8_E4M3 weight",
            found=f"{len(checkpoint.unquantized)} linear modules in high precision",
        )


def nothing_is_quantized(context: Context) -> bool:
    checkpoint = context.checkpoint
    return checkpoint is not None and not checkpoint.modules and not checkpoint.stored_only


@rule("CK618", "ct-config-incomplete", Severity.ERROR, conversion=OnConversion.MENDED, fix="safe")
def ct_config_incomplete(context: Context) -> Iterator[Fault]:
    """A compressed-tensors config lacks what one of its loaders cannot do without.

    Why it hurts: without ``format`` vLLM finds no scheme; without ``type: float`` it loads an INT8 scheme; unless
    ``quantization_status`` is "compressed" transformers makes up scales; a preset name instead of a group stops vLLM.

    Example: ``"weights": {"num_bits": 8, "strategy": "channel"}``, where the type defaults to int.

    Mend: write the key; converting the checkpoint to compressed-tensors does.
    """
    yield from context.faults("ct-format", "ct-type-missing", "ct-status", "ct-preset-group")


@rule("CK620", "config-legacy-key", Severity.WARNING, conversion=OnConversion.MENDED, fix="safe")
def config_legacy_key(context: Context) -> Iterator[Fault]:
    """The config uses a block that newer readers do not look at or refuse: ``compression_config``, ``sparsity_config``.

    Why it hurts: under ``compression_config`` newer readers find no quantization at all; vLLM stops at a
    ``sparsity_config`` that names targets, even a dense one.

    Example: ``"sparsity_config": {"format": "dense", "targets": ["Linear"]}``.

    Mend: move the block to ``quantization_config``; remove the sparsity block of a dense model.
    """
    yield from context.faults("config-legacy-key", "ct-sparsity")
    for fault in context.faults("config-value"):
        if fault.message.startswith("sparsity_config"):
            yield Observation(**vars(fault), severity=Severity.ERROR)


@rule("CK621", "input-scale-missing", Severity.ERROR)
def input_scale_missing(context: Context) -> Iterator[Fault]:
    """Static activations are declared, but a module has no input scale.

    Why it hurts: vLLM loads it all the same and computes with the value the scale was allocated with; TensorRT-LLM
    stops.

    Example: Quark's file-to-file export declares static inputs and stores no ``input_scale``.

    Mend: calibrate and export again, or declare dynamic activations.
    """
    for module in context.modules:
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


@rule("CK622", "input-scale-unexpected", Severity.ERROR, conversion=OnConversion.MENDED, fix="safe")
def input_scale_unexpected(context: Context) -> Iterator[Fault]:
    """Dynamic activations are declared, but an input scale is stored.

    Why it hurts: vLLM creates no parameter for it and stops at its name.

    Example: ``q_proj.input_scale`` beside ``"input_activations": {"dynamic": true, ...}``.

    Mend: drop it, or declare static activations. A conversion drops it and says so.
    """
    for module in context.modules:
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


@rule("CK627", "quark-config-incomplete", Severity.ERROR, conversion=OnConversion.MENDED, fix="safe")
def quark_config_incomplete(context: Context) -> Iterator[Fault]:
    """A Quark config is written in a way that vLLM cannot read although the tensors are right.

    Why it hurts: null where a list is iterated, ``dynamic`` for ``is_dynamic``, per-type specs that nothing applies,
    quantized outputs of linear layers, a ``kv_cache_group`` without entries of ``layer_quant_config`` that match it,
    or a default spec without ``output_tensors``, whose keys then differ from those of the KV entries.

    Example: ``"exclude": null``, as exports up to 0.8 wrote it.

    Mend: converting the checkpoint to Quark again writes every key.
    """
    yield from context.faults("quark-null-key", "quark-old-key", "quark-layer-type", "quark-kv-group")
    checkpoint = context.checkpoint
    if checkpoint is None or checkpoint.dialect != "native":
        return
    group = checkpoint.effective.get("kv_cache_group") or []
    layers = context.block.get("layer_quant_config") or {}
    for entry in group:
        if not any(glob_or_exact(entry).matches(key) or key == entry for key in layers):
            yield Fault(
                "quark-kv-group",
                "kv_cache_group names layers for which layer_quant_config has no entry: vLLM refuses that",
                "config.json",
                expected=f"layer_quant_config[{entry!r}] with output_tensors",
                found=f"keys {list(layers)!r}"[:80],
            )
    default = context.block.get("global_quant_config")
    if group and isinstance(default, dict) and "output_tensors" not in default:
        yield Fault(
            "quark-default-outputs",
            "vLLM compares the keys of the default and of the KV entries, and these differ",
            "config.json",
            expected="global_quant_config.output_tensors = null",
            found="no such key",
        )
    for scheme, members in checkpoint.schemes.items():
        if scheme.output is not None:
            message = "quantized outputs of linear layers: vLLM finds no scheme for them"
            yield Fault(
                "quark-outputs", message, "config.json", members[0], "output_tensors = null", str(scheme.output)
            )
