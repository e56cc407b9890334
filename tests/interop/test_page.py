"""The page of ``ckptkit report`` in headless Chromium: it draws, can be used without a mouse, and asks for nothing."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ckptkit.page.document import Page
from ckptkit.page.write import write_page
from tests.page.conftest import NASTY, hostile, huge, whole

from . import environments

__all__ = ["hostile", "huge", "whole"]  # fixtures
DRIVER = Path(__file__).parent / "drivers" / "page.mjs"
SECONDS = 180
#: What a page of 100,000 tensors may take to open. The fastest of several times: other work slows a machine down.
OPENS_WITHIN_MS = 1000

CHROMIUM = environments.chromium()
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine; make interop installs one"),
    pytest.mark.skipif(shutil.which("npm") is None, reason="no Node.js with npm on this machine"),
]

Ask = Callable[[Page, str], Any]


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Ask:
    """What a task of the driver says of a page."""
    modules = environments.ensure("browser")
    folder = tmp_path_factory.mktemp("pages")
    written: dict[int, Path] = {}

    def answer(page: Page, task: str) -> Any:
        if id(page) not in written:
            written[id(page)] = folder / f"page-{len(written)}.html"
            write_page(page, written[id(page)])
        command = ["node", str(DRIVER), str(modules), str(CHROMIUM), str(written[id(page)]), task]
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout)

    return answer


def is_quiet(found: Any) -> bool:
    """No complaints, nothing asked for but the page itself, and no code of a checkpoint."""
    return not found["errors"] and not found["owned"] and all(url.startswith("file://") for url in found["requests"])


def test_it_draws_everything(ask: Ask, whole: Page) -> None:
    found = ask(whole, "look")
    assert is_quiet(found) and len(found["requests"]) == 1
    assert found["title"] == "quark-fp8-kv: ckptkit report" and found["heading"] == "quark-fp8-kv"
    sections = ["findings", "engines", "comparison", "charts", "conversion", "sizes", "skips", "tensors"]
    assert found["sections"] == sections and found["links"] == []
    assert found["figures"] == found["canvases"] == sum(len(chart.panels) for chart in whole.charts)
    for words in (
        "W8A8 FP8, static per-tensor weights",
        "CK704",
        "lossless",
        "header-only",
        "vLLM",
        "Error of each weight",
    ):
        assert words in found["text"]
    assert "object" not in found["text"] and "undefined" not in found["text"] and "NaN" not in found["text"]


@pytest.mark.parametrize("name", ["whole", "hostile"])
def test_axe_has_nothing_to_say(ask: Ask, name: str, request: pytest.FixtureRequest) -> None:
    for found in ask(request.getfixturevalue(name), "axe"):
        assert found["violations"] == [], (found["colorScheme"], found["width"])
        assert {"color-contrast", "aria-required-attr", "label", "landmark-one-main"} <= set(found["passes"])


def test_the_filter_works(ask: Ask, whole: Page) -> None:
    found = ask(whole, "filter")
    assert is_quiet(found) and len(found["all"]) == 50
    up = "model.layers.1.mlp.up_proj"
    assert set(found["layer"]["names"]) == {f"{up}.weight", f"{up}.weight_scale", f"{up}.input_scale"}
    assert found["layer"]["status"].startswith("3 of 53 tensors, ")
    both = {f"model.layers.{layer}.mlp.up_proj.weight{end}" for layer in (0, 1) for end in ("", "_scale")}
    assert set(found["starred"]["names"]) == both
    assert found["figures"] and all("up_proj" in caption for caption in found["figures"])
    assert found["nothing"]["names"] == [] and found["nothing"]["pager"] == "No tensor has such a name."
    assert found["cleared"] == [found["all"], "", ""]


def test_a_finding_leads_to_its_tensors_and_back(ask: Ask, whole: Page) -> None:
    found = ask(whole, "finding")
    assert is_quiet(found)
    first = whole.findings[0]
    assert set(found["shown"]["names"]) == {whole.tensors.names[row] for row in first.rows}
    assert found["shown"]["status"].startswith(f"Tensors of {first.first.code} ")
    assert found["shown"]["focus"] == "Tensors"
    assert found["code"] in found["target"]["text"] and 0 <= found["target"]["top"] < 900
    assert found["cleared"] == ""


def test_it_is_used_with_the_keyboard(ask: Ask, whole: Page) -> None:
    found = ask(whole, "keyboard")
    assert is_quiet(found)
    assert found["order"][:3] == ["Skip to the report", "Findings", "Engines"] and "filter" in found["order"]
    assert found["slash"] == "filter"
    assert [now for now, _ in found["walked"]] == ["0", "1", "1", "1", "0"]
    assert re.fullmatch(r"layer 0: [\d.e-]+", found["walked"][0][1])
    text, names = found["entered"]
    assert ".0." in text and names and all(name.startswith(text) for name in names)


def test_pointing_tells_numbers(ask: Ask, whole: Page) -> None:
    found = ask(whole, "hover")
    assert is_quiet(found) and found["before"].startswith("2 layers, ")
    assert found["over"].startswith("layer 1: ") and found["beside"].startswith("layer 1: ")


def test_the_table_sorts_and_turns(ask: Ask, whole: Page) -> None:
    found = ask(whole, "table")
    assert is_quiet(found)
    largest = max(whole.tensors.kinds, key=lambda kind: kind.nbytes)
    assert found["sorted"]["Name"] == ["lm_head.weight", "ascending"]
    assert found["sorted"]["Bytes"][1] == "descending" and found["sorted"]["Bytes"][0].startswith(largest.pieces[0])
    assert found["sorted"]["Shape"][1] == "ascending"
    assert found["pager"] == "51 to 53 of 53 tensors" and found["next"] is False


def test_light_and_dark(ask: Ask, whole: Page) -> None:
    found = ask(whole, "themes")
    dark, light = "rgb(21, 24, 28)", "rgb(255, 255, 255)"
    assert is_quiet(found) and found["found"] == [dark, ["Theme: light", light], ["Theme: dark", dark]]


def test_nothing_reaches_over_a_narrow_window(ask: Ask, whole: Page, hostile: Page) -> None:
    for page in (whole, hostile):
        assert all(wide <= width for width, wide in ask(page, "narrow"))


def test_it_prints(ask: Ask, whole: Page) -> None:
    found = ask(whole, "print")
    assert is_quiet(found) and 2 <= found["pages"] <= 20
    assert found["ground"] == "rgb(255, 255, 255)" and not found["bar"]
    assert found["figures"] == found["canvases"] and found["wide"] == 0


def test_a_hundred_thousand_tensors_open_in_a_second(ask: Ask, huge: Page) -> None:
    found = ask(huge, "speed")
    assert is_quiet(found) and huge.inventory.tensors == 100_000
    assert min(found["times"]) < OPENS_WITHIN_MS, found["times"]
    assert found["took"] < OPENS_WITHIN_MS
    assert found["filtered"].startswith("2,000 of 100,000 tensors, 2,000 of 2,004 findings")


def test_names_do_nothing(ask: Ask, hostile: Page) -> None:
    found = ask(hostile, "hostile")
    assert is_quiet(found)
    assert any(name.startswith(NASTY) for name in found["names"]), "it is shown as it is"
    assert set(found["elements"]) == {"SCRIPT"} and len(found["elements"]) == 2, "the page's own two"
    assert not re.search("[\u202e\x00-\x08\x1b]", found["text"])
    assert "\\u{202e}gpj.exe" in "".join(found["names"]) + found["text"] or "gpj" not in found["text"]


def test_without_scripts_it_says_how_it_stands(ask: Ask, whole: Page) -> None:
    text = ask(whole, "plain")["text"]
    assert "quark-fp8-kv" in text and "Clean: 0 errors, 0 warnings, 2 notes." in text


def test_pictures_are_of_the_page_as_it_is_now() -> None:
    done = subprocess.run([sys.executable, str(environments.ROOT / "docs" / "pictures.py"), "--check"], check=False)
    assert done.returncode == 0, "make pictures takes them anew"


def test_the_charting_library_is_what_was_published() -> None:
    script = Path(__file__).parent / "vendored.py"
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
