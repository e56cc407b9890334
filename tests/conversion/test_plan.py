"""Plans: what they cost, what they refuse of a writer, and round trips of made-up checkpoints by property."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ckptkit
from ckptkit.checks import runner
from ckptkit.conversion.plan import CostKind, Plan
from ckptkit.conversion.planner import make_plan
from ckptkit.conversion.request import ConversionRequest
from ckptkit.errors import ConversionRefused
from ckptkit.formats import registry
from ckptkit.formats.base import Draft, Format, WriteOptions, modes, written_dialect
from ckptkit.formats.compressed_tensors import CompressedTensors
from ckptkit.model.checkpoint import Checkpoint
from ckptkit.operations.outputs import computed
from ckptkit.storage.container import open_container
from ckptkit.storage.output import OutputTensor
from ckptkit.storage.source import LocalSource
from tests.damage import REAL, load, off_boundary, tensors_of
from tests.formats.synthetic import GROUPS, args
from tests.raw import RawTensor, checkpoint_files, write_files
from tests.traps.common import convert


class Careless(CompressedTensors):
    """A writer that spoils its own draft in one way."""

    def __init__(self, **changes: Any) -> None:
        self.changes = changes

    def write(self, checkpoint: Checkpoint, options: WriteOptions) -> Draft:
        draft = super().write(checkpoint, options)
        block = {**(draft.quantization_config or {}), **self.changes.get("block", {})}
        tensors = self.changes.get("tensors", lambda found: found)(draft.tensors)
        return replace(draft, tensors=tuple(tensors), quantization_config=block)


def plan_with(target: Format, fixture: str) -> Plan:
    context = runner.read_context(open_container(LocalSource(REAL / fixture)))
    return make_plan(context, ConversionRequest(target=target))


@pytest.mark.parametrize(
    ("fixture", "changes", "kinds"),
    [
        ("llama/quark-ptpc", {"tensors": lambda tensors: tensors[1:]}, {"tensor-without-fate"}),
        ("llama/quark-ptpc", {"tensors": lambda t: [t[0]._replace(name=t[1].name), *t[1:]]}, {"name-collision"}),
        ("llama/quark-ptpc", {"block": {"ignore": []}}, {"skip-list"}),
        ("llama/quark-ptpc", {"block": {"ignore": ["lm_head", "re:.*up_proj"]}}, {"scheme-changed"}),
        ("llama/quark-ptpc-kv", {"block": {"kv_cache_scheme": None}}, {"kv-scheme-changed"}),
    ],
)
def test_a_careless_writer_is_refused(fixture: str, changes: dict[str, Any], kinds: set[str]) -> None:
    assert plan_with(Careless(), fixture).cost.kind is CostKind.HEADER_ONLY
    with pytest.raises(ConversionRefused) as error:
        plan_with(Careless(**changes), fixture)
    assert kinds <= {fault.kind for fault in error.value.faults}


def test_a_rounding_cast_is_refused() -> None:
    def retype(tensors: tuple[OutputTensor, ...]) -> list[OutputTensor]:
        return [tensor._replace(dtype="F32") if tensor.name.endswith("weight_scale") else tensor for tensor in tensors]

    def cast(tensors: tuple[OutputTensor, ...]) -> list[OutputTensor]:
        return [
            computed(tensor.name, "cast", tensor.inputs, {"dtype": "BF16"}, shape=tensor.shape)
            if tensor.name.endswith("weight_scale")
            else tensor
            for tensor in tensors
        ]

    with pytest.raises(ConversionRefused) as error:
        plan_with(Careless(tensors=retype), "llama/quark-ptpc")
    assert {fault.kind for fault in error.value.faults} == {"operation"}
    with pytest.raises(ConversionRefused) as error:
        plan_with(Careless(tensors=cast), "llama/quark-ptpc-file2file")
    assert {fault.kind for fault in error.value.faults} == {"loss"}


def test_a_plan_in_json() -> None:
    plan = ckptkit.plan(REAL / "llama/quark-fp8-kv", to="ct")
    document = json.loads(json.dumps(plan.to_json()))
    assert document["verdict"] == "lossless"
    assert document["cost"]["kind"] == "header-only" and document["cost"]["bytes_computed"] == 0
    renamed = [step for step in document["steps"] if "rename" in step["operations"]]
    assert {(step["source"]["name"], step["target"]["name"], step["count"]) for step in renamed} == {
        ("model.layers.*.self_attn.k_proj.output_scale", "model.layers.*.self_attn.k_scale", 2),
        ("model.layers.*.self_attn.v_proj.output_scale", "model.layers.*.self_attn.v_scale", 2),
    }
    assert all(step["reason"] for step in document["steps"])
    assert document["tensors_kept"] + sum(step["count"] for step in document["steps"]) == len(
        tensors_of(REAL / "llama/quark-fp8-kv")
    )


@pytest.mark.parametrize("fixture", ["llama/quark-fp8-kv", "phi3/quark-fp8-kv", "llama/quark-ptpc-sharded"])
def test_the_price_is_what_is_written(fixture: str, tmp_path: Path) -> None:
    plan = convert(REAL / fixture, tmp_path / "out", to="ct").plan
    assert plan.cost.total == sum(path.stat().st_size for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert plan.cost.files == len(list((tmp_path / "out").iterdir()))


def test_wide_elements_stay_aligned_when_tensors_are_dropped(tmp_path: Path) -> None:
    """Two single bytes before everything else: one is dropped, and all that follows would start at odd offsets."""
    bent = load("llama/quark-ptpc")
    odd = {
        "model.layers.0.mlp.up_proj.input_scale": RawTensor("F8_E8M0", (1,), b"\x7f"),
        "model.layers.0.flag": RawTensor("U8", (1,), b"\x01"),
    }
    tensors = {**odd, **bent.tensors}
    bent.tensors.clear()
    bent.tensors.update(tensors)
    source = bent.write(tmp_path / "source")
    assert off_boundary(source) == []
    convert(source, tmp_path / "out", to="ct")
    assert off_boundary(tmp_path / "out") == []
    assert set(tensors) - set(tensors_of(tmp_path / "out")) == {"model.layers.0.mlp.up_proj.input_scale"}


_NAMES = st.lists(
    st.sampled_from(["up_proj", "q_proj", "größe", "層", "a b", "x-y", "😀", "k", "gate"]), min_size=1, unique=True
)


@st.composite
def made_up(draw: st.DrawFn) -> tuple[dict[str, dict[str, RawTensor]], dict[str, Any]]:
    """A compressed-tensors checkpoint: ragged blocks, scales in shards of their own, odd names, empty tensors."""
    shards: dict[str, dict[str, RawTensor]] = {"a.safetensors": {}, "b.safetensors": {}}

    def put(name: str, tensor: RawTensor) -> None:
        shards[draw(st.sampled_from(sorted(shards)))][name] = tensor

    def filled(dtype: str, size: int, *shape: int) -> RawTensor:
        count = size
        for extent in shape:
            count *= extent
        element = draw(st.sampled_from([b"\x3f", b"\x40", b"\x3c"])) * size
        return RawTensor(dtype, shape, (element * count)[:count])

    kinds: Mapping[str, Mapping[str, Any]] = {
        **GROUPS,
        "block": {
            "weights": args("block", block_structure=[128, 128]),
            "input_activations": args("group", dynamic=True, group_size=128),
        },
    }
    used: dict[str, list[str]] = {}
    for number, last in enumerate(draw(_NAMES)):
        module = f"model.layers.{number % 3}.{last}"
        kind = draw(st.sampled_from(sorted(kinds)))
        rows, columns = draw(st.sampled_from([(1, 1), (64, 130), (129, 16), (3, 5), (128, 256)]))
        used.setdefault(kind, []).append(module)
        put(f"{module}.weight", filled("F8_E4M3", 1, rows, columns))
        dtype, size = draw(st.sampled_from([("BF16", 2), ("F32", 4)]))
        shape = {"channel": (rows, 1), "block": (-(-rows // 128), -(-columns // 128))}.get(kind, (1,))
        put(f"{module}.weight_scale", filled(dtype, size, *shape))
        if kind == "tensor":
            put(f"{module}.input_scale", filled(dtype, size, 1))
    put("model.norm.weight", filled("BF16", 2, 0))
    put("model.embed_tokens.weight", filled("BF16", 2, 7, 3))
    groups = {f"group {kind}": {**kinds[kind], "targets": modules} for kind, modules in used.items()}
    block = {
        "quant_method": "compressed-tensors",
        "format": "float-quantized",
        "quantization_status": "compressed",
        "config_groups": groups,
        "ignore": ["lm_head"],
    }
    return {name: tensors for name, tensors in shards.items() if tensors}, {"quantization_config": block}


@settings(max_examples=40)
@given(made_up())
def test_made_up_checkpoints_round_trip(files: tuple[dict[str, dict[str, RawTensor]], dict[str, Any]]) -> None:
    with TemporaryDirectory() as folder:
        source = write_files(Path(folder) / "source", checkpoint_files(*files))
        convert(source, Path(folder) / "quark", to="quark")
        convert(Path(folder) / "quark", Path(folder) / "back", to="ct")
        convert(source, Path(folder) / "again", to="ct")
        assert ckptkit.diff(source, Path(folder) / "quark").same
        assert tensors_of(Path(folder) / "back") == tensors_of(source) == tensors_of(Path(folder) / "again")


def test_the_registry_formats_have_capabilities() -> None:
    for form in registry.BUILT_IN:
        for mode in modes(form):
            _, found = written_dialect(form, mode)
            assert bool(found.schemes) == bool(found.scale_dtypes) == (form.weight_dtype is None)
            assert bool(found.kv_roles) == bool(found.kv_granularities)


@pytest.mark.parametrize(
    ("fixture", "to"), [("llama-block-ragged/llmcompressor-block", "quark"), ("llama-block-ragged/quark-block", "ct")]
)
def test_errors_that_stay_are_said(fixture: str, to: str, tmp_path: Path) -> None:
    result = convert(REAL / fixture, tmp_path / "out", to=to)
    errors = [finding for finding in ckptkit.validate(tmp_path / "out").findings if finding.severity.value == "error"]
    (note,) = [note for note in result.plan.notes if "cannot fix" in note]
    assert note.startswith(f"{len(errors)} errors stay in the result")
    assert "CK801 merged-member-cuts-block" in note


def test_a_sound_source_brings_no_such_note() -> None:
    assert not any("cannot fix" in note for note in ckptkit.plan(REAL / "llama" / "quark-ptpc", to="ct").notes)


@pytest.mark.parametrize(("fixture", "key"), [("llmcompressor-dynamic", "ignore"), ("quark-ptpc", "exclude")])
def test_a_pattern_that_may_take_forever_is_refused(fixture: str, key: str, tmp_path: Path) -> None:
    """In either format: Quark takes it for a shell pattern, but vLLM runs it."""
    source = load(f"llama/{fixture}")
    source.block[key].append("re:([a-z_.0-9]+)+!")
    folder = source.write(tmp_path / "source")
    with pytest.raises(ConversionRefused) as error:
        ckptkit.plan(folder, to="ct" if key == "exclude" else "quark")
    (fault,) = error.value.faults
    assert fault.kind == "CK631" and "([a-z_.0-9]+)+!" in (fault.found or "")
