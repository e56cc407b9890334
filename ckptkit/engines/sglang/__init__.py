"""SGLang."""

from __future__ import annotations

from types import MappingProxyType

from ckptkit.engines.base import Engine, Evidence, Release, Splitting, lazily

ENGINE = Engine(
    name="sglang",
    label="SGLang",
    package="sglang",
    releases=(
        Release("", "2026-08", how=(Evidence.SOURCE, Evidence.REPORT), covers=("outcomes", "skip lists")),
        Release("0.5.23", "2026-10-30", how=(Evidence.SOURCE,), covers=("support",)),
    ),
    reads=frozenset({"compressed-tensors", "quark", "quark-fp8", "fp8", "fp8-block", "fp8-transformers", "modelopt"}),
    unread=MappingProxyType({"fbgemm": "SGLang has no fbgemm_fp8: ValueError: Unknown quantization method"}),
    splitting=Splitting.BLOCKS,
    outcomes=lazily("ckptkit.engines.sglang.outcomes", "OUTCOMES"),
    skip_lists=lazily("ckptkit.engines.sglang.skip_lists", "SKIP_LISTS"),
    support=lazily("ckptkit.engines.sglang.support", "SUPPORT"),
    architectures=lazily("ckptkit.engines.sglang.architectures", "ARCHITECTURES"),
)
