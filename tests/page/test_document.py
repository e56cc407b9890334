"""What a page holds: the same as the other commands say, once, and as its schema has it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import ckptkit
from ckptkit.checks import schema
from ckptkit.page.document import Page
from ckptkit.storage.json_text import json_text
from tests.damage import load
from tests.page.conftest import REAL

LLAMA = REAL / "llama"


def document_of(page: Page) -> dict[str, Any]:
    """The document as a program reads it."""
    found: dict[str, Any] = json.loads(json_text(page.to_json()), parse_constant=pytest.fail)
    return found


def test_every_part_fits_its_schema(whole: Page) -> None:
    document = document_of(whole)
    assert schema.faults("page", document, file="page") == []
    assert schema.faults("summary", document["summary"], file="summary") == []
    for row in document["matrix"]:
        assert schema.conforms(
            row, schema.load("report")["$defs"]["matrix"]["properties"]["engines"]["items"], schema.load("report")
        )
    cost = schema.load("plan")
    assert schema.conforms(document["conversion"]["plan"]["cost"], cost["properties"]["cost"], cost)


@pytest.mark.parametrize(
    "fixture", ["llama/bf16", "qwen3_moe/quark-ptpc-experts", "phi3/quark-fp8-kv", "llama/quark-fp8-fake"]
)
def test_any_folder_has_a_page(fixture: str) -> None:
    document = document_of(ckptkit.report_page(REAL / fixture, to="ct"))
    assert schema.faults("page", document, file="page") == []
    assert document["summary"]["tensors"] == sum(kind["count"] for kind in document["tensors"]["kinds"])


def test_it_says_what_the_other_commands_say(whole: Page) -> None:
    folder = LLAMA / "quark-fp8-kv"
    document = document_of(whole)
    assert document["summary"] == json.loads(json_text(ckptkit.inspect(folder).to_json()))
    validation = ckptkit.validate(folder, level="full", matrix=True, tensor_parallel=[1, 2, 8])
    assert document["counts"] == validation.counts and validation.matrix is not None
    assert document["matrix"] == [row.to_json() for row in validation.matrix.rows]
    errors = ckptkit.diff(LLAMA / "bf16", folder).errors
    assert errors is not None
    assert document["comparison"]["errors"]["kinds"] == [kind.to_json() for kind in errors.kinds]
    plan = ckptkit.plan(folder, to="ct")
    assert document["conversion"]["plan"]["cost"] == plan.cost.to_json()


def test_charts_hold_what_the_level_has_read(whole: Page) -> None:
    every = ["relative error", "weight scale", "input scale", "KV-cache scale", "saturated share", "all-zero share"]
    assert [chart.measure for chart in whole.charts] == every
    scales = ckptkit.report_page(LLAMA / "quark-fp8-kv")
    assert [chart.measure for chart in scales.charts] == every[1:4]
    assert ckptkit.report_page(LLAMA / "quark-fp8-kv", level="headers").charts == ()


def test_errors_by_layer_are_those_of_the_comparison(whole: Page) -> None:
    assert whole.comparison is not None and whole.comparison.errors is not None
    chart = whole.charts[0]
    drawn = {
        panel.kind.replace("*", str(layer)): high
        for panel in chart.panels
        for layer, high in zip(panel.layers, panel.high, strict=True)
    }
    assert drawn == {weight.name: weight.measured.relative_error for weight in whole.comparison.errors.weights}


def test_shares_by_layer_are_those_of_the_scan(tmp_path: Path) -> None:
    checkpoint = load("llama/llmcompressor-dynamic")
    name = "model.layers.1.mlp.up_proj.weight"
    weight = checkpoint.tensors[name]
    rows, columns = weight.shape
    zeros, full = bytes(columns * (rows // 4)), b"\x7e" * (columns * (rows // 2))
    checkpoint.tensors[name] = weight._replace(data=zeros + full + weight.data[len(zeros) + len(full) :])
    page = ckptkit.report_page(checkpoint.write(tmp_path / "checkpoint"), level="full")
    charts = {chart.measure: chart for chart in page.charts}
    for measure, share in (("saturated share", 0.5), ("all-zero share", 0.25)):
        (panel,) = (panel for panel in charts[measure].panels if panel.kind.endswith("mlp.up_proj"))
        assert panel.high[1] == pytest.approx(share, abs=0.05) and panel.high[0] < 0.05


def test_findings_lead_to_their_tensors(tmp_path: Path) -> None:
    checkpoint = load("llama/llmcompressor-dynamic")
    checkpoint.change(r".*\.weight_scale", lambda t: t._replace(shape=t.shape[:1]))
    checkpoint.drop(r"model\.layers\.0\.mlp\.up_proj\.weight_scale")
    page = ckptkit.report_page(checkpoint.write(tmp_path / "checkpoint"))
    groups = [group for group in page.findings if group.first.code == "CK301"]
    found = {page.tensors.names[row] for group in groups for row in group.rows}
    assert found == set(checkpoint.names(r".*\.weight_scale")) and sum(group.count for group in groups) == len(found)
    assert all(group.command is not None and group.command.endswith("--fix") for group in groups)
    # A scale that is missing has no row: its module's tensors are what there is to see.
    (missing,) = (group for group in page.findings if group.first.code == "CK201")
    assert [page.tensors.names[row] for row in missing.rows] == ["model.layers.0.mlp.up_proj.weight"]


def test_a_finding_about_many_layers_leads_to_all_their_tensors(whole: Page) -> None:
    group = next(group for group in whole.findings if group.first.tensor == "model.layers.*.self_attn")
    names = {whole.tensors.names[row] for row in group.rows}
    assert names == {name for name in whole.tensors.names if ".self_attn." in name}


def test_a_refused_conversion_is_part_of_the_page(tmp_path: Path) -> None:
    checkpoint = load("llama/llmcompressor-dynamic")
    checkpoint.drop(r"model\.layers\.0\.mlp\.up_proj\.weight_scale")
    document = document_of(ckptkit.report_page(checkpoint.write(tmp_path / "checkpoint"), to="quark"))
    assert schema.faults("page", document, file="page") == []
    (fault,) = document["conversion"]["refused"]["faults"]
    assert fault["tensor"].startswith("model.layers.0.mlp.up_proj")


def test_a_format_that_does_not_exist_is_no_page() -> None:
    with pytest.raises(ckptkit.UsageError, match="format"):
        ckptkit.report_page(LLAMA / "quark-ptpc", to="nothing")


def test_a_page_of_headers_imports_nothing_heavy() -> None:
    heavy = ["torch", "numpy", "huggingface_hub", "jsonschema", "safetensors"]
    work = f"ckptkit.report_page({str(LLAMA / 'quark-fp8-kv')!r}, level='headers', to='ct')"
    code = f"import sys, ckptkit; page = {work}; from ckptkit.report.html import to_html; to_html(page.to_json())"
    code += f"; print([module for module in {heavy!r} if module in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_a_page_says_little_of_itself(whole: Page) -> None:
    assert len(repr(whole)) < 200 and "quark-fp8-kv" in repr(whole)


def test_scales_of_groups_are_drawn_when_every_byte_is_read() -> None:
    folder = REAL / "llama-block-aligned" / "modelopt-nvfp4"
    page = ckptkit.report_page(folder)
    assert page.charts == () and page.undrawn == 7, "what could be drawn is said"
    page = ckptkit.report_page(folder, level="full")
    assert [chart.measure for chart in page.charts] == ["group scale"] and page.undrawn == 0
    assert schema.faults("page", document_of(page), file="page") == []


def test_what_rules_say_has_no_markup(tmp_path: Path) -> None:
    checkpoint = load("llama/llmcompressor-dynamic")
    checkpoint.metadata.clear()
    folder = checkpoint.write(tmp_path / "checkpoint")
    (own,) = (group for group in ckptkit.report_page(folder).findings if group.first.code == "CK111")
    assert own.to_json()["rule"] == "A shard's __metadata__ does not say format: pt."
