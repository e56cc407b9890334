"""Every real export, with exactly what is found in it: no false alarms, and no defect that slips through."""

from __future__ import annotations

from pathlib import Path

import pytest

from ckptkit import api
from ckptkit.checks import runner
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import Level
from tests.damage import REAL

#: fixture -> (errors and warnings, notes), at every level. fixtures/README.md says where the defects come from.
EXPECTED = {
    "gemma3/quark-fp8-kv": ("", "CK636 CK704"),
    "llama-block-aligned/llmcompressor-block": ("", "CK315 CK619 CK802"),
    "llama-block-aligned/modelopt-block": ("CK305", "CK802"),
    "llama-block-aligned/modelopt-mxfp8": ("", ""),
    "llama-block-aligned/modelopt-nvfp4": ("", ""),
    "llama-block-aligned/quark-block": ("CK608", "CK802"),
    "llama-block-aligned/transformers-block-ue8m0": ("", "CK605 CK802"),
    "llama-block-aligned/transformers-block": ("", "CK605 CK802"),
    "llama-block-ragged/llmcompressor-block": ("CK801 CK805", "CK315 CK619 CK802 CK803"),
    "llama-block-ragged/quark-block": ("CK608 CK801 CK805", "CK802 CK803"),
    "llama-block-wide/modelopt-block": ("", "CK802"),
    "llama-tied/llmcompressor-dynamic": ("", "CK619"),
    "llama-tied/modelopt-fp8": ("", "CK704"),
    "llama-tied/quark-ptpc-file2file": ("CK605", "CK110 CK111"),
    "llama-tied/quark-ptpc": ("", ""),
    "llama/llmcompressor-dynamic-kv-heads": ("", "CK619 CK911"),
    "llama/llmcompressor-dynamic-kv": ("", "CK619 CK911"),
    "llama/llmcompressor-dynamic-sharded": ("", "CK112 CK619"),
    "llama/llmcompressor-dynamic": ("", "CK619"),
    "llama/llmcompressor-fp8-kv": ("", "CK619 CK704 CK911"),
    "llama/llmcompressor-fp8": ("", "CK619 CK704"),
    "llama/llmcompressor-groups": ("", "CK616 CK619 CK704"),
    "llama/llmcompressor-weight-only": ("", "CK619"),
    "llama/modelopt-channel": ("", ""),
    "llama/modelopt-fp8-kv": ("", "CK704 CK911"),
    "llama/modelopt-fp8": ("", "CK704"),
    "llama/quark-fp8-attention": ("", "CK704"),
    "llama/quark-fp8-custom": ("", "CK704"),
    "llama/quark-fp8-fake": ("CK600", ""),
    "llama/quark-fp8-file2file": ("CK621", "CK110 CK111 CK704"),
    "llama/quark-fp8-kv-custom": ("", "CK704"),
    "llama/quark-fp8-kv-excluded": ("CK608 CK627 CK701", "CK704"),
    "llama/quark-fp8-kv-post-rope": ("", "CK704"),
    "llama/quark-fp8-kv": ("", "CK704"),
    "llama/quark-fp8-layers": ("", "CK704"),
    "llama/quark-fp8": ("", "CK704"),
    "llama/quark-ptpc-excluded": ("CK608", ""),
    "llama/quark-ptpc-file2file": ("", "CK110 CK111"),
    "llama/quark-ptpc-kv": ("", ""),
    "llama/quark-ptpc-sharded": ("", ""),
    "llama/quark-ptpc": ("", ""),
    "mixtral/llmcompressor-dynamic": ("CK207", "CK619"),
    "mixtral/quark-ptpc-experts": ("CK207", "CK605"),
    "mixtral/quark-ptpc": ("CK207", "CK605"),
    "phi3/llmcompressor-dynamic": ("", "CK619"),
    "phi3/quark-fp8-kv": ("CK903", "CK309"),
    "phi3/quark-ptpc": ("", ""),
    "qwen2/llmcompressor-dynamic": ("", "CK619"),
    "qwen2/quark-ptpc": ("", ""),
    "qwen2_5_vl/llmcompressor-dynamic": ("CK608", "CK619"),
    "qwen2_5_vl/llmcompressor-fp8-kv": ("CK608", "CK619 CK704 CK911"),
    "qwen3/llmcompressor-dynamic": ("", "CK619"),
    "qwen3/quark-ptpc": ("", ""),
    "qwen3_moe/llmcompressor-dynamic": ("", "CK619"),
    "qwen3_moe/modelopt-channel": ("", ""),
    "qwen3_moe/modelopt-fp8": ("", "CK704"),
    "qwen3_moe/quark-ptpc-experts": ("", ""),
    "qwen3_moe/quark-ptpc": ("CK207 CK605", ""),
    "qwen3_moe/transformers-block": ("CK605 CK804", "CK605 CK802 CK803"),
}
BASES = {f"{path.parent.name}/bf16": ("CK600", "") for path in REAL.glob("*/bf16")}
BASES["gemma3/bf16"] = ("CK600", "CK636")
FIXTURES = sorted(f"{path.parent.parent.name}/{path.parent.name}" for path in REAL.glob("*/*/config.json"))


def test_every_fixture_is_listed() -> None:
    assert sorted({**EXPECTED, **BASES}) == FIXTURES


@pytest.mark.parametrize("fixture", FIXTURES)
def test_exactly_these_findings(fixture: str) -> None:
    report = runner.run(runner.read_context(api.open_files(Path(REAL / fixture))), Level.FULL)
    serious, notes = {**EXPECTED, **BASES}[fixture]
    assert {f.code for f in report.findings if f.severity is not Severity.INFO} == set(serious.split())
    assert {f.code for f in report.findings if f.severity is Severity.INFO} == set(notes.split())
