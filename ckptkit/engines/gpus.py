"""The kinds of hardware that engines treat apart, by their capability and by the products that people own."""

from __future__ import annotations

import re

from ckptkit.errors import UsageError, did_you_mean
from ckptkit.record import record

_COMPUTE = re.compile(r"(?:sm)?(\d+)(\d)a?|(\d+)\.(\d)a?")
_SEPARATORS = re.compile(r"[\s_-]")


@record
class Gpu:
    """One kind: its capability as compilers write it, and products that have it; "cpu" is what has no GPU.

    ``others`` are further products and names, which are understood, and shown in the page of engines alone.
    """

    capability: str
    products: tuple[str, ...] = ()
    others: tuple[str, ...] = ()

    def __str__(self) -> str:
        """
        >>> str(by_name("H200")), str(by_name("cpu"))
        ('sm_90 (h100, h200)', 'cpu')
        """
        return f"{self.capability} ({', '.join(self.products)})" if self.products else self.capability


GPUS = (
    Gpu("sm_80", ("a100",), ("a30", "a800")),
    Gpu(
        "sm_86",
        ("a10", "rtx3090"),
        ("3090", "a2", "a16", "a40", "a10g", "rtx-a4000", "rtx-a5000", "rtx-a6000", "a6000"),
    ),
    Gpu(
        "sm_89",
        ("l4", "l40s", "rtx4090"),
        ("4090", "l20", "l40", "rtx4080", "4080", "rtx-4000-ada", "rtx-5000-ada", "rtx-6000-ada"),
    ),
    Gpu("sm_90", ("h100", "h200"), ("h20", "h800", "gh200")),
    Gpu("sm_100", ("b200",), ("b100", "gb200")),
    Gpu("sm_103", ("b300",), ("gb300",)),
    Gpu(
        "sm_120",
        ("rtx5090", "rtx-pro-6000"),
        ("5090", "rtx5080", "5080", "rtx5070", "5070", "rtx-pro-5000", "rtx-pro-4500", "rtx-pro-4000"),
    ),
    Gpu("gfx942", ("mi300x", "mi325x"), ("mi300a", "mi308x")),
    Gpu("gfx950", ("mi355x",), ("mi350x",)),
    Gpu("cpu"),
)
CPU = "cpu"
#: Kinds with the instructions of NVIDIA and of AMD, and those of NVIDIA without FP8 products.
NVIDIA = tuple(gpu.capability for gpu in GPUS if gpu.capability.startswith("sm_"))
AMD = tuple(gpu.capability for gpu in GPUS if gpu.capability.startswith("gfx"))
WITHOUT_FP8 = ("sm_80", "sm_86")
#: Blackwell in data centres: most engines ask for the major number alone.
SM_10X = ("sm_100", "sm_103")
#: Every name that :func:`by_name` is asked to complete.
NAMES = tuple(word for gpu in GPUS for word in (*gpu.products, gpu.capability))
_BY_WORD = {_SEPARATORS.sub("", word): gpu for gpu in GPUS for word in (*gpu.products, *gpu.others, gpu.capability)}


def by_name(name: str) -> Gpu:
    """The kind of a product (H100, "RTX 4090") or of a capability (sm_90, 9.0, gfx942), written large or small.

    Raises UsageError with what is near, and all that there are.

    >>> by_name("MI300X").capability, by_name("9.0").capability, by_name("sm_90a").capability
    ('gfx942', 'sm_90', 'sm_90')
    """
    word = _SEPARATORS.sub("", name.strip().casefold())
    found = _BY_WORD.get(word)
    if found is None and (compute := _COMPUTE.fullmatch(word)) is not None:
        found = _BY_WORD.get(f"sm{compute[1] or compute[3]}{compute[2] or compute[4]}")
    if found is None:
        everything = f"GPUs: {', '.join(NAMES)}"
        raise UsageError(f"unknown GPU {name!r}", help=did_you_mean(name.strip().casefold(), NAMES, everything))
    return found
