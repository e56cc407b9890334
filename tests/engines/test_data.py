"""Engines as data: ranges of versions, variants, third parties, and that versions stand nowhere else."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import ckptkit
from ckptkit import plugins
from ckptkit.checks import runner
from ckptkit.checks.registry import Level
from ckptkit.engines import registry
from ckptkit.engines.base import Engine, Known, Outcome
from ckptkit.engines.judging import judge
from ckptkit.engines.layers import Layer
from ckptkit.engines.matchers import Style
from ckptkit.engines.registry import effects_of, engines
from ckptkit.engines.releases import Range, Release, Version
from ckptkit.engines.skip_lists import Reading
from ckptkit.engines.support import Answer, Support
from ckptkit.errors import UsageError
from ckptkit.plugins import Plugin
from ckptkit.views.matrix import build_matrix
from ckptkit.views.skip_table import skip_views
from tests.damage import BLOCK, CT, CT_KV, QUARK_KV, MutableCheckpoint, load
from tests.rules.case import context_of

ROOT = Path(ckptkit.__file__).parent
_LABELS = "vLLM|SGLang|TensorRT-LLM|transformers|Quark|llama.cpp|compressed-tensors|llm-compressor|ModelOpt"
_VERSIONED = re.compile(rf"\b({_LABELS})('s)? (since |before |until |from )?v?\d+\.\d+", re.IGNORECASE)


@pytest.mark.parametrize("text", ["", "main", "1.x", "0..1", "2026-08", "v"])
def test_what_is_no_release_number(text: str) -> None:
    with pytest.raises(ValueError, match="no release number"):
        Version.parse(text)


def test_versions_are_ordered() -> None:
    ordered = ["0.9", "0.10", "0.32.0rc1", "0.32", "0.32.1", "0.32.1.post2", "1.0.dev3", "1.0a1", "1.0rc1", "v1.0+cpu"]
    assert sorted(set(ordered), key=Version.parse) == ordered


@pytest.mark.parametrize(
    ("bounds", "holds"),
    [
        (Range(), True),
        (Range(since="0.32"), True),
        (Range(since="0.32.1"), False),
        (Range(until="0.32"), False),
        (Range(until="0.33"), True),
        (Range(since="2026-10"), True),
        (Range(until="2026-10"), False),
        (Range(until="0.18", of="library"), True),
        (Range(until="0.17", of="library"), False),
        (Range(until="9", of="a library that it does not bring"), False),
    ],
)
def test_ranges(bounds: Range, holds: bool) -> None:
    assert bounds.holds(Release("0.32.0", "2026-10-18", bundles={"library": "0.17.0"})) is holds


def test_a_commit_has_a_date_and_no_number() -> None:
    release = Release("", "2026-08", commit="abc")
    assert str(release) == "main, 2026-08"
    assert Range(since="2026-08").holds(release) and not Range(since="1.0").holds(release)


def test_effects_of_older_releases_are_told_and_do_not_count() -> None:
    (note,) = (effect for effect in effects_of("CK616") if effect.engine == "trtllm")
    assert note.versions == "before 2026-08" and not note.current
    (key,) = (effect for effect in effects_of("CK619", "recent") if effect.engine == "vllm")
    assert key.versions == "with compressed-tensors before 0.13" and not key.current


def test_variants_replace_what_the_defect_usually_does() -> None:
    def by(variant: str | None) -> dict[str, str]:
        return {effect.engine: effect.outcome.value for effect in effects_of("CK618", variant)}

    assert by("status") == {"transformers": "silent"}, "vLLM does not look at quantization_status"
    assert by("type-missing") == {"vllm": "silent", "sglang": "silent", "transformers": "silent"}
    assert by("preset-group") == dict.fromkeys(("vllm", "sglang", "llamacpp"), "error")
    assert by("never heard of") == by(None)


def test_rows_for_a_dialect_or_class_go_first() -> None:
    def vllm(dialect: str = "", architecture: str | None = None, code: str = "CK901") -> list[str]:
        found = effects_of(code, dialect=dialect, architecture=architecture, only=["vllm"])
        return [effect.outcome.value for effect in found]

    assert vllm("compressed-tensors") == ["unknown"]
    assert vllm("quark") == ["warning"]
    assert vllm(code="CK613") == ["error"]
    assert vllm(code="CK613", architecture="Qwen3MoeForCausalLM") == ["ok"]
    assert vllm(code="CK612", architecture="Qwen2VLForConditionalGeneration") == []


def matrix_verdicts(checkpoint: MutableCheckpoint) -> dict[str, str]:
    context = context_of(checkpoint)
    return {row.engine: row.verdict for row in build_matrix(context, runner.run(context, Level.SCALES)).rows}


def test_what_happens_under_an_option_alone_is_no_verdict() -> None:
    """vLLM turns the FP8 cache of a Quark checkpoint on when it is asked to, and not before."""
    checkpoint = load(QUARK_KV)
    checkpoint.drop(r".*k_proj\.output_scale")
    assert matrix_verdicts(checkpoint)["vllm"] == "loads"
    checkpoint = load(CT_KV)
    checkpoint.drop(r".*k_scale")
    assert matrix_verdicts(checkpoint)["vllm"] == "silently wrong"


def test_a_note_makes_no_verdict() -> None:
    checkpoint = load(BLOCK)
    checkpoint.block["ignore"] += ["re:.*nothing_is_called_this$"]
    context = context_of(checkpoint)
    report = runner.run(context, Level.HEADERS)
    assert "CK607" in {finding.code for finding in report.findings} and report.clean
    row = build_matrix(context, report).rows[0]
    assert (row.verdict, row.codes) == ("loads", {})


@pytest.mark.parametrize("status", [None, "frozen"])
def test_only_transformers_reads_the_status(status: str | None) -> None:
    checkpoint = load(CT)
    checkpoint.block.pop("quantization_status")
    checkpoint.block.update({"quantization_status": status} if status else {})
    found = matrix_verdicts(checkpoint)
    assert (found["vllm"], found["transformers"]) == ("loads", "silently wrong")


def test_weights_saved_uncompressed_load_and_are_wrong() -> None:
    checkpoint = load(CT)
    for name in checkpoint.names(r".*_proj\.weight"):
        tensor = checkpoint.get(name)
        checkpoint.put(name, "BF16", tensor.shape, bytes(2 * len(tensor.data)))
    assert matrix_verdicts(checkpoint)["vllm"] == "silently wrong"


def test_experts_below_a_container_that_the_class_lacks_stop_vllm() -> None:
    assert matrix_verdicts(load("mixtral/quark-ptpc"))["vllm"] == "refuses"


def test_consequences_are_looked_up_once_for_many_findings(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def counted(code: str, *words: Any, **more: Any) -> Any:
        asked.append(code)
        return effects_of(code, *words, **more)

    monkeypatch.setattr(runner, "effects_of", counted)
    checkpoint = load(CT)
    checkpoint.drop(r".*weight_scale")
    report = runner.run(context_of(checkpoint), Level.HEADERS)
    assert sum(finding.code == "CK201" for finding in report.findings) > 10
    assert asked.count("CK201") == 1


def third_party() -> Engine:
    return Engine(
        name="mine",
        label="Mine",
        releases=(Release("2.0", "2026-11"),),
        reads=frozenset({"compressed-tensors"}),
        outcomes=lambda: {"CK201": (Known(Outcome.ERROR, "asks for every scale"),)},
        skip_lists=lambda: {"compressed-tensors": Reading(Style.GLOB, ("ignore",))},
        support=lambda: (Support(Answer.SUPPORTED, tuple(Layer), ("compressed-tensors",), where="all of it"),),
        architectures=lambda: None,
    )


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Plugin]]:
    """Plugins that are found for the time of a test."""
    found: list[Plugin] = []
    monkeypatch.setattr(registry, "plugins", lambda group: found if group == plugins.ENGINES else [])
    registry.engines.cache_clear()
    yield found
    monkeypatch.undo()
    registry.engines.cache_clear()


def test_an_engine_from_outside(installed: list[Plugin]) -> None:
    installed.append(Plugin(third_party(), "entry point 'mine'", "my-package"))
    registry.engines.cache_clear()
    assert list(engines())[-1] == "mine"
    assert matrix_verdicts(load(CT))["mine"] == "loads"
    assert "mine" in skip_views(context_of(load(CT))).engines
    broken = load(CT)
    broken.drop(r".*\.up_proj\.weight_scale")
    assert matrix_verdicts(broken)["mine"] == "refuses"
    assert matrix_verdicts(load("llama/quark-ptpc"))["mine"] == "unknown"


@pytest.mark.parametrize("value", [object(), Engine("vllm", "Another", (Release("1", "2026-01"),))])
def test_a_plugin_that_is_no_engine_or_takes_a_name(installed: list[Plugin], value: object) -> None:
    installed.append(Plugin(value, "entry point 'mine'", "my-package"))
    registry.engines.cache_clear()
    with pytest.raises(UsageError) as caught:
        engines()
    assert "my-package" in (caught.value.help or "")


def test_an_unknown_engine_is_named_with_those_that_exist() -> None:
    with pytest.raises(UsageError, match="unknown engine 'vlm'") as caught:
        registry.by_name("vlm")
    assert "vllm" in (caught.value.help or "")


def test_versions_stand_in_the_data_of_engines_only() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in sorted(ROOT.rglob("*.py"))
        if path.relative_to(ROOT).parts[0] != "engines"
        for line in path.read_text("utf-8").splitlines()
        if _VERSIONED.search(line)
    ]
    assert found == []


@pytest.mark.parametrize("text", ["vLLM 0.32 takes it", "before transformers 5.16", "SGLang v0.5.1", "of quark 0.13"])
def test_the_search_for_versions_finds_them(text: str) -> None:
    assert _VERSIONED.search(text)


def test_what_no_table_says_is_unknown() -> None:
    """An engine of which nothing is written down reads nothing, has nothing and does nothing, as far as is known."""
    engine = Engine("new", "New", (Release("1.0", "2026-11-01"),), unread={"quark": "reads its own"})
    assert (engine.reader_of("quark"), engine.reader_of("compressed-tensors")) == ("reads its own", None)
    assert engine.skip_list("compressed-tensors") is None
    found = judge(
        replace(engine, architectures=lambda: None), ckptkit.open(ROOT.parent / "fixtures/real" / CT), CT, None
    )
    assert {judgement.answer for judgement in found} == {Answer.UNKNOWN}


def test_what_a_defect_does_is_known_of_readers() -> None:
    """Whether transformers reads fbgemm is not known, and so neither is what it makes of shapes."""
    every = {effect.engine for effect in effects_of("CK301", dialect="fbgemm")}
    of_readers = {effect.engine for effect in effects_of("CK301", dialect="fbgemm", of_readers=True)}
    unknown = {name for name, engine in engines().items() if engine.reader_of("fbgemm") is None}
    assert {"transformers"} <= unknown & every and of_readers == every - unknown


def test_engines_are_not_loaded_to_inspect_and_outcomes_not_to_find_nothing() -> None:
    fixture = ROOT.parent / "fixtures" / "real" / CT
    work = f"""
import sys, ckptkit
ckptkit.inspect({str(fixture)!r})
print(sorted(name for name in sys.modules if name.startswith('ckptkit.engines.vllm')))
"""
    result = subprocess.run([sys.executable, "-c", work], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
