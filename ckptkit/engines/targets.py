"""Which group of a compressed-tensors config a module falls into: two readers, two orders.

vLLM asks for the module's name in the config's order, then for its own class of layers, of whose name a target may be
any part, in letters of any size. The library itself prefers exact names to regular expressions, sorts the latter, and
asks for the class last. Where two groups name the same target, the later one silently replaces the earlier in both.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from functools import cache
from types import MappingProxyType
from typing import Any

from ckptkit.engines.matchers import Matcher
from ckptkit.model import names
from ckptkit.model.backtracking import may_run_away

GroupOf = Callable[[str], str | None]

_REGEX_PREFIX = "re:"
_LINEAR = "Linear"
_SHAPED = re.compile(r"[*?\[]")


def targets_by_group(block: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Group name -> targets, for groups of the full form; groups of attention modules only are left out."""
    groups = block.get("config_groups")
    found = {}
    for name, group in groups.items() if isinstance(groups, Mapping) else ():
        targets = group.get("targets") if isinstance(group, Mapping) else None
        if isinstance(targets, list):
            words = tuple(target for target in targets if isinstance(target, str))
            if words and not all(word.endswith("Attention") for word in words):
                found[name] = words
    return found


def with_targets(block: Mapping[str, Any], name_of: Callable[[str], str]) -> Mapping[str, Any]:
    """The same config with other targets."""
    groups = block.get("config_groups")
    if not isinstance(groups, Mapping):
        return block
    return {
        **block,
        "config_groups": {
            name: {**group, "targets": [name_of(t) if isinstance(t, str) else t for t in group["targets"]]}
            if isinstance(group, Mapping) and isinstance(group.get("targets"), list)
            else group
            for name, group in groups.items()
        },
    }


def schemes_by_group(block: Mapping[str, Any], key: str) -> dict[str, dict[str, Any]]:
    """Group name -> what it says of the modules that it applies to, of the groups under this key; null is nothing."""
    groups = block.get(key)
    items = groups.items() if isinstance(groups, Mapping) else ()
    return {
        str(name): {word: said for word, said in group.items() if word != "targets" and said is not None}
        for name, group in items
        if isinstance(group, Mapping)
    }


def vllm_group(groups: Mapping[str, tuple[str, ...]]) -> GroupOf:
    """vLLM's answer for one module that it does not fuse: by name in the config's order, then by class.

    >>> vllm_group({"a": ("Linear",), "b": ("re:.*q_proj",)})("layers.0.q_proj")
    'b'
    """
    owner = {target: name for name, targets in groups.items() for target in targets}
    exact, regexes, _ = _sorted_out(owner)

    @cache
    def of_class(layer: str) -> str | None:
        if layer == _EXPERTS and _LINEAR in owner:
            return owner[_LINEAR]
        return next((name for target, name in exact.items() if target.lower() in layer.lower()), None)

    def group_of(module: str) -> str | None:
        matched = next((target for target, regex in regexes if regex.match(module)), None)
        if module in exact and (matched is None or _before(owner, module, matched)):
            return exact[module]
        return of_class(class_in_vllm(module)) if matched is None else owner[matched]

    return group_of


def class_in_vllm(module: str) -> str:
    """The class of the layer that vLLM, and SGLang, build for a linear module, as far as its name tells: others are of
    one that ends so.

    >>> class_in_vllm("model.layers.0.mlp.up_proj"), class_in_vllm("model.layers.0.mamba.in_proj")
    ('MergedColumnParallelLinear', 'ParallelLinear')
    """
    return _EXPERTS if _EXPERT in module else _CLASSES.get(module.rpartition(".")[2], _OTHERS)


def library_group(groups: Mapping[str, tuple[str, ...]]) -> GroupOf:
    """The answer of compressed-tensors itself, which transformers asks: exact, then sorted regexes, then class.

    >>> library_group({"a": ("re:.*proj",), "b": ("layers.0.q_proj",)})("layers.0.q_proj")
    'b'
    """
    owner = {target: name for name, targets in groups.items() for target in targets}
    exact, regexes, by_class = _sorted_out(owner)
    regexes.sort()

    def group_of(module: str) -> str | None:
        if module in exact:
            return exact[module]
        matched = next((target for target, regex in regexes if regex.match(module)), None)
        return by_class if matched is None else owner[matched]

    return group_of


#: Last parts of names -> the class that vLLM builds there.
_CLASSES: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys((*names.FUSED_GROUPS["qkv_proj"], "qkv_proj"), "QKVParallelLinear"),
        **dict.fromkeys((*names.FUSED_GROUPS["gate_up_proj"], "gate_up_proj"), "MergedColumnParallelLinear"),
        **dict.fromkeys(("o_proj", "down_proj", "out_proj"), "RowParallelLinear"),
        "lm_head": "ParallelLMHead",
    }
)
_OTHERS, _EXPERTS, _EXPERT = "ParallelLinear", "RoutedExperts", ".experts."

#: The two readers.
READERS: Mapping[str, Callable[[Mapping[str, tuple[str, ...]]], GroupOf]] = MappingProxyType(
    {"vLLM": vllm_group, "compressed-tensors": library_group}
)


def _sorted_out(
    owner: Mapping[str, str],
) -> tuple[dict[str, str], list[tuple[str, re.Pattern[str]]], str | None]:
    """Exact names, regular expressions and the class entry of a target -> group map."""
    exact = {target: name for target, name in owner.items() if not target.startswith(_REGEX_PREFIX)}
    regexes = []
    for target in owner:
        pattern = target.removeprefix(_REGEX_PREFIX)
        if pattern != target and not may_run_away(pattern):
            try:
                regexes.append((target, re.compile(pattern)))
            except re.error:
                continue
    return exact, regexes, owner.get(_LINEAR)


def _before(owner: Mapping[str, str], first: str, second: str) -> bool:
    order = list(owner)
    return order.index(first) < order.index(second)


def in_vllm_group(block: Mapping[str, Any]) -> Matcher:
    """Whether a module falls into some group, as vLLM looks for it."""
    group_of = vllm_group(targets_by_group(block))
    return lambda name: group_of(name) is not None


def in_library_group(block: Mapping[str, Any]) -> Matcher:
    """Whether a module falls into some group, as the library looks for it."""
    group_of = library_group(targets_by_group(block))
    return lambda name: group_of(name) is not None


def whatever_targets_say(block: Mapping[str, Any]) -> Matcher:
    """Every module: what a reader means who looks at no targets."""
    return lambda name: True


def vllm_entry(block: Mapping[str, Any]) -> GroupOf:
    """The group that a module falls into, as vLLM looks for it; None for none."""
    return vllm_group(targets_by_group(block))


def class_has_blocks(block: Mapping[str, Any]) -> bool:
    """Whether the group that targets linear layers by their class says a size of blocks."""
    groups = block.get("config_groups")
    weights = [
        group.get("weights")
        for group in (groups.values() if isinstance(groups, Mapping) else ())
        if isinstance(group, Mapping) and _LINEAR in (group.get("targets") or ())
    ]
    return bool(weights) and isinstance(weights[-1], Mapping) and bool(weights[-1].get("block_structure"))


def quark_scheme(block: Mapping[str, Any]) -> GroupOf:
    """What Quark's config says of a module's weights and inputs, as text: by ``layer_quant_config``, or for all."""
    layers = block.get("layer_quant_config")
    schemes = {pattern: _said(spec) for pattern, spec in layers.items()} if isinstance(layers, Mapping) else {}
    shaped = [pattern for pattern in schemes if _SHAPED.search(pattern)]
    others = _said(block.get("global_quant_config"))

    def scheme_of(module: str) -> str:
        if module in schemes:
            return schemes[module]
        found = next((pattern for pattern in shaped if fnmatchcase(module, pattern)), None)
        return others if found is None else schemes[found]

    return scheme_of


def _said(spec: Any) -> str:
    parts = spec if isinstance(spec, Mapping) else {}
    return json.dumps([parts.get("weight"), parts.get("input_tensors")], sort_keys=True)
