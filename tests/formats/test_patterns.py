"""The patterns that writers make: no module may be read with another module's scheme, by any real reader.

Random modules with random schemes, names that are parts of each other included, are written as a config; then
every reader that serves or reloads such a checkpoint must find each module's own spec.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ckptkit.errors import ConversionRefused
from ckptkit.formats import registry
from ckptkit.formats.base import WriteOptions
from ckptkit.formats.compressed_tensors import config as ct_config
from ckptkit.formats.quark import config as quark_config
from ckptkit.model import names
from tests.formats import readers
from tests.formats.synthetic import files, read

_PREFIXES = st.sampled_from(
    [
        "model.layers.0",
        "model.layers.1",
        "model.layers.10",
        "model.language_model.layers.0",
        "vision.layers.1",
        "layers",
    ]
)
_PARENTS = st.sampled_from(
    ["", ".mlp", ".self_attn", ".mlp.experts.0", ".mlp.experts.1", ".mlp.experts.10", ".mlp.shared_expert", ".block.1"]
)
_LASTS = st.sampled_from(
    ["q_proj", "k_proj", "v_proj", "kv_proj", "gate", "gate_proj", "gate_up_proj", "up_proj", "up_proj_extra", "0"]
)
_TOP = st.sampled_from(["lm_head", "score", "gate", "model.score.lm_head"])
_MODULES = st.one_of(st.builds("{}{}.{}".format, _PREFIXES, _PARENTS, _LASTS), _TOP)
_SCHEMES = st.sampled_from(["channel", "channel", "tensor", "loose", None])
ASSIGNMENTS = st.dictionaries(_MODULES, _SCHEMES, min_size=2, max_size=24).filter(lambda found: any(found.values()))

Reader = Callable[[readers.Block, str], readers.Spec]


def written(target: str, schemes: dict[str, str | None], *, kv: bool, q: bool) -> dict[str, Any]:
    checkpoint = read(files(schemes, kv=kv, q=q))
    assert {name: str(module.scheme) for name, module in checkpoint.modules.items()}.keys() == {
        name for name, scheme in schemes.items() if scheme
    }
    return dict(registry.by_name(target).write(checkpoint, WriteOptions()).quantization_config)


def kind(spec: readers.Spec) -> str | None:
    """Which of the synthetic schemes a spec of either format stands for."""
    if spec is None:
        return None
    if "weights" in spec:
        if spec["weights"]["strategy"] == "channel":
            return "channel"
        return "loose" if spec["input_activations"]["dynamic"] else "tensor"
    if spec["weight"] is None:
        return None
    if spec["weight"]["qscheme"] == "per_channel":
        return "channel"
    return "loose" if spec["input_tensors"]["is_dynamic"] else "tensor"


@pytest.mark.parametrize("reader", [readers.compressed_tensors, readers.compressed_tensors_in_vllm])
@given(schemes=ASSIGNMENTS)
def test_compressed_tensors_patterns(reader: Reader, schemes: dict[str, str | None]) -> None:
    block = written("ct", schemes, kv=False, q=False)
    assert {module: kind(reader(block, module)) for module in schemes} == schemes
    ours = ct_config.parse(block, "test").scheme_of
    assert [module for module in schemes if ours(module) is None] == [m for m, scheme in schemes.items() if not scheme]


def last_parts(modules: Iterable[str]) -> set[str]:
    """Of the modules of the language model: another tower's keys enter no cache."""
    return {module.rpartition(".")[2] for module in modules if not module.startswith("vision.")}


@pytest.mark.parametrize("reader", [readers.quark_quantizing, readers.quark_reloading, readers.quark_in_vllm])
@example(
    schemes={f"layers.{n}_proj": v for n, v in (("q", "tensor"), ("v", None), ("kv", "channel"))}, kv=True, q=False
)
@example(
    schemes={
        "layers.0.q_proj": "loose",
        "layers.0.v_proj": None,
        "layers.0.kv_proj": "channel",
        "layers.1.kv_proj": "tensor",
    },
    kv=True,
    q=False,
)
@given(schemes=ASSIGNMENTS, kv=st.booleans(), q=st.booleans())
def test_quark_patterns(reader: Reader, schemes: dict[str, str | None], kv: bool, q: bool) -> None:
    try:
        block = written("quark", schemes, kv=kv, q=q)
    except ConversionRefused as error:
        lasts = last_parts(schemes)
        expected = {"no-kv-projection"} if kv and not lasts & {"k_proj", "v_proj"} else {"query-scale-mixed"}
        assert {fault.kind for fault in error.faults} == expected
        return
    assert {module: kind(reader(block, module)) for module in schemes} == schemes
    ours = quark_config.parse_native(block, "test").scheme_of
    assert [module for module in schemes if ours(module) is None] == [m for m, scheme in schemes.items() if not scheme]
    _check_outputs(block, set(schemes), kv=kv)


def _check_outputs(block: dict[str, Any], modules: set[str], *, kv: bool) -> None:
    """What vLLM demands of the entries that ``kv_cache_group`` names, and that nothing else has outputs."""
    lasts = {"k_proj", "v_proj"} & last_parts(modules) if kv else set()
    for key, spec in block["layer_quant_config"].items():
        last = key.rpartition(".")[2].lstrip("*")
        assert (spec["output_tensors"] is not None) == (last in lasts or (last == "q_proj" and key == "*q_proj")), key
    group = block["export"]["kv_cache_group"]
    assert [entry.rpartition(".")[2].lstrip("*") for entry in group] == sorted(lasts)
    towers = {module for module in modules if module.startswith("vision.")}
    for entry in group:
        last = entry.rpartition(".")[2].lstrip("*")
        assert all(fnmatchcase(m, entry) for m in modules - towers if m.rpartition(".")[2] == last)
        assert entry in (f"*{last}", f"*.{last}") or not any(fnmatchcase(module, entry) for module in towers)


@given(schemes=ASSIGNMENTS)
def test_experts_are_found_under_their_owner(schemes: dict[str, str | None]) -> None:
    block = written("quark", schemes, kv=False, q=False)
    by_owner: dict[str, set[str | None]] = {}
    for module, scheme in schemes.items():
        owner = names.experts_owner(module)
        if owner is not None:
            by_owner.setdefault(owner, set()).add(scheme)
    for owner, used in by_owner.items():
        if len(used) == 1:
            assert kind(readers.quark_experts_in_vllm(block, owner)) in used


def test_short_patterns_where_they_are_unambiguous() -> None:
    layers = [f"model.layers.{layer}" for layer in range(12)]
    schemes: dict[str, str | None] = {
        f"{layer}.mlp.{part}_proj": "tensor" for layer in layers for part in ("up", "down")
    }
    schemes |= {f"{layer}.self_attn.q_proj": "channel" for layer in layers}
    schemes["model.layers.3.mlp.up_proj"] = None
    ct, quark = (written(target, schemes, kv=False, q=False) for target in ("ct", "quark"))
    assert ct["config_groups"]["group_1"]["targets"] == [r"re:(.*\.)?layers\.\d+\.self_attn\.q_proj$"]
    assert list(quark["layer_quant_config"]) == ["model.layers.*.self_attn.q_proj"]


def test_prefixes_may_be_renamed_by_engines() -> None:
    """vLLM calls ``model.language_model.layers`` ``language_model.model.layers``, in exact names only."""
    modules = [
        f"model.language_model.layers.{layer}.mlp.{part}" for layer in (0, 1) for part in ("up_proj", "down_proj")
    ]
    schemes: dict[str, str | None] = {module: "tensor" if "up" in module else "channel" for module in modules}
    schemes["model.visual.blocks.0.mlp.up_proj"] = None
    block = written("ct", schemes, kv=False, q=False)

    def rename(name: str) -> str:
        return name.replace("model.language_model.", "language_model.model.").replace("model.visual.", "visual.")

    block["ignore"] = [entry if entry.startswith("re:") else rename(entry) for entry in block["ignore"]]
    for module, scheme in schemes.items():
        assert kind(readers.compressed_tensors_in_vllm(block, rename(module))) == scheme


def test_a_prefix_is_kept_where_it_tells_modules_apart() -> None:
    schemes: dict[str, str | None] = {"model.layers.0.mlp.fc1": "tensor", "vision.layers.0.mlp.fc1": "channel"}
    groups = written("ct", schemes, kv=False, q=False)["config_groups"].values()
    assert [group["targets"] for group in groups] == [
        [r"re:^model\.layers\.\d+\.mlp\.fc1$"],
        [r"re:^vision\.layers\.\d+\.mlp\.fc1$"],
    ]


@pytest.mark.parametrize("target", ["ct", "quark"])
@pytest.mark.parametrize(
    ("schemes", "skipped"),
    [
        ({"a.b": "tensor"}, ["lm_head"]),
        ({"a.b": "tensor", "lm_head": None}, ["lm_head"]),
        ({"a.b": "tensor", "language_model.lm_head": None}, ["language_model.lm_head"]),
        ({"a.b": "tensor", "a.router": None}, ["a.router", "lm_head"]),
    ],
)
def test_the_head_is_skipped_where_it_is(target: str, schemes: dict[str, str | None], skipped: list[str]) -> None:
    block = written(target, schemes, kv=False, q=False)
    assert block["ignore" if target == "ct" else "exclude"] == skipped


def test_a_quantized_head_is_named_wherever_it_is() -> None:
    schemes: dict[str, str | None] = {"a.b": "tensor", "language_model.lm_head": "tensor"}
    block = written("ct", schemes, kv=False, q=False)
    assert block["config_groups"]["group_0"]["targets"] == ["Linear", "language_model.lm_head"]
    assert block["ignore"] == []
