"""Five answers to "what is this", each told apart by everything that asks."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import ckptkit
from ckptkit import api
from ckptkit.checks import runner
from ckptkit.errors import ConversionRefused, FormatError, UnsupportedFormat
from ckptkit.formats import reading, registry
from ckptkit.formats.reading import BrokenConfig, FilesUnknown, NoReader, Readable, ReadOutcome, Unquantized
from ckptkit.model.summary import Summary
from ckptkit.views.matrix import build_matrix
from ckptkit.views.skip_table import skip_views
from tests.damage import (
    BF16,
    BLOCK,
    CT,
    QUARK,
    QUARK_FP8,
    REAL,
    Damage,
    MutableCheckpoint,
    load,
    plain_fp8,
    set_block,
    set_config,
    steps,
)


def outcome(folder: Path) -> ReadOutcome:
    return reading.read(api.open_files(folder))


def written(fixture: str, damage: Damage, folder: Path) -> Path:
    draft = load(fixture)
    damage(draft)
    return draft.write(folder)


def method(**block: object) -> Damage:
    """Another quantization config altogether."""
    return set_config(quantization_config=block)


def side_file(**section: object) -> Damage:
    """No block in config.json, and ModelOpt's file beside it."""

    def damage(draft: MutableCheckpoint) -> None:
        del draft.config["quantization_config"]
        draft.files["hf_quant_config.json"] = json.dumps({"quantization": section}).encode()

    return damage


def test_a_checkpoint_that_is_understood() -> None:
    found = outcome(REAL / QUARK)
    assert isinstance(found, Readable)
    assert (found.format.name, found.dialect.key, found.checkpoint.format) == ("quark", "quark", "quark")
    assert reading.open_checkpoint(api.open_files(REAL / QUARK)).dialect is found.dialect


@pytest.mark.parametrize(
    ("damage", "words", "dialect"),
    [
        (method(quant_method="modelopt", quant_algo="FP9"), "NVIDIA ModelOpt, algorithm 'FP9'", "modelopt"),
        (method(quantization={"quant_algo": "int2"}), "NVIDIA ModelOpt, algorithm 'INT2'", "modelopt/own-layout"),
        (side_file(quant_algo="FP9"), "NVIDIA ModelOpt, algorithm 'FP9'", "modelopt/file-alone"),
        (method(quant_method="gptq"), "GPTQ, which is not FP8", None),
        (method(quant_method="something"), "'something'", None),
        (method(anything=1), "without quant_method", None),
    ],
)
def test_what_has_no_reader_says_what_it_is(damage: Damage, words: str, dialect: str | None, tmp_path: Path) -> None:
    folder = written(QUARK_FP8, damage, tmp_path / "source")
    found = outcome(folder)
    assert isinstance(found, NoReader)
    assert (found.dialect.key if found.dialect else None) == dialect
    with pytest.raises(UnsupportedFormat, match=words):
        api.open(folder)
    said = ckptkit.inspect(folder)
    assert re.search(words, said.quantization) and not isinstance(said, Summary)
    with pytest.raises(UnsupportedFormat, match=words):
        ckptkit.plan(folder, to="ct")
    context = runner.read_context(api.open_files(folder))
    assert context.checkpoint is None and context.format is None and not context.has_reader
    assert skip_views(context).rows == ()


def test_no_reader_and_a_broken_config_differ_in_the_matrix(tmp_path: Path) -> None:
    notes = []
    broken = set_block(config_groups=[])
    for number, damage in enumerate((method(quant_method="gptq"), broken)):
        context = runner.read_context(api.open_files(written(CT, damage, tmp_path / str(number))))
        report = runner.run(context, runner.Level.HEADERS, [])
        (note,) = {row.note for row in build_matrix(context, report).rows if row.verdict == "not judged"}
        notes.append(note)
    assert "no reader for this: quant_method 'gptq'" in notes[0]
    assert "could not be read" in notes[1]


def test_a_broken_config_is_a_finding(tmp_path: Path) -> None:
    folder = written(CT, set_block(config_groups=[]), tmp_path / "source")
    found = outcome(folder)
    assert isinstance(found, BrokenConfig) and found.dialect is not None
    assert (found.dialect.key, [fault.kind for fault in found.faults]) == ("compressed-tensors", ["config-value"])
    with pytest.raises(FormatError) as error:
        api.open(folder)
    assert not isinstance(error.value, UnsupportedFormat)
    assert "CK600" in {finding.code for finding in ckptkit.validate(folder).errors}
    with pytest.raises(ConversionRefused, match="CK600"):
        ckptkit.plan(folder, to="quark")


def test_what_is_not_quantized(tmp_path: Path) -> None:
    found = outcome(REAL / BF16)
    assert isinstance(found, Unquantized) and found.faults == ()
    folder = written(QUARK_FP8, set_config(quantization_config=None), tmp_path / "source")
    found = outcome(folder)
    assert isinstance(found, Unquantized)
    assert [fault.kind for fault in found.faults] == ["config-no-quantization"]
    assert {finding.code for finding in ckptkit.validate(folder).errors} == {"CK601"}


def test_files_that_are_not_all_there(tmp_path: Path) -> None:
    folder = load("llama/llmcompressor-dynamic-sharded").write(tmp_path / "source")
    next(folder.glob("*.safetensors")).unlink()
    assert isinstance(outcome(folder), FilesUnknown)
    assert "CK104" in {finding.code for finding in ckptkit.validate(folder).findings}


def test_families_without_a_reader_do_not_claim_what_others_read() -> None:
    container = api.open_files(REAL / "llama/quark-fp8-custom")
    found = registry.detect(container)
    assert found is not None and found[1].key == "quark-fp8"
    keys = [dialect.key for dialect in registry.dialects()]
    assert len(keys) == len(set(keys))


def test_a_side_file_beside_another_formats_config_is_judged(tmp_path: Path) -> None:
    draft = load(CT)
    draft.files["hf_quant_config.json"] = json.dumps({"quantization": {"quant_algo": "NVFP4"}}).encode()
    before = {finding.code for finding in ckptkit.validate(REAL / CT).findings}
    codes = {finding.code for finding in ckptkit.validate(draft.write(tmp_path / "source")).findings}
    assert codes - before == {"CK603"}


def test_what_the_side_file_says_of_the_kv_cache_is_told(tmp_path: Path) -> None:
    draft = load(CT)
    draft.files["hf_quant_config.json"] = json.dumps({"quantization": {"kv_cache_quant_algo": "FP8"}}).encode()
    findings = ckptkit.validate(draft.write(tmp_path / "source")).findings
    found = [(item.file, item.expected, item.found) for item in findings if item.code == "CK603"]
    assert found == [("hf_quant_config.json", "config.json declares none", "FP8")]


def test_a_contradiction_in_a_plain_fp8_config_names_the_file(tmp_path: Path) -> None:
    folder = written(BLOCK, steps(plain_fp8, set_block(activation_scheme="static")), tmp_path / "source")
    assert {item.file for item in ckptkit.validate(folder).findings if item.code == "CK624"} == {"config.json"}
