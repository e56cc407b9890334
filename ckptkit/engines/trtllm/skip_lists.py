"""How TensorRT-LLM reads skip lists: ``is_module_excluded_from_quantization`` (``SKIPPING`` of ``sources.py``) is asked
for a fused layer by its own name and by those of its parts.

Of plain FP8 it reads ``modules_to_not_convert`` alone, of MXFP8 ``ignored_layers`` beside it (``MODEL_CONFIG``,
load_hf_quant_config); that pull request 17551 would have had it read ``ignored_layers`` and ``ignore`` of every format
came to nothing. Releases 1.0 and before knew shell patterns over the whole name only, so that no entry after ``re:``
matched. Targets of a compressed-tensors config it does not look at: whatever no list names is built quantized.
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from ckptkit.engines.base import SkipLists
from ckptkit.engines.matchers import Style
from ckptkit.engines.skip_lists import Reading
from ckptkit.engines.targets import whatever_targets_say

_FP8 = Reading(Style.ABOVE, ("modules_to_not_convert",), whole_too=True, head_left_alone=True)

SKIP_LISTS: SkipLists = MappingProxyType(
    {
        "quark-fp8": _FP8,
        "fp8": _FP8,
        "fp8-block": _FP8,
        "fp8-transformers": _FP8,
        "mxfp8": replace(_FP8, keys=("modules_to_not_convert", "ignored_layers"), merges=True),
        "modelopt": Reading(Style.ABOVE, ("ignore", "quantization.exclude_modules"), whole_too=True),
        "compressed-tensors": Reading(
            Style.ABOVE,
            ("modules_to_not_convert", "ignore"),
            merges=True,
            whole_too=True,
            head_left_alone=True,
            declares=whatever_targets_say,
        ),
    }
)
