"""How the real readers find a module's spec in a config, restated from their sources without their libraries.

Each function returns the JSON spec that a reader applies to one linear module, or None for high precision:

* amd-quark 0.13: ``setup_config_per_layer`` (quantizing) and ``get_layer_quant_config`` (reloading);
* vLLM 0.32: ``QuarkConfig._find_matched_config`` and ``should_ignore_layer``; ``find_matched_target``;
* compressed-tensors 0.20: ``match_targets``.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping
from typing import Any

Spec = Mapping[str, Any] | None
Block = Mapping[str, Any]


def quark_quantizing(block: Block, module: str) -> Spec:
    """An exact name wins over every glob."""
    if any(fnmatch.fnmatch(module, pattern) for pattern in block["exclude"]):
        return None
    layers = block["layer_quant_config"]
    return layers[module] if module in layers else _first_glob(layers, module) or block["global_quant_config"]


def quark_reloading(block: Block, module: str) -> Spec:
    """The first entry that matches, exact or not."""
    if any(fnmatch.fnmatch(module, pattern) for pattern in block["exclude"]):
        return None
    return _first_glob(block["layer_quant_config"], module) or block["global_quant_config"]


def _first_glob(layers: Mapping[str, Any], module: str) -> Spec:
    return next((spec for pattern, spec in layers.items() if fnmatch.fnmatch(module, pattern)), None)


def quark_in_vllm(block: Block, module: str) -> Spec:
    """Globs in ``exclude`` do nothing, and a key without ``*`` matches every name that is a part of it."""
    if _named(module, block["exclude"]):
        return None
    return _first_in_vllm(block, module)


def quark_experts_in_vllm(block: Block, owner: str) -> Spec:
    """All experts of a layer are asked for as one; one excluded expert excludes them all."""
    if any(entry == owner or entry.startswith(f"{owner}.") for entry in block["exclude"]):
        return None
    return _first_in_vllm(block, owner)


def _first_in_vllm(block: Block, module: str) -> Spec:
    for pattern, spec in block["layer_quant_config"].items():
        if fnmatch.fnmatch(module, pattern) if "*" in pattern else module in pattern:
            found: Mapping[str, Any] = spec
            return found
    default: Mapping[str, Any] = block["global_quant_config"]
    return default


def compressed_tensors(block: Block, module: str) -> Spec:
    """Exact names, then regular expressions in alphabetical order, then the class; ``ignore`` knows classes too."""
    if _named(module, block["ignore"]) or "Linear" in block["ignore"]:
        return None
    schemes = {target: group for group in block["config_groups"].values() for target in group["targets"]}
    ordered = sorted(schemes, key=lambda target: ("re:" in target, target))
    found = next((target for target in ordered if _named(module, [target])), None)
    return schemes.get(found or "Linear")


def compressed_tensors_in_vllm(block: Block, module: str) -> Spec:
    """The first target in the config's order by name, then by class; the head's class is not a linear one."""
    if _named(module, block["ignore"]):
        return None
    schemes = {target: group for group in block["config_groups"].values() for target in group["targets"]}
    found = next((target for target in schemes if _named(module, [target])), None)
    if found is None:
        class_name = "parallellmhead" if module.endswith("lm_head") else "columnparallellinear"
        found = next((target for target in schemes if target.lower() in class_name), None)
    return schemes[found] if found else None


def _named(module: str, entries: Iterable[str]) -> bool:
    return any(
        re.match(entry.removeprefix("re:"), module) is not None if entry.startswith("re:") else entry == module
        for entry in entries
    )
