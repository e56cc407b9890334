"""Write down what real engines were seen to do, as the data of their folders: ``pytest tests/interop --record``."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import ckptkit
from ckptkit.engines.seen import Seen

ENGINES = Path(ckptkit.__file__).parent / "engines"
_HEAD = '''"""What {label} was seen to do where rules fire. Written by ``make reproduced``; not by hand."""

from __future__ import annotations

from types import MappingProxyType

from ckptkit.engines.seen import Reproduced, Seen

REPRODUCED: Reproduced = MappingProxyType(
    {{
'''


def write(engine: str, label: str, table: Mapping[str, Seen]) -> Path:
    """Replace the data of one engine."""
    lines = [f"        {_quoted(code)}: {_seen(table[code])},\n" for code in sorted(table)]
    path = ENGINES / engine / "reproduced.py"
    path.write_text(_HEAD.format(label=label) + "".join(lines) + "    }\n)\n", encoding="utf-8")
    subprocess.run([Path(sys.executable).with_name("ruff"), "format", "--quiet", path], check=True)
    return path


def _seen(seen: Seen) -> str:
    parts = []
    if seen.cases:
        words = ", ".join("None" if word is None else _quoted(word) for word in seen.cases)
        parts.append(f"({words}{',' if len(seen.cases) == 1 else ''})")
    if seen.exports:
        inner = ", ".join(f"{_quoted(export)}: {_quoted(word)}" for export, word in sorted(seen.exports.items()))
        parts.append(f"exports={{{inner}}}")
    return f"Seen({', '.join(parts)})"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
