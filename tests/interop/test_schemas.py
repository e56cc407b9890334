"""Our config schemas against the real libraries' own classes.

Hypothesis makes the configs, the classes judge them. Where a config has the right types, schema and class must come to
the same verdict; where one value has been replaced by garbage, whatever the class refuses the schema refuses. (Classes
let some garbage pass, because they look at some keys never or late.) What a class writes back must fit as well.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import SearchStrategy

import ckptkit
from ckptkit.checks import schema
from ckptkit.errors import ConversionRefused
from ckptkit.storage.payload import Inline
from tests.conversion.test_cells import COLUMNS, SOURCES
from tests.damage import load

from ..schemas import strategies
from .runner import Drivers

EXAMPLES = 200
STRATEGIES: dict[str, Callable[..., SearchStrategy[Any]]] = {
    "compressed-tensors": strategies.compressed_tensors,
    "quark": strategies.quark,
}


@pytest.fixture(scope="module")
def drivers() -> Iterator[Drivers]:
    with Drivers() as started:
        yield started


def sample(strategy: SearchStrategy[dict[str, Any]]) -> list[dict[str, Any]]:
    """Many examples at once: the classes take seconds to import and answer a list in milliseconds."""
    found: list[dict[str, Any]] = []

    @settings(
        max_examples=EXAMPLES,
        database=None,
        derandomize=True,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(config: dict[str, Any]) -> None:
        found.append(json.loads(json.dumps(config)))

    collect()
    return found


def ask(
    drivers: Drivers, library: str, configs: list[dict[str, Any]], folder: Path, environment: str = "quark"
) -> list[dict[str, Any]]:
    folder.mkdir()
    (folder / "configs.json").write_text(json.dumps(configs), encoding="utf-8")
    (answer,) = drivers.run(environment, "config_classes", [folder], library=library)
    assert answer["error"] is None
    answers: list[dict[str, Any]] = answer["answers"]
    return answers


@pytest.mark.parametrize("library", sorted(STRATEGIES))
def test_schema_and_class_agree(drivers: Drivers, library: str, tmp_path: Path) -> None:
    configs = [*sample(STRATEGIES[library](valid=True)), *sample(STRATEGIES[library](valid=False))]
    answers = ask(drivers, library, configs, tmp_path / "plausible")
    refused = [answer["refused"] for answer in answers]
    disagreements = [
        (config, reason, [str(fault) for fault in faults])
        for config, reason in zip(configs, refused, strict=True)
        if bool(faults := schema.config_faults(config, library)) is not (reason is not None)
    ]
    assert disagreements == []
    assert EXAMPLES // 10 < sum(reason is not None for reason in refused) < len(configs) - EXAMPLES // 10


@pytest.mark.parametrize("library", sorted(STRATEGIES))
def test_what_the_class_writes_fits(drivers: Drivers, library: str, tmp_path: Path) -> None:
    configs = sample(STRATEGIES[library](valid=True))
    answers = ask(drivers, library, configs, tmp_path / "valid")
    assert [answer["refused"] for answer in answers if answer["refused"]] == []
    misfits = [
        (answer["written"], [str(fault) for fault in faults])
        for answer in answers
        if (faults := schema.config_faults(answer["written"], library))
    ]
    assert misfits == []


@pytest.mark.parametrize("library", sorted(STRATEGIES))
def test_what_the_class_refuses_the_schema_refuses(drivers: Drivers, library: str, tmp_path: Path) -> None:
    configs = sample(strategies.damaged(STRATEGIES[library](valid=True)))
    answers = ask(drivers, library, configs, tmp_path / "damaged")
    passed = [
        (config, answer["refused"])
        for config, answer in zip(configs, answers, strict=True)
        if answer["refused"] and not schema.config_faults(config, library)
    ]
    assert passed == []
    assert sum(answer["refused"] is not None for answer in answers) > EXAMPLES // 4


def _written(tmp_path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every cell of the matrix that is done: the column's name, and the quantization config that would be written."""
    for number, source in enumerate(SOURCES):
        draft = load(source.fixture)
        source.change(draft)
        folder = draft.write(tmp_path / f"source-{number}")
        for name, dialect, _ in COLUMNS:
            try:
                plan = ckptkit.plan(folder, to=dialect.format, mode=dialect.mode, allow_lossy=True)
            except ConversionRefused:
                continue
            (config,) = (file.payload for file in plan.output.files if file.file == "config.json")
            if isinstance(config, Inline):
                yield name, json.loads(config.data)["quantization_config"]


#: Library -> its environment, and what it says of the columns that it does not take, or takes in part.
CLASSES: dict[str, tuple[str, dict[str, str]]] = {
    "vllm": ("vllm", {}),
    "sglang": (
        "sglang",
        {"fbgemm-fp8": "Invalid quantization method: fbgemm_fp8", "modelopt": "only supports regular FP8 quantization"},
    ),
    "transformers": (
        "llmcompressor",
        {"modelopt": "Unknown quantization type", "quark": "Please install the latest version of Quark"},
    ),
}


@pytest.mark.parametrize("library", sorted(CLASSES))
def test_what_is_written_is_taken_by_the_engines_classes(library: str, drivers: Drivers, tmp_path: Path) -> None:
    environment, exceptions = CLASSES[library]
    written = list(_written(tmp_path))
    answers = ask(drivers, library, [config for _, config in written], tmp_path / "written", environment)
    outcomes = [(column, answer["refused"]) for (column, _), answer in zip(written, answers, strict=True)]
    assert {column for column, _ in outcomes} == {name for name, _, _ in COLUMNS}
    refused = [(column, said) for column, said in outcomes if said]
    assert [(column, said) for column, said in refused if exceptions.get(column, "\0") not in said] == []
    assert {column for column, _ in refused} == exceptions.keys()
