"""What engines make of configs that are spelled in other ways than exporters do, each beside a near miss."""

from __future__ import annotations

import pytest

from tests.accuracy.corpus import corpus
from tests.accuracy.verdicts import rows

_V, _CT, _MOE = "variant", "llama/llmcompressor-dynamic", "qwen3_moe/llmcompressor-dynamic"
_BLOCK = "llama-block-aligned/llmcompressor-block"
_ENGINES = ("vllm", "sglang", "transformers", "llamacpp")
#: Checkpoint of the corpus -> the verdicts on it, in the order of these engines.
KINDS = {
    # Targets that are parts of the names of vLLM's and SGLang's classes; experts are of another.
    f"{_V}/targets/lower-case/{_CT}": ("loads", "loads", "warns", "loads"),
    f"{_V}/targets/part-of-classes/{_CT}": ("loads", "loads", "warns", "loads"),
    f"{_V}/targets/classes-of-engines/{_CT}": ("loads", "loads", "warns", "loads"),
    f"{_V}/targets/one-class-of-engines/{_CT}": ("refuses", "refuses", "warns", "loads"),
    f"{_V}/targets/lower-case/{_MOE}": ("refuses", "refuses", "warns", "loads"),
    f"{_V}/targets/classes-and-experts/{_MOE}": ("loads", "loads", "loads", "loads"),
    # An object without arguments for inputs.
    f"{_V}/inputs-empty/{_CT}": ("loads", "loads", "warns", "loads"),
    f"{_V}/inputs-empty/llama/llmcompressor-fp8": ("refuses", "loads", "warns", "refuses"),
    f"{_V}/inputs-empty/{_MOE}": ("refuses", "refuses", "warns", "loads"),
    # Numbers that are whole, and such that are not.
    f"{_V}/size/group-whole/{_BLOCK}": ("loads", "loads", "loads", "loads"),
    f"{_V}/size/group-broken/{_BLOCK}": ("refuses", "refuses", "refuses", "loads"),
    f"{_V}/size/bits-text/{_CT}": ("loads", "loads", "loads", "loads"),
    f"{_V}/size/block-whole/{_BLOCK}": ("refuses", "refuses", "refuses", "refuses"),
    # Storages that do not hold what the group says.
    f"{_V}/stored-as/int-quantized/{_CT}": ("loads", "loads", "loads", "loads"),
    f"{_V}/stored-as/int-quantized/{_MOE}": ("loads", "loads", "loads", "loads"),
    f"{_V}/stored-as/pack-quantized/{_CT}": ("refuses", "loads", "refuses", "refuses"),
    f"{_V}/stored-as/nvfp4-pack-quantized/{_CT}": ("loads", "loads", "warns", "refuses"),
    # Patterns on names that a class maps, and a mixer that Falcon-H1 numbers on from its last layer in vLLM.
    f"{_V}/mapped/all-by-stored-pattern/nemotron_h-ct": ("loads", "refuses", "loads", "refuses"),
    f"{_V}/mapped/all-by-own-pattern/nemotron_h-ct": ("refuses", "refuses", "refuses", "refuses"),
    f"{_V}/mapped/counted-on/falcon_h1-ct": ("loads", "refuses", "silently wrong", "loads"),
    f"{_V}/mapped/mixer/falcon_h1-ct": ("silently wrong", "refuses", "warns", "loads"),
    f"{_V}/mapped/stored/falcon_h1-ct": ("silently wrong", "refuses", "loads", "loads"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_engines_make_of_a_spelling(kind: str) -> None:
    found = rows(corpus()[kind].make())
    assert tuple(found[engine].verdict for engine in _ENGINES) == KINDS[kind]
