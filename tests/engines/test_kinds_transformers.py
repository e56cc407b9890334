"""What transformers makes of kinds of checkpoints that a third held-out set showed, each beside a near miss."""

from __future__ import annotations

import pytest

from tests.accuracy.again.drawn import model_of
from tests.accuracy.again.hub import HEAD, channels
from tests.accuracy.corpus import corpus, files_of
from tests.accuracy.verdicts import at_release, rows
from tests.damage import SHARDED, load
from tests.raw import shard_bytes

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
    ("reported/head-in-fp8/wrong-entry/llava-ct", "refuses"),
    # Each projection of experts is put together for itself.
    ("reported/abliterated/listed/olmoe-ct", "loads"),
    # Experts that are looked for one by one, and stored as one.
    ("reported/served-experts/stacked-plain/llama4-ct", "warns"),
    ("reported/served-experts/stacked/llama4-ct", "refuses"),
    # model.safetensors is read before any index.
    ("reported/uploads/one-file-beside/ct", "refuses"),
    ("reported/uploads/one-file-beside/quark", "refuses"),
    # An adapter's names, in Quark's layout too, where biases keep theirs.
    ("reported/adapter/base-layer/quark", "refuses"),
    ("reported/served-cache/scheme-of-tokens/ct", "loads"),
    # Which level says whether the head is the embedding; one that is stored is kept whatever any says.
    ("reported/served-tied/text-says-so/qwen3-vl-ct", "silently wrong"),
    ("reported/served-tied/top-says-so/qwen3-vl-ct", "loads"),
    # Scales on projections are left out, whatever type they have.
    ("again/kv/on-projections/mistral3-ct", "silently wrong"),
    # Of several modules that nothing fills one that stops the load counts.
    ("reported/uploads/without-last/quark", "refuses"),
    # A list is asked by names in memory for what it calls plain too.
    ("reported/served-tower/tower-though-listed/qwen2-vl", "loads"),
    # Heads that config.json leaves out are counted in what is stored, but in classes that cut by their number; keys
    # are repeated where the config has more heads of queries than of keys.
    *(
        (f"variant/heads-gone/{name}/llmcompressor-dynamic", "loads")
        for name in ("llama", "qwen2", "qwen3", "qwen3_moe")
    ),
    ("variant/heads-gone/gemma3/quark-fp8-kv", "loads"),
    ("variant/heads-gone/phi3/llmcompressor-dynamic", "refuses"),
    ("variant/heads-gone/qwen2_5_vl/llmcompressor-dynamic", "refuses"),
    ("variant/heads-gone/deepseek_v3", "refuses"),
    ("variant/kv-heads-gone/llama/llmcompressor-dynamic", "refuses"),
    ("held/config/kv-heads-missing/qwen2-ct", "silently wrong"),
    ("held/config/head-dim-missing/qwen2-ct", "loads"),
    ("variant/head-dim-gone/llama/llmcompressor-dynamic", "silently wrong"),
    ("variant/head-dim-gone/qwen3/llmcompressor-dynamic", "refuses"),
    # Layers that repeat others may not be meant; any others are.
    ("reported/stacked-layers/not-said/olmo2-quark", "unknown"),
    ("defect/CK118-1", "warns"),
    ("variant/linear-attention/qwen3_next-ct-static", "warns"),
    # No class is named: rows of that of the model type count.
    ("variant/unnamed/qwen3_moe/transformers-block", "refuses"),
    # Integers of four bits: none where FP8 is stored, and a column of them whole numbers of groups.
    ("variant/w4a16-over-one-layer/llama/llmcompressor-dynamic", "refuses"),
    ("variant/w4a16-beside/llama/llmcompressor-dynamic", "refuses"),
    ("variant/w4a16-beside/llama-block-aligned/llmcompressor-block", "loads"),
    ("variant/nvfp4-over-one-layer/llama/llmcompressor-dynamic", "warns"),
    # Experts in another part of a layer: the stacks of its own are made up, and no FP8 among them; its gates are read.
    ("crossed/variant/experts-elsewhere/hunyuan_v1_moe", "silently wrong"),
    # Scales of blocks that are made up, by a library that asks for the size of blocks.
    ("crossed/served-groups/names-first/stablelm", "warns"),
    # Floats that a config calls packed integers, and another float than is stored.
    ("held/config/pack-quantized/qwen3-ct", "refuses"),
    ("held/config/e5m2/qwen2-quark", "silently wrong"),
    ("held/config/inputs-e5m2/qwen2-quark", "loads"),
    # Weights in blocks, of whose inputs only groups have to be whole.
    ("crossed/config/inputs-by-token/deepseek-v3-ct-blocks", "loads"),
    # Codes that are left alone keep their type where the whole model has other names in memory.
    ("crossed/config/targets-glob/nemotron-h-ct", "refuses"),
    ("crossed/defect/CK403/llama-quark-fp8-kv-post-rope-quark", "silently wrong"),
    # Nothing of an embedding's scale is looked at.
    ("crossed/head/embedding-in-fp8/qwen3-llmcompressor-dynamic-quark", "silently wrong"),
    # A router that one layer lacks, and another has.
    ("crossed/missing/router/qwen3-next-ct", "warns"),
    # Quark's names in a checkpoint of another format.
    ("crossed/quantizer-names/reported-served-tower-left-alone-qwen2_vl", "warns"),
    ("reported/quantizer-names/ptpc", "loads"),
    ("crossed/served-mtp/not-listed/exaone_moe", "refuses"),
    ("reported/cast-script/says-dequantize/deepseek-v3-fp8", "refuses"),
    # Experts are multiplied with their scales: none of their inputs is asked for.
    ("crossed/uncalibrated/missing/qwen3_moe-modelopt-fp8-compressed-tensors", "loads"),
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


def test_a_whole_model_beside_its_shards_is_read_in_their_place() -> None:
    """It lacks nothing, or a norm that can be made up."""
    checkpoint = load(SHARDED)
    for lacking, verdict in (((), "loads"), (("model.norm.weight",), "warns")):
        tensors = {n: t for shard in checkpoint.shards.values() for n, t in shard.items() if n not in lacking}
        checkpoint.files["model.safetensors"] = shard_bytes(tensors, {"format": "pt"})
        assert rows(checkpoint.to_files())["transformers"].verdict == verdict


@pytest.mark.parametrize(("experts", "verdict"), [("0", "silently wrong"), ("*", "loads")])
def test_plain_projections_of_some_experts_and_of_all(experts: str, verdict: str) -> None:
    checkpoint = model_of("olmoe")
    names = r"re:.*experts\.\d+\.down_proj" if experts == "*" else r"re:.*experts\.0\.down_proj"
    plain = names.removeprefix("re:")
    channels((*HEAD, r"re:.*mlp\.gate$", names), but=plain)(checkpoint)
    assert rows(checkpoint.to_files())["transformers"].verdict == verdict
