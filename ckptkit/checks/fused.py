"""Which stored modules engines load as one layer, and whether their parts may differ."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ckptkit.model import names
from ckptkit.model.checkpoint import Checkpoint
from ckptkit.model.scheme import Scheme

#: How vLLM and others stack the projections of linear and latent attention: fused name -> its stored parts.
_OTHER_ATTENTION: Mapping[str, tuple[str, ...]] = {
    "in_proj_qkvz": ("in_proj_qkv", "in_proj_z"),
    "in_proj_ba": ("in_proj_b", "in_proj_a"),
    "fused_qkv_a_proj": ("q_a_proj", "kv_a_proj_with_mqa"),
    "fused_wqa_wkv": ("wq_a", "wkv"),
}
#: Fused name -> its stored parts, and whether they are of linear or latent attention.
_FUSED = {
    **{fused: (parts, False) for fused, parts in names.FUSED_GROUPS.items()},
    **{fused: (parts, True) for fused, parts in _OTHER_ATTENTION.items()},
}
#: Stored part -> fused name.
_FUSED_OF = {part: fused for fused, (parts, _) in _FUSED.items() for part in parts}


class FusedGroup(NamedTuple):
    """Stored modules that engines load as one layer, in the order in which they are stacked.

    ``other_attention``: projections of linear or latent attention. ``uniform``: every part is quantized with one
    scheme, or none is.
    """

    owner: str
    fused: str
    members: tuple[str, ...]
    other_attention: bool
    uniform: bool


def fused_groups(checkpoint: Checkpoint, linear: Iterable[str] | None = None) -> tuple[FusedGroup, ...]:
    """Every group of two stored modules or more, of ``linear`` alone if given, that engines load as one layer."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    for name in checkpoint.linear_names if linear is None else linear:
        owner, _, last = name.rpartition(".")
        fused = _FUSED_OF.get(last)
        if fused is not None:
            key = (owner, fused)
            if key in found:
                found[key][last] = name
            else:
                found[key] = {last: name}
    modules = checkpoint.modules
    groups = []
    for (owner, fused), stored in found.items():
        if len(stored) > 1:
            parts, other = _FUSED[fused]
            members = tuple([stored[part] for part in parts if part in stored])
            schemes = [modules[name].scheme if name in modules else None for name in members]
            uniform = schemes.count(schemes[0]) == len(schemes)
            groups.append(FusedGroup(owner, fused, members, other, uniform))
    return tuple(groups)


def may_be_uneven(checkpoint: Checkpoint) -> bool:
    """Whether some group may not be uniform: kinds of modules, of which there are few, say so for most checkpoints."""
    schemes: dict[tuple[str, str], set[Scheme | None]] = {}
    quantized = [(kind.name, kind.first.scheme) for kind in checkpoint.alike]
    others = [(names.generalise(name), None) for name in (*checkpoint.opaque, *checkpoint.unquantized)]
    for name, scheme in (*quantized, *others):
        owner, _, last = name.rpartition(".")
        if last in _FUSED_OF:
            schemes.setdefault((owner, _FUSED_OF[last]), set()).add(scheme)
    return any(len(found) > 1 for found in schemes.values())
