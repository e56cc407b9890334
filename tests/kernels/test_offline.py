"""The machine code of every config, compiled for Hopper here, without a GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ckptkit.kernels.offline import SHARED_LIMIT

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """All jobs, compiled in a process that does not interpret, into a cache of its own."""
    environment = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path_factory.mktemp("triton")), "PYTHONPATH": str(ROOT)}
    environment.pop("TRITON_INTERPRET")
    done = subprocess.run(
        [sys.executable, "-m", "ckptkit.kernels.offline"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def tensor_core(codes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [code for code in codes if code["label"].startswith(("persistent", "decode"))]


def test_products_run_on_the_fp8_tensor_core(compiled: list[dict[str, Any]]) -> None:
    codes = tensor_core(compiled)
    assert len(codes) >= 20
    for code in codes:
        assert code["fp8_wgmma"] > 0, code["label"]
        assert code["fp8_sass"] > 0, code["label"]
        assert code["half_products"] == 0, f"{code['label']} falls back to float16"
        assert all(name.endswith("k32.f32.e4m3.e4m3") for name in code["instructions"]), code["label"]
        assert not code["serialized"], f"{code['label']}: the assembler serialized wgmma"


def test_nothing_spills_and_everything_fits(compiled: list[dict[str, Any]]) -> None:
    for code in compiled:
        assert code["spill_bytes"] == 0, f"{code['label']} spills {code['spill_bytes']} bytes"
        assert 0 < code["registers"] <= 255, code["label"]
        assert code["shared_bytes"] <= SHARED_LIMIT, code["label"]


def test_promotion_is_in_the_code_where_it_was_asked_for(compiled: list[dict[str, Any]]) -> None:
    for code in tensor_core(compiled):
        if "bias" in code["label"] or "group" in code["label"]:
            continue  # these add in float32 anyway
        assert (code["promotions"] > 0) == (" promoted " in code["label"]), code["label"]


def test_quantization_saturates_in_hardware(compiled: list[dict[str, Any]]) -> None:
    codes = [code for code in compiled if code["label"].startswith("quantize_rows")]
    assert len(codes) == 2
    assert all(code["satfinite_conversions"] > 0 for code in codes)
