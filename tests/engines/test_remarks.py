"""What a plan tells of engines comes from their data, with the release that it is known of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import ckptkit
from ckptkit.engines import registry
from ckptkit.engines.base import Engine
from ckptkit.engines.registry import engines
from ckptkit.engines.releases import Evidence, Range, Release
from ckptkit.engines.remarks import Remark, Trait, remarks_on
from ckptkit.plugins import Plugin
from tests.damage import CT, CT_FP8, CT_KV, QUARK_KV, REAL

CACHE_ON = "vLLM 0.32.0 turns the FP8 KV cache on by itself"
CACHE_OFF = "vLLM 0.32.0 keeps the KV cache in high precision"
FUSED = "vLLM 0.32.0 knows no output scale of a fused projection"
PER_TOKEN = "vLLM 0.32.0 runs dynamic per-tensor activations of this format per token"
PER_TENSOR = "vLLM 0.32.0 runs dynamic per-tensor activations of this format per tensor"
ONE_SCALE = "Quark 0.13 uses k_scale for keys and values alike"
LEFT_OUT = "Quark 0.13 leaves q and prob scales out"
UNAPPLIED = "transformers 5.16.1 does not apply the scales of this mode"
NAMES = "transformers 5.16.1 does not apply scales under these names"
UNREAD = "transformers 5.16.1 has no reader for this layout"
FUSED_QKV = "phi3/quark-fp8-kv"
FUSED_IN_A_TOWER = "qwen2_5_vl/llmcompressor-fp8-kv"


def said(fixture: str, dialect: str) -> list[str]:
    return list(remarks_on(ckptkit.open(REAL / fixture), dialect))


@pytest.mark.parametrize(
    ("fixture", "dialect", "beginnings"),
    [
        (CT, "compressed-tensors", []),
        (CT, "quark", []),
        (CT_KV, "compressed-tensors", [CACHE_ON]),
        (CT_KV, "modelopt", [CACHE_ON, UNREAD]),
        (CT_KV, "quark", [CACHE_OFF]),
        (CT_KV, "quark-fp8", [CACHE_OFF, UNAPPLIED, ONE_SCALE]),
        (CT_KV, "fp8", [CACHE_OFF, NAMES]),
        (CT_FP8, "fp8-transformers", ["vLLM 0.32.0 knows these names for Mistral's classes only"]),
        (CT, "fbgemm", ["vLLM 0.32.0 loads this method only with", "transformers 5.16.1 needs fbgemm-gpu"]),
        (FUSED_QKV, "quark", [CACHE_OFF, FUSED]),
        (FUSED_QKV, "compressed-tensors", [CACHE_ON]),
        (FUSED_IN_A_TOWER, "quark", [CACHE_OFF]),
        (QUARK_KV, "a dialect of which nobody knows anything", []),
    ],
)
def test_what_is_told_of_a_checkpoint_in_a_dialect(fixture: str, dialect: str, beginnings: list[str]) -> None:
    found = said(fixture, dialect)
    assert [text[: len(start)] for text, start in zip(found, beginnings, strict=True)] == beginnings


def test_scales_of_queries_and_inputs_are_told_of() -> None:
    checkpoint = ckptkit.open(REAL / CT_KV)
    cache = checkpoint.kv_cache
    assert cache is not None
    asked = tuple(replace(scales, q=scales.k) for scales in cache.attention)
    with_queries = replace(checkpoint, kv_cache=replace(cache, attention=asked))
    assert LEFT_OUT in "\n".join(remarks_on(with_queries, "quark-fp8"))
    assert LEFT_OUT not in "\n".join(remarks_on(checkpoint, "quark-fp8"))
    (scheme,) = checkpoint.schemes
    assert scheme.input is not None
    dynamic = replace(scheme, input=replace(scheme.input, dynamic=True))
    modules = {name: module._replace(scheme=dynamic) for name, module in checkpoint.modules.items()}
    at_run_time = replace(checkpoint, modules=modules, kv_cache=None)
    assert [text.startswith(PER_TOKEN) for text in remarks_on(at_run_time, "compressed-tensors")] == [True]
    assert [text.startswith(PER_TENSOR) for text in remarks_on(at_run_time, "quark")] == [True]


def test_a_plan_tells_it_and_a_third_party_can(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = (
        Remark("reads it upside down", ("quark",), versions=Range(since="0.9")),
        Remark("never hears of it", ("quark",), Trait.OPERANDS),
        Remark("is for others", architectures=("Qwen",)),
    )
    engine = Engine("ours", "Ours", (Release("1.0", "2026-11-01"),), remarks=lambda: rows)
    monkeypatch.setattr(registry, "plugins", lambda group: (Plugin(engine, "entry point 'ours'", "ours"),))
    engines.cache_clear()
    try:
        notes = ckptkit.plan(REAL / CT, to="quark").notes
    finally:
        monkeypatch.undo()
        engines.cache_clear()
    assert [note for note in notes if note.startswith("Ours")] == ["Ours since 0.9 reads it upside down"]


def test_every_remark_says_how_it_is_known(tmp_path: Path) -> None:
    rows = [(engine.name, row) for engine in engines().values() for row in engine.remarks()]
    assert len(rows) > 10
    assert [row for _, row in rows if row.how is not Evidence.RUN and not row.where] == []
    known = {dialect for engine in engines().values() for dialect in (*engine.reads, *engine.unread)}
    assert [dialect for _, row in rows for dialect in row.formats if dialect not in known] == []
