"""The picture of a terminal in the README: the beginning of its story, as it is shown with colours."""

from __future__ import annotations

import re
import shlex
import sys
import tempfile
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.text import Text

from fixtures import demo
from fixtures.terminal import on_terminal

#: The commands of the story that are shown; what follows is the plan of a conversion, which says how long it took.
SHOWN = 3
COLUMNS = 96
#: Fonts that would be fetched from elsewhere; without them the reader's own is used.
_FONTS = re.compile(r"[ ]*@font-face \{.*?\}\n", re.DOTALL)


def render() -> str:
    """The picture as SVG."""
    console = Console(record=True, width=COLUMNS, file=StringIO(), force_terminal=True, color_system="truecolor")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "demo"
        demo.build(place)
        for command, _ in demo.story()[:SHOWN]:
            console.print(Text.assemble(("$ ", "bold green"), (command, "bold")))
            arguments = [sys.executable, "-m", "ckptkit", *shlex.split(command)[1:]]
            _, shown = on_terminal(arguments, columns=COLUMNS, cwd=place)
            console.print(Text.from_ansi(shown.replace("\r\n", "\n").rstrip("\n")))
            console.print()
    picture = _FONTS.sub("", console.export_svg(title="ckptkit", unique_id="ckptkit"))
    return "".join(f"{line.rstrip()}\n" for line in picture.splitlines())
