"""Texts that are made of texts: config files as they were laid out, patterns of names."""

from __future__ import annotations

import re

import pytest

from ckptkit.edits.layout import config_text
from ckptkit.formats.drafting import as_regex


@pytest.mark.parametrize(
    ("like", "written"),
    [
        (None, '{\n  "a": "é"\n}\n'),
        ('{\n    "b": 1\n}\n', '{\n    "a": "é"\n}\n'),
        ('{\n    "b": 1\n}', '{\n    "a": "é"\n}'),
        ('{\n\t"b": 1\n}\n', '{\n\t"a": "é"\n}\n'),
        ('{"b": 1}', '{"a": "é"}'),
        ('{"b": 1}\n', '{"a": "é"}\n'),
        ('{"b": "\\u00e9"}', '{"a": "\\u00e9"}'),
        ("", '{\n  "a": "é"\n}\n'),
    ],
)
def test_a_config_is_laid_out_as_it_was(like: str | None, written: str) -> None:
    assert config_text({"a": "é"}, like) == written


def test_a_pattern_means_names_from_their_beginning_unless_told_otherwise() -> None:
    names = ("model.layers.7.mlp.up_proj", "language_model.model.layers.7.mlp.up_proj", "model.layers.7.mlp.up_proj.x")
    for anywhere, children, fits in (
        (False, False, (True, False, False)),
        (True, False, (True, True, False)),
        (False, True, (True, False, True)),
    ):
        pattern = as_regex("model.layers.*.mlp.up_proj", anywhere=anywhere, children=children).removeprefix("re:")
        assert tuple(re.match(pattern, name) is not None for name in names) == fits
    assert as_regex("lm_head") == "re:^lm_head$"
