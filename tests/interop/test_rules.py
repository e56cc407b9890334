"""The rules against the real loaders: where a rule fires, vLLM or transformers stops, warns, or is silently wrong.

The damage is that of ``tests/rules/cases``; each expectation below is what the real library was seen to do. The near
miss of each case is loaded too, and must load: a rule that fires where nothing breaks would be a false alarm.

An expectation is ``error: TEXT`` (it raises, and says so), ``unset`` (vLLM loads, and scales keep the value they were
allocated with), ``silent`` (it loads without a word), ``missing`` or ``unexpected`` (transformers lists such keys), or
``nan`` (its answer holds NaN).
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.damage import REAL, Damage, load
from tests.rules.case import Case, codes
from tests.rules.cases import CASES

from .oracles import Failure, Logits, Oracles, VllmReading

#: On a CPU vLLM has no kernel for FP8 experts; by then everything is loaded.
NO_EXPERT_KERNEL = "Unsupported FP8 MoE backend"
_NAME = "error: no module or parameter named"
_FUSED_NAME = "error: QKVParallelLinear"
_ASSERTION = "error: AssertionError"
_SHAPE = "error: exceeds dimension size"
#: Fewer heads than are stored: the first ones are taken.
_CUT = ("silent", "silent", "silent")
#: Quantized weights of a wrong size keep it in transformers.
_KEPT = ("silent", "silent")

#: Rule -> what vLLM does, one word for each of the rule's cases; None where vLLM has nothing to say.
VLLM: Mapping[str, tuple[str | None, ...]] = {
    "CK101": ("error: header too large",),
    "CK102": ("error: incomplete metadata",),
    "CK103": ("error: invalid shape",),
    "CK104": ("error: referenced in index but missing",),
    "CK108": ("unset", "error: Cannot find any model weights"),
    "CK113": ("silent", "silent", None),
    "CK115": ("error: referenced in index but missing",),
    "CK116": ("error: not a valid JSON file", "error: Cannot find any model weights"),
    "CK118": (_NAME, _NAME),
    "CK201": ("unset", "unset"),
    "CK202": (_NAME,),
    "CK203": (_FUSED_NAME, _NAME),
    "CK204": (_FUSED_NAME, _FUSED_NAME),
    "CK205": ("silent",),
    "CK206": (_NAME, _NAME),
    "CK207": (None, _NAME),
    "CK208": (_FUSED_NAME, _FUSED_NAME, _FUSED_NAME),
    "CK301": (_ASSERTION, _SHAPE, _ASSERTION),
    "CK302": (_ASSERTION,),
    "CK303": (_SHAPE,),
    "CK304": (_SHAPE,),
    "CK305": (_ASSERTION, "error: IndexError"),
    "CK306": (_SHAPE,),
    "CK307": (_SHAPE,),
    "CK308": ("silent",),
    "CK309": ("silent", "silent"),
    "CK311": (_ASSERTION,),
    "CK312": (_SHAPE, "error: must match the size", _ASSERTION, *_CUT, None, _SHAPE, None),
    "CK403": ("silent",),
    "CK405": ("silent",),
    "CK406": ("silent",),
    "CK407": ("silent",),
    "CK408": ("silent", "silent"),
    "CK409": ("silent",),
    "CK410": ("silent",),
    "CK501": ("silent", "silent"),
    "CK502": ("silent", "silent"),
    "CK503": ("silent", "silent"),
    "CK601": (_NAME,),
    "CK602": ("unset",),
    "CK604": (None, "error: Missing 'quant_algo'"),
    "CK605": ("unset", "unset"),
    "CK606": (_NAME,),
    "CK608": ("unset", None),
    "CK610": ("silent", "silent"),
    "CK611": (_NAME, _NAME),
    "CK617": (_ASSERTION, None),
    "CK618": ("error: No compressed-tensors compatible scheme", "silent", "error: TypeError"),
    "CK619": ("error: Extra inputs are not permitted", "silent", "silent"),
    "CK620": ("error: Sparsity support has been removed", "silent"),
    "CK621": ("unset",),
    "CK622": (_FUSED_NAME,),
    "CK623": ("error: Unknown quantization method", "error: ModelOpt currently only supports"),
    "CK624": ("error: only supports dynamic activation", "error: Unsupported activation scheme"),
    "CK627": ("error: not iterable", "error: different quantization configuration", "error: output_tensors and bias"),
    "CK629": ("error: Cannot perform static token quantization",),
    "CK632": ("error: expected int, got str", "error: expected int, got float", "error: modulo by zero", "unset"),
    "CK633": ("silent", "error: Unrecognized model"),
    "CK701": ("error: Found different quantization schemes",),
    "CK702": (_SHAPE,),
    "CK901": ("silent", "silent"),
    "CK902": ("silent",),
    "CK903": (_FUSED_NAME,),
    "CK904": ("silent", _ASSERTION),
    "CK906": ("silent", "silent", _ASSERTION),
    "CK907": ("error: into parameter", "error: scalar"),
    "CK911": ("silent",),
    "CK912": ("error: not a valid QuantizationStrategy", "error: num_bits=8, type=float", "silent", "error: symmetric"),
}

#: Rule -> what transformers does.
TRANSFORMERS: Mapping[str, tuple[str | None, ...]] = {
    "CK101": ("error: header too large",),
    "CK109": ("error: no file named",),
    "CK113": (None, "missing", None),
    "CK118": ("unexpected", "unexpected"),
    "CK201": ("missing", "missing"),
    "CK202": ("unexpected",),
    "CK203": ("missing", None),
    "CK204": ("silent", "missing"),
    "CK301": ("error: must match the size", "error: must match the size", None),
    "CK303": ("silent",),
    "CK304": ("silent",),
    "CK306": ("silent",),
    "CK308": ("error: same dtype",),
    "CK312": (*_KEPT, "error: index out of range", "error: must match the size", *_KEPT, None, "silent", "silent"),
    "CK403": ("error: same dtype",),
    "CK405": ("silent",),
    "CK406": ("nan",),
    "CK407": ("silent",),
    "CK408": ("silent", "silent"),
    "CK502": ("nan", "silent"),
    "CK503": ("nan", "nan"),
    "CK601": ("unexpected",),
    "CK602": ("missing",),
    "CK606": ("unexpected",),
    "CK618": (None, "missing", None),
    "CK619": ("error: Extra inputs", "silent", "silent"),
    "CK620": ("silent", "unexpected"),
    "CK621": ("missing",),
    "CK622": ("unexpected",),
    "CK623": ("unexpected", "unexpected"),
    "CK627": (None, "error: output_tensors", "error: AssertionError"),
    "CK629": ("error: validation errors",),
    "CK632": ("error: expected int, got str", "error: expected int, got float", "error: modulo by zero", None),
    "CK633": ("silent", "error: Unrecognized model"),
    "CK901": ("missing", "missing"),
    "CK902": ("unexpected",),
    "CK903": ("missing",),
}

#: Exporters' own work, as it is: fixture -> the rule, and what vLLM and transformers do.
FIXTURES: Mapping[str, tuple[str, str | None, str | None]] = {
    "llama-block-ragged/llmcompressor-block": ("CK801", "error: not divisible by weight quantization block_n", None),
    "llama-block-ragged/quark-block": ("CK801", "error: not divisible by weight quantization block_n", None),
    "llama/quark-fp8-file2file": ("CK621", "unset", "missing"),
    "llama/quark-fp8-kv-excluded": ("CK627", "error: kv_cache_group", None),
    "llama/quark-fp8-fake": ("CK600", "silent", None),
    "mixtral/quark-ptpc-experts": ("CK207", _NAME, "missing"),
    "mixtral/llmcompressor-dynamic": ("CK207", None, "missing"),
    "phi3/quark-fp8-kv": ("CK903", _FUSED_NAME, None),
    "qwen3_moe/quark-ptpc": ("CK605", "unset", None),
}
#: The same, for what only the first request shows.
AT_WORK = {
    "llama-block-ragged/llmcompressor-block": ("CK805", "error: unflatten"),
    "llama-block-ragged/quark-block": ("CK805", "error: must each be divisible by block_size"),
}
#: Near misses that mean something else to the real loaders: tensors that the model has no place for, a base that does
#: not load either, or another config than the architecture's.
NEAR_IS_NOT_LOADABLE = {"CK206", "CK207", "CK307", "CK619", "CK602", "CK701", "CK118", "CK312", "CK632", "CK633"}


def _numbered(table: Mapping[str, tuple[str | None, ...]]) -> list[tuple[Case, str]]:
    found = []
    for code, expected in table.items():
        cases = [case for case in CASES if case.code == code]
        assert len(cases) == len(expected), f"{code} has {len(cases)} cases"
        found += [(case, word) for case, word in zip(cases, expected, strict=True) if word is not None]
    return found


def _write(case: Case, change: Damage, folder: Path) -> Path:
    """The damaged fixture with its side files, which the loaders want."""
    checkpoint = load(case.base)
    if case.given is not None:
        case.given(checkpoint)
    change(checkpoint)
    checkpoint.write(folder)
    for path in (REAL / case.base).iterdir():
        if path.suffix != ".safetensors" and path.name not in ("config.json", "model.safetensors.index.json"):
            shutil.copyfile(path, folder / path.name)
    return folder


def _says(error: Failure | None, expected: str) -> bool:
    wanted = expected.removeprefix("error: ")
    return error is not None and wanted in f"{error.type}: {error.message}"


def _vllm_word(reading: VllmReading, expected: str) -> str:
    """What vLLM did, in the words of the table; the expectation itself where it raised as expected."""
    error = reading.error
    if error is not None and NO_EXPERT_KERNEL not in error.message:
        return expected if _says(error, expected) else f"error: {error.type}: {error.message[:200]}"
    return "unset" if reading.unset else "silent"


def _transformers_word(reading: Logits, expected: str) -> str:
    if reading.error is not None:
        return expected if _says(reading.error, expected) else f"error: {reading.error.type}: {reading.error.message}"
    if reading.missing_keys:
        return "missing"
    if reading.unexpected_keys:
        return "unexpected"
    return "nan" if reading.values is not None and bool((reading.values != reading.values).any()) else "silent"


def test_vllm_stops_where_rules_fire(oracles: Oracles, tmp_path: Path) -> None:
    """In one go: each folder takes vLLM a quarter of a second, and starting it a quarter of a minute."""
    proofs = _numbered(VLLM)
    folders = [_write(case, case.fires, tmp_path / f"{n}-{case.code}") for n, (case, _) in enumerate(proofs)]
    readings = oracles.vllm(folders, kv_cache_dtype="fp8", refusals=True)
    found = {
        folder.name: _vllm_word(reading, expected)
        for folder, reading, (_, expected) in zip(folders, readings, proofs, strict=True)
    }
    assert found == {folder.name: expected for folder, (_, expected) in zip(folders, proofs, strict=True)}


def test_vllm_loads_the_near_misses(oracles: Oracles, tmp_path: Path) -> None:
    breaking = [
        case
        for case, expected in _numbered(VLLM)
        if expected != "silent" and case.code not in NEAR_IS_NOT_LOADABLE and not case.near_also
    ]
    folders = [_write(case, case.near, tmp_path / f"{n}-{case.code}") for n, case in enumerate(breaking)]
    readings = oracles.vllm(folders, kv_cache_dtype="fp8", refusals=True)
    found = {folder.name: _vllm_word(r, "silent") for folder, r in zip(folders, readings, strict=True)}
    assert {name: word for name, word in found.items() if word != "silent"} == {}


def test_transformers_suffers_where_rules_fire(oracles: Oracles, tmp_path: Path) -> None:
    proofs = _numbered(TRANSFORMERS)
    folders = [_write(case, case.fires, tmp_path / f"{n}-{case.code}") for n, (case, _) in enumerate(proofs)]
    readings = oracles.logits(folders, refusals=True)
    found = {
        folder.name: _transformers_word(reading, expected)
        for folder, reading, (_, expected) in zip(folders, readings, proofs, strict=True)
    }
    assert found == {folder.name: expected for folder, (_, expected) in zip(folders, proofs, strict=True)}


def test_exporters_own_defects(oracles: Oracles) -> None:
    folders = [REAL / fixture for fixture in FIXTURES]
    vllm = oracles.vllm(folders, kv_cache_dtype="fp8", refusals=True)
    logits = oracles.logits(folders, refusals=True)
    for fixture, left, right in zip(FIXTURES, vllm, logits, strict=True):
        _, by_vllm, by_transformers = FIXTURES[fixture]
        if by_vllm is not None:
            assert _vllm_word(left, by_vllm) == by_vllm, fixture
        if by_transformers is not None:
            assert _transformers_word(right, by_transformers) == by_transformers, fixture
        if fixture in AT_WORK:
            assert _says(right.error, AT_WORK[fixture][1]), fixture


@pytest.mark.parametrize("fixture", sorted(FIXTURES))
def test_the_rules_know_the_exporters_defects(fixture: str) -> None:
    wanted = {FIXTURES[fixture][0]} | {code for name, (code, _) in AT_WORK.items() if name == fixture}
    assert wanted <= codes(load(fixture))
