"""How far tensors are from those that were meant, kept in ``.npz`` files between questions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def keep(path: str, arrays: Mapping[str, Any]) -> None:
    """Write arrays of float32 under their names."""
    import numpy

    with Path(path).open("wb") as file:
        numpy.savez(file, **arrays)


def kept(path: str | None) -> dict[str, Any]:
    """The arrays of a file; none where it was not written, since its checkpoint could not be loaded."""
    import numpy

    if path is None or not Path(path).exists():
        return {}
    with numpy.load(path) as file:
        return {name: file[name] for name in file.files}


def furthest(found: Any, meant: Any) -> float:
    """The largest relative distance of any row, in the Euclidean norm; infinite for another shape or NaN."""
    import numpy

    if found.size != meant.size:
        return float("inf")
    rows = meant.shape[-1] if meant.ndim else 1
    found, meant = found.reshape(-1, rows).astype("float64"), meant.reshape(-1, rows).astype("float64")
    size = numpy.linalg.norm(meant, axis=1)
    apart = numpy.linalg.norm(found - meant, axis=1)
    floor = max(float(size.max(initial=0.0)) * 1e-3, 1e-12)
    worst = float((apart / numpy.maximum(size, floor)).max(initial=0.0))
    return worst if numpy.isfinite(worst) else float("inf")
