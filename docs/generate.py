"""Write the generated pages of this folder and parts of pages, or check that they are what the code says.

python docs/generate.py            # write
python docs/generate.py --check    # exit 1 and name every page that is out of date
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from accuracy_page import render_accuracy_markdown
from engines_page import render_engines_markdown
from robustness import render as render_robustness
from terminal_picture import render as render_picture

from ckptkit.conversion.cells import markdown
from ckptkit.conversion.document import render_formats_markdown
from ckptkit.formats.registry import BUILT_IN
from ckptkit.kernels.golden import tolerance
from ckptkit.views.catalogue import render_rules_markdown

HERE = Path(__file__).resolve().parent
#: What stands between two lines of these pages is generated: the lines' name, and the text.
PARTS: dict[str, tuple[str, Callable[[], str]]] = {
    "../README.md": ("matrix", lambda: f"{markdown(BUILT_IN, lambda cell: cell.sign)}\n"),
    "golden.md": ("tolerances", tolerance.table),
}
PAGES: dict[str, Callable[[], str]] = {
    "accuracy.md": render_accuracy_markdown,
    "engines.md": render_engines_markdown,
    "formats.md": render_formats_markdown,
    "rules.md": render_rules_markdown,
    "robustness.md": render_robustness,
    "terminal.svg": render_picture,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    check = parser.parse_args().check
    stale = []
    for name, render in PAGES.items():
        page, text = HERE / name, render()
        if page.exists() and page.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if not check:
            page.write_text(text, encoding="utf-8")
    for name, (part, render) in PARTS.items():
        page = HERE / name
        marks = f"<!-- {part}: written by make docs -->\n", f"<!-- end of {part} -->\n"
        old = page.read_text(encoding="utf-8")
        before, mark, rest = old.partition(marks[0])
        _, end, after = rest.partition(marks[1])
        text = f"{before}{mark}{render()}{end}{after}"
        if text != old:
            stale.append(name)
            if not check:
                page.write_text(text, encoding="utf-8")
    for name in stale:
        print(f"docs/{name}: {'out of date; run make docs' if check else 'written'}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
