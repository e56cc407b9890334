"""CK600 config-not-understood."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Observation, Severity
from ckptkit.checks.registry import rule
from ckptkit.errors import Fault
from ckptkit.formats.base import ConfigFault, where_of
from ckptkit.rules.config.block import kinds_of_layers
from ckptkit.storage.container import CONFIG_FILE

#: Faults of a JSON file after which nothing is known of what it says; CK116 tells of them.
_UNPARSED = frozenset({"json-invalid", "json-too-large"})


@rule("CK600", "config-not-understood", Severity.ERROR, unreported="says that ckptkit itself cannot judge the config")
def config_not_understood(context: Context) -> Iterator[Fault]:
    """The quantization config holds values that its format does not allow, or describes another storage.

    Why it hurts: nothing else can be said about such a checkpoint, so no rule about its modules runs.

    Example: ``export.weight_format: fake_quantized`` in a Quark config: the weights are BF16, and engines load them as
    if they were codes.

    Fix: correct the named key. Of a checkpoint that is not quantized, or in a format that ckptkit does not read, only
    the files are judged: that is a warning, since nobody has looked at what they mean.
    """
    for fault in context.faults("config-value", "pattern-invalid"):
        if not where_of(fault).startswith(("kv_cache_scheme", "sparsity_config")):
            yield Observation.of(fault, variant=_variant(context, fault))
    # What is not FP8 is no broken checkpoint, and no valid one either: a name that nobody knows is CK623. A config that
    # could not be parsed says nothing of what the checkpoint is.
    unparsed = any(fault.file == CONFIG_FILE and fault.kind in _UNPARSED for fault in context.container.faults)
    if not unparsed and (context.located is None or context.has_reader or context.is_known_method):
        for fault in context.faults("config-unsupported"):
            message = f"{fault.message}: only its files were judged"
            yield Observation(fault.kind, message, fault.file, help=fault.help, severity=Severity.WARNING)


def _variant(context: Context, fault: Fault) -> str | None:
    """What engines tell apart: weights that are no codes, the word that the format has for a value beside codes and for
    which layers it is, and a config that is no object."""
    if "fake" in (fault.found or "") and not context.fp8_weights:
        return "fake"
    if isinstance(fault, ConfigFault) and fault.what and context.fp8_weights:
        return fault.what + kinds_of_layers(context)
    return "no-object" if context.located is None and fault.file == CONFIG_FILE else None
