"""Which quantization methods and ModelOpt algorithms exist."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

#: Every ``quant_method``, lower case with hyphens, that vLLM 0.32, SGLang or transformers 5.16 knows.
KNOWN_METHODS = frozenset(
    {
        *("aqlm", "auto-awq", "auto-gptq", "auto-round", "autoround", "awq", "awq-marlin", "bitnet", "bitsandbytes"),
        *("compressed-tensors", "deepseek-v4-fp8", "eetq", "experts-int8", "fbgemm-fp8", "fp-quant", "fp8", "gguf"),
        *("gpt-oss-mxfp4", "gptq", "gptq-marlin", "higgs", "hqq", "humming", "inc", "modelopt", "modelopt-fp4"),
        *("modelopt-fp8", "modelopt-mixed", "modelopt-mxfp8", "moe-wna16", "mxfp4", "mxfp8", "petit-nvfp4", "qoq"),
        *("quanto", "quark", "quip", "spqr", "torchao", "vptq", "w4afp8", "w8a8-fp8", "w8a8-int8"),
    }
)

#: The one method whose name people write in two ways, as engines write it.
HYPHENATED = "compressed-tensors"

#: Algorithms that ModelOpt itself writes in lower case.
LOWER_CASE = frozenset({"fp8_pb_wo"})

#: Engine -> the values of ModelOpt's ``quant_algo`` that it takes, upper case, where all are known; vLLM's are those of
#: 0.32.
ALGORITHMS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "vllm": frozenset(
            {"FP8", "FP8_PER_CHANNEL_PER_TOKEN", "FP8_PB_WO", "NVFP4", "W4A16_NVFP4", "MXFP8", "MIXED_PRECISION"}
        ),
    }
)
#: Engine -> the same for the exporter's own nested layout, where these are others: vLLM's are those of 0.32, in
#: ``transformers_utils/model_arch_config_convertor.py``.
NESTED_ALGORITHMS: Mapping[str, frozenset[str]] = MappingProxyType(
    {"vllm": frozenset({"FP8", "FP8_PER_CHANNEL_PER_TOKEN", "FP8_PB_WO", "NVFP4"})}
)
#: Engine -> who has to have made a nested config that names no method: of any other it reads no quantization.
PRODUCERS: Mapping[str, str] = MappingProxyType({"vllm": "modelopt"})
#: Those that only others know.
OTHER_ALGORITHMS = frozenset(
    {"FP8_BLOCK_SCALES", "W4A8_AWQ", "W4A16_AWQ", "W8A16", "W8A8_SQ_PER_CHANNEL", "INT8", "W4AFP8", "NVFP4_AWQ"}
)
