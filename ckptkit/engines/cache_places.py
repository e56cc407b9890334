"""Where a scale of keys or values is stored, as loaders of engines tell such names apart."""

from __future__ import annotations

from enum import Enum

from ckptkit.model import names


class Place(str, Enum):
    """What a scale of keys or values lies right below."""

    ATTENTION = "attention"
    PROJECTION = "the projection of keys or values"
    OUTPUT = "the projection, as a scale of its outputs"
    MERGED = "the merged projection"
    INNER = "a part of attention that only engines have"
    BOTH = "attention, one for keys and values"


_MERGED = ("qkv_proj", "kv_proj")


def place_of(name: str) -> Place:
    """The place of a scale, by its name.

    >>> [place_of(f"layers.0.self_attn.{end}").name for end in ("k_scale", "k_proj.k_scale", "qkv_proj.k_scale")]
    ['ATTENTION', 'PROJECTION', 'MERGED']
    >>> [place_of(f"layers.0.self_attn.{end}").name for end in ("kv_scale", "attn.k_scale", "v_proj.output_scale")]
    ['BOTH', 'INNER', 'OUTPUT']
    """
    owner, last = names.parent(name), names.last_part(name)
    holder = names.last_part(owner)
    if holder in _MERGED:
        return Place.MERGED
    if holder in ("k_proj", "v_proj"):
        return Place.OUTPUT if last == "output_scale" else Place.PROJECTION
    if last == "kv_scale":
        return Place.BOTH
    return Place.INNER if holder == "attn" else Place.ATTENTION
