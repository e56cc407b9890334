"""DeepSeek-V4: blocks of FP8 beside experts of four bits, under the names of the real files."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

import ckptkit
from ckptkit.checks import runner
from ckptkit.conversion.plan import CostKind, Verdict
from ckptkit.errors import ConversionRefused
from ckptkit.model.checkpoint import Part
from ckptkit.model.granularity import PerBlock, PerGroup
from ckptkit.model.scheme import Quantization, Scheme
from ckptkit.storage.locate import open_files
from ckptkit.views.matrix import build_matrix
from tests.damage import CONFIG, tensors_of
from tests.formats import deepseek_v4
from tests.raw import write_files

convert = partial(ckptkit.convert, fsync=False)

BLOCKS = Scheme(Quantization(PerBlock(128, 128)), Quantization(PerGroup(128), dynamic=True))


def _verdicts(folder: Path) -> dict[str, str]:
    context = runner.read_context(open_files(folder))
    return {row.engine: row.verdict for row in build_matrix(context, runner.run(context, runner.Level.SCALES)).rows}


def _v4(folder: Path, kind: str, *, says: bool = True) -> Path:
    return write_files(folder, deepseek_v4.files(kind, says=says))


@pytest.mark.parametrize("says", [True, False])
def test_the_whole_of_deepseek_v4_is_understood(says: bool, tmp_path: Path) -> None:
    """Every tensor of the real files by name and dtype; the larger model's config does not announce its experts."""
    source = _v4(tmp_path / "source", "fp4", says=says)
    found = ckptkit.open(source)
    assert {str(other): len(members) for other, members in found.other_schemes.items()} == {
        "MXFP4, 4-bit weights scaled per-group 32 F8_E8M0": 36
    }
    assert list(found.schemes) == [BLOCKS] and len(found.modules) == 27
    assert not (found.foreign or found.orphans or found.stored_only)
    assert all(".experts." not in name for name in found.declared_only)
    report = ckptkit.validate(source)
    assert report.clean, report.findings
    summary = ckptkit.inspect(source)
    assert "36 modules MXFP4" in summary.scheme and "27 modules W8A8 FP8" in summary.scheme
    assert _verdicts(source)["vllm"] == "loads"


@pytest.mark.parametrize("kind", ["fp4", "nvfp4"])
def test_deepseek_v4_is_written_again_as_it_is(kind: str, tmp_path: Path) -> None:
    source = _v4(tmp_path / "source", kind)
    plan = convert(source, tmp_path / "out", to="fp8").plan
    assert (plan.verdict, plan.cost.kind) == (Verdict.LOSSLESS, CostKind.HEADER_ONLY)
    assert tensors_of(tmp_path / "out") == tensors_of(source)
    before, after = (json.loads((folder / CONFIG).read_text()) for folder in (source, tmp_path / "out"))
    assert after["expert_dtype"] == "fp4"
    said = {"ignored_layers", "modules_to_not_convert"}
    block = {key: value for key, value in after["quantization_config"].items() if key not in said}
    assert block == before["quantization_config"]
    assert not any("left out" in note for note in plan.notes)
    for to in ("ct", "modelopt", "quark") if kind == "nvfp4" else ():  # what becomes of MXFP4 is another matter
        with pytest.raises(ConversionRefused, match="cannot hold the NVFP4 modules"):
            ckptkit.plan(source, to=to)


def test_nvfp4_experts_beside_blocks_have_their_parts(tmp_path: Path) -> None:
    """``moe_quant_algo``: what vLLM reads of experts that were quantized again."""
    found = ckptkit.open(_v4(tmp_path / "source", "nvfp4"))
    ((scheme, members),) = found.other_schemes.items()
    assert (scheme.name, len(members)) == ("NVFP4", 36)
    parts = {part for name in members for part in found.opaque[name].parts}
    assert parts == {Part.WEIGHT, Part.SCALE, Part.SECOND_SCALE, Part.INPUT_SCALE}
    assert ckptkit.validate(tmp_path / "source").clean


def test_the_base_model_of_deepseek_v4_is_fp8_throughout(tmp_path: Path) -> None:
    source = _v4(tmp_path / "source", "fp8")
    found = ckptkit.open(source)
    assert not found.opaque and len(found.modules) == 63 and list(found.schemes) == [BLOCKS]
    assert ckptkit.validate(source).clean
    assert convert(source, tmp_path / "out", to="fp8").plan.cost.kind is CostKind.HEADER_ONLY
    assert ckptkit.diff(source, tmp_path / "out").same


@pytest.mark.parametrize(
    ("kind", "said", "stored"),
    [("fp8", None, "fp8"), ("fp8", "fp4", "fp8"), ("fp4", "fp8", "fp4"), ("nvfp4", "fp8", "fp4")],
)
def test_experts_that_are_not_what_the_config_says(kind: str, said: str | None, stored: str, tmp_path: Path) -> None:
    """vLLM goes by the config, and takes four bits for granted; SGLang and TensorRT-LLM look at the tensors."""
    contents = deepseek_v4.files(kind)
    config = {**json.loads(contents["config.json"]), "expert_dtype": said}
    if said is None:
        del config["expert_dtype"]
    source = write_files(tmp_path / "source", {**contents, "config.json": json.dumps(config).encode()})
    (finding,) = [finding for finding in ckptkit.validate(source).findings if finding.code == "CK624"]
    assert finding.expected == f"expert_dtype = {stored}"
    assert {effect.engine for effect in finding.engines if effect.current and effect.outcome.harmful} == {"vllm"}
    ckptkit.fix(source)
    assert json.loads((source / "config.json").read_text(encoding="utf-8"))["expert_dtype"] == stored
    assert "CK624" not in {finding.code for finding in ckptkit.validate(source).findings}


@pytest.mark.parametrize(("kind", "says"), [("fp4", True), ("fp4", False), ("fp8", True), ("nvfp4", True)])
def test_each_release_is_taken_for_what_it_is(kind: str, says: bool, tmp_path: Path) -> None:
    source = write_files(tmp_path / "source", deepseek_v4.files(kind, says=says))
    assert not ckptkit.validate(source).errors
    assert "(tied)" not in ckptkit.inspect(source).quantization
