"""The commands of ``ckptkit serve`` against the engines' own parsers of command lines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ckptkit.checks import runner
from ckptkit.engines.registry import by_name
from ckptkit.storage.container import open_container
from ckptkit.storage.source import LocalSource
from ckptkit.views.serving import serving
from tests.damage import load

from .runner import Drivers

CACHES = {"vllm": "fp8", "sglang": "fp8_e4m3"}


@pytest.fixture(scope="module")
def drivers() -> Iterator[Drivers]:
    with Drivers() as started:
        yield started


@pytest.mark.parametrize("engine", sorted(CACHES))
def test_the_engine_understands_every_option(engine: str, drivers: Drivers, tmp_path: Path) -> None:
    draft = load("llama/quark-fp8-kv")
    draft.config["auto_map"] = {"AutoModelForCausalLM": "modeling.Strange"}
    draft.config["architectures"] = ["StrangeForCausalLM"]
    context = runner.read_context(open_container(LocalSource(draft.write(tmp_path / "source"))))
    sound = replace(runner.run(context, runner.Level.HEADERS, ()), findings=())
    found = serving(context, sound, by_name(engine), "hf://org/model@v1", 2)
    launch = by_name(engine).launch
    assert launch is not None and found.works
    words = [*launch.command[2:], *found.command[len(launch.command) :], *launch.eager]
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "words.json").write_text(json.dumps(words), encoding="utf-8")
    (answer,) = drivers.run(engine, "serve_arguments", [tmp_path / "words"], engine=engine)
    assert answer["error"] is None
    assert answer["model"] == "org/model" and answer["kv_cache"] == CACHES[engine]
    assert (answer["devices"], answer["remote_code"], answer["revision"]) == (2, True, "v1")
    assert answer["eager"] is True
