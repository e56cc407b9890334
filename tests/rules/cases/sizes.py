"""CK118, CK312, CK632, CK633: config.json's sizes against the tensors; the near misses are other models' ways."""

from __future__ import annotations

from typing import Any

from ckptkit.checks.registry import Level
from tests.damage import CT, MOE, QUARK, Damage, MutableCheckpoint, set_config, steps
from tests.rules.case import Case

_HEADERS = Level.HEADERS
_NOTE = frozenset({"CK312"})


def _other_layer_key(checkpoint: MutableCheckpoint) -> None:
    """Of an architecture that counts its layers under another name."""
    steps(set_config(num_hidden_layers=None, num_layers=2, architectures=["T5Gemma"], model_type="t5gemma"))(checkpoint)


def _nested(**keys: Any) -> Damage:
    """The sizes in ``text_config``, under the wrapper's architecture, and the names as the wrapper stores them."""

    def change(checkpoint: MutableCheckpoint) -> None:
        top = {key: checkpoint.config[key] for key in ("quantization_config", "dtype")}
        text = {
            key: value
            for key, value in checkpoint.config.items()
            if key not in ("quantization_config", "architectures")
        }
        wrapper = {"architectures": ["LlavaForConditionalGeneration"], "model_type": "llava"}
        checkpoint.config = {**top, **wrapper, "text_config": {**text, **keys}}
        checkpoint.rename(r"(model\..*)", r"language_model.\1")
        checkpoint.block["exclude"] = ["lm_head"]

    return change


def _gated_queries(checkpoint: MutableCheckpoint) -> None:
    """Half of the heads, and a gate for each: q_proj is as it was, o_proj has half of the inputs."""
    checkpoint.config["architectures"] = ["Qwen3NextForCausalLM"]
    checkpoint.config["num_attention_heads"] = 2
    checkpoint.change(r".*\.o_proj\.weight", lambda t: t._replace(shape=(64, 64), data=t.data[: 64 * 64]))


def _latent(checkpoint: MutableCheckpoint) -> None:
    checkpoint.config.update(architectures=["DeepseekV3ForCausalLM"], kv_lora_rank=16, num_attention_heads=2)


def _extra_layer(*parts: str) -> Damage:
    def change(checkpoint: MutableCheckpoint) -> None:
        for part in parts:
            checkpoint.put(f"model.layers.2.{part}.weight", "BF16", (64,), bytes(128))

    return change


CASES = (
    Case(
        "CK312",
        CT,
        set_config(intermediate_size=96),
        set_config(head_dim=None, num_attention_heads=None, num_key_value_heads=None, model_type="nobodys"),
    ),
    Case("CK312", CT, set_config(hidden_size=128), set_config(architectures=["ZambaForCausalLM"], hidden_size=128)),
    Case("CK312", CT, set_config(vocab_size=40), set_config(vocab_size=31), near_also=_NOTE),
    Case("CK312", QUARK, set_config(num_attention_heads=2), _gated_queries),
    Case("CK312", QUARK, set_config(num_key_value_heads=1), _latent),
    Case("CK312", QUARK, set_config(head_dim=16), set_config(intermediate_size=[80, 80])),
    Case("CK312", QUARK, _nested(intermediate_size=96), _nested()),
    Case("CK312", QUARK, set_config(intermediate_size=96), set_config(intermediate_size=96, layer_inter_size=[80, 80])),
    Case("CK312", MOE, set_config(moe_intermediate_size=48), set_config(shared_expert_intermediate_size=48)),
    Case("CK118", CT, set_config(num_hidden_layers=1), set_config(num_hidden_layers=1, num_nextn_predict_layers=1)),
    Case("CK118", QUARK, _extra_layer("input_layernorm"), _extra_layer("enorm", "hnorm"), level=_HEADERS),
    Case(
        "CK632",
        CT,
        set_config(hidden_size="a"),
        set_config(rope_theta=5000.0),
    ),
    Case("CK632", CT, set_config(intermediate_size=80.0), set_config(intermediate_size=[80, 80])),
    Case("CK632", CT, set_config(num_attention_heads=0), set_config(sliding_window=0)),
    Case("CK632", CT, set_config(num_hidden_layers=None), _other_layer_key),
    Case("CK632", CT, set_config(hidden_act="a"), set_config(hidden_act=None)),
    Case("CK633", CT, set_config(architectures=None), set_config(_class_name="X", architectures=None)),
    Case("CK633", CT, set_config(model_type=None), set_config(model_type=None, auto_map={"AutoConfig": "a.B"})),
)
