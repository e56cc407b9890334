"""Two changes of values in one plan: done so that the numbers are those of two conversions, or refused."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ckptkit
from ckptkit.errors import CkptkitError
from tests.accuracy.corpus import FIXTURES, corpus, files_of
from tests.accuracy.plain import Files, dequantized, numbers, tensors_in
from tests.damage import BLOCK, CT, MutableCheckpoint, dtype, load

convert = partial(ckptkit.convert, fsync=False)


def plain(files: Files) -> Mapping[str, Any]:
    """Every weight of a model by name, as its shapes of scales say."""
    (tensors,) = tensors_in(dequantized(files)).values()
    return {name: numbers(tensor) for name, tensor in tensors.items() if name.endswith("weight")}


def _near(made: Mapping[str, Any], meant: Mapping[str, Any]) -> None:
    assert made.keys() == meant.keys()
    for name, values in meant.items():
        apart = np.linalg.norm(made[name] - values)
        assert apart <= 0.05 * np.linalg.norm(values), name


def _fnuz(checkpoint: MutableCheckpoint) -> None:
    dtype(r".*_proj\.weight", "F8_E4M3FNUZ")(checkpoint)


MXFP8 = "llama-block-aligned/modelopt-mxfp8"


@pytest.mark.parametrize(
    ("fixture", "options"),
    [
        (MXFP8, {"to": "fp8", "mode": "tensor", "allow_lossy": True}),
        (MXFP8, {"to": "fp8", "mode": "transformers", "allow_lossy": True}),
        ("llama/bf16", {"to": "ct", "scheme": "FP8_DYNAMIC", "fused": "fuse"}),
        (CT, {"to": "ct", "scheme": "FP8_BLOCK", "fused": "fuse", "allow_lossy": True}),
    ],
    ids=["mxfp8-by-tensor", "mxfp8-for-transformers", "fused-and-quantized", "fused-and-again"],
)
def test_what_is_made_of_what_is_still_to_be_made(fixture: str, options: dict[str, Any], tmp_path: Path) -> None:
    """Operations read what is stored: what another one makes of it is not there yet."""
    folder = load(fixture).write(tmp_path / "source")
    with pytest.raises(CkptkitError, match=r"at once|cannot hold"):
        convert(folder, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def _written(folder: Path) -> Files:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_parts_of_stored_weights_are_quantized_as_they_are_cut(tmp_path: Path) -> None:
    source = load("phi3/bf16")
    convert(source.write(tmp_path / "source"), tmp_path / "split", to="bf16", fused="split")
    convert(tmp_path / "source", tmp_path / "out", to="ct", scheme="FP8_DYNAMIC", fused="split")
    _near(plain(_written(tmp_path / "out")), plain(_written(tmp_path / "split")))


def test_an_encoding_and_scales_of_another_kind(tmp_path: Path) -> None:
    """A code of e4m3fnuz is half of what it is in e4m3fn."""
    checkpoint = load(BLOCK)
    meant = plain(checkpoint.to_files())
    _fnuz(checkpoint)
    convert(checkpoint.write(tmp_path / "source"), tmp_path / "out", to="ct", scheme="FP8_DYNAMIC", allow_lossy=True)
    halved = {name: values / 2 if "_proj" in name else values for name, values in meant.items()}
    _near(plain(_written(tmp_path / "out")), halved)


@pytest.mark.parametrize("fixture", FIXTURES)
def test_a_conversion_with_a_loss_stays_near_its_source(fixture: str) -> None:
    """In the corpus such a conversion stands for itself, so that no engine would notice."""
    try:
        meant = plain(load(fixture).to_files())
    except (ValueError, KeyError, IndexError):
        pytest.skip("no plain model of it")
    for name, entry in corpus().items():
        if name.startswith(f"converted/{fixture}/") and (files := files_of(entry)) is not None:
            try:
                made = plain(files)
            except (ValueError, KeyError, IndexError):
                continue
            _near(made, meant)
