"""The rules against the real loaders: where a rule fires, vLLM or transformers stops, warns, or is silently wrong.

The damage is that of ``tests/rules/cases``; what each engine is expected to do is what its folder says that it was
seen to do (:class:`ckptkit.engines.seen.Seen`). With ``--record`` it is written down anew instead. The near miss of
each case is loaded too, and must load: a rule that fires where nothing breaks would be a false alarm.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ckptkit.engines.registry import engines
from ckptkit.engines.seen import Reproduced, Seen
from tests.damage import REAL, Damage, load
from tests.rules.case import Case, codes
from tests.rules.cases import CASES

from . import recording
from .oracles import Failure, Logits, Oracles, VllmReading

#: On a CPU vLLM has no kernel for FP8 experts; by then everything is loaded.
NO_EXPERT_KERNEL = "Unsupported FP8 MoE backend"
VLLM = engines()["vllm"].reproduced()
TRANSFORMERS = engines()["transformers"].reproduced()
_FEW_WORDS = 60
#: Exporters' own work that shows a defect, as it is.
FIXTURES = sorted({fixture for table in (VLLM, TRANSFORMERS) for seen in table.values() for fixture in seen.exports})
#: Near misses that mean something else to the real loaders: tensors that the model has no place for, a base that does
#: not load either, or another config than the architecture's.
NEAR_IS_NOT_LOADABLE = frozenset(
    ["CK118", "CK206", "CK207", "CK208", "CK307", "CK312", "CK602", "CK611", "CK619", "CK632", "CK633", "CK701"]
)


def _proofs(table: Reproduced, record: Sequence[str] | None) -> list[tuple[Case, str]]:
    """The cases that an engine has something to say about, each with its word.

    While recording, new cases are asked about too, and of codes that are asked for every case.
    """
    found = []
    for code in sorted({*table, *(record or ())}):
        cases = [case for case in CASES if case.code == code]
        words = table[code].cases if code in table else ()
        if record is not None and code in record:
            words = tuple(word or "" for word in words)
        if record is not None and (code in record or words):
            words += ("",) * (len(cases) - len(words))
        assert len(cases) == len(words) or not words, f"{code} has {len(cases)} cases: record them"
        found += [(case, word) for case, word in zip(cases, words, strict=False) if word is not None]
    return found


def _recorded(
    table: Reproduced, found: Iterable[tuple[Case, str]], exports: Mapping[str, Mapping[str, str]]
) -> Reproduced:
    """What was seen now, in the form of an engine's data."""
    words: dict[Case, str] = dict(found)
    codes = dict.fromkeys([*table, *(case.code for case in words)])
    return {
        code: Seen(
            tuple(words.get(case) for case in CASES if case.code == code) if any(c.code == code for c in words) else (),
            exports.get(code, {}),
        )
        for code in codes
    }


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
    """Whether an engine raised as expected; an empty word expects nothing."""
    wanted = expected.removeprefix("error: ")
    return error is not None and bool(wanted) and wanted in f"{error.type}: {error.message}"


def _error(error: Failure, expected: str) -> str:
    """The expectation where an engine raised so, all that it said where it raised otherwise, a few words of it where
    nothing was expected yet."""
    if _says(error, expected):
        return expected
    if expected:
        return f"error: {error.type}: {error.message}"
    return f"error: {error.message.partition(chr(39))[0].strip()[:_FEW_WORDS] or error.type}"


def _vllm_word(reading: VllmReading, expected: str) -> str:
    """What vLLM did, in the words of the table; the expectation itself where it raised as expected."""
    error = reading.error
    if error is not None and NO_EXPERT_KERNEL not in error.message:
        return _error(error, expected)
    return "unset" if reading.unset else "silent"


def _transformers_word(reading: Logits, expected: str) -> str:
    if reading.error is not None:
        return _error(reading.error, expected)
    if reading.missing_keys:
        return "missing"
    if reading.unexpected_keys:
        return "unexpected"
    return "nan" if reading.values is not None and bool((reading.values != reading.values).any()) else "silent"


@dataclass(frozen=True)
class Judge:
    """A real engine as this file asks it: its data, a question to many folders, and its answer in one word."""

    name: str
    read: Callable[[Sequence[Path]], Sequence[VllmReading] | Sequence[Logits]]
    word: Callable[[Any, str], str]

    @property
    def table(self) -> Reproduced:
        return engines()[self.name].reproduced()


def judge(name: str, oracles: Oracles) -> Judge:
    if name == "vllm":
        return Judge(name, lambda folders: oracles.vllm(folders, kv_cache_dtype="fp8", refusals=True), _vllm_word)
    return Judge(name, lambda folders: oracles.logits(folders, refusals=True), _transformers_word)


@pytest.mark.parametrize("name", ["vllm", "transformers"])
def test_an_engine_does_what_its_data_says(
    name: str, oracles: Oracles, tmp_path: Path, record: Sequence[str] | None
) -> None:
    """In one go: each folder takes vLLM a quarter of a second, and starting it a quarter of a minute."""
    engine = judge(name, oracles)
    proofs = _proofs(engine.table, record)
    folders = [_write(case, case.fires, tmp_path / f"{n}-{case.code}") for n, (case, _) in enumerate(proofs)]
    exports = [(code, fixture, word) for code, seen in engine.table.items() for fixture, word in seen.exports.items()]
    readings = engine.read([*folders, *(REAL / fixture for _, fixture, _ in exports)])
    expected = [word for _, word in proofs] + [word for _, _, word in exports]
    found = [engine.word(reading, word) for reading, word in zip(readings, expected, strict=True)]
    if record is not None:
        cases = [(case, word) for (case, _), word in zip(proofs, found, strict=False)]
        seen_on: dict[str, dict[str, str]] = {}
        for (code, fixture, _), word in zip(exports, found[len(proofs) :], strict=True):
            seen_on.setdefault(code, {})[fixture] = word
        recording.write(name, engines()[name].label, _recorded(engine.table, cases, seen_on))
        return
    places = [folder.name for folder in folders] + [f"{code} in {fixture}" for code, fixture, _ in exports]
    assert dict(zip(places, found, strict=True)) == dict(zip(places, expected, strict=True))


def test_vllm_loads_the_near_misses(oracles: Oracles, tmp_path: Path) -> None:
    breaking = [
        case
        for case, expected in _proofs(VLLM, None)
        if expected != "silent" and case.code not in NEAR_IS_NOT_LOADABLE and not case.near_also
    ]
    folders = [_write(case, case.near, tmp_path / f"{n}-{case.code}") for n, case in enumerate(breaking)]
    readings = oracles.vllm(folders, kv_cache_dtype="fp8", refusals=True)
    found = {folder.name: _vllm_word(r, "silent") for folder, r in zip(folders, readings, strict=True)}
    assert {name: word for name, word in found.items() if word != "silent"} == {}


@pytest.mark.parametrize("fixture", FIXTURES)
def test_the_rules_know_the_exporters_defects(fixture: str) -> None:
    wanted = {code for table in (VLLM, TRANSFORMERS) for code, seen in table.items() if fixture in seen.exports}
    assert wanted <= codes(load(fixture))
