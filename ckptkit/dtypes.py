"""The one dtype table: safetensors codes, widths, and what FP8 bit patterns mean.

Sources: the safetensors format (0.8) for codes and widths; the OCP 8-bit floating point specification for
E4M3 ("fn": finite, one NaN code per sign) and E5M2; the ``fnuz`` variants have no negative zero and use its
code, 0x80, as their only NaN.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ckptkit.record import record


@record
class DType:
    """One element type. ``max_value`` and ``nan_codes`` are set for 8-bit floats only."""

    code: str
    bits: int
    torch_name: str | None
    max_value: float | None = None
    nan_codes: frozenset[int] = frozenset()

    @property
    def is_fp8(self) -> bool:
        """Whether this is an 8-bit float that holds weights (E8M0 holds scales only)."""
        return self.max_value is not None and self.code != "F8_E8M0"


def _codes(*codes: int) -> frozenset[int]:
    return frozenset(codes)


_E5M2_NANS = _codes(*range(0x7D, 0x80), *range(0xFD, 0x100))

DTYPES: Mapping[str, DType] = MappingProxyType(
    {
        dtype.code: dtype
        for dtype in (
            DType("BOOL", 8, "bool"),
            DType("F4", 4, "float4_e2m1fn_x2"),
            DType("F6_E2M3", 6, None),
            DType("F6_E3M2", 6, None),
            DType("U8", 8, "uint8"),
            DType("I8", 8, "int8"),
            DType("F8_E5M2", 8, "float8_e5m2", 57344.0, _E5M2_NANS),
            DType("F8_E4M3", 8, "float8_e4m3fn", 448.0, _codes(0x7F, 0xFF)),
            DType("F8_E8M0", 8, "float8_e8m0fnu", 2.0**127, _codes(0xFF)),
            DType("F8_E4M3FNUZ", 8, "float8_e4m3fnuz", 240.0, _codes(0x80)),
            DType("F8_E5M2FNUZ", 8, "float8_e5m2fnuz", 57344.0, _codes(0x80)),
            DType("I16", 16, "int16"),
            DType("U16", 16, "uint16"),
            DType("F16", 16, "float16"),
            DType("BF16", 16, "bfloat16"),
            DType("I32", 32, "int32"),
            DType("U32", 32, "uint32"),
            DType("F32", 32, "float32"),
            DType("C64", 64, "complex64"),
            DType("F64", 64, "float64"),
            DType("I64", 64, "int64"),
            DType("U64", 64, "uint64"),
        )
    }
)

#: Every name by which torch knows one of these types, or one that safetensors does not have.
TORCH_NAMES = frozenset(
    {
        *(dtype.torch_name for dtype in DTYPES.values() if dtype.torch_name is not None),
        *(
            "half",
            "float",
            "double",
            "short",
            "int",
            "long",
            "bfloat16",
            "cfloat",
            "cdouble",
            "complex32",
            "complex128",
        ),
        *("qint8", "quint8", "qint32"),
    }
)

#: code -> bits, for inner loops.
BITS: Mapping[str, int] = MappingProxyType({code: dtype.bits for code, dtype in DTYPES.items()})

#: The one weight dtype that FP8 loaders accept without value-casting.
FP8_WEIGHT = "F8_E4M3"

#: Dtypes of weights that are not quantized: no two values of them share an element.
HIGH_PRECISION = frozenset({"BF16", "F16", "F32", "F64"})

#: Dtypes in which exporters store scales.
SCALE_DTYPES = frozenset({"F32", "BF16", "F16", "F8_E8M0"})
