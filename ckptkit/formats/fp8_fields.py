"""What every config with ``quant_method: fp8`` has in common, whoever wrote it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

from ckptkit.errors import excerpt
from ckptkit.formats.base import ConfigFault
from ckptkit.formats.dialect import SkipList
from ckptkit.model.select import PatternKind

_SCHEMES = ("static", "dynamic")
SCHEME = "activation_scheme"
#: What engines tell apart of fields that are wrong: a scheme that is not said, and one in other letters, for which some
#: take what was meant, one that there is not, and a size that is none.
UNSAID_SCHEME, OTHER_LETTERS, NO_SCHEME, NO_SIZE = "scheme-unsaid", "scheme-letters", "scheme", "size"
BLOCK_SIZE = "weight_block_size"
#: The kinds of the faults: of the fields, of what they say of experts, and of a block size that nothing says.
FAULT, EXPERTS, ASSUMED = "fp8-fields", "fp8-experts", "fp8-block-size"
#: What such a block size is where scales have the names that its readers look for.
OWN_NAMES = "own-names"

#: vLLM reads the first key, transformers and TensorRT-LLM the second; both are the same list.
SKIP_LIST = SkipList(
    keys=("ignored_layers", "modules_to_not_convert"),
    written=("ignored_layers", "modules_to_not_convert"),
    patterns=PatternKind.EXACT,
)


def is_block_size(value: Any) -> TypeGuard[list[int]]:
    """Whether a JSON value is the rows and the columns of a block."""
    return isinstance(value, list) and [type(n) is int and n > 0 for n in value] == [True, True]


def inputs_of(block: Mapping[str, Any]) -> object:
    """How inputs are quantized, by the config: dynamic where it does not say so, as most readers take it.

    >>> inputs_of({}), inputs_of({"activation_scheme": "Static"}), inputs_of({"activation_scheme": None})
    ('dynamic', 'static', None)
    """
    said = block.get(SCHEME, "dynamic")
    return said.lower() if isinstance(said, str) else said


def field_faults(block: Mapping[str, Any]) -> Iterator[ConfigFault]:
    """Fields that cannot go together: vLLM stops at them."""
    scheme, size = block.get(SCHEME), block.get(BLOCK_SIZE)
    if scheme not in _SCHEMES:
        message = "activation_scheme is neither static nor dynamic"
        understood = OTHER_LETTERS if inputs_of(block) in _SCHEMES else NO_SCHEME
        what = understood if SCHEME in block else UNSAID_SCHEME
        yield _fault(message, "static or dynamic", scheme, SCHEME, what)
    if size is None:
        return
    if not is_block_size(size):
        yield _fault("weight_block_size is not two numbers", "[128, 128]", size, BLOCK_SIZE, NO_SIZE)
    elif scheme == "static":
        message = "block scales go with dynamic activations only"
        yield _fault(message, "activation_scheme dynamic", scheme, SCHEME)


def _fault(message: str, expected: str, found: Any, key: str, what: str = "") -> ConfigFault:
    words = "nothing" if found is None else excerpt(found)
    return ConfigFault(FAULT, message, "config.json", None, expected, words, path=(key,), what=what)
