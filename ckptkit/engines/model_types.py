"""Which model class a model type stands for, where a config names no class."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache


@cache
def _by_model_type(classes: frozenset[str]) -> Mapping[str, str]:
    """A model type without its separators -> the class that is called like it."""
    endings = ("forconditionalgeneration", "forcausallm")
    plain = {name: name.lower().replace("_", "") for name in sorted(classes)}
    return {word.removesuffix(end): name for end in endings for name, word in plain.items() if word.endswith(end)}


def class_of(model_type: object, classes: frozenset[str]) -> str | None:
    """The class that engines guess from a model type; None where no class is called like it.

    >>> class_of("qwen3_moe", frozenset({"Qwen3MoeForCausalLM", "Qwen3ForCausalLM"}))
    'Qwen3MoeForCausalLM'
    """
    word = model_type.lower().replace("_", "").replace("-", "") if isinstance(model_type, str) else ""
    return _by_model_type(classes).get(word)
