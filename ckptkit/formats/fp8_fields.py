"""What every config with ``quant_method: fp8`` has in common, whoever wrote it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ckptkit.errors import excerpt
from ckptkit.formats.base import ConfigFault
from ckptkit.formats.dialect import SkipList
from ckptkit.model.select import PatternKind

_SCHEMES = ("static", "dynamic")

#: vLLM reads the first key, transformers and TensorRT-LLM the second; both are the same list.
SKIP_LIST = SkipList(
    keys=("ignored_layers", "modules_to_not_convert"),
    written=("ignored_layers", "modules_to_not_convert"),
    patterns=PatternKind.EXACT,
)


def field_faults(block: Mapping[str, Any]) -> Iterator[ConfigFault]:
    """Fields that cannot go together: vLLM stops at them."""
    scheme, size = block.get("activation_scheme"), block.get("weight_block_size")
    if scheme not in _SCHEMES:
        message = "activation_scheme is neither static nor dynamic"
        yield _fault(message, "static or dynamic", scheme, "activation_scheme")
    if size is None:
        return
    numbers = isinstance(size, Sequence) and [type(n) is int and n > 0 for n in size] == [True, True]
    if not numbers:
        yield _fault("weight_block_size is not two numbers", "[128, 128]", size, "weight_block_size")
    elif scheme == "static":
        message = "block scales go with dynamic activations only"
        yield _fault(message, "activation_scheme dynamic", scheme, "activation_scheme")


def _fault(message: str, expected: str, found: Any, key: str) -> ConfigFault:
    words = "nothing" if found is None else excerpt(found)
    return ConfigFault("fp8-fields", message, "config.json", None, expected, words, path=(key,))
