"""How far weights are off, beside torch's float64 over compressed-tensors' own decompression."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import ckptkit

from .oracles import Oracles

Real = Callable[[str], Path]


@pytest.mark.parametrize(
    "name", ["llama/llmcompressor-fp8", "llama/llmcompressor-dynamic", "llama-block-ragged/llmcompressor-block"]
)
def test_torch_measures_the_same_errors(name: str, oracles: Oracles, real: Real, tmp_path: Path) -> None:
    """A base of BF16: the real one, or for blocks the same weights rounded once more."""
    base = real("llama/bf16")
    if "block" in name:
        ckptkit.convert(real(name), tmp_path / "base", to="bf16", fsync=False)
        base = tmp_path / "base"
    [theirs] = oracles.compressed_tensors([real(name)], base=base)
    comparison = ckptkit.diff(base, real(name))
    assert comparison.errors is not None
    found = {weight.name: weight for weight in comparison.errors.weights}
    assert found.keys() == theirs.errors.keys() and len(found) >= 7
    for module, facts in theirs.errors.items():
        ours = found[module]
        assert ours.measured.worst is not None
        assert ours.measured.relative_error == pytest.approx(facts["relative_error"], rel=1e-12)
        assert ours.measured.snr_db == pytest.approx(facts["snr_db"], rel=1e-12)
        assert (list(ours.place), ours.measured.worst.absolute) == (facts["place"], facts["absolute"])
        counts = (ours.measured.equal, ours.measured.saturated, ours.measured.zero_rows)
        assert counts == (facts["equal"], facts["saturated"], facts["zero_rows"])
