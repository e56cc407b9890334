"""What is printed where the encoding lacks a character."""

from __future__ import annotations

import json

import pytest

from ckptkit.report.encoding import SPELLED_OUT


def test_arrows_are_spelled_and_names_are_escaped() -> None:
    assert "quark → ct".encode("ascii", SPELLED_OUT) == b"quark -> ct"
    assert "→→é".encode("latin-1", SPELLED_OUT) == b"->->\xe9"
    assert json.loads('"schicht.層\\udc80"'.encode("ascii", SPELLED_OUT)) == "schicht.層\udc80"


def test_it_is_for_writing_only() -> None:
    with pytest.raises(UnicodeDecodeError):
        b"\xff".decode("ascii", SPELLED_OUT)
