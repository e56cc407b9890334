"""The scales of modules in groups (NVFP4, MXFP4, MXFP8, INT4, INT8) by layer, times the scale of these scales."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from ckptkit.errors import CkptkitError
from ckptkit.model.checkpoint import Checkpoint, OpaqueModule, Part
from ckptkit.model.numbers import FLOAT32_HOLDS, numbers
from ckptkit.storage.payload import TensorRef
from ckptkit.storage.traffic import unheard
from ckptkit.views.by_layer import Chart, Measurement, by_layer

GROUP_SCALES = "group scale"

#: Codes of an exponent alone are stored as E8M0, or as the byte that such a code is.
_STORED_AS = {"U8": "F8_E8M0"}


def modules_in_groups(checkpoint: Checkpoint) -> tuple[OpaqueModule, ...]:
    """The modules in another quantization than FP8 that have scales, and of which is known what these are."""
    return tuple(module for module in checkpoint.opaque.values() if _is_known(module))


def _is_known(module: OpaqueModule) -> bool:
    """Floats stand for themselves; what a byte or a second scale is, the scheme has to say."""
    scale = module.parts.get(Part.SCALE)
    plain = scale is not None and scale.dtype in FLOAT32_HOLDS and Part.SECOND_SCALE not in module.parts
    return plain or (scale is not None and module.scheme.weight is not None)


def scale_bytes(checkpoint: Checkpoint) -> int:
    """Bytes that :func:`group_scale_chart` reads: 3 to 12 percent of such weights."""
    return sum(module.parts[Part.SCALE].nbytes for module in modules_in_groups(checkpoint))


def group_scale_chart(checkpoint: Checkpoint, progress: Callable[[int], None] = unheard) -> Chart:
    """The smallest and the largest scale of each such module, all of whose scales are read, one module after another.

    Zeros, and what is no number, are left out.
    """
    return by_layer(GROUP_SCALES, _ranges(checkpoint, progress))


def _ranges(checkpoint: Checkpoint, progress: Callable[[int], None]) -> Iterator[Measurement]:
    for module in modules_in_groups(checkpoint):
        scale = module.parts[Part.SCALE]
        found = _range_of(checkpoint, scale)
        progress(scale.nbytes)
        second = module.parts.get(Part.SECOND_SCALE)
        factor = 1.0 if second is None else _single(checkpoint, module, second)
        if found is not None and factor is not None:
            yield Measurement(module.name, found[0] * factor, found[1] * factor)


def _range_of(checkpoint: Checkpoint, tensor: TensorRef) -> tuple[float, float] | None:
    """The smallest and the largest finite positive value of a tensor; None where there is none."""
    import numpy as np

    dtype = _STORED_AS.get(tensor.dtype, tensor.dtype)
    try:
        if tensor.nbytes == math.prod(tensor.shape):  # the 256 codes of a byte are counted, not each element decoded
            counts = np.bincount(np.frombuffer(checkpoint.container.read(tensor), np.uint8), minlength=256)
            values = numbers(dtype, bytes(range(256)))[counts > 0]
        else:
            values = numbers(dtype, checkpoint.container.read(tensor))
    except CkptkitError:
        return None
    values = values[np.isfinite(values) & (values > 0)]
    return (float(values.min()), float(values.max())) if values.size else None


def _single(checkpoint: Checkpoint, module: OpaqueModule, second: TensorRef) -> float | None:
    """What the scales of a module are multiplied with; None where that is not one number."""
    levels = module.scheme.weight.scale.levels if module.scheme.weight is not None else ()
    found = _range_of(checkpoint, second)
    if found is None or found[0] != found[1]:
        return None
    return 1 / found[0] if len(levels) > 1 and levels[1].divides else found[0]
