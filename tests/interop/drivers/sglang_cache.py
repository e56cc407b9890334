"""Scales of keys and values: what a checkpoint stores for a layer, and what SGLang's attention then uses.

A class that knows no such scales drops them, and so does the same class for the checkpoint that was meant: comparing
the two shows nothing. What is stored is therefore held against what the layer uses, where the config declares a cache
with scales: its parameter as kernels get it, or 1.0 where it has none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from . import vllm_outcome

#: Names of scales, below attention or one of its projections; what is of no one part is of keys and values.
_NAME = re.compile(
    r"(?:^|\.)layers\.(?P<layer>\d+)\.[\w.]*?(?<![a-zA-Z0-9])"
    r"(?:kv_scale|q?kv_proj\.output_scale|(?P<part>[kv])_(?:scale|cache_scale)|(?P<own>[kv])_proj\.output_scale)$"
)
_CONFIGS = ("config.json", "hf_quant_config.json")
_INDEX = "model.safetensors.index.json"
_ENDS = (".k_scale", ".v_scale")
#: Keys of a scheme that holds for every layer.
_SCHEME = {"num_bits", "type", "strategy", "symmetric", "dynamic"}
#: Parts of a model beside the language model.
_TOWERS = ("visual", "vision", "audio", "mtp")


def apart(model: Any, folder: Path) -> dict[str, float]:
    """Layer's scale -> how far what is used is from what is stored; nothing where no cache is declared."""
    if not any(_declares(_read(folder / name)) for name in _CONFIGS):
        return {}
    stored: dict[tuple[int, str], list[Any]] = {}
    for name, value in _tensors(folder):
        found = _NAME.search(name)
        if found is not None and not any(word in name for word in _TOWERS):
            for part in found["part"] or found["own"] or "kv":
                stored.setdefault((int(found["layer"]), part), []).extend(value)
    used: dict[tuple[int, str], list[tuple[str, float]]] = {}
    for name, module in model.named_modules():
        if type(module).__name__ == "RadixAttention":
            for part, value in _used(module).items():
                used.setdefault((module.layer_id, part), []).append((f"{name}.{part}_scale", value))
    found = {}
    for key, values in stored.items():
        sound = [value for value in values if value > 0 and value != float("inf")]
        layers = used.get(key, [])
        if layers:
            near = min((abs(value - meant) / meant for _, value in layers for meant in sound), default=1e9)
            if near > vllm_outcome.TOLERANCE:
                found[layers[0][0]] = min(round(near, 3), 1e9)
    return found


def without_unset(kept: Mapping[str, Any]) -> dict[str, Any]:
    """What was kept of a model, but scales of keys and values that nothing had set: these are no measure."""
    return {name: value for name, value in kept.items() if not name.endswith(_ENDS) or (value > 0).all()}


def _used(attention: Any) -> dict[str, float]:
    """The scales of keys and values as ``BaseKVCacheMethod.process_weights_after_loading`` makes them."""
    scales = {part: getattr(attention, f"{part}_scale", None) for part in "kv"}
    values = {part: -1.0 if scale is None else float(scale) for part, scale in scales.items()}
    positive = [value for value in values.values() if value > 0]
    if not positive:
        return dict.fromkeys("kv", 1.0)
    return values if len(positive) == len(values) else dict.fromkeys("kv", positive[0])


def _declares(config: Any) -> bool:
    """Whether a config says under some key of a KV cache that it is in FP8, with one static scale for a tensor."""
    if not isinstance(config, Mapping):
        return False
    said = [value for key, value in config.items() if isinstance(key, str) and key.startswith("kv_cache")]
    return any(map(_is_static_fp8, said)) or any(map(_declares, config.values()))


def _is_static_fp8(said: Any) -> bool:
    if not isinstance(said, Mapping):
        return said == "FP8" or said == "static"
    if _SCHEME.isdisjoint(said):
        return bool(said)  # by names of layers
    # One format says all of it, the other neither.
    whole = said.get("strategy", None if "symmetric" in said else "tensor") == "tensor"
    whole = whole and said.get("symmetric", True) is True
    return whole and said.get("type") == "float" and said.get("num_bits") == 8 and not said.get("dynamic")


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def _tensors(folder: Path) -> Iterator[tuple[str, list[float]]]:
    """The names and values of scales."""
    from safetensors import safe_open

    index = _read(folder / _INDEX)
    files = {folder / name for name in index["weight_map"].values()} if index else set(folder.glob("*.safetensors"))
    for path in sorted(files):
        with safe_open(path, "pt") as tensors:
            stored = tensors.keys()
            for name in stored:
                if name.endswith("_scale") and _NAME.search(name) is not None:
                    yield name, tensors.get_tensor(name).float().reshape(-1).tolist()
