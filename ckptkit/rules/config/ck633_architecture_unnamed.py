"""CK633 architecture-unnamed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Observation, Severity
from ckptkit.checks.registry import OnConversion, rule
from ckptkit.errors import Fault


@rule(
    "CK633",
    "architecture-unnamed",
    Severity.WARNING,
    conversion=OnConversion.CARRIED,
    reports=(
        "instructlab/training#128",
        "vllm-project/vllm#46497",
        "vllm-project/vllm#14105",
    ),
)
def architecture_unnamed(context: Context) -> Iterator[Fault]:
    """config.json names no model type, or no architecture.

    Why it hurts: vLLM and transformers choose the config's class by ``model_type`` and stop without it, unless the
    repository brings a class of its own. Without ``architectures`` current engines guess from the model type, older
    ones stop: that is a note.

    Example: a config.json that was written by hand and begins with ``hidden_size``.

    Fix: copy ``architectures`` and ``model_type`` from the original model's config.json.
    """
    config = context.config
    if context.located is None or "_class_name" in config:  # a part of a diffusers pipeline has neither
        return
    own_class = isinstance(config.get("auto_map"), Mapping) and "AutoConfig" in config["auto_map"]
    if not config.get("model_type") and not own_class:
        yield _unnamed("model_type", 'a word such as "llama"')
    if not config.get("architectures"):
        fault = _unnamed("architectures", 'a list such as ["LlamaForCausalLM"]')
        yield Observation.of(fault, variant="architectures", severity=None)


def _unnamed(key: str, expected: str) -> Fault:
    return Fault("architecture-unnamed", f"{key} is missing", "config.json", None, expected, "nothing")
