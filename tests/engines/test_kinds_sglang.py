"""What SGLang makes of kinds of checkpoints that reports to it and to tools showed, each beside a near miss."""

from __future__ import annotations

import pytest

from tests.accuracy.corpus import corpus, files_of
from tests.accuracy.verdicts import rows

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
}


@pytest.mark.parametrize(("name", "verdict"), SEEN.items())
def test_verdicts_on_what_was_loaded(name: str, verdict: str) -> None:
    files = files_of(corpus()[name])
    assert files is not None
    assert rows(files)["sglang"].verdict == verdict
