"""Keys of config.json that a class of the converter reads without a default, and that transformers has none for.

The converter takes the config that transformers 4.57.6 makes of config.json, with its defaults. All classes of both
builds were asked on 2026-11-30 what they read in ``set_gguf_parameters`` that is in no default.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ckptkit.engines.llamacpp.dequantizing import StopError

_WANTED = MappingProxyType(
    {
        "Cohere2ForCausalLM": ("rotary_pct",),
        "FalconH1ForCausalLM": ("head_dim",),
        "GPT2LMHeadModel": ("n_ctx",),
    }
)
#: One value for each layer, and no number, which the configs of transformers have.
_LISTS = MappingProxyType({"HunYuanMoEV1ForCausalLM": ("moe_intermediate_size", "moe_topk", "num_shared_expert")})


def check_keys(architecture: str, config: Mapping[str, Any]) -> None:
    """Raises StopError where a class finds no value."""
    absent = next((key for key in _WANTED.get(architecture, ()) if key not in config), None)
    if absent is not None:
        raise StopError(f"KeyError: {absent!r}")
    single = next((key for key in _LISTS.get(architecture, ()) if not isinstance(config.get(key), list)), None)
    if single is not None:
        raise StopError(f"TypeError: it wants a list of {single}, one value for each layer")
