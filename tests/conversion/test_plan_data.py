"""A plan is data: it goes to JSON and back, to other processes and executors, and is for its own source only."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest

import ckptkit
from ckptkit.checks import schema
from ckptkit.conversion.plan import Plan
from ckptkit.errors import ConversionRefused
from tests.damage import REAL, load
from tests.raw import RawTensor

FIXTURES = [
    ("llama/quark-fp8-kv", "ct", None),
    ("phi3/quark-fp8-kv", "ct", None),
    ("llama/quark-ptpc-sharded", "ct", None),
    ("llama/llmcompressor-fp8-kv", "quark", "fp8"),
]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def with_computed_scales(folder: Path) -> Path:
    """A Quark export whose E8M0 scales have to be widened for compressed-tensors: its plan computes values."""
    bent = load("llama/quark-fp8")
    for name, tensor in list(bent.tensors.items()):
        if name.endswith("weight_scale"):
            bent.tensors[name] = RawTensor("F8_E8M0", tensor.shape, b"\x7a")
    return bent.write(folder)


@pytest.mark.parametrize(("fixture", "to", "mode"), FIXTURES)
def test_a_plan_goes_to_json_and_back(fixture: str, to: str, mode: str | None) -> None:
    plan = ckptkit.plan(REAL / fixture, to=to, mode=mode)
    document = json.loads(json.dumps(plan.to_json()))
    assert schema.faults("plan", document, file="plan") == []
    again = Plan.from_json(document)
    assert again == plan and again.to_json() == plan.to_json()
    assert pickle.loads(pickle.dumps(plan)) == plan
    assert len(document["jobs"]) == plan.cost.files


@pytest.mark.parametrize("computed", [False, True])
def test_another_process_writes_the_same_bytes(computed: bool, tmp_path: Path) -> None:
    source = with_computed_scales(tmp_path / "source") if computed else REAL / "llama/quark-fp8-kv"
    plan = ckptkit.plan(source, to="ct")
    assert bool(plan.cost.computed) is computed
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(plan.to_json()), encoding="utf-8")
    command = [sys.executable, "-m", "ckptkit", "convert", "--plan", file, source, tmp_path / "there", "--json"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "jobs" not in json.loads(result.stdout)["plan"]
    ckptkit.convert(source, tmp_path / "here", to="ct")
    assert contents(tmp_path / "there") == contents(tmp_path / "here")


@pytest.mark.parametrize("pool", [ThreadPoolExecutor, ProcessPoolExecutor])
def test_any_executor_carries_it_out(pool: type[Executor], tmp_path: Path) -> None:
    source = with_computed_scales(tmp_path / "source")
    with pool(2) as executor:
        ckptkit.convert(source, tmp_path / "one", to="ct", executor=executor)
    ckptkit.convert(source, tmp_path / "two", to="ct", jobs=1)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def longer(folder: Path) -> None:
    (folder / "generation_config.json").write_text('{"a": "longer than it was"}', encoding="utf-8")


def added(folder: Path) -> None:
    (folder / "new.txt").write_text("new", encoding="utf-8")


def removed(folder: Path) -> None:
    (folder / "generation_config.json").unlink()


def reconfigured(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(path.read_text(encoding="utf-8").replace("true", "null"), encoding="utf-8")


def renamed_tensor(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(
        path.read_bytes().replace(b"layers.0.mlp.up_proj.weight_scale", b"layers.0.mlp.up_proj.weight_scala")
    )


@pytest.mark.parametrize("change", [longer, added, removed, reconfigured, renamed_tensor])
def test_a_plan_is_for_its_own_source(change: object, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(REAL / "llama/quark-ptpc", source)
    plan = ckptkit.plan(source, to="ct")
    assert callable(change)
    change(source)
    with pytest.raises(ConversionRefused, match="has changed since the plan was made") as error:
        ckptkit.execute(plan, source, tmp_path / "out")
    assert {fault.kind for fault in error.value.faults} == {"source-changed"}
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("start", [1 << 63, (1 << 63) - 64, -1])
def test_a_plan_whose_bytes_no_file_has(start: int) -> None:
    """A file's offsets are 63 bits wide: what lies beyond would end a worker with an error of Python's."""
    document = ckptkit.plan(REAL / "llama/quark-ptpc", to="ct").to_json()
    tensor = document["jobs"][0]["tensors"][0]
    tensor["inputs"][0] = {**tensor["inputs"][0], "start": start}
    with pytest.raises(ConversionRefused, match="the plan cannot be read"):
        Plan.from_json(json.loads(json.dumps(document)))


@pytest.mark.parametrize("document", [{}, {"jobs": 3}, []])
def test_what_is_no_plan(document: object) -> None:
    with pytest.raises(ConversionRefused, match="the plan cannot be read"):
        Plan.from_json(document)  # type: ignore[arg-type]
