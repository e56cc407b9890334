"""Errors of which nothing is known in an engine: its verdict is unknown then, and not that it loads."""

from __future__ import annotations

from pathlib import Path

import pytest

import ckptkit
from ckptkit.checks import runner
from ckptkit.checks.level import Level
from ckptkit.checks.registry import all_rules
from ckptkit.engines.registry import engines, judged_codes
from ckptkit.engines.releases import Evidence
from ckptkit.rules.config import ck600_config_not_understood
from ckptkit.views.matrix import MatrixRow, build_matrix
from tests.damage import BLOCK, CT, CT_FP8, QUARK, Damage, MutableCheckpoint, load, plain_fp8, reshaped
from tests.raw import RawTensor
from tests.rules.case import context_of

WIDTH = {"BF16": 2, "F32": 4}
FP8, CHANNEL = "llama/modelopt-fp8", "llama/modelopt-channel"


def row_of(engine: str, fixture: str, damage: Damage, folder: Path) -> MatrixRow:
    draft = load(fixture)
    damage(draft)
    table = ckptkit.validate(draft.write(folder / "source"), matrix=True).matrix
    assert table is not None
    return next(row for row in table.rows if row.engine == engine)


def matrix_row(engine: str, draft: MutableCheckpoint) -> MatrixRow:
    context = context_of(draft)
    report = runner.run(context, Level.SCALES, engines=engines())
    return next(row for row in build_matrix(context, report, engines=engines()).rows if row.engine == engine)


def one_value(checkpoint: MutableCheckpoint) -> None:
    """Scales of one value where blocks should have a grid."""
    plain_fp8(checkpoint)
    checkpoint.change(r".*down_proj\.weight_scale_inv", lambda t: RawTensor(t.dtype, (1, 1), t.data[: WIDTH[t.dtype]]))


def two_axes(checkpoint: MutableCheckpoint) -> None:
    checkpoint.change(r".*\.weight_scale", reshaped(1, 1))


def without_config(checkpoint: MutableCheckpoint) -> None:
    del checkpoint.config["quantization_config"]
    checkpoint.files.pop("hf_quant_config.json", None)


def saved_plain(checkpoint: MutableCheckpoint) -> None:
    """BF16 weights, and not a scale, beside a config that speaks of FP8."""
    checkpoint.drop(r".*\.(weight|input)_scale")
    checkpoint.change(r".*_proj\.weight", lambda t: t._replace(dtype="BF16", data=t.data * 2))


def test_an_error_without_a_row_is_unknown_and_named(tmp_path: Path) -> None:
    row = row_of("trtllm", BLOCK, one_value, tmp_path)
    (said,) = [part for part in row.parts["unknown"] if "CK3" in part]
    assert row.verdict == "unknown" and said.startswith("what it makes of CK3")


def test_what_is_known_to_do_nothing_is_not_unknown(tmp_path: Path) -> None:
    """transformers takes a scale of a whole tensor with any number of axes, at which vLLM stops."""
    assert row_of("transformers", CT_FP8, two_axes, tmp_path).verdict == "loads"


@pytest.mark.parametrize("fixture", [FP8, CHANNEL, BLOCK])
def test_tensorrt_llm_takes_codes_for_values_where_no_config_is(fixture: str, tmp_path: Path) -> None:
    row = row_of("trtllm", fixture, without_config, tmp_path)
    assert row.verdict == "silently wrong" and row.codes == {"silent": ("CK601",)}


@pytest.mark.parametrize("fixture", [FP8, CHANNEL])
def test_tensorrt_llm_casts_weights_that_are_not_quantized(fixture: str, tmp_path: Path) -> None:
    row = row_of("trtllm", fixture, saved_plain, tmp_path)
    assert row.verdict == "silently wrong" and "CK602" in row.codes["silent"]


def packed(checkpoint: MutableCheckpoint) -> None:
    checkpoint.group["format"] = "pack-quantized"


def of_two_kinds(checkpoint: MutableCheckpoint) -> None:
    checkpoint.block["export"]["weight_format"] = "otherwise_quantized"


@pytest.mark.parametrize(
    ("engine", "fixture", "damage", "verdict"),
    [
        ("vllm", CT, packed, "unknown"),
        ("vllm", QUARK, of_two_kinds, "unknown"),
        ("sglang", CT, packed, "unknown"),
        ("sglang", QUARK, of_two_kinds, "unknown"),
        ("trtllm", CT, packed, "unknown"),
        ("transformers", CT, packed, "unknown"),
        ("transformers", QUARK, of_two_kinds, "unknown"),
        ("quark", QUARK, of_two_kinds, "unknown"),
        ("llamacpp", CT, packed, "loads"),  # its row is for every such value: it goes by what is stored
    ],
)
def test_a_value_that_no_row_is_about_is_unknown_and_named(
    engine: str, fixture: str, damage: Damage, verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine's table may know of other values under the same code: they say nothing of this one."""
    monkeypatch.setattr(ck600_config_not_understood, "_variant", lambda context, fault: "a-word-of-no-table")
    draft = load(fixture)
    assert matrix_row(engine, draft).verdict == "loads"
    damage(draft)
    row = matrix_row(engine, draft)
    told = row.parts.get("unknown", ())
    assert (row.verdict, told) == (verdict, ("what it makes of CK600",) if verdict == "unknown" else ())


def test_a_value_that_no_row_is_about_is_told_to_who_asks_for_one_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ck600_config_not_understood, "_variant", lambda context, fault: "a-word-of-no-table")
    draft = load(CT)
    packed(draft)
    context = context_of(draft)
    (finding,) = (f for f in runner.run(context, Level.SCALES).findings if f.code == "CK600")
    assert all(finding.hits(frozenset({engine})) for engine in ("vllm", "sglang", "transformers"))


def test_engines_that_were_run_have_a_row_for_what_they_were_seen_to_take() -> None:
    """What is left without one is about groups that are not FP8, of which only vLLM and SGLang were asked."""
    errors = {rule.code for rule in all_rules() if rule.severity.value == "error"} & judged_codes()
    left = {
        name: errors - {key.partition("/")[0] for key in engine.outcomes()}
        for name, engine in engines().items()
        if Evidence.RUN in engine.release_for("outcomes").how
    }
    assert left["vllm"] == left["sglang"] == set()
    assert left["transformers"] == {"CK209", "CK313", "CK314", "CK411"}
