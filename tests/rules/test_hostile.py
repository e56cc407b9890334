"""Configs that nobody would write: no rule may raise, whatever the JSON says."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ckptkit.checks import runner
from ckptkit.checks.registry import Level
from ckptkit.formats import registry
from ckptkit.storage.container import open_container
from ckptkit.views.matrix import build_matrix
from ckptkit.views.skip_table import skip_views
from tests.damage import BLOCK, CT_KV, MOE, QUARK_CUSTOM, QUARK_KV, load
from tests.raw import MemorySource

_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-2, 10**13)
    | st.floats()
    | st.sampled_from(["Linear", "re:(", "re:.*", "*", "", "float", "tensor", "block", "static", "fp8_e4m3", "lm_head"])
)
_JSON = st.recursive(
    _LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["group_0", "weights", "targets", "weight", "dtype", "strategy", "x"]), inner, max_size=3
        )
    ),
    max_leaves=6,
)
_BLOCK_KEYS = (
    *registry.skip_keys(),
    *("quant_method", "quant_algo", "format", "config_groups", "kv_cache_scheme", "sparsity_config", "scale_fmt"),
    *("global_quant_config", "layer_quant_config", "export", "softmax_quant_spec", "activation_scheme"),
    *("weight_block_size", "quantization_status", "quantization", "quantized_layers", "kv_cache_quant_algo"),
)
_CONFIG_KEYS = (
    *("num_hidden_layers", "num_attention_heads", "num_key_value_heads", "hidden_size", "num_experts", "kv_lora_rank"),
    *("num_nextn_predict_layers", "tie_word_embeddings", "dtype", "text_config", "vision_config", "architectures"),
    *("quantization_config", "compression_config"),
)


@given(
    fixture=st.sampled_from([CT_KV, QUARK_KV, QUARK_CUSTOM, BLOCK, MOE]),
    block=st.dictionaries(st.sampled_from(_BLOCK_KEYS), _JSON, max_size=3),
    config=st.dictionaries(st.sampled_from(_CONFIG_KEYS), _JSON, max_size=2),
    side=st.none() | _JSON,
)
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
def test_no_rule_raises(fixture: str, block: dict[str, Any], config: dict[str, Any], side: Any) -> None:
    import json

    checkpoint = load(fixture)
    checkpoint.block.update(block)
    checkpoint.config.update(config)
    if side is not None:
        checkpoint.files["hf_quant_config.json"] = json.dumps({"quantization": side}).encode()
    context = runner.read_context(open_container(MemorySource(checkpoint.to_files())))
    report = runner.run(context, Level.FULL)
    assert build_matrix(context, report, (1, 2)).rows
    skip_views(context).to_json()
    for finding in report.findings:
        finding.to_json()
