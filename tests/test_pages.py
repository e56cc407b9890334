"""README and the pages of docs/ are programs: every line can be pasted after "make demo", and what they name exists."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from fixtures import demo
from tests.cli.conftest import run_process
from tests.pages import ROOT, blocks, pages, play

README = ROOT / "README.md"
#: What a page needs that the demo has not, and where else its code runs.
ELSEWHERE = {"hub.md": "a Hub: tests/hub runs the guard and what the page tells people to type"}
PROGRAMS = [page for page in pages() if blocks(page, "bash", "python", "pycon") and page.name not in ELSEWHERE]


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that "make demo" leaves behind, in which all lines are typed."""
    demo.build(tmp_path / "demo")
    monkeypatch.chdir(tmp_path / "demo")
    for name in ("CKPTKIT_TP", "CKPTKIT_LEVEL", "PYTHONSTARTUP"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "demo"


@pytest.mark.parametrize("page", PROGRAMS, ids=lambda page: page.name)
def test_every_line_can_be_pasted_after_make_demo(page: Path, workplace: Path) -> None:
    if page == README:
        for command, _ in demo.story():
            run_process(*shlex.split(command)[1:])
    assert list(play(page)) == []
    if page.name == "python.md":
        assert {"fixed", "out", "quark"} <= {path.name for path in workplace.iterdir()}
        assert "org/Llama-3.1-8B-FP8" in (workplace / "out" / "README.md").read_text(encoding="utf-8")


def test_which_pages_are_programs() -> None:
    assert {page.name for page in PROGRAMS} >= {"README.md", "howto.md", "python.md"}
    assert {page.name for page in pages()} >= ELSEWHERE.keys()


def test_a_line_that_goes_wrong_is_noticed(workplace: Path) -> None:
    page = workplace / "page.md"
    page.write_text(
        "```bash\nckptkit inspect nowhere\nckptkit inspect nowhere  # exit code 2\n```\n"
        "```pycon\n>>> 1 + 1\n3\n>>> x = 1\n```\n```python\nassert x == 1\n```\n",
        encoding="utf-8",
    )
    first, second = play(page)
    assert first.startswith("ckptkit inspect nowhere: exit code 2") and "Got:\n    2" in second


def test_readme_converts_from_python(workplace: Path) -> None:
    ((_, code),) = blocks(README, "python")
    done = run_process(code=code)
    assert done.returncode == 0, done.stderr
    assert Path("converted/config.json").exists()


def test_readme_shows_every_command() -> None:
    commands = [line for _, code in blocks(README, "bash") for line in code.splitlines()]
    assert len([line for line in commands if line.startswith("ckptkit ")]) >= 12


def test_every_make_target_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^(\w+):", makefile, re.MULTILINE))
    named = set(re.findall(r"\bmake (\w+)", README.read_text(encoding="utf-8")))
    assert {"demo", "test", "quality", "style", "bench", "interop", "fixtures"} <= named <= targets


def test_what_it_points_to_exists() -> None:
    for path in re.findall(r"`((?:tests|docs|fixtures|benchmarks)/[\w./-]*)`", README.read_text(encoding="utf-8")):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_links_lead_to_pages_and_their_sections(page: Path) -> None:
    for target, section in re.findall(r"\]\(([^)#\s:]*)(?:#([^)\s]+))?\)", page.read_text(encoding="utf-8")):
        other = page if not target else (page.parent / target)
        assert other.exists(), f"{page.name}: {target}"
        if section:
            assert section in sections(other), f"{page.name}: {target}#{section}"


def sections(page: Path) -> set[str]:
    """The names by which sections are linked to, as GitHub and the site make them of titles."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_page_is_in_the_index_and_on_the_site() -> None:
    site = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    names = {page.name for page in pages() if page != README}
    assert names == set(re.findall(r"([\w-]+\.md)$", site, re.MULTILINE))
    assert names - {"index.md"} <= set(re.findall(r"\]\(([\w-]+\.md)\)", index))
