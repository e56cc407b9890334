"""Two changes of values in a row, without a folder between them: what a plan would write can be planned from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import ckptkit
from ckptkit.conversion.execute import execute
from ckptkit.conversion.planner import plan_source
from ckptkit.conversion.request import ConversionRequest
from ckptkit.operations.stream import stream
from ckptkit.storage.locate import source_of
from ckptkit.storage.virtual import VirtualSource
from tests.damage import BLOCK, CT_KV, QUARK, REAL


@pytest.mark.parametrize(
    ("fixture", "first", "second"),
    [
        (CT_KV, {"to": "bf16"}, {"to": "ct", "scheme": "FP8_DYNAMIC"}),
        (QUARK, {"to": "f16"}, {"to": "quark", "scheme": "ptpc_fp8", "max_shard_size": "40KB"}),
        (BLOCK, {"to": "ct"}, {"to": "ct", "scheme": "FP8_DYNAMIC", "allow_lossy": True}),
        ("qwen3_moe/quark-ptpc", {"to": "bf16"}, {"to": "bf16", "experts": "split"}),
    ],
)
def test_planned_files_are_a_source_as_any(
    tmp_path: Path, fixture: str, first: dict[str, Any], second: dict[str, Any]
) -> None:
    ckptkit.convert(REAL / fixture, tmp_path / "first", **first, fsync=False)
    ckptkit.convert(tmp_path / "first", tmp_path / "second", **second, fsync=False)
    files = source_of(REAL / fixture)
    planned = VirtualSource(plan_source(files, ConversionRequest.of(**first)).output, files, stream)
    execute(plan_source(planned, ConversionRequest.of(**second)), planned, tmp_path / "at once", fsync=False)
    written = [{path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("second", "at once")]
    assert written[0] == written[1] and written[0]
