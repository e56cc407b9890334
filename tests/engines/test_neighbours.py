"""Neighbours of known faults in SGLang: what was loaded beside what is said, for one of each kind."""

from __future__ import annotations

import pytest

from ckptkit.engines.sglang import ENGINE
from ckptkit.engines.sglang.classes import STOP_AT_KV, STOP_AT_KV_OF_PROJECTIONS, STOP_AT_UNKNOWN
from ckptkit.engines.support import Answer
from tests.accuracy.corpus import corpus, files_of
from tests.accuracy.verdicts import judged, rows
from tests.damage import opened

#: A checkpoint of the corpus -> what SGLang 0.5.23 did with it, and what says so.
SAID = {
    "adapter-beside-alone/qwen3/llmcompressor-dynamic": ("loads", ""),
    "adapter-beside-fused/qwen3/llmcompressor-dynamic": ("refuses", "CK208"),
    "adapter-beside-fused/llama/quark-ptpc": ("loads", ""),
    "adapter-beside-experts/qwen3_moe/llmcompressor-dynamic": ("loads", ""),
    "adapter-beside-gate/deepseek_v3": ("refuses", "CK208"),
    "adapter-beside-queries/deepseek_v3": ("loads", ""),
    "adapter/hunyuan_v1_dense": ("refuses", "CK208"),
    "algorithm-NVFP4-over-fp8/llama/modelopt-fp8": ("refuses", "CK606"),
    "nvfp4-over-one-layer/llama/llmcompressor-dynamic": ("silently wrong", "CK606"),
    "w4a16-over-one-layer/llama/llmcompressor-dynamic": ("refuses", "whole number of groups"),
    "w4a16-beside/llama-block-aligned/llmcompressor-block": ("loads", ""),
    "heads-gone/llama/llmcompressor-dynamic": ("refuses", "CK312"),
    "heads-gone/glm4": ("refuses", "CK312"),
    # The norm of keys is of all heads, and their size not what head_dim says.
    "heads-gone/olmo2": ("refuses", "CK312"),
    "unnamed/llama/bf16": ("refuses", "names none"),
    "kv-scales/olmo2-ct": ("refuses", "k_scale"),
    "kv-scales/gemma2-ct": ("loads", ""),
    "kv-scales/gemma2-modelopt": ("refuses", "qkv_proj"),
    "linear-attention/qwen3_next-ct": ("loads", ""),
    "linear-attention/qwen3_next-ct-static": ("refuses", "CK309"),
    "linear-attention/qwen3_next-ct-blocks-unlisted": ("refuses", "CK801"),
    "interval-gone/qwen3_next-ct": ("refuses", "full_attention_interval"),
    "states/falcon_h1-ct": ("refuses", "CK608"),
    "nameless-head/phi-modelopt": ("silently wrong", "CK608"),
    "nameless-head/phi-ct": ("loads", ""),
}


@pytest.mark.parametrize("name", SAID)
def test_neighbours_of_known_faults(name: str) -> None:
    files = files_of(corpus()[f"variant/{name}"])
    assert files is not None
    verdict, because = SAID[name]
    row = rows(files)["sglang"]
    assert row.verdict == verdict
    assert because in " ".join(row.why)


def test_a_model_may_have_adapters_of_its_own() -> None:
    entry = corpus()["variant/adapter-by-name/llama/llmcompressor-dynamic"]
    files = dict(entry.make())
    found = [finding.code for finding in judged(files)[1].findings]
    assert "CK208" in found and "CK605" not in found
    own = files["config.json"].replace(b'"model_type"', b'"speech_lora": {"r": 4},\n  "model_type"')
    assert "CK208" not in [finding.code for finding in judged({**files, "config.json": own})[1].findings]


def test_scales_of_caches_that_are_only_promised_stop_nobody() -> None:
    assert set(STOP_AT_KV) <= set(STOP_AT_UNKNOWN)
    assert "CohereFor" not in STOP_AT_KV and "CohereFor" in STOP_AT_KV_OF_PROJECTIONS
    rows_of_stored = [row for row in ENGINE.support() if row.stored]
    assert sum(row.answer is Answer.REFUSED for row in rows_of_stored) == 2
    checkpoint = opened(corpus()["variant/kv-scales/olmo2-ct"].make())
    checkpoint.drop(r".*\.[kv]_scale")
    assert rows(checkpoint.to_files())["sglang"].verdict == "unknown"
