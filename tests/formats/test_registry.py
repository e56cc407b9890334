"""Formats of third parties: a package that names one in an entry point is found; one that is broken is blamed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import ckptkit
from ckptkit import plugins
from ckptkit.errors import FormatError, UsageError
from ckptkit.formats import registry
from ckptkit.formats.base import Format
from tests.damage import CONFIG, REAL, load, tensors_of
from tests.traps.common import convert

#: A format of its own: compressed-tensors storage under another name.
MODULE = """
from dataclasses import replace

from ckptkit.formats import config_block
from ckptkit.formats.compressed_tensors import CompressedTensors
from ckptkit.formats.compressed_tensors.dialect import DIALECT


class Renamed(CompressedTensors):
    name = "renamed-tensors"
    aliases = ("rt",)
    dialects = (replace(DIALECT, format=name, name="only", key=name, mode="only", schema=None),)

    def dialect_of(self, container):
        located = config_block.locate(container.config)
        if located is None or config_block.quant_method(located.block) != self.name:
            return None
        return self.dialects[0]

    def write(self, checkpoint, options):
        draft = super().write(checkpoint, options)
        block = {**draft.quantization_config, "quant_method": self.name}
        return type(draft)(draft.tensors, draft.drops, block, draft.notes)


class Clash(CompressedTensors):
    pass


class Incomplete:
    name = "incomplete"


def explode():
    raise RuntimeError("no such luck")
"""

Install = Callable[[str], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Put a package with one entry point on the path, as pip would leave it."""
    site = tmp_path / "site"
    info = site / "their_formats-1.0.dist-info"

    def write(target: str) -> None:
        info.mkdir(parents=True)
        (site / "their_formats.py").write_text(MODULE, encoding="utf-8")
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-formats\nVersion: 1.0\n", encoding="utf-8")
        (info / "entry_points.txt").write_text(f"[ckptkit.formats]\ntheirs = {target}\n", encoding="utf-8")
        monkeypatch.syspath_prepend(str(site))
        forget()

    yield write
    sys.modules.pop("their_formats", None)
    forget()


def forget() -> None:
    """What is installed is looked up once in a process."""
    plugins._entries.cache_clear()
    registry.formats.cache_clear()


def test_a_third_partys_format_is_read_and_written(install: Install, tmp_path: Path) -> None:
    install("their_formats:Renamed")
    built_in = [form.name for form in registry.BUILT_IN]
    assert [form.name for form in registry.formats()] == [*built_in, "renamed-tensors"]
    assert registry.by_name("RT") is registry.by_name("renamed_tensors")
    source = REAL / "llama/quark-ptpc"
    convert(source, tmp_path / "theirs", to="rt")
    config = json.loads((tmp_path / "theirs" / CONFIG).read_text(encoding="utf-8"))
    assert config["quantization_config"]["quant_method"] == "renamed-tensors"
    found = registry.detect(ckptkit.open(tmp_path / "theirs").container)
    assert found is not None
    form, dialect = found
    assert (form.name, dialect.format, dialect.name) == ("renamed-tensors", "renamed-tensors", "only")
    convert(tmp_path / "theirs", tmp_path / "back", to="quark")
    assert tensors_of(tmp_path / "back") == tensors_of(source)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("their_formats:explode", "of their-formats cannot be loaded: RuntimeError: no such luck"),
        ("their_formats:absent", "of their-formats cannot be loaded: AttributeError"),
        ("not_installed:Format", "of their-formats cannot be loaded: ModuleNotFoundError"),
        ("their_formats:Incomplete", "of their-formats is not a ckptkit format"),
        ("their_formats:Clash", "takes a name that is in use: compressed-tensors, ct"),
    ],
)
def test_a_broken_one_is_blamed_by_name(target: str, message: str, install: Install) -> None:
    install(target)
    with pytest.raises(UsageError, match=message) as error:
        registry.by_name("theirs")
    assert error.value.help == "repair or uninstall their-formats"
    assert registry.by_name("ct").name == "compressed-tensors", "what is built in does not suffer"


def test_what_is_built_in() -> None:
    assert all(isinstance(form, Format) for form in registry.BUILT_IN)
    names = [name for form in registry.BUILT_IN for name in (form.name, *form.aliases)]
    assert sorted(names) == sorted(set(names))
    with pytest.raises(UsageError, match="unknown format 'gguf'") as error:
        registry.by_name("gguf")
    theirs = "fp8/deepseek/deepseek-fp8, modelopt/mo, fbgemm-fp8/fbgemm, mxfp8, mxfp4/gpt-oss, bf16, f16, f32"
    assert error.value.help == f"known formats: compressed-tensors/ct, quark, {theirs}"


@pytest.mark.parametrize(
    ("method", "found"),
    [
        ("awq", "not FP8"),
        ("new", "'new'"),
    ],
)
def test_formats_that_are_known_but_not_read(method: str, found: str, tmp_path: Path) -> None:
    bent = load("llama/quark-fp8")
    bent.config["quantization_config"] = {"quant_method": method}
    with pytest.raises(FormatError, match=found) as error:
        ckptkit.open(bent.write(tmp_path / "source"))
    assert error.value.help is not None and "compressed-tensors" in error.value.help


@pytest.mark.parametrize("spelling", ["compressed-tensors", "compressed_tensors", "Compressed-Tensors"])
def test_spellings_of_the_method(spelling: str, tmp_path: Path) -> None:
    bent = load("llama/llmcompressor-dynamic")
    bent.block["quant_method"] = spelling
    assert ckptkit.open(bent.write(tmp_path / "source")).format == "compressed-tensors"


def test_fp8_without_a_config(tmp_path: Path) -> None:
    bent = load("llama/quark-fp8")
    del bent.config["quantization_config"]
    with pytest.raises(FormatError) as error:
        ckptkit.open(bent.write(tmp_path / "source"))
    (fault,) = error.value.faults
    assert fault.kind == "config-no-quantization"


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(UsageError, match="no mode 'fp4'"):
        ckptkit.plan(REAL / "llama/quark-fp8", to="quark", mode="fp4")
