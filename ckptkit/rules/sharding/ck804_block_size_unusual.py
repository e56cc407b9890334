"""CK804 block-size-unusual."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.config_keys import keys_of, said
from ckptkit.checks.context import Context
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import OnConversion, rule
from ckptkit.errors import Fault

_KERNEL_BLOCK = (128, 128)


@rule(
    "CK804",
    "block-size-unusual",
    Severity.WARNING,
    conversion=OnConversion.CARRIED,
    reports=(
        "NVIDIA/TensorRT-LLM#10796",
        "zml/zml#811",
        "sqliteai/warp#26",
    ),
)
def block_size_unusual(context: Context) -> Iterator[Fault]:
    """The block size is not 128 x 128.

    Why it hurts: TensorRT-LLM and most kernels know that size only; others refuse it or run a reference path.

    Example: ``weight_block_size: [32, 32]``.

    Fix: quantize again in blocks of 128 x 128, or per channel.
    """
    sizes: dict[tuple[int, int], str] = {}
    for kind in context.blocked_kinds:
        sizes.setdefault((kind.rows, kind.columns), kind.name)
    # Groups of 32 are a quantization of their own, whose modules are no blocks.
    others = context.checkpoint is not None and not context.checkpoint.modules and context.checkpoint.opaque
    key = None if others else keys_of(context).blocks
    declared = said(context, key)
    if key is not None and isinstance(declared, list) and len(declared) == 2 and all(type(n) is int for n in declared):
        sizes.setdefault((declared[0], declared[1]), key)
    for (rows, columns), name in sizes.items():
        if (rows, columns) != _KERNEL_BLOCK:
            message = "few kernels know this block size"
            yield Fault("block-size", message, context.section.file, name, "128 x 128", f"{rows} x {columns}")
