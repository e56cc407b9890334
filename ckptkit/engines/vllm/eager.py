"""Where vLLM runs without CUDA graphs: what its source says, and reports of crashes that stop so."""

from __future__ import annotations

from ckptkit.engines.base import Eager
from ckptkit.engines.gpus import AMD
from ckptkit.engines.releases import Range

EAGER: tuple[Eager, ...] = (
    Eager(
        "CUDA graphs are not captured for encoder-decoder models on ROCm",
        "config/model.py (_verify_cuda_graph)",
        architectures=("WhisperFor", "NemotronParseFor"),
        gpus=AMD,
        by_itself=True,
    ),
    Eager(
        "capturing CUDA graphs stops with an illegal memory access",
        "vllm-project/vllm#49311",
        Range(since="0.25", until="0.25.1"),
        architectures=("Qwen3_5",),
        gpus=("sm_90",),
    ),
    Eager(
        "the server dies under load while it replays CUDA graphs",
        "vllm-project/vllm#54331",
        Range(since="0.26", until="0.28.1"),
        architectures=("Qwen3_5", "Qwen3Next"),
        gpus=("sm_120",),
        others=("NVFP4",),
    ),
)
