"""No quantization at all: weights in BF16, F16 or F32, for tools that know nothing else. Written, never detected."""

from ckptkit.formats.plain.dialect import PLAIN

__all__ = ["PLAIN"]
