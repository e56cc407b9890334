"""CK600 config-not-understood."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Observation, Severity
from ckptkit.checks.registry import rule
from ckptkit.engines.methods import KNOWN_METHODS
from ckptkit.errors import Fault
from ckptkit.formats.reading import NoReader


@rule("CK600", "config-not-understood", Severity.ERROR, unreported="says that ckptkit itself cannot judge the config")
def config_not_understood(context: Context) -> Iterator[Fault]:
    """The quantization config holds values that its format does not allow, or describes another storage.

    Why it hurts: nothing else can be said about such a checkpoint, so no rule about its modules runs.

    Example: ``export.weight_format: fake_quantized`` in a Quark config: the weights are BF16, and engines load them as
    if they were codes.

    Fix: correct the named key; for formats that ckptkit does not read, little is judged.
    """
    for fault in context.faults("config-value", "pattern-invalid"):
        if not fault.message.startswith(("kv_cache_scheme", "sparsity_config")):
            yield fault
    # A checkpoint that is not FP8, or in a format that ckptkit does not read, is not a broken one.
    no_reader = isinstance(context.reading, NoReader)
    severity = Severity.WARNING if no_reader else Severity.INFO
    if not no_reader or context.located is None or context.method in KNOWN_METHODS:
        for fault in context.faults("config-unsupported"):
            message = f"{fault.message}: only its files were judged"
            yield Observation(fault.kind, message, fault.file, help=fault.help, severity=severity)
