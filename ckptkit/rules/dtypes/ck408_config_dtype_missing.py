"""CK408 config-dtype-missing, and its fix."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Finding, Observation, Severity
from ckptkit.checks.registry import fix, rule
from ckptkit.dtypes import DTYPES, TORCH_NAMES
from ckptkit.edits.changes import Edit, Path, SetKey
from ckptkit.errors import Fault
from ckptkit.model import names
from ckptkit.model.names import DTYPE_KEYS, TEXT_CONFIGS

_HIGH_PRECISION = ("BF16", "F16", "F32")


@rule(
    "CK408",
    "config-dtype-missing",
    Severity.INFO,
    reports=(
        "huggingface/transformers#44596",
        "meta-llama/llama3#285",
    ),
)
def config_dtype_missing(context: Context) -> Iterator[Fault]:
    """config.json names no dtype for the tensors that are not quantized, an 8-bit float, or none that torch has.

    Why it hurts: ``dtype="auto"`` then takes the type from the first weight it sees, which may be FP8: transformers
    before 5.16 stopped, or built norms and embeddings in eight bits. Text models load today; composite ones may not.
    At a name that torch does not have its reader of config.json stops, and so does every engine that uses that one.

    Example: neither ``dtype`` nor ``torch_dtype`` on any level of the config.

    Fix: write ``"dtype": "bfloat16"``, or what the unquantized tensors have.
    """
    if not context.has_fp8_weights or not context.config:
        return
    levels = [context.config, *(context.config.get(key) for key in TEXT_CONFIGS)]
    found = [level.get(key) for level in levels if isinstance(level, Mapping) for key in ("dtype", "torch_dtype")]
    named = [value for value in found if isinstance(value, str)]
    expected = '"dtype": "bfloat16", or what the norms have'
    if not named:
        yield Fault("config-dtype", "no dtype is named", "config.json", None, expected, "nothing")
    elif any("float8" in value for value in named):
        message = "an 8-bit float is named as the model's dtype"
        yield Observation(
            "config-dtype",
            message,
            "config.json",
            None,
            expected,
            named[0],
            variant=f"float8{'/outer-alone' * _is_outer_alone(levels)}",
            severity=Severity.WARNING,
        )
    elif strange := [value for value in map(_counts, levels) if _is_unknown(value)]:
        message = "the dtype that is named is none that torch has"
        yield Observation(
            "config-dtype",
            message,
            "config.json",
            None,
            expected,
            str(strange[0]),
            variant="strange",
            severity=Severity.ERROR,
        )


def _is_outer_alone(levels: Sequence[object]) -> bool:
    """Whether the language model has a section of its own, which names no 8-bit float."""
    inner = [level for level in levels[1:] if isinstance(level, Mapping)]
    return bool(inner) and not any("float8" in str(_counts(level)) for level in inner)


@fix("safe", "CK408")
def declare_dtype(context: Context, finding: Finding) -> Iterator[Edit]:
    """Say the dtype in which the model computes: that of most of the weights that are not quantized."""
    stored: Counter[str] = Counter()
    for tensor in context.container.tensors.values():
        if tensor.dtype in _HIGH_PRECISION and not names.last_part(tensor.name).endswith("scale"):
            stored[tensor.dtype] += tensor.numel
    if not stored:
        return
    wanted = DTYPES[stored.most_common(1)[0][0]].torch_name
    levels: list[tuple[Path, Any]] = [
        ((), context.config),
        *(((key,), context.config.get(key)) for key in TEXT_CONFIGS),
    ]
    named = [
        (*way, key)
        for way, level in levels
        for key in DTYPE_KEYS
        if isinstance(level, Mapping) and (_is_unknown(level.get(key)) or "float8" in str(level.get(key)))
    ]
    yield from (SetKey(way, wanted) for way in named or [("dtype",)])


def _counts(level: Any) -> object:
    """The dtype that counts of those on a level: the older key is read where the newer one says nothing."""
    said = [level.get(key) for key in ("dtype", "torch_dtype")] if isinstance(level, Mapping) else []
    return next((value for value in said if value is not None), None)


def _is_unknown(named: object) -> bool:
    """Whether torch has no type of this name, which readers take as it is written."""
    return isinstance(named, str) and named not in TORCH_NAMES
