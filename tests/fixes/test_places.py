"""One config in each place that ModelOpt has for it: the same is found, named where it is, and put right there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ckptkit import api
from ckptkit.checks import runner
from ckptkit.checks.fixing import find_fixes
from ckptkit.checks.registry import Level
from ckptkit.report.fix_text import config_diff
from ckptkit.storage.container import CONFIG_FILE, open_container
from ckptkit.validation import write_fixes
from tests.accuracy.variants import in_config, in_config_twice, in_file
from tests.damage import MutableCheckpoint, load
from tests.raw import MemorySource

SIDE = "hf_quant_config.json"
CONFIG, OWN = "quantization_config", ("quantization", "exclude_modules")


def _both(checkpoint: MutableCheckpoint) -> None:
    """As exporters write it."""


def _flat(checkpoint: MutableCheckpoint) -> None:
    del checkpoint.files[SIDE]


#: Place -> how the config gets there, the file that counts, the dialect, and every way to the list.
PLACES: dict[str, tuple[Callable[[MutableCheckpoint], None], str, str, dict[str, tuple[str, ...]]]] = {
    "both": (_both, CONFIG_FILE, "ModelOpt", {CONFIG_FILE: (CONFIG, "ignore"), SIDE: OWN}),
    "flat": (_flat, CONFIG_FILE, "ModelOpt", {CONFIG_FILE: (CONFIG, "ignore")}),
    "own layout": (in_config_twice, CONFIG_FILE, "ModelOpt, in its own layout", {CONFIG_FILE: (CONFIG, *OWN)}),
    "file alone": (in_file, SIDE, f"ModelOpt, in {SIDE} alone", {SIDE: OWN}),
}
each = pytest.mark.parametrize("place", PLACES)


def _at(place: str, fixture: str = "llama/modelopt-fp8", *, listed: list[str] | None = None) -> MutableCheckpoint:
    checkpoint = load(fixture)
    if listed is not None:
        checkpoint.block["ignore"] = listed
        side = json.loads(checkpoint.files[SIDE])
        side["quantization"]["exclude_modules"] = listed
        checkpoint.files[SIDE] = json.dumps(side).encode()
    PLACES[place][0](checkpoint)
    return checkpoint


def _read(folder: Path, file: str, way: tuple[str, ...]) -> Any:
    value = json.loads((folder / file).read_text())
    for key in way:
        value = value[key]
    return value


@each
def test_a_layout_is_told(place: str, tmp_path: Path) -> None:
    report = api.validate(_at(place).write(tmp_path / "source"))
    assert report.dialect == PLACES[place][2]
    assert not [finding for finding in report.findings if finding.severity.value != "info"]


@each
def test_a_list_is_judged_and_mended_wherever_it_is(place: str, tmp_path: Path) -> None:
    _, file, _, ways = PLACES[place]
    folder = _at(place, listed=["model.lm_hea", "model.embed_tokens"]).write(tmp_path / "source")
    found = {finding.code: finding for finding in api.validate(folder).findings if finding.code != "CK704"}
    key = ways[file][-1]
    assert (found["CK605"].expected, found["CK605"].help) == (f"lm_head in {key}", f"add 'lm_head' to {key}")
    assert (found["CK607"].file, found["CK607"].found) == (file, f"{key}: 'model.lm_hea'")
    fixes = find_fixes(api.open_files(folder), Level.SCALES)
    assert {fix.code for fix in fixes.applied} == {"CK605", "CK607"}
    assert set(fixes.workspace.changed_documents) == set(ways)
    shown = {name: "\n".join(config_diff(fixes, "it", name)) for name in ways}
    assert all("lm_head" in text and f"it/{name}" in text for name, text in shown.items())
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    write_fixes(fixes, folder)
    for name, way in ways.items():
        assert _read(folder, name, way) == ["model.embed_tokens", "lm_head"]
    left = {path.name for path in folder.iterdir() if path.read_bytes() == before.get(path.name)}
    assert left == before.keys() - ways.keys()
    assert {finding.code for finding in api.validate(folder).findings} == {"CK704"}


@each
def test_a_cache_is_declared_wherever_the_config_is(place: str, tmp_path: Path) -> None:
    """The scales of a KV cache that no config speaks of."""
    checkpoint = load("llama/modelopt-fp8-kv")
    del checkpoint.block["kv_cache_scheme"]
    side = json.loads(checkpoint.files[SIDE])
    side["quantization"]["kv_cache_quant_algo"] = None
    checkpoint.files[SIDE] = json.dumps(side).encode()
    PLACES[place][0](checkpoint)
    folder = checkpoint.write(tmp_path / "source")
    _, file, _, ways = PLACES[place]
    assert [(f.code, f.file) for f in api.validate(folder).findings if f.code == "CK902"] == [("CK902", file)]
    write_fixes(find_fixes(api.open_files(folder), Level.SCALES), folder)
    for name, way in ways.items():
        flat = way[-1] == "ignore"
        scheme = _read(folder, name, (*way[:-1], "kv_cache_scheme" if flat else "kv_cache_quant_algo"))
        assert scheme == ({"dynamic": False, "num_bits": 8, "type": "float"} if flat else "FP8")
    report = api.validate(folder)
    assert "CK902" not in {finding.code for finding in report.findings}
    told = [(finding.file, finding.found) for finding in report.findings if finding.code == "CK911"]
    key = "kv_cache_scheme" if ways[file][-1] == "ignore" else "kv_cache_quant_algo"
    assert told == [(file, f"modelopt: {key}")]


def test_a_list_that_no_reader_but_one_sees_is_written_where_each_looks(tmp_path: Path) -> None:
    """SGLang takes the list of ModelOpt's own layout in config.json from around it."""
    checkpoint = _at("both", listed=[])
    in_config(checkpoint)
    folder = checkpoint.write(tmp_path / "source")
    write_fixes(find_fixes(api.open_files(folder), Level.SCALES), folder)
    assert _read(folder, CONFIG_FILE, (CONFIG, *OWN)) == _read(folder, CONFIG_FILE, (CONFIG, "ignore")) == ["lm_head"]
    assert {finding.code for finding in api.validate(folder).findings} == {"CK704"}


@each
def test_the_file_beside_config_json_is_read_once(place: str) -> None:
    """On a server every read is a request."""
    source = MemorySource(_at(place).to_files())
    runner.run(runner.read_context(open_container(source)), Level.HEADERS)
    assert [name for name, _, _ in source.reads].count(SIDE) == (SIDE in source.contents)
