"""README and the pages of docs/ are programs: every line can be pasted after "make demo", and what they name exists."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from ckptkit.errors import UsageError
from docs import site_links
from fixtures import demo
from tests.cli.conftest import run_process
from tests.pages import ROOT, RUN, blocks, pages, play

README = ROOT / "README.md"
#: Pages whose code needs more than the demo, and the tests that run it.
ELSEWHERE = {
    "hub.md": "tests/hub/test_hub_pages.py",  # a Hub
    "tutorial.md": "tests/hub/test_hub_pages.py",
    "golden.md": "tests/kernels/test_golden_page.py",  # torch and Triton
    "extending.md": "tests/test_extending.py",  # a package that is installed
}
#: Languages that are not run, by page, and what holds such blocks.
NOT_RUN = {
    ("README.md", "text"): "tests/test_story.py plays it on terminals of three widths",
    ("hub.md", "yaml"): "tests/hub/test_hub_pages.py compares it with the hook and the action of this repository",
}
PROGRAMS = [page for page in pages() if blocks(page, *RUN) and page.name not in ELSEWHERE]


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
    if page.name == "report.md":
        assert {path.name for path in workplace.glob("*.html")} == {
            *("report.html", "errors.html", "plan.html", "from-python.html")
        }
    if page.name == "python.md":
        assert {"fixed", "out", "quark"} <= {path.name for path in workplace.iterdir()}
        assert "org/Llama-3.1-8B-FP8" in (workplace / "out" / "README.md").read_text(encoding="utf-8")


def test_every_block_of_every_page_runs() -> None:
    """By this test or by another one, which then plays the page; what cannot run is named with its reason."""
    assert {page.name for page in PROGRAMS} >= {"README.md", "howto.md", "python.md", "report.md", "settings.md"}
    for page in pages():
        left = {block.language for block in blocks(page)} - {*RUN}
        assert left == {language for name, language in NOT_RUN if name == page.name}, page
        assert not re.search(r"^(?!- |\d\. )\S.*:\n\n    \S", page.read_text(encoding="utf-8"), re.MULTILINE), page
    for name, test in ELSEWHERE.items():
        assert blocks(ROOT / "docs" / name, *RUN) and name in (ROOT / test).read_text(encoding="utf-8")
    for page in ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"):
        assert blocks(ROOT / page) == [], "what can run belongs where it runs"


def test_a_line_that_goes_wrong_is_noticed(workplace: Path) -> None:
    page = workplace / "page.md"
    page.write_text(
        "```bash\nckptkit inspect nowhere\nckptkit inspect nowhere  # exit code 2\n```\n"
        "```pycon\n>>> 1 + 1\n3\n>>> x = 1\n```\n```python\nassert x == 1\n```\n"
        "```console\n$ echo one two\none ...\n$ echo one two\none\n$ exit 3\n```\n"
        '```json\n{"$schema": "urn:ckptkit:schema:report", "ckptkit": "0.0"}\n```\n',
        encoding="utf-8",
    )
    first, second, third, fourth, fifth = play(page)
    assert first.startswith("ckptkit inspect nowhere: exit code 2") and "Got:\n    2" in second
    assert third == "echo one two\nexpected:\none\ngot:\none two\n" and fourth.startswith("exit 3: exit code 3")
    assert "0.0" in fifth
    page.write_text('```toml\n[tool.ckptkit]\nlevle = "full"\n```\n', encoding="utf-8")
    with pytest.raises(UsageError, match="levle"):
        list(play(page))


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


def test_what_a_site_takes_from_the_network_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text(
        '<link rel="canonical" href="https://a"><a href="https://b">b</a><img src="own.png">'
        '<link rel="stylesheet" href="https://c"><script src="//d/e.js"></script>',
        encoding="utf-8",
    )
    (tmp_path / "own.css").write_text('@import "https://f"; p { background: url(g.png) url(//h) }', encoding="utf-8")
    taken = [found.rpartition(" ")[2] for found in site_links.taken_from_elsewhere(tmp_path)]
    assert taken == ["https://c", "//d/e.js", "https://f", "//h"]
