"""TensorRT-LLM."""

from __future__ import annotations

from types import MappingProxyType

from ckptkit.engines.base import Engine, Splitting, lazily
from ckptkit.engines.releases import Evidence, Release

ENGINE = Engine(
    name="trtllm",
    label="TensorRT-LLM",
    package="tensorrt_llm",
    releases=(
        Release(
            "",
            "2026-08",
            commit="008e0af8980fc560003631ba4ac37828836a91c8",
            how=(Evidence.SOURCE, Evidence.REPORT),
        ),
    ),
    reads=frozenset({"compressed-tensors", "quark-fp8", "fp8", "fp8-block", "fp8-transformers", "modelopt", "mxfp8"}),
    unread=MappingProxyType(
        {
            "quark": "TensorRT-LLM has no Quark reader",
            "fbgemm": "TensorRT-LLM stops at fbgemm_fp8: NotImplementedError: Unsupported quantization_config",
        }
    ),
    splitting=Splitting.HEADS,
    loads_every_file=True,
    outcomes=lazily("ckptkit.engines.trtllm.outcomes", "OUTCOMES"),
    skip_lists=lazily("ckptkit.engines.trtllm.skip_lists", "SKIP_LISTS"),
    support=lazily("ckptkit.engines.trtllm.support", "SUPPORT"),
    kernels=lazily("ckptkit.engines.trtllm.kernels", "KERNELS"),
    architectures=lazily("ckptkit.engines.trtllm.architectures", "ARCHITECTURES"),
)
