"""The machine code of every config, compiled without a GPU for Hopper and for the chips of the portable kernel."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ckptkit.kernels.machine_code import CHIPS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """All jobs of all chips, compiled in a process that does not interpret, into a cache of its own."""
    environment = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path_factory.mktemp("triton")), "PYTHONPATH": str(ROOT)}
    environment.pop("TRITON_INTERPRET")
    done = subprocess.run(
        [sys.executable, "-m", "ckptkit.kernels.offline"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def tensor_core(codes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What Hopper's own kernels became."""
    return [code for code in codes if code["label"].startswith(("persistent", "decode"))]


def portable(codes: list[dict[str, Any]], chip: str) -> list[dict[str, Any]]:
    return [code for code in codes if code["chip"] == chip and code["label"].startswith("portable")]


def title(code: dict[str, Any]) -> str:
    return f"{code['chip']} {code['label']}"


def test_products_run_on_the_fp8_tensor_core(compiled: list[dict[str, Any]]) -> None:
    codes = tensor_core(compiled)
    assert len(codes) >= 20
    for code in codes:
        assert code["fp8_products"] > 0, code["label"]
        assert code["sass"] > 0, code["label"]
        assert code["half_products"] == 0, f"{code['label']} falls back to float16"
        assert all("k32.f32.e4m3.e4m3" in name for name in code["instructions"]), code["label"]
        assert not code["serialized"], f"{code['label']}: the assembler serialized wgmma"


def test_loads_have_a_warp_of_their_own_where_that_was_asked_for(compiled: list[dict[str, Any]]) -> None:
    codes = tensor_core(compiled)
    assert sum(code["specialized"] for code in codes) == 4
    assert all(code["specialized"] == ("-ws " in code["label"]) for code in codes)


@pytest.mark.parametrize("chip", [name for name in CHIPS if name != "sm_90"])
def test_the_portable_kernel_uses_each_chips_own_fp8_products(compiled: list[dict[str, Any]], chip: str) -> None:
    codes = portable(compiled, chip)
    assert len(codes) == 10
    for code in codes:
        assert code["fp8_products"] > 0, title(code)
        assert code["half_products"] == 0, f"{title(code)} falls back to float16"


def test_nothing_spills_and_everything_fits(compiled: list[dict[str, Any]]) -> None:
    for code in compiled:
        # Rows that are not on 16-byte boundaries are loaded byte by byte, for which AMD's registers do not suffice.
        if not (code["chip"].startswith("gfx") and "unaligned" in code["label"]):
            assert code["spill_bytes"] == 0, f"{title(code)} spills {code['spill_bytes']} bytes"
        assert 0 < code["registers"] <= 256, title(code)
        assert code["shared_bytes"] <= CHIPS[code["chip"]].shared_limit, title(code)


def test_promotion_is_in_the_code_where_it_was_asked_for(compiled: list[dict[str, Any]]) -> None:
    """Triton folds a sum of products into the product where it may: outside Hopper that would undo a promotion."""
    for code in compiled:
        known = code["label"].startswith(("persistent", "decode", "portable")) and code["chip"].startswith("sm_")
        if not known or "bias" in code["label"] or "group" in code["label"]:
            continue  # these add in float32 anyway
        assert (code["promotions"] > 0) == (" promoted " in code["label"]), title(code)


def test_quantization_rounds_once_on_every_chip(compiled: list[dict[str, Any]]) -> None:
    """Ada's conversion would go through float16. Where the chip's own is not used, integer arithmetic encodes."""
    codes = [code for code in compiled if code["label"].startswith("quantize_rows")]
    assert len(codes) == 2 * len(CHIPS)
    once = ["cvt.rn.satfinite.e4m3x2.f32"]
    for code in codes:
        assert code["conversions"] == (once if code["chip"] in ("sm_90", "sm_120") else []), title(code)
