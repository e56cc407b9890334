"""What transformers makes of kinds of checkpoints that a third held-out set showed, each beside a near miss."""

from __future__ import annotations

import pytest

from tests.accuracy.corpus import corpus, files_of
from tests.accuracy.verdicts import at_release, rows

#: Checkpoints of the corpus, and what 5.16.1 was seen to do with them.
SEEN = (
    # A plan of parallelism that 5.16 stops at is at the top of some configs only.
    ("reported/served-router/listed/glm4v-moe-fp8", "loads"),
    ("reported/served-router/listed/exaone-moe-fp8", "refuses"),
    ("reported/cast-script/config-left/mistral3-fp8", "warns"),
    ("reported/cast-script/config-left/deepseek-v3-fp8", "refuses"),
    # Single experts are multiplied with their scales before they are put together: one value for a block is too few
    # where a weight has several.
    ("reported/served-router/listed/glm4v-moe-ct", "loads"),
    ("reported/served-router/listed/jamba-ct", "loads"),
    ("reported/served-groups/class-first/qwen2_moe", "loads"),
    ("reported/served-experts/apart/llama4-ct", "loads"),
    # What has another name in memory keeps its type.
    ("reported/served-router/in-fp8/granitemoe", "refuses"),
    ("reported/served-router/in-fp8/deepseek-v3-ct", "silently wrong"),
    ("reported/served-router/in-fp8/qwen2-moe-ct", "loads"),
    ("reported/served-experts/stacked/granitemoehybrid", "refuses"),
    ("reported/served-experts/stacked-plain/granitemoe", "loads"),
)


@pytest.mark.parametrize(("name", "verdict"), SEEN)
def test_verdicts_on_what_was_seen(name: str, verdict: str) -> None:
    files = files_of(corpus()[name])
    assert files is not None
    with at_release("transformers", "5.16.1", {"compressed-tensors": "0.20.0"}):
        assert rows(files)["transformers"].verdict == verdict


def test_blocks_of_experts_that_are_split() -> None:
    files = files_of(corpus()["converted/qwen3_moe/transformers-block/compressed-tensors"])
    assert files is not None
    assert rows(files)["transformers"].verdict == "refuses"


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("again/hub/deepseek-v3/fp8-ue8m0", "loads"),
        ("again/hub/dots1/fp8", "loads"),
        ("again/mtp/own-part-plain/qwen3-next-fp8", "loads"),
        ("again/shape/transposed/deepseek-v3-fp8", "refuses"),
        ("reported/cast-script/config-left/deepseek-v3-fp8", "warns"),
    ],
)
def test_plain_fp8_of_experts_in_the_release_that_reads_it(name: str, verdict: str) -> None:
    files = files_of(corpus()[name])
    assert files is not None
    with at_release("transformers", "5.17.0", {}):
        assert rows(files)["transformers"].verdict == verdict
