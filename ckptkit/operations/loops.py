"""Inner loops that numba compiles. Imported only by :mod:`ckptkit.operations.machine`, where they are to be compiled.

They give the bits of the numpy code beside which they are called, which stays the definition. Arguments are pointers
to the first elements of contiguous arrays, and numbers. Integer types are cast at every step since numba widens them,
and what is wide is not vectorized.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np

_inline: Any = numba.njit(error_model="numpy")
_H, _I, _L, _F = np.int16, np.int32, np.int64, np.float32


class Loop(NamedTuple):
    """A loop under the name that it is asked for by, and whether sums may be added up in any order."""

    name: str
    function: Callable[..., None]
    reorders: bool = False


@_inline
def _narrowed(bits, narrow):  # type: ignore[no-untyped-def]
    """F32 bits, or with ``narrow`` the BF16 ones of the same number, to nearest even."""
    if narrow:  # known when it is compiled
        bits = _I(_I(bits + _I(0x7FFF) + _I((bits >> 16) & 1)) >> 16)
    return bits


def _products(narrow: bool) -> Callable[..., None]:
    def products(codes, scales, rows, columns, height, width, first, exponent, out, largest):  # type: ignore[no-untyped-def]
        """E4M3 codes [rows * columns] times the scale of their block: F32 bits, or BF16 ones.

        ``scales`` [grid] are those of the rows of blocks that the codes begin in; ``first`` is the first row's place in
        its block. ``exponent`` is what an exponent field of 0 would be in F32: 120 for a bias of 7. BF16 is rounded to
        nearest even; no product may be beyond it. ``largest`` [1] becomes the largest code, signs aside: 127 is a NaN
        for a bias of 7.
        """
        per_row = (columns + width - 1) // width
        shift, tiny = _I(_I(exponent) << _I(23)), _I(_I(exponent - 2) << _I(23)).view(np.float32)
        top = _I(0)
        for row in range(rows):
            above = (first + row) // height * per_row
            for block in range(per_row):
                start = row * columns + block * width
                scale = scales[above + block]
                for place in range(start, start + min(columns - block * width, width)):
                    code = _I(codes[place])
                    magnitude = _I(code & _I(0x7F))
                    top = max(top, magnitude)
                    normal = _I(_I(magnitude << _I(20)) + shift).view(np.float32)
                    small = _F(_F(magnitude) * tiny)
                    product = _F((normal if magnitude >= 8 else small) * scale)
                    bits = _I(product.view(np.int32) ^ _I(_I(code & _I(0x80)) << _I(24)))
                    out[place] = _narrowed(bits, narrow)
        largest[0] = top

    return products


def _elements(narrow: bool) -> Callable[..., None]:
    def elements(pairs, factors, groups, size, out):  # type: ignore[no-untyped-def]
        """Bytes of two E2M1 elements [groups * size], the low nibble first, times the factor of their group.

        F32 bits, or BF16 ones, as of :func:`products`.
        """
        for group in range(groups):
            factor = factors[group]
            for place in range(group * size, group * size + size):
                pair = _I(pairs[place])
                low, high = _I(pair & _I(15)), _I(pair >> _I(4))
                out[2 * place] = _narrowed(_e2m1_times(low, factor), narrow)
                out[2 * place + 1] = _narrowed(_e2m1_times(high, factor), narrow)

    return elements


@_inline
def _e2m1_times(nibble, factor):  # type: ignore[no-untyped-def]
    """The F32 bits of an E2M1 element times a factor."""
    magnitude = _I(nibble & _I(7))
    normal = _I(_I(magnitude << _I(22)) + _I(126 << 23)).view(np.float32)
    small = _F(_F(magnitude) * _F(0.5))
    product = _F((normal if magnitude >= 2 else small) * factor)
    return _I(product.view(np.int32) ^ _I(_I(nibble & _I(8)) << _I(28)))


def _looked_up(bits: int) -> Callable[..., None]:
    def looked_up(source, rows, table, groups, size, out, largest):  # type: ignore[no-untyped-def]
        """Bytes [groups * size] by a table of rows of 256 entries, each group by the row that ``rows`` names.

        ``largest`` [1] becomes the largest of all bytes, their signs aside, where they are elements of their own.
        """
        top = np.uint8(0)
        for group in range(groups):
            above = _L(rows[group]) * 256
            for place in range(group * size, group * size + size):
                byte = source[place]
                if bits == 8:  # known when it is compiled
                    top = max(top, np.uint8(byte & np.uint8(0x7F)))
                out[place] = table[above + _L(byte)]
        largest[0] = top

    return looked_up


def _magnitudes(kind: Any) -> Callable[..., None]:
    largest = kind(np.iinfo(kind).max)

    def magnitudes(bits, rows, columns, height, width, out):  # type: ignore[no-untyped-def]
        """The bits of the largest magnitude in each block of a matrix [rows * columns] whose first row begins one."""
        per_row = (columns + width - 1) // width
        for row in range(rows):
            above = row // height * per_row
            for block in range(per_row):
                start = row * columns + block * width
                top = kind(0)
                for place in range(start, start + min(columns - block * width, width)):
                    top = max(top, kind(bits[place] & largest))
                out[above + block] = top if row % height == 0 else max(out[above + block], top)

    return magnitudes


@_inline
def _of_bf16(bits):  # type: ignore[no-untyped-def]
    return _I(_I(bits) << _I(16)).view(np.float32)


@_inline
def _of_f16(bits):  # type: ignore[no-untyped-def]
    """The number, which is no NaN and no infinity."""
    wide = _I(bits)
    magnitude = _I(wide & _I(0x7FFF))
    normal = _I(_I(magnitude << _I(13)) + _I(112 << 23)).view(np.float32)
    small = _F(_F(magnitude) * _F(2.0**-24))
    found = _F(normal if magnitude >= 0x400 else small)
    return _I(found.view(np.int32) | _I(_I(wide & _I(0x8000)) << _I(16))).view(np.float32)


@_inline
def _of_f32(bits):  # type: ignore[no-untyped-def]
    return _I(bits).view(np.float32)


@_inline
def _code(quotient, dropped, lower, odd):  # type: ignore[no-untyped-def]
    """The E4M3 code nearest to a number, of which ``dropped`` bits are rounded away before, to nearest even both times.

    ``lower`` has these bits, ``odd`` is 1 where there are any. Saturates; what is below 2**-6 becomes one of 8 steps.
    """
    bits = _F(quotient).view(np.int32)
    magnitude = _I(bits & _I(0x7FFF_FFFF))
    last = _I(_I(magnitude >> dropped) & odd)
    magnitude = _I(_I(magnitude + _I(lower >> _I(1)) + last) & _I(~lower))
    magnitude = _I(min(magnitude, _I(0x43E0_0000)))
    field = _I(magnitude - _I(120 << 23))
    normal = _I(_I(field + _I(0x7_FFFF) + _I(_I(field >> _I(20)) & _I(1))) >> _I(20))
    small = _I(_F(magnitude.view(np.float32) + _F(16384.0)).view(np.int32) - _I(0x4680_0000))
    found = normal if magnitude >= _I(0x3C80_0000) else small
    return np.uint8(found | _I(_I(bits >> _I(24)) & _I(0x80)))


def _quantized(number: Any) -> Callable[..., None]:
    def quantized(bits, factors, rows, columns, height, width, times, dropped, out):  # type: ignore[no-untyped-def]
        """A matrix [rows * columns] whose first row begins a block as E4M3 codes: each number divided by the factor of
        its block, or with ``times`` multiplied, and rounded by ``dropped`` bits, 0 for none, on the way."""
        per_row = (columns + width - 1) // width
        dropped = _I(dropped)
        lower, odd = _I(_I(_I(1) << dropped) - _I(1)), _I(1 if dropped else 0)
        for row in range(rows):
            above = row // height * per_row
            for block in range(per_row):
                start = row * columns + block * width
                stop = start + min(columns - block * width, width)
                factor = factors[above + block]
                if times:
                    for place in range(start, stop):
                        out[place] = _code(_F(number(bits[place]) * factor), dropped, lower, odd)
                else:
                    for place in range(start, stop):
                        out[place] = _code(_F(number(bits[place]) / factor), dropped, lower, odd)

    return quantized


def _bf16_quotients(bits, factors, rows, columns, height, width, out):  # type: ignore[no-untyped-def]
    """What :func:`_quantized` makes of BF16 weights and quotients where scales are BF16 too: ``factors`` are 1 / scale.

    The quotient of two integers below 256 is never half-way between two numbers of 8 bits, and at least 2**-17 of
    itself away from there. So a product with the rounded reciprocal, which is off by 2**-23 at most, is rounded to BF16
    as the quotient is, and ties need no thought. Times 2**-120 its exponent, and the steps below 2**-6, are where those
    of E4M3 are, 20 bits higher.
    """
    per_row = (columns + width - 1) // width
    down = _I(7 << 23).view(np.float32)
    for row in range(rows):
        above = row // height * per_row
        for block in range(per_row):
            start = row * columns + block * width
            factor = factors[above + block]
            for place in range(start, start + min(columns - block * width, width)):
                product = _F(_of_bf16(bits[place]) * factor).view(np.int32)
                rounded = _I(_I(product + _I(0x8000)) & _I(0x7FFF_0000)).view(np.float32)
                field = _I(min(_F(rounded * down).view(np.int32), _I(0x7E << 20)))
                code = _I(_I(field + _I(0x7_FFFF) + _I(_I(field >> _I(20)) & _I(1))) >> _I(20))
                out[place] = np.uint8(code | _I(_I(product >> _I(24)) & _I(0x80)))


#: Differences that are added up before they meet the sum of all: rounding errors stay as small as numpy's.
_RUN = 4096


@_inline
def _difference_bits(reference, result):  # type: ignore[no-untyped-def]
    """The magnitude of the difference of two float32 numbers as the bits of a float64, which are in order of size."""
    off = np.float64(result) - np.float64(reference)
    return _L(np.float64(off).view(np.int64) & _L(0x7FFF_FFFF_FFFF_FFFF))


def _error_sums(reference, result, size, sums, counts):  # type: ignore[no-untyped-def]
    """Of float32 values [size]: the sums of the reference's squares and of the differences', as float64 ``sums`` [2].

    ``counts`` [2]: how many are equal, and the bits of the largest difference.
    """
    squares, errors, equal, furthest = 0.0, 0.0, _L(0), _L(0)
    for begin in range(0, size, _RUN):
        own_squares, own_errors = 0.0, 0.0
        for place in range(begin, min(begin + _RUN, size)):
            left, right = reference[place], result[place]
            wide = np.float64(left)
            off = np.float64(right) - wide
            own_squares += wide * wide
            own_errors += off * off
            equal += _L(left == right)
            furthest = max(furthest, _difference_bits(left, right))
        squares += own_squares
        errors += own_errors
    sums[0], sums[1], counts[0], counts[1] = squares, errors, equal, furthest


def _first_difference(reference, result, size, bits, found):  # type: ignore[no-untyped-def]
    """The first place where values are as far apart as these bits say, as ``found`` [1]; -1 if there is none."""
    found[0] = -1
    for place in range(size):
        if _difference_bits(reference[place], result[place]) == bits:
            found[0] = place
            break


LOOPS = (
    Loop("products-BF16", _products(True)),
    Loop("products-F32", _products(False)),
    Loop("elements-BF16", _elements(True)),
    Loop("elements-F32", _elements(False)),
    Loop("looked-up-8", _looked_up(8)),
    Loop("looked-up-16", _looked_up(16)),
    Loop("magnitudes-16", _magnitudes(_H)),
    Loop("magnitudes-32", _magnitudes(_I)),
    Loop("quantized-BF16", _quantized(_of_bf16)),
    Loop("quantized-F16", _quantized(_of_f16)),
    Loop("quantized-F32", _quantized(_of_f32)),
    Loop("bf16-quotients", _bf16_quotients),
    Loop("error-sums", _error_sums, reorders=True),
    Loop("first-difference", _first_difference),
)
