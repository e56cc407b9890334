"""Rules of the catalogue that are not checked, and why. Their codes are taken all the same."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

#: code -> (what the rule would find, why it is not checked, public reports).
PLANNED: Mapping[str, tuple[str, str, tuple[str, ...]]] = MappingProxyType(
    {
        "CK706": (
            "gate and up disagree on their second-level scale",
            "FP8 formats have one level of scales; it comes with a format that has two, such as NVFP4",
            ("NVIDIA/TensorRT-LLM#14199", "NVIDIA/Model-Optimizer#1411"),
        ),
        "CK913": (
            "KV scales calibrated for 448 are used with an e4m3fnuz cache, whose largest value is 240",
            "nothing in a checkpoint tells on which GPU it will be served",
            ("vllm-project/vllm#7210", "vllm-project/vllm#15734"),
        ),
    }
)
