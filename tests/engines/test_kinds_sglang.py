"""What SGLang makes of kinds of checkpoints that reports to it and to tools showed, each beside a near miss."""

from __future__ import annotations

import pytest

from ckptkit.engines.sglang.architectures import ARCHITECTURES
from ckptkit.engines.sglang.cache import DROPS, NOT_ASKED
from tests.accuracy.corpus import corpus, files_of
from tests.accuracy.verdicts import rows
from tests.damage import load, set_config

#: Checkpoints of the corpus -> the verdict, as these were loaded.
SEEN = {
    # Scales of a cache, by class and by where they are stored.
    "reported/kv/usual/glm4": "silently wrong",
    "reported/kv/usual/qwen2": "silently wrong",
    "reported/kv/usual/qwen3": "silently wrong",
    "reported/kv/under-attention/qwen2": "loads",
    "reported/kv/under-attention/qwen3": "silently wrong",
    "reported/kv/on-the-merged/llama-modelopt": "silently wrong",
    "reported/kv/on-the-merged/qwen3": "silently wrong",
    "reported/kv/on-projections/glm4": "silently wrong",
    "reported/served-cache/one-for-both/olmoe-autofp8": "silently wrong",
    "variant/kv-scales/olmoe-ct": "refuses",
    "variant/kv-scales/gemma2-ct": "loads",
    "variant/kv-scales/gemma2-modelopt": "refuses",
    "variant/kv-scales/starcoder2-ct": "silently wrong",
    "variant/kv-scales/starcoder2-modelopt": "refuses",
    "real/llama/modelopt-fp8-kv": "loads",
    "real/phi3/quark-fp8-kv": "silently wrong",
    # All of them are 1.0, which is used anyway.
    "again/hub/glm4-moe/modelopt": "loads",
    # Names of layers inside composite models.
    "reported/served-prefix/as-stored/mistral3-ct": "silently wrong",
    "reported/served-prefix/as-stored/qwen3-vl-quark": "silently wrong",
    "reported/served-prefix/as-stored/qwen3-vl-fp8": "loads",
    "reported/served-prefix/otherwise/mistral3-ct": "silently wrong",
    # Floats that a config calls packed integers.
    "held/config/pack-quantized/qwen3-ct": "loads",
    # Which level of the config ties the head.
    "reported/served-tied/not-said/qwen3-vl-fp8": "silently wrong",
    "reported/served-tied/text-says-so/qwen3-vl-ct": "silently wrong",
    "reported/served-tied/top-says-so/qwen3-vl-ct": "silently wrong",
    "reported/served-tied/top-says-so/mistral3-ct": "loads",
    # The tower is built from the config, the projector plain.
    "reported/projector-in-fp8/mistral3-ct": "refuses",
    "reported/tower-in-fp8/not-listed/mistral3-ct": "loads",
    # Names of q, k and v in a group, and the class of linear layers in another.
    "reported/served-groups/class-first/olmo2": "silently wrong",
    "reported/served-groups/names-first/qwen2_moe": "silently wrong",
    # A model in high precision, and codes in a wider type, under a config of blocks.
    "reported/cast-script/config-left/deepseek-v3-fp8": "refuses",
    "reported/raw-cast/all-left/deepseek-v3-fp8": "refuses",
    "reported/raw-cast/all-left/glm4-ct": "loads",
    "reported/raw-cast/scales-left/deepseek-v3-fp8": "refuses",
    "reported/raw-cast/scales-left/glm4-ct": "silently wrong",
    # Names.
    "reported/adapter/base-layer/quark": "silently wrong",
    "reported/native-names/all/deepseek-v3-fp8": "silently wrong",
    "reported/served-name/of-mistral/qwen2-moe-autofp8": "refuses",
    # Experts.
    "reported/abliterated/listed/olmoe-ct": "refuses",
    "reported/served-experts/stacked/granitemoe": "silently wrong",
    "reported/served-experts/stacked/llama4-ct": "silently wrong",
    "reported/uncalibrated/missing/deepseek-v2-autofp8": "loads",
    "reported/uncalibrated/missing/glm4-moe-modelopt": "silently wrong",
    "reported/pruned-experts/bias-whole/glm4-moe-fp8": "refuses",
    # The language model's own section says another type.
    "reported/dtype/float8/mistral3-fp8": "loads",
}


@pytest.mark.parametrize(("name", "verdict"), SEEN.items())
def test_verdicts_on_what_was_loaded(name: str, verdict: str) -> None:
    files = files_of(corpus()[name])
    assert files is not None
    assert rows(files)["sglang"].verdict == verdict


def test_tables_of_the_cache_name_classes_that_there_are() -> None:
    listed = {name for classes in DROPS.values() for name in classes} | set(NOT_ASKED)
    assert {name for name in listed if not any(known.startswith(name) for known in ARCHITECTURES)} == set()
    dropped = {known for known in ARCHITECTURES for classes in DROPS.values() if known.startswith(classes)}
    assert {known for known in dropped if known.startswith(NOT_ASKED)} == set()


def test_a_class_that_nobody_asked_may_drop_scales_of_a_cache() -> None:
    checkpoint = load("llama/llmcompressor-fp8-kv")
    set_config(architectures=["InternVLChatModel"])(checkpoint)
    words = rows(checkpoint.to_files())["sglang"].parts
    assert any("whether the class loads scales" in said for said in words["unknown"])
