"""What we print as JSON about real checkpoints fits its schema, and says the same of the same model."""

from __future__ import annotations

from pathlib import Path

import pytest

from ckptkit import api
from ckptkit.checks import schema
from ckptkit.errors import FormatError
from ckptkit.model.manifest import manifest

REAL = Path(__file__).resolve().parents[2] / "fixtures" / "real"
FIXTURES = sorted(str(path.parent.relative_to(REAL)) for path in REAL.glob("*/*/config.json"))
UNREADABLE = {"llama/quark-fp8-fake", *(name for name in FIXTURES if name.endswith("/bf16"))}


@pytest.mark.parametrize("name", FIXTURES)
def test_every_document_fits_its_schema(name: str) -> None:
    assert schema.faults("report", api.validate(REAL / name).to_json(), file="report") == []
    if name in UNREADABLE:
        with pytest.raises(FormatError):
            api.open(REAL / name)
        return
    assert schema.faults("manifest", manifest(api.open(REAL / name)), file="manifest") == []
    assert schema.faults("summary", api.inspect(REAL / name).to_json(), file="summary") == []


def test_two_exports_of_one_model_have_one_meaning() -> None:
    quark, ct = (manifest(api.open(REAL / "llama" / name)) for name in ("quark-ptpc", "llmcompressor-dynamic"))
    assert quark["schemes"] == ct["schemes"]
    assert {module["name"]: module["scheme"] for module in quark["modules"]} == {
        module["name"]: module["scheme"] for module in ct["modules"]
    }
    assert [item["weight_scale"]["shape"] for item in quark["modules"][:1]] == [[64]]
    assert [item["weight_scale"]["shape"] for item in ct["modules"][:1]] == [[64, 1]]


def test_a_manifest_says_where_the_bytes_are() -> None:
    checkpoint = api.open(REAL / "llama" / "llmcompressor-dynamic-sharded")
    for module in manifest(checkpoint)["modules"]:
        weight = module["weight"]
        stored = checkpoint.container.source.read(weight["shard"], weight["start"], weight["nbytes"])
        assert stored == checkpoint.container.read(checkpoint.modules[module["name"]].weight)
