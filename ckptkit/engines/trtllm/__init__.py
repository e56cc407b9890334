"""TensorRT-LLM."""

from __future__ import annotations

from types import MappingProxyType

from ckptkit.engines.base import Engine, Evidence, Release, Splitting, lazily

ENGINE = Engine(
    name="trtllm",
    label="TensorRT-LLM",
    package="tensorrt_llm",
    releases=(
        Release("", "2025", commit="09d4c79ba941a5c2c62c878c3572c0dcc8b85efa", covers=("kernels",)),
        Release("", "2026-08", how=(Evidence.REPORT,), covers=("outcomes",)),
        Release(
            "",
            "2026-08",
            commit="21156a7a57acd21e17feb5c2721c30f035e0f2af",
            how=(Evidence.SOURCE, Evidence.REPORT),
            covers=("skip lists", "support"),
        ),
    ),
    reads=frozenset({"compressed-tensors", "quark-fp8", "fp8", "fp8-block", "fp8-transformers", "modelopt", "mxfp8"}),
    unread=MappingProxyType(
        {
            "quark": "TensorRT-LLM has no Quark reader",
            "fbgemm": "TensorRT-LLM does not know fbgemm_fp8: it builds layers unquantized and takes codes for values",
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
