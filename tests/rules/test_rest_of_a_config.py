"""One value of a config that is not understood does not hide what else there is to say of a checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest

import ckptkit
from ckptkit.errors import CkptkitError
from tests.damage import CT_KV, QUARK_FP8, Damage, MutableCheckpoint, load, steps
from tests.rules.case import codes
from tests.rules.test_reported_kinds import verdicts


def _integers(checkpoint: MutableCheckpoint) -> None:
    checkpoint.block["kv_cache_scheme"]["type"] = "int"


def _fake(checkpoint: MutableCheckpoint) -> None:
    checkpoint.block["export"]["weight_format"] = "fake_quantized"


def _no_scale(checkpoint: MutableCheckpoint) -> None:
    checkpoint.drop(r"model\.layers\.0\.self_attn\.q_proj\.weight_scale")


def _weights_too(checkpoint: MutableCheckpoint) -> None:
    checkpoint.group["weights"]["num_bits"] = "eight"


@pytest.mark.parametrize(("fixture", "broken", "code"), [(CT_KV, _integers, "CK912"), (QUARK_FP8, _fake, "CK600")])
def test_the_rest_is_judged(fixture: str, broken: Damage, code: str) -> None:
    checkpoint = load(fixture)
    known = codes(checkpoint)
    broken(checkpoint)
    assert codes(checkpoint) - known == {code}
    assert "not judged" not in [verdicts(checkpoint)[name] for name in ("vllm", "sglang", "transformers")]
    steps(_no_scale)(checkpoint)
    assert {code, "CK201"} <= codes(checkpoint)


def test_engines_differ_in_what_a_value_does() -> None:
    checkpoint = load(CT_KV)
    _integers(checkpoint)
    found = verdicts(checkpoint)
    assert (found["vllm"], found["sglang"], found["transformers"]) == ("refuses", "loads", "silently wrong")
    assert found["trtllm"] == "refuses", "its reader knows caches of 8-bit floats only"


def test_what_a_checkpoint_means_may_hang_on_the_value() -> None:
    """Then nothing is said of the rest."""
    checkpoint = load(CT_KV)
    steps(_integers, _weights_too)(checkpoint)
    assert codes(checkpoint) & {"CK600", "CK912"} and "CK201" not in codes(checkpoint)
    assert verdicts(checkpoint)["sglang"] == "not judged"
    fake = load("llama/quark-fp8-fake")
    assert "CK602" not in codes(fake)


@pytest.mark.parametrize(("fixture", "broken"), [(CT_KV, _integers), (QUARK_FP8, _fake)])
def test_the_rest_is_not_converted(fixture: str, broken: Damage, tmp_path: Path) -> None:
    checkpoint = load(fixture)
    broken(checkpoint)
    source = checkpoint.write(tmp_path / "source")
    with pytest.raises(CkptkitError, match=r"cannot be understood|is not sound"):
        ckptkit.convert(source, tmp_path / "out", to="bf16", fsync=False)
    assert not (tmp_path / "out").exists()
