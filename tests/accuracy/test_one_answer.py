"""One checkpoint has one verdict, whoever asks: ``validate``, ``--matrix``, ``--for``, ``--gpu`` and ``serve``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import ckptkit
from ckptkit.checks import runner
from ckptkit.checks.finding import Severity
from ckptkit.checks.level import Level
from ckptkit.checks.registry import all_rules
from ckptkit.cli.main import cli
from ckptkit.engines import gpus
from ckptkit.engines.registry import asked_about, by_name, engines
from ckptkit.storage.container import open_container
from ckptkit.views.matrix import build_matrix
from ckptkit.views.serving import serving
from tests.accuracy.corpus import Entry, corpus, files_of
from tests.damage import BLOCK, CT, CT_KV, MOE, QUARK_KV, REAL, load
from tests.raw import MemorySource

#: The worst first: the order in which verdicts of parts become one.
_ORDER = ("refuses", "silently wrong", "warns", "unknown", "slow", "loads")
#: After which there is nothing to start.
_BROKEN = ("refuses", "silently wrong", "does not read", "not judged")
_HARDWARE = ("a100", "h100", "mi300x", "cpu")
#: Of the corpus every so many, real exports apart: those are looked at all.
EVERY = 6
_ENTRIES = [entry for entry in corpus().values() if entry.kind != "converted"]
_SOME = [entry for number, entry in enumerate(_ENTRIES) if entry.kind == "real" or number % EVERY == 0]


@pytest.mark.parametrize("part", range(4))
def test_every_way_to_ask_has_the_same_verdict(part: int) -> None:
    for entry in _SOME[part::4]:
        _check(entry)


def _check(entry: Entry) -> None:
    files = files_of(entry)
    if files is None:
        return
    context = runner.read_context(open_container(MemorySource(files)))
    table = {row.engine: row for row in build_matrix(context, runner.run(context, Level.SCALES)).rows}
    assert list(table) == list(asked_about())
    for name, engine in engines().items():
        where = f"{entry.id} in {name}"
        report = runner.run(context, Level.SCALES, engines=(name,))
        (row,) = build_matrix(context, report, engines=(name,)).rows
        if name in table:
            assert (row.verdict, row.codes, row.parts) == (table[name].verdict, table[name].codes, table[name].parts)
        chosen = runner.Selection(all_rules(), frozenset({name}))
        told = runner.select_findings(report, chosen, chosen)
        assert {effect.engine for finding in told.findings for effect in finding.engines} <= {name}, where
        serious = [finding for finding in told.findings if finding.severity is not Severity.INFO]
        harmed = {f.code for f in serious if any(e.current and e.outcome.harmful for e in f.engines)}
        assert {code for codes in row.codes.values() for code in codes} == harmed, where
        stranger = engine.reader_of(context.dialect_key) is None  # what its table says is of formats that it reads
        silent = (f for f in told.errors if not f.engines and name not in f.unheard)
        known = {f.code for f in silent if not stranger and f.code in engine.codes}
        assert known == set(), f"{where}: errors of which its table says that they do nothing there"
        if told.clean and not row.parts:
            assert row.verdict in ("loads", "not judged", "does not read", "unknown"), where
        if engine.launch is not None:
            found = serving(context, report, engine, "x")
            assert (found.verdict, found.works) == (row.verdict, row.verdict not in _BROKEN), where
            assert found.works or found.refusals, f"{where}: refused without a reason"
            assert found.works or not (found.parallel or found.minimum or found.notes), f"{where}: refused, and more"
        for hardware in _HARDWARE:
            (here,) = build_matrix(context, report, (1, 2), gpu=gpus.by_name(hardware), engines=(name,)).rows
            if row.verdict in _ORDER:
                assert _ORDER.index(here.verdict) <= _ORDER.index(row.verdict), f"{where} on {hardware}"
            if here.verdict == "refuses":
                assert not any(size.works for size in here.parallel), f"{where} on {hardware}"


@pytest.mark.parametrize("fixture", [CT, CT_KV, QUARK_KV, BLOCK, MOE, "mixtral/quark-ptpc"])
def test_commands_and_functions_agree(fixture: str, tmp_path: Path) -> None:
    checkpoint = load(fixture)
    checkpoint.drop(r"model\.layers\.0\.\S+\.(up|o)_proj\.weight_scale")
    for folder in (REAL / fixture, checkpoint.write(tmp_path / "damaged")):
        whole, _ = _told("validate", folder, "--matrix")
        verdicts = {row["engine"]: row["verdict"] for row in whole["matrix"]["engines"]}
        for name, verdict in verdicts.items():
            alone, code = _told("validate", folder, "--for", name, "--matrix")
            if verdict in ("refuses", "silently wrong", "does not read"):
                assert code == 1 and not alone["clean"], f"{name} {verdict}, and validate is clean"
            assert [(row["engine"], row["verdict"]) for row in alone["matrix"]["engines"]] == [(name, verdict)]
            told = [effect["engine"] for finding in alone["findings"] for effect in finding.get("engines", [])]
            assert set(told) <= {name}
            if by_name(name).launch is not None:
                served, code = _told("serve", folder, "--for", name)
                assert (served["verdict"], code) == (verdict, int(verdict in _BROKEN))
                assert ckptkit.serving(folder, engine=name).verdict == verdict


def _told(command: str, folder: Path, *options: str) -> tuple[Any, int]:
    result = CliRunner().invoke(cli, [command, str(folder), *options, "--json"])
    return json.loads(result.stdout), result.exit_code
