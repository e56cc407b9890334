"""Quark's specs by layer: which pattern gets which spec, so that every reader finds the same scheme.

Three readers take the patterns in three ways. Quark quantizes by exact name first, then by the first glob; its
reload takes the first match of either kind; vLLM takes the first match too, but asks whether a key without ``*``
*contains* the module's name, and asks for all experts of a layer under their owner's name. So exact names come
before globs, short ones before the long ones that contain them, and owners of experts are named themselves.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections.abc import Iterable
from typing import Any, NoReturn

from ckptkit.errors import ConversionRefused, Fault
from ckptkit.formats import drafting
from ckptkit.formats.quark.spec import layer_spec
from ckptkit.model import names
from ckptkit.model.checkpoint import Checkpoint
from ckptkit.model.granularity import PerTensor
from ckptkit.model.scheme import Declared, OtherScheme, Quantization, Scheme
from ckptkit.model.select import Exact, glob_or_exact
from ckptkit.record import record

#: The scale of a query, a key or a value is one number for the whole tensor.
STATIC_SCALAR = Quantization(PerTensor())

Layers = dict[str, Declared | None]


@record
class LayerTable:
    """The entries of ``layer_quant_config``, in order, and the output spec of those that have one."""

    layers: Layers
    outputs: dict[str, Quantization]
    scale_types: dict[Scheme, str]

    def specs(self, lasts: Iterable[str] | None = None) -> dict[str, Any]:
        """The JSON specs: of all entries, or of those for projections with these last parts."""
        wanted = None if lasts is None else frozenset(lasts)
        return {
            pattern: self.spec(scheme, self.outputs.get(projection(pattern)))
            for pattern, scheme in self.layers.items()
            if wanted is None or projection(pattern) in wanted
        }

    def spec(self, scheme: Declared | None, output: Quantization | None = None) -> dict[str, Any]:
        """One spec; E8M0 scales are declared as such, all others have the dtype that they are stored in.

        That of another quantization is repeated word for word.
        """
        if isinstance(scheme, OtherScheme):
            found: dict[str, Any] = json.loads(scheme.entry or "{}")
            return found
        scale_type = self.scale_types.get(scheme, "float") if scheme else "float"
        return layer_spec(scheme, output, weight_scale_type=scale_type)


def projection(pattern: str) -> str:
    """
    >>> projection("*k_proj"), projection("model.layers.*.self_attn.k_proj")
    ('k_proj', 'k_proj')
    """
    return names.last_part(pattern).lstrip("*")


def kv_projections(checkpoint: Checkpoint) -> list[str]:
    """The last parts of the modules whose outputs are cached: k_proj and v_proj, or the fused projection."""
    language = (module for module in checkpoint.linear_modules if names.other_tower(module) is None)
    last_parts = {names.last_part(module) for module in language}
    fused = sorted(last_parts & names.FUSED_QKV)
    return fused or [last for last in ("k_proj", "v_proj") if last in last_parts]


def output_pattern(checkpoint: Checkpoint, last: str) -> str:
    """The pattern of the language model's projections whose outputs are quantized: towers may have some of that name,
    and Quark makes up a scale for each output that a pattern matches, whether the weight is excluded or not."""
    ending = [module for module in checkpoint.linear_modules if module.endswith(last)]
    members = [module for module in ending if names.last_part(module) == last]
    towers = {module for module in members if names.other_tower(module) is not None}
    language = [module for module in members if module not in towers]
    if towers and language:
        owner = language[0].partition(".layers.")[0]
        for text in (f"*{names.last_part(owner)}.*{last}", f"{owner}.layers.*{last}"):
            if [module for module in ending if glob_or_exact(text).matches(module)] == language:
                return text
    # Quark itself writes "*v_proj", which would make up outputs of a kv_proj too.
    return f"*{last}" if members == ending else f"*.{last}"


def layer_table(checkpoint: Checkpoint, default: Scheme) -> LayerTable:
    """Entries for everything that the default does not say, by short patterns where those are unambiguous."""
    kv_cache = checkpoint.kv_cache
    outputs: dict[str, Quantization] = {}
    if kv_cache is not None and kv_cache.scheme is not None:
        outputs = dict.fromkeys(kv_projections(checkpoint), kv_cache.scheme.quantization)
        if not outputs:
            refuse("no-kv-projection", "no module makes keys and values alone, and KV scales are outputs in Quark")
    if kv_cache is not None and any(attention.q for attention in kv_cache.attention):
        outputs.setdefault("q_proj", STATIC_SCALAR)
    if not outputs and len(checkpoint.schemes) == 1 and not checkpoint.opaque:
        return LayerTable({}, {}, _scale_types(checkpoint))
    schemes = _declared(checkpoint)
    layers = _entries(checkpoint, outputs, default, exact=False)
    if not reads_back(layers, schemes, default):
        layers = _entries(checkpoint, outputs, default, exact=True)
    if "q_proj" in outputs and [key for key in layers if projection(key) == "q_proj"] != ["*q_proj"]:
        refuse("query-scale-mixed", "query projections have several schemes, and readers look for one entry, *q_proj")
    return LayerTable(layers, outputs, _scale_types(checkpoint))


def _entries(checkpoint: Checkpoint, outputs: dict[str, Quantization], default: Scheme, *, exact: bool) -> Layers:
    """Entries for projections with outputs, and for all else that has another scheme than the default."""
    layers: Layers = {}
    owners = _expert_owners(checkpoint)
    declared = _declared(checkpoint)
    groups = {  # layers that engines fuse are named too, by which SGLang asks
        scheme: [*members, *owners.get(scheme, ()), *names.whole_layers(members, declared)]
        for scheme, members in checkpoint.all_schemes.items()
    }
    short = drafting.short_names(groups)
    patterns = {last: glob_or_exact(output_pattern(checkpoint, last)) for last in outputs}
    for pattern in patterns.values():
        members = [module for module in checkpoint.linear_modules if pattern.matches(module)]
        used = {declared[module] for module in members if module in declared}
        if len(used) <= 1 and not exact:
            layers[pattern.text] = next(iter(used), None)
            continue
        for module in members:
            if module in declared:
                layers[module if exact else short[module]] = declared[module]
            elif exact:
                layers[module] = None
    for scheme, members in groups.items():
        for name in members if scheme != default else ():
            own = patterns.get(names.last_part(name))
            if own is None or not own.matches(name):
                layers[name if exact else short[name]] = scheme
    return _ordered(layers, checkpoint, owners)


def _declared(checkpoint: Checkpoint) -> dict[str, Declared]:
    """Every quantized module's scheme."""
    fp8: dict[str, Declared] = {name: module.scheme for name, module in checkpoint.modules.items()}
    return {**fp8, **{name: module.scheme for name, module in checkpoint.opaque.items()}}


def _expert_owners(checkpoint: Checkpoint) -> dict[Declared, list[str]]:
    """The owners of experts that all have one scheme, by that scheme."""
    found: dict[str, set[Declared]] = {}
    for name, scheme in _declared(checkpoint).items():
        owner = names.experts_owner(name)
        if owner is not None:
            found.setdefault(owner, set()).add(scheme)
    groups: dict[Declared, list[str]] = {}
    for owner, schemes in found.items():
        if len(schemes) == 1:
            groups.setdefault(next(iter(schemes)), []).append(owner)
    return groups


def _ordered(layers: Layers, checkpoint: Checkpoint, owners: dict[Declared, list[str]]) -> Layers:
    """Exact names first, shorter ones before longer; names that are part of another's key get an entry too."""
    exact = {key: scheme for key, scheme in layers.items() if isinstance(glob_or_exact(key), Exact)}
    asked = _declared(checkpoint)
    asked.update((owner, scheme) for scheme, members in owners.items() for owner in members)
    tails = _tails(exact, {name.partition(".")[0] for name in asked})
    contained = {name: scheme for name, scheme in asked.items() if name not in exact and _begins_one(name, tails)}
    named = sorted({**contained, **exact}.items(), key=lambda item: len(item[0]))
    return {**dict(named), **{key: scheme for key, scheme in layers.items() if key not in exact}}


def _tails(keys: Iterable[str], roots: Iterable[str]) -> list[str]:
    """Every part of a key at which a name could begin, sorted."""
    pattern = re.compile("|".join(f"(?={re.escape(root)})" for root in roots))
    return sorted(key[found.start() :] for key in keys for found in pattern.finditer(key))


def _begins_one(name: str, tails: list[str]) -> bool:
    """Whether one of the sorted texts begins with this name."""
    position = bisect_left(tails, name)
    return position < len(tails) and tails[position].startswith(name)


def reads_back(layers: Layers, schemes: dict[str, Declared], default: Scheme) -> bool:
    """Whether the first entry that matches gives every quantized module its own scheme."""
    exact = {key: scheme for key, scheme in layers.items() if isinstance(glob_or_exact(key), Exact)}
    globs = [(glob_or_exact(key), scheme) for key, scheme in layers.items() if key not in exact]
    for module, scheme in schemes.items():
        found = exact.get(module) or next((s for pattern, s in globs if pattern.matches(module)), default)
        if found != scheme:
            return False
    return True


def _scale_types(checkpoint: Checkpoint) -> dict[Scheme, str]:
    """The schemes whose scales are all powers of two, stored as E8M0."""
    dtypes: dict[Scheme, set[str]] = {}
    for kind in checkpoint.alike:
        if kind.first.weight_scale is not None:
            dtypes.setdefault(kind.first.scheme, set()).add(kind.first.weight_scale.dtype)
    return {scheme: "float8_e8m0fnu" for scheme, found in dtypes.items() if found == {"F8_E8M0"}}


def refuse(kind: str, message: str) -> NoReturn:
    """Raise ConversionRefused with one fault."""
    raise ConversionRefused("Quark cannot hold these attention scales", faults=[Fault(kind, message)])
