"""Two folders with the same tensors: what else makes another model, and what does not."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

import ckptkit
from ckptkit.checks.registry import Level
from ckptkit.conversion.comparison import Comparison
from ckptkit.conversion.diff import compare
from ckptkit.conversion.diff_files import config_differences
from ckptkit.errors import FormatError
from tests.damage import CONFIG, CT_KV, REAL, load
from tests.raw import RawTensor

BASE = "llama/quark-ptpc"


def with_config(folder: Path, **keys: Any) -> Comparison:
    """The base against itself with other keys in config.json; None removes a key."""
    changed = load(BASE)
    changed.config.update(keys)
    changed.config = {key: value for key, value in changed.config.items() if value is not None}
    return ckptkit.diff(REAL / BASE, changed.write(folder / "changed"), level=Level.HEADERS)


@pytest.mark.parametrize(
    ("key", "value", "path"),
    [
        ("num_attention_heads", 2, "num_attention_heads"),
        ("hidden_act", "gelu", "hidden_act"),
        ("rms_norm_eps", 0.5, "rms_norm_eps"),
        ("rope_parameters", {"rope_type": "default", "rope_theta": 500000.0}, "rope"),
        ("rope_parameters", {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0}, "rope"),
        ("dtype", "float16", "dtype"),
        ("attention_bias", True, "attention_bias"),
    ],
)
def test_a_key_of_the_model_makes_another_model(key: str, value: Any, path: str, tmp_path: Path) -> None:
    comparison = with_config(tmp_path, **{key: value})
    assert not comparison.same
    assert [(found.subject, found.aspect) for found in comparison.differences] == [(path, CONFIG)]


@pytest.mark.parametrize(
    "keys",
    [
        {"transformers_version": "4.40.0", "_name_or_path": "/somewhere", "use_cache": False},
        {"dtype": None, "torch_dtype": "bfloat16"},
        {"dtype": "torch.bfloat16"},
        {"dtype": None},
        {"rope_parameters": None, "rope_theta": 10000.0},
        {"rope_parameters": None, "rope_theta": 10000.0, "rope_scaling": None},
        {"attention_bias": None, "mlp_bias": None},
        {"attention_dropout": 0.1, "initializer_range": 1.0},
        {"sliding_window": False},
    ],
)
def test_what_tools_rewrite_does_not_count(keys: dict[str, Any], tmp_path: Path) -> None:
    assert with_config(tmp_path, **keys).same


def test_a_renamed_key_is_the_same_key() -> None:
    assert not list(config_differences({"num_experts": 8}, {"num_local_experts": 8}))
    assert list(config_differences({"num_experts": 8}, {"num_local_experts": 4}))


def test_rope_that_cannot_be_compared_is_a_note(tmp_path: Path) -> None:
    kinds = {"full_attention": {"rope_theta": 1e6}, "sliding_attention": {"rope_theta": 1e4}}
    comparison = with_config(tmp_path, rope_parameters=kinds)
    assert comparison.same
    assert any("rope is spelt too differently" in note for note in comparison.notes)


def test_what_only_one_side_says_is_a_note(tmp_path: Path) -> None:
    comparison = with_config(tmp_path, num_hidden_layers=None, layer_types=["full_attention"] * 2, qk_head_dim=7)
    assert comparison.same
    assert comparison.notes == (
        "config.json: only the left one says num_hidden_layers = 2",
        "config.json: only the right one says layer_types = ['full_attention', 'full_attention'], qk_head_dim = 7",
    )


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (
            {"hidden_size": 8, "rope_theta": 1e6, "vision_config": {"depth": 2}},
            {
                "text_config": {"hidden_size": 8, "rope_parameters": {"rope_theta": 1e6, "rope_type": "default"}},
                "vision_config": {"depth": 2},
            },
        ),
        (
            {"rope_theta": 1e4, "rope_scaling": {"type": "su", "factor": 2}, "partial_rotary_factor": 0.5},
            {
                "rope_parameters": {
                    "rope_type": "longrope",
                    "rope_theta": 1e4,
                    "factor": 2,
                    "partial_rotary_factor": 0.5,
                }
            },
        ),
        (
            {"rope_scaling": {"type": "mrope", "mrope_section": [1, 2]}},
            {"rope_scaling": {"rope_type": "default", "mrope_section": [1, 2]}},
        ),
        ({"use_sliding_window": False, "sliding_window": 4096}, {"use_sliding_window": False, "sliding_window": 8}),
        ({"logit_scale": float("nan")}, {"logit_scale": float("nan")}),
    ],
)
def test_spellings_of_other_releases(left: dict[str, Any], right: dict[str, Any]) -> None:
    assert list(config_differences(left, right)) == []


def test_a_language_model_differs_wherever_its_config_is() -> None:
    flat, nested = {"hidden_size": 8}, {"text_config": {"hidden_size": 16}}
    assert [found.path for found in config_differences(flat, nested)] == ["hidden_size"]
    assert list(config_differences({"sliding_window": 8}, {"sliding_window": 16}))


def test_another_kv_cache_scheme_makes_another_model(tmp_path: Path) -> None:
    """Nothing but the config says that the scales hold for each head, or are computed anew each time."""
    changed = load(CT_KV)
    changed.block["kv_cache_scheme"]["strategy"] = "attn_head"
    comparison = ckptkit.diff(REAL / CT_KV, changed.write(tmp_path / "changed"), level=Level.HEADERS)
    found = [(item.subject, item.aspect, item.left, item.right) for item in comparison.differences]
    assert found == [("KV cache", "scheme", "static per-tensor", "static per-head")]


def test_text_files_are_notes(tmp_path: Path) -> None:
    changed = load(BASE)
    changed.config["eos_token_id"] = 5
    folder = changed.write(tmp_path / "changed")
    tokenizer = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    (folder / "tokenizer.json").write_text(json.dumps({**tokenizer, "version": "9"}), "utf-8")
    written = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    (folder / "tokenizer_config.json").write_text(json.dumps({**written, "is_local": True}, indent=1), "utf-8")
    (folder / "generation_config.json").unlink()
    (folder / "chat_template.jinja").write_text("{{ messages }}", "utf-8")
    comparison = ckptkit.diff(REAL / BASE, folder)
    assert comparison.same
    assert comparison.to_json()["notes"] == [
        "config.json: eos_token_id differs: 2 and 5",
        "chat_template.jinja is in the right folder only",
        "generation_config.json is in the left folder only",
        "tokenizer.json differs",
    ]


def test_a_stored_tensor_outside_the_model_is_a_difference(tmp_path: Path) -> None:
    changed = load(BASE)
    changed.tensors["junk.weight_scale"] = RawTensor("F32", (), bytes(4))
    folder = changed.write(tmp_path / "left")
    (difference,) = ckptkit.diff(folder, REAL / BASE).differences
    assert (difference.subject, difference.left, difference.right) == ("junk.weight_scale", "present", "absent")
    changed.tensors["junk.weight_scale"] = RawTensor("F32", (), b"\0\0\x80\x3f")
    (difference,) = ckptkit.diff(folder, changed.write(tmp_path / "right")).differences
    assert difference.aspect == "values, the first at element 0"
    assert ckptkit.diff(folder, folder).same


@pytest.mark.parametrize("family", sorted(path.name for path in REAL.iterdir() if path.is_dir()))
def test_real_exports_of_one_model_differ_in_no_config(family: str) -> None:
    """Quark, llm-compressor and their tools in between wrote these from the same weights."""
    read = []
    for folder in sorted((REAL / family).iterdir()):
        try:
            read.append(ckptkit.open(folder))
        except FormatError:
            continue
    for left, right in combinations(read, 2):
        comparison = compare(left, right, level=Level.HEADERS)
        assert not [found for found in comparison.differences if found.aspect == CONFIG]
        # What transformers writes for expert parallelism names the modules of its own quantization.
        assert all(note.startswith("tokenizer") or "base_model_ep_plan" in note for note in comparison.notes)
