"""Verdicts on releases that are not the newest: ranges decide, of the engine's own or of a library below it."""

from __future__ import annotations

from typing import Any

import pytest

from ckptkit.checks import runner
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import Level
from ckptkit.views.matrix import build_matrix
from tests.accuracy.corpus import corpus, files_of
from tests.accuracy.verdicts import at_release
from tests.damage import BLOCK, CT, Damage, MutableCheckpoint, load
from tests.rules.case import context_of, report

OLDER, NEWEST = {"compressed-tensors": "0.17.0"}, {"compressed-tensors": "0.20.0"}


def verdict(checkpoint: MutableCheckpoint, engine: str, version: str, bundles: dict[str, str]) -> str:
    with at_release(engine, version, bundles):
        context = context_of(checkpoint)
        matrix = build_matrix(context, runner.run(context, Level.SCALES))
    return next(row.verdict for row in matrix.rows if row.engine == engine)


def _all_of_attention(checkpoint: MutableCheckpoint) -> None:
    checkpoint.group["targets"] = ["re:.*self_attn.*", "re:.*mlp.*"]


def _nothing(checkpoint: MutableCheckpoint) -> None:
    return


@pytest.mark.parametrize(
    ("fixture", "change", "older"),
    [
        (CT, _all_of_attention, "refuses"),
        (CT, _nothing, "loads"),
        (BLOCK, _nothing, "refuses"),
        ("qwen2_5_vl/llmcompressor-fp8-kv", _nothing, "refuses"),
        ("qwen3_moe/llmcompressor-dynamic", _nothing, "loads"),
    ],
    ids=["attention itself", "linear layers", "a grid of one column", "composite with a KV cache", "experts"],
)
def test_the_library_below_transformers_decides(fixture: str, change: Damage, older: str) -> None:
    checkpoint = load(fixture)
    change(checkpoint)
    assert verdict(checkpoint, "transformers", "5.17.0", OLDER) == older
    newest = verdict(checkpoint, "transformers", "5.17.0", NEWEST)
    assert newest in ("loads", "silently wrong") and (newest == "loads" or fixture.endswith("fp8-kv"))


@pytest.mark.parametrize(
    ("engine", "version", "bundles", "wanted"),
    [
        ("transformers", "5.16.1", NEWEST, "loads"),
        ("transformers", "5.17.0", NEWEST, "refuses"),
        ("transformers", "5.18.0", NEWEST, "loads"),
        ("vllm", "0.31.0", {"transformers": "5.17.0"}, "refuses"),
        # Not for the config any more, but for the names of its tower.
        ("vllm", "0.32.0", {"transformers": "5.19.0"}, "refuses"),
    ],
)
def test_a_config_that_one_release_refuses(engine: str, version: str, bundles: dict[str, str], wanted: str) -> None:
    assert verdict(load("gemma3/bf16"), engine, version, bundles) == wanted


def test_a_note_is_a_warning_where_the_release_in_question_is_among_those_that_it_speaks_of() -> None:
    checkpoint = load(CT)
    _all_of_attention(checkpoint)

    def severities(**found: Any) -> set[Severity]:
        return {finding.severity for finding in report(checkpoint).findings if finding.code == "CK635"}

    assert severities() == {Severity.INFO}
    with at_release("transformers", "5.17.0", OLDER):
        assert severities() == {Severity.WARNING}
    assert report(checkpoint).clean


def test_every_second_release_has_what_decides_beside_it() -> None:
    from tests.accuracy.measure import JUDGES
    from tests.accuracy.records import records

    for record in records():
        assert record.bundles == JUDGES[f"{record.engine}-{record.version}"].bundles, record.path
        # llama.cpp dequantizes by itself.
        library = set() if record.engine == "llamacpp" else {"compressed-tensors"}
        assert set(record.bundles) == {"transformers"} | library
    assert files_of(corpus()["real/gemma3/bf16"]) is not None
