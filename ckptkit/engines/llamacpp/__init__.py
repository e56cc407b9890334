"""llama.cpp's ``convert_hf_to_gguf.py``, which dequantizes a checkpoint and writes a GGUF: a reader, and no server."""

from __future__ import annotations

from types import MappingProxyType

from ckptkit.engines.base import Engine, lazily
from ckptkit.engines.launch import Launch
from ckptkit.engines.releases import Evidence, Release

_METHOD = "NotImplementedError: Quant method is not yet supported:"
_QUARK = f"{_METHOD} 'quark'"

ENGINE = Engine(
    name="llamacpp",
    label="llama.cpp",
    releases=(
        Release(
            "b8643",
            "2026-04-03",
            commit="f49e9178767d557a522618b16ce8694f9ddac628",
            how=(Evidence.RUN, Evidence.SOURCE),
        ),
        Release(
            "b11312",
            "2026-10-01",
            commit="0c1e57098bba43ac29e6e3b677cdceebdd22334f",
            how=(Evidence.RUN, Evidence.SOURCE),
        ),
    ),
    reads=frozenset({"compressed-tensors", "fp8", "fp8-block", "fp8-transformers", "quark-fp8", "modelopt"}),
    unread=MappingProxyType(
        {
            "quark": _QUARK,
            "fbgemm": f"{_METHOD} 'fbgemm_fp8'",
            "mxfp8": f"{_METHOD} 'mxfp8'",
        }
    ),
    outcomes=lazily("ckptkit.engines.llamacpp.outcomes", "OUTCOMES"),
    support=lazily("ckptkit.engines.llamacpp.support", "SUPPORT"),
    kernels=lazily("ckptkit.engines.llamacpp.kernels", "KERNELS"),
    architectures=lazily("ckptkit.engines.llamacpp.architectures", "ARCHITECTURES"),
    demands=lazily("ckptkit.engines.llamacpp.support", "DEMANDS"),
    modules=lazily("ckptkit.engines.llamacpp.classes", "MODULES"),
    launch=Launch(
        command=("python", "convert_hf_to_gguf.py"),
        remote="--remote",
        output="--outfile",
        ending=".gguf",
        then=("llama-server", "-m"),
    ),
    on_request=True,
    # ``modify_tensors`` drops layers beyond the config's count (b8643: ``skip_mtp``).
    drafts_left_out=frozenset({"DeepseekV2ForCausalLM", "DeepseekV3ForCausalLM"}),
    by_storage=lazily("ckptkit.engines.llamacpp.stored", "judge_stored"),
)
