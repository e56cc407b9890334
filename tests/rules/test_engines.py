"""What engines decide: skip lists in every style, targets in both orders, parallel sizes, the matrix."""

from __future__ import annotations

import pytest

from ckptkit.checks import runner
from ckptkit.checks.finding import Finding
from ckptkit.checks.registry import Level, all_rules
from ckptkit.engines.matchers import Style
from ckptkit.engines.registry import by_name, readings_for
from ckptkit.engines.skip_lists import Reading
from ckptkit.engines.targets import library_group, vllm_group
from ckptkit.views.matrix import build_matrix
from ckptkit.views.skip_table import LEFT_ALONE, QUANTIZED, REFUSED, skip_views
from tests.damage import BLOCK, CT, CT_KV, MOE, QUARK, SHARDED, MutableCheckpoint, high_precision, load, set_block
from tests.rules.case import context_of

_GATE = "model.layers.1.mlp.gate"


@pytest.mark.parametrize(
    ("style", "entry", "hits", "misses"),
    [
        (Style.EXACT, _GATE, [_GATE], [f"{_GATE}_proj", "model.layers.11.mlp.gate"]),
        (Style.EXACT, "re:.*gate", [], [_GATE]),
        (Style.EXACT_OR_REGEX, "re:.*gate", [_GATE, f"{_GATE}_proj"], ["model.layers.1.mlp.up_proj"]),
        (Style.EXACT_OR_REGEX, "*gate", [], [_GATE]),
        (Style.EXACT_OR_REGEX, "re:(", [], [_GATE]),
        (Style.EXACT_REGEX_CLASS, "Linear", [_GATE], []),
        (Style.EXACT_OR_REGEX, "Linear", [], [_GATE]),
        (Style.GLOB, "*gate", [_GATE], [f"{_GATE}_proj"]),
        (Style.GLOB, "*layers.[0-1].*", [_GATE], ["model.layers.2.mlp.gate"]),
        (Style.PREFIX_OR_SUFFIX, "gate", [_GATE, "model.layers.1.mlp.up_gate"], ["model.layers.1.mlp.up_proj"]),
        (Style.PREFIX_OR_SUFFIX, "model.layers.1", [_GATE, "model.layers.10.mlp.gate"], ["model.layers.2.mlp.gate"]),
        (Style.COMPONENTS, "mlp.gate", [_GATE], [f"{_GATE}_proj"]),
        (Style.COMPONENTS, "layers.1", [_GATE], ["model.layers.10.mlp.gate"]),
        (Style.SUBSTRING_OR_GLOB, "gate", [_GATE, f"{_GATE}_proj"], ["model.layers.1.mlp.up_proj"]),
    ],
)
def test_styles(style: Style, entry: str, hits: list[str], misses: list[str]) -> None:
    matches = Reading(style, ("ignore",)).matcher([entry])
    assert [name for name in [*hits, *misses] if matches(name)] == hits


def test_an_empty_list_matches_nothing() -> None:
    for style in Style:
        assert not Reading(style, ("ignore",)).matcher([])(_GATE), style


def test_the_first_key_that_is_not_empty_counts() -> None:
    block = {"ignored_layers": [], "modules_to_not_convert": ["a"]}
    assert readings_for("fp8")["vllm"].entries(block) == ("a",)
    assert readings_for("fp8")["vllm"].entries({**block, "ignored_layers": ["b"]}) == ("b",)
    assert readings_for("fp8")["transformers"].entries({**block, "ignored_layers": ["b"]}) == ("a",)


def test_experts_are_skipped_together() -> None:
    matches = readings_for("quark")["vllm"].matcher(["model.layers.0.mlp.experts.3.up_proj"])
    assert matches("model.layers.0.mlp.experts.0.down_proj")
    assert not matches("model.layers.1.mlp.experts.3.up_proj")


def test_custom_mode_is_read_as_plain_fp8() -> None:
    assert set(readings_for("quark-fp8")) == {"vllm", "sglang", "trtllm", "quark"}
    assert readings_for("nothing known") == {}


def test_two_orders_of_targets() -> None:
    groups = {"a": ("re:.*proj", "Linear"), "b": ("x.q_proj", "re:.*q_proj")}
    assert vllm_group(groups)("x.q_proj") == "a"
    assert library_group(groups)("x.q_proj") == "b"
    assert vllm_group(groups)("x.other") == library_group(groups)("x.other") == "a"
    assert vllm_group(groups)("lm_head") is None
    assert library_group(groups)("lm_head") == "a"


def test_skip_view_of_a_sound_checkpoint() -> None:
    for fixture in (CT, QUARK, BLOCK, MOE):
        table = skip_views(context_of(load(fixture)))
        assert table.rows and not table.contradictions, fixture


def test_skip_view_shows_who_is_wrong() -> None:
    checkpoint = load(QUARK)
    high_precision(r"model\.layers\.\d+\.mlp\.down_proj")(checkpoint)
    checkpoint.block["exclude"].append("*down_proj")
    rows = {row.module: row for row in skip_views(context_of(checkpoint)).rows}
    row = rows["model.layers.0.mlp.down_proj"]
    assert row.stored == "BF16"
    assert row.decisions["vllm"] == QUANTIZED and row.decisions["quark"] == LEFT_ALONE
    assert row.contradicts == ("vllm", "sglang"), "entries are no shell patterns to either"
    assert rows["model.layers.0.mlp.up_proj"].contradicts == ()


def test_skip_view_shows_refusals_of_fused_layers() -> None:
    checkpoint = load(CT)
    high_precision(r"model\.layers\.0\.self_attn\.k_proj")(checkpoint)
    checkpoint.block["ignore"].append("model.layers.0.self_attn.k_proj")
    rows = {row.module: row for row in skip_views(context_of(checkpoint)).rows}
    assert rows["model.layers.0.self_attn.q_proj"].decisions["vllm"] == REFUSED
    assert rows["model.layers.0.self_attn.q_proj"].decisions["transformers"] == QUANTIZED


def test_skip_view_shows_what_is_quantized_although_excluded() -> None:
    checkpoint = load(CT)
    set_block(ignore=["lm_head", "re:.*up_proj"])(checkpoint)
    rows = {row.module: row for row in skip_views(context_of(checkpoint)).rows}
    assert set(rows["model.layers.0.mlp.up_proj"].contradicts) == {"vllm", "sglang", "trtllm", "transformers"}


def test_a_weight_without_a_module_is_shown() -> None:
    checkpoint = load(CT)
    checkpoint.put(".weight", "BF16", (16, 16), bytes(512))
    row = next(row for row in skip_views(context_of(checkpoint)).rows if not row.module)
    assert row.stored == "BF16"


def test_an_incomplete_skip_list_harms_those_who_build_the_module_quantized() -> None:
    """vLLM and SGLang never quantize the head of a Quark checkpoint; its MLP is another matter."""
    checkpoint = load(QUARK)
    high_precision(r"model\.layers\.0\.mlp\.down_proj")(checkpoint)
    set_block(exclude=[])(checkpoint)
    context = context_of(checkpoint)
    findings = [f for f in runner.run(context, Level.SCALES).findings if f.code == "CK605"]
    harmed = {f.tensor: {effect.engine for effect in f.engines} for f in findings}
    assert harmed == {
        "lm_head.weight": {"transformers", "quark"},
        "model.layers.0.mlp.down_proj.weight": {"vllm", "sglang", "transformers", "quark"},
    }
    table = {row.module: row for row in skip_views(context).rows}
    for finding in findings:
        row = table[(finding.tensor or "").removesuffix(".weight")]
        assert {effect.engine for effect in finding.engines} <= set(row.contradicts)


def matrix_of(checkpoint: MutableCheckpoint, *sizes: int) -> dict[str, str]:
    context = context_of(checkpoint)
    matrix = build_matrix(context, runner.run(context, Level.SCALES), sizes)
    assert matrix.to_json()["engines"]
    return {row.engine: row.verdict for row in matrix.rows}


def test_matrix_verdicts() -> None:
    assert matrix_of(load(CT)) == {
        "vllm": "loads",
        "sglang": "loads",
        "trtllm": "loads",
        "transformers": "loads",
        "quark": "does not read",
    }
    broken = load(CT)
    broken.drop(r".*\.up_proj\.weight_scale")
    assert matrix_of(broken)["vllm"] == "silently wrong"
    broken.rename(r"(.*)\.down_proj\.weight_scale", r"\1.down_proj.weight_scale_inv")
    assert matrix_of(broken)["vllm"] == "refuses"
    unread = load(CT)
    unread.config["quantization_config"] = {"quant_method": "awq"}
    assert matrix_of(unread)["vllm"] == "not judged"


def test_parallel_sizes() -> None:
    context = context_of(load(BLOCK))
    matrix = build_matrix(context, runner.run(context, Level.HEADERS), (1, 2, 8))
    vllm = next(row for row in matrix.rows if row.engine == "vllm")
    assert [size.works for size in vllm.parallel] == [True, False, False]
    assert any("blocks of 128" in obstacle for obstacle in vllm.parallel[1].obstacles)
    assert any("attention heads" in obstacle for obstacle in vllm.parallel[2].obstacles)
    assert next(row for row in matrix.rows if row.engine == "transformers").parallel == ()


def asked_for(engine: str, report: runner.Report) -> list[Finding]:
    wanted = runner.Selection(all_rules(), frozenset({engine}))
    return list(runner.select_findings(report, wanted, wanted).findings)


def test_findings_can_be_asked_for_one_engine() -> None:
    """What another suffers from is left out; an error of which nobody knows what this one makes is not."""
    checkpoint = load(CT_KV)
    checkpoint.drop(r".*\.v_scale")
    report = runner.run(context_of(checkpoint), Level.SCALES)
    hurt = {e.engine for finding in report.findings if finding.code == "CK904" for e in finding.engines}
    told = {name: {f.code: f for f in asked_for(name, report)} for name in ("vllm", "sglang", "trtllm", "transformers")}
    assert {"vllm", "transformers"} <= hurt and "trtllm" not in hurt
    assert [effect.engine for effect in told["vllm"]["CK904"].engines] == ["vllm"]
    assert told["trtllm"]["CK904"].engines == () and "CK904" not in by_name("trtllm").codes


def test_an_engine_that_is_known_not_to_suffer_is_spared() -> None:
    """An index that points to the wrong shard is an error, and none to those that open every shard anyway."""
    checkpoint = load(SHARDED)
    places = checkpoint.index["weight_map"]  # type: ignore[index]
    name, shard = next(iter(places.items()))
    places[name] = next(other for other in places.values() if other != shard)
    report = runner.run(context_of(checkpoint), Level.SCALES)
    assert "CK105" in {finding.code for finding in report.errors}
    for engine, found in (("vllm", False), ("transformers", False), ("trtllm", True)):
        assert ("CK105" in {f.code for f in asked_for(engine, report)}) is found, engine
