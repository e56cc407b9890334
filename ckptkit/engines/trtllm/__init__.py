"""TensorRT-LLM."""

from __future__ import annotations

from types import MappingProxyType

from ckptkit.engines.base import Engine, OneGroup, Splitting, lazily
from ckptkit.engines.launch import Launch
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
            after="1.2",
        ),
    ),
    reads=frozenset({"compressed-tensors", "quark-fp8", "fp8", "fp8-block", "fp8-transformers", "modelopt", "mxfp8"}),
    unread=MappingProxyType(
        {
            "quark": "TensorRT-LLM has no Quark reader",
            "fbgemm": "TensorRT-LLM stops at fbgemm_fp8: NotImplementedError: Unsupported quantization_config",
        }
    ),
    follows_kv_cache=frozenset({"compressed-tensors", "modelopt", "modelopt/own-layout", "modelopt/file-alone"}),
    splitting=Splitting.HEADS,
    # Options as SERVE of sources.py lists them; CUDA graphs are switched off in a file of options only.
    launch=Launch(
        command=("trtllm-serve", "serve"),
        tensor_parallel="--tp_size",
        kv_cache=("--kv_cache_dtype", "fp8"),
        remote_code="--trust_remote_code",
        revision="--revision",
    ),
    loads_every_file=True,
    # Pull request 15415 (2026-06), merged; that 17725 tells groups apart was not, by September 2026.
    one_group=MappingProxyType(
        {
            "compressed-tensors": OneGroup(
                "group_0",
                others="it applies group_0 to every module, and the config declares other schemes as well",
                without="ValueError: exactly one config group is wanted where none is group_0",
            )
        }
    ),
    outcomes=lazily("ckptkit.engines.trtllm.outcomes", "OUTCOMES"),
    skip_lists=lazily("ckptkit.engines.trtllm.skip_lists", "SKIP_LISTS"),
    support=lazily("ckptkit.engines.trtllm.support", "SUPPORT"),
    kernels=lazily("ckptkit.engines.trtllm.kernels", "KERNELS"),
    architectures=lazily("ckptkit.engines.trtllm.architectures", "ARCHITECTURES"),
)
