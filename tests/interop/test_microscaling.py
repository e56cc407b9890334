"""MXFP4 weights, bit for bit what compressed-tensors, Quark and transformers unpack from the same bytes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

import ckptkit
from ckptkit.model.granularity import PerBlock
from ckptkit.model.numbers import dequantized, numbers
from tests.damage import tensors_of
from tests.formats.test_microscaling import ct

from .oracles import Oracles
from .runner import Drivers


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A checkpoint with MXFP4 modules, and the same in BF16."""
    folder = tmp_path_factory.mktemp("mx")
    source = ct(14).write(folder / "source")
    ckptkit.convert(source, folder / "plain", to="bf16")
    return source, folder / "plain"


@pytest.mark.parametrize(("environment", "tool"), [("quark", "quark"), ("llmcompressor", "transformers")])
def test_unpackers_agree(environment: str, tool: str, folders: tuple[Path, Path]) -> None:
    with Drivers() as drivers:
        [answer] = drivers.run(environment, "mx_unpack", [folders[0]], tool=tool)
    ours, theirs = tensors_of(folders[1]), answer["weights"]
    assert set(theirs) == set(ckptkit.open(folders[0]).opaque)
    for module, facts in theirs.items():
        weight = ours[f"{module}.weight"]
        assert (facts["dtype"], tuple(facts["shape"])) == ("bfloat16", weight.shape)
        assert hashlib.sha256(weight.data).hexdigest() == facts["sha256"], module


def test_compressed_tensors_decompresses_both_forms_to_the_same_numbers(
    folders: tuple[Path, Path], oracles: Oracles, tmp_path: Path
) -> None:
    ckptkit.convert(folders[0], tmp_path / "blocks", to="ct", mx_to_fp8=True)
    packed, blocks = oracles.compressed_tensors([folders[0], tmp_path / "blocks"], environment="llmcompressor")
    ours, made = tensors_of(folders[1]), tensors_of(tmp_path / "blocks")
    for module in ckptkit.open(folders[0]).opaque:
        weight = ours[f"{module}.weight"]
        assert hashlib.sha256(weight.data).hexdigest() == packed.weights[module].sha256, module
        codes = numbers("F8_E4M3", made[f"{module}.weight"].data).reshape(weight.shape)
        grid = numbers("F32", made[f"{module}.weight_scale"].data)
        wide = dequantized(codes, grid, PerBlock(128, 128)).astype("<f4")
        facts = blocks.weights[module]
        expected = {"float32": wide.tobytes(), "bfloat16": weight.data}[facts.dtype]
        assert hashlib.sha256(expected).hexdigest() == facts.sha256, module
