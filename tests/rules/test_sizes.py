"""How bad a wrong size is, for whom, and that one wrong key is one finding."""

from __future__ import annotations

from typing import Any

import pytest

from ckptkit.checks.finding import Finding
from tests.damage import CT, load, set_config
from tests.rules.case import report


def findings(**keys: Any) -> list[Finding]:
    checkpoint = load(CT)
    set_config(**keys)(checkpoint)
    return [found for found in report(checkpoint).findings if found.code in ("CK307", "CK312", "CK633")]


@pytest.mark.parametrize(
    ("key", "value", "severity", "vllm", "tensors"),
    [
        ("intermediate_size", 96, "error", "error", 6),
        ("intermediate_size", 64, "error", "silent", 6),
        ("num_key_value_heads", 1, "error", "silent", 4),
        ("hidden_size", 128, "error", "error", 21),
        ("hidden_size", 32, "error", "error", 21),
        ("vocab_size", 40, "error", "error", 2),
        ("vocab_size", 31, "warning", "error", 2),
    ],
)
def test_one_wrong_key_is_one_finding(key: str, value: int, severity: str, vllm: str, tensors: int) -> None:
    """vLLM takes the first rows of what is too large; it checks the embedding and the hidden size."""
    (found,) = findings(**{key: value})
    assert (found.code, found.severity.value) == ("CK312", severity)
    assert key in (found.expected or "") and f"in {tensors} tensors" in found.message
    assert {effect.engine: effect.outcome.value for effect in found.engines}["vllm"] == vllm


def test_what_the_config_does_not_name() -> None:
    (found,) = findings(architectures=[])
    assert (found.code, found.severity.value) == ("CK633", "warning"), "SGLang stops, others guess"
    (found,) = findings(model_type=None)
    assert (found.code, found.severity.value) == ("CK633", "warning")
