"""Where SGLang runs without CUDA graphs by itself."""

from __future__ import annotations

from ckptkit.engines.base import Eager

EAGER: tuple[Eager, ...] = (
    Eager(
        "attention to the whole prompt is not captured in CUDA graphs",
        "srt/arg_groups/model_hook.py",
        architectures=("HrmTextForCausalLM",),
        by_itself=True,
    ),
)
