"""What the result of a conversion means otherwise than its source, read off both."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.conversion.diff_files import config_differences
from ckptkit.conversion.plan import Change
from ckptkit.errors import printable
from ckptkit.formats.base import Draft
from ckptkit.model.checkpoint import Checkpoint, OpaqueModule, QuantizedModule


def _quantized(checkpoint: Checkpoint) -> dict[str, QuantizedModule | OpaqueModule]:
    return {**checkpoint.modules, **checkpoint.opaque}


def changes_of(source: Checkpoint, prepared: Checkpoint, draft: Draft) -> Iterator[Change]:
    """What the result means otherwise than the source, as a plan shows it."""
    schemes = draft.changes.schemes
    before, after = _quantized(source), _quantized(prepared)
    for name in {**before, **after} if schemes or before != after else ():
        old, new = before.get(name), after.get(name)
        if old is new and name not in schemes:
            continue
        was, becomes = (None if side is None else side.scheme for side in (old, new))
        becomes = schemes.get(name, becomes)
        if was != becomes:
            yield Change(name, "scheme", str(was or "not quantized"), str(becomes or "not quantized"))
    caches = [side.kv_cache.scheme if side.kv_cache else None for side in (source, prepared)]
    if draft.changes.kv_scheme is not None:
        (caches[1],) = draft.changes.kv_scheme
    if caches[0] != caches[1]:
        yield Change("KV cache", "scheme", *(str(scheme or "none") for scheme in caches))
    stored, kept = (
        {item.module: tuple(item.stored()) for item in side.kv_cache.attention} if side.kv_cache else {}
        for side in (source, prepared)
    )
    kept.update(draft.changes.attention)
    for owner in {**stored, **kept}:
        if stored.get(owner, ()) != kept.get(owner, ()):
            words = (", ".join(side.get(owner, ())) or "none" for side in (stored, kept))
            yield Change(owner, "attention scales", *words)
    config = source.container.config
    for path, was_said, says in config_differences(config, {**config, **draft.config}):
        yield Change(printable(path), "config.json", was_said, says)
    for file in draft.side_files:
        held = any(entry.name == file for entry in source.container.side_files)
        now = "absent" if draft.side_files[file] is None else "written"
        yield Change(printable(file), "file", "present" if held else "absent", now)
