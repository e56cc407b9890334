"""What transformers' own FP8 quantizer makes of kinds of checkpoints, as 5.17.0 was seen to do."""

from __future__ import annotations

import json
import re

import pytest

from ckptkit.engines.releases import Range
from ckptkit.engines.transformers import ENGINE
from ckptkit.engines.transformers.model_types import MODEL_TYPES
from ckptkit.engines.transformers.modules import MODULES
from tests.accuracy.again.drawn import declared, in_fp8, model_of
from tests.accuracy.again.hub import HEAD, deepseek
from tests.accuracy.corpus import corpus, files_of
from tests.accuracy.verdicts import at_release, rows
from tests.damage import steps

_BUNDLES = {"compressed-tensors": "0.17.0"}

#: Checkpoints of the corpus, and what 5.17.0 did with them.
SEEN = (
    # A model type that a release does not know.
    ("again/hub/deepseek-v3/kimi", "refuses"),
    # Scales of rows are those of groups of columns to older compressed-tensors where there are as many.
    ("held/shape/row/mixtral-ct", "silently wrong"),
    ("held/shape/row/qwen3-ct", "refuses"),
    # What kernels assert of shapes; one value is right for a weight that is one whole block.
    ("reported/adapter/scaled-by-row/exaone4-fp8", "refuses"),
    ("reported/adapter/scaled-by-tensor/deepseek-v3-fp8", "loads"),
    ("held/config/block-size-half/fp8-blocks", "refuses"),
    ("held/shape/row-more/fp8-blocks", "refuses"),
    ("held/type/U8/fp8-blocks", "silently wrong"),
    # A scale by a name that is not looked for has no shape to anybody.
    ("again/merge/config/fp8-blocks-on-ct", "warns"),
    # Experts are put together: all of a projection have scales, or none, and no block is cut off.
    ("again/shape/gone/minimax-m2-fp8", "refuses"),
    ("held/missing/weight-scale/experts-blocks", "refuses"),
    ("converted/qwen3_moe/modelopt-fp8/fp8-block", "refuses"),
    ("converted/qwen3_moe/bf16/fp8-tensor", "refuses"),
    ("reported/served-name/of-mistral/qwen2-moe-autofp8", "refuses"),
    ("again/hub/qwen2-moe/autofp8-dynamic", "silently wrong"),
    ("again/hub/dots1/fp8", "loads"),
    # Stacks have the names in memory; other names leave the experts as they were allocated.
    ("reported/experts-in-one/deepseek-v3-fp8", "loads"),
    ("reported/experts-in-one/qwen3-next-fp8", "loads"),
    ("again/names/mlp-for-sparse/minimax-fp8", "warns"),
    ("reported/served-router/listed/qwen3-vl-moe-fp8", "warns"),
    # Heads are linear layers.
    ("reported/head-in-fp8/not-listed/exaone4-fp8", "loads"),
    ("reported/served-name/of-mistral/glm4-autofp8", "loads"),
    # Keys of the config.
    ("held/config/block-size-one/fp8-blocks", "refuses"),
    ("held/config/block-size-missing/fp8-blocks", "loads"),
    ("held/config/scheme-missing/fp8-blocks", "loads"),
    ("held/config/kv-fp8/fp8-blocks", "loads"),
    ("held/config/dequantize/fp8-blocks", "loads"),
    ("held/config/modules-to-convert/fp8-blocks", "warns"),
    ("reported/cast-script/says-dequantize/deepseek-v3-fp8", "loads"),
    # Every entry of the list is compiled.
    ("held/list/router-glob/fp8-blocks", "refuses"),
    ("held/list/star/fp8-blocks", "refuses"),
    # Names below which a class looks for its layers, and entries that it maps like these.
    ("again/names/language-model-first/qwen3.5-vl-fp8", "refuses"),
    ("again/names/older/qwen3.5-vl-fp8", "refuses"),
    ("reported/served-name/twice/qwen3.5-vl-fp8", "refuses"),
    ("reported/wrapper-names/language-model-first/qwen3.5-fp8", "refuses"),
    ("reported/text-alone/wrapper-list/qwen3.5-fp8", "loads"),
    ("reported/text-alone/wrapper-list/qwen3.5-moe-fp8", "loads"),
    # A head that one of two lists names, and a scale that is no grid of the blocks that readers of the other build.
    ("crossed/served-head/blocks-said/qwen3_moe-transformers-block-fp8", "refuses"),
    # What older compressed-tensors makes of scales without the config: floats of the type of a whole weight's scale
    # where it finds none of groups, and channels where blocks have one column.
    ("variant/nvfp4-over-one-layer/llama/llmcompressor-dynamic", "refuses"),
    ("variant/nvfp4-over-fp8/llama/llmcompressor-fp8", "refuses"),
    ("variant/stored-as/nvfp4-pack-quantized/llama/llmcompressor-dynamic", "warns"),
    ("crossed/served-groups/names-first/stablelm", "refuses"),
)


@pytest.mark.parametrize(("name", "verdict"), SEEN)
def test_verdicts_on_what_was_seen(name: str, verdict: str) -> None:
    files = files_of(corpus()[name])
    assert files is not None
    with at_release("transformers", "5.17.0", _BUNDLES):
        assert rows(files)["transformers"].verdict == verdict


@pytest.mark.parametrize(("release", "verdict"), [("5.16.1", "refuses"), ("5.17.0", "loads"), ("5.18.0", "loads")])
def test_a_model_type_is_known_since_a_release(release: str, verdict: str) -> None:
    files = dict(model_of("olmo2").to_files())
    config = json.loads(files["config.json"])
    # The class is one that has a name like the type; what it is built of does not matter here.
    files["config.json"] = json.dumps({**config, "model_type": "kimi_linear"}).encode()
    with at_release("transformers", release, _BUNDLES):
        row = rows(files)["transformers"]
    assert ("model type kimi_linear before 5.17" in " ".join(row.why)) is (verdict == "refuses")


def test_a_folder_with_code_of_its_own_may_know_a_model_type() -> None:
    files = dict(model_of("olmo2").to_files())
    config = json.loads(files["config.json"])
    own = {"AutoConfig": "configuration_mine.MyConfig"}
    for more, answer in (({}, "refused"), ({"auto_map": own}, "unknown")):
        files["config.json"] = json.dumps({**config, "model_type": "mine", **more}).encode()
        parts = rows(files)["transformers"].parts
        assert any("no model type mine" in words for words in parts[answer])


def test_an_embedding_is_listed_as_quantized_since_a_release() -> None:
    files = files_of(corpus()["held/config/modules-to-convert/fp8-blocks"])
    assert files is not None
    config = json.loads(files["config.json"])
    # A class without a plan of parallelism, which 5.16 takes too.
    config |= {"architectures": ["BambaForCausalLM"], "model_type": "bamba"}
    for release, codes in (("5.16.1", ()), ("5.17.0", ("CK605",))):
        with at_release("transformers", release, _BUNDLES):
            row = rows({**files, "config.json": json.dumps(config).encode()})["transformers"]
        assert row.codes.get("warning", ()) == codes


def test_experts_of_another_kind_stop_the_quantizer() -> None:
    checkpoint = model_of("olmoe")
    deepseek((*HEAD,))(checkpoint)
    files = dict(checkpoint.to_files())
    config = json.loads(files["config.json"])
    found = {}
    for name in ("OlmoeForCausalLM", "GptOssForCausalLM", "Llama4ForCausalLM"):
        files["config.json"] = json.dumps({**config, "architectures": [name]}).encode()
        with at_release("transformers", "5.17.0", _BUNDLES):
            found[name] = " ".join(rows(files)["transformers"].why)
    assert "biases" not in found["OlmoeForCausalLM"]
    assert "does not support bias" in found["GptOssForCausalLM"]
    assert "called otherwise" in found["Llama4ForCausalLM"]


_ROUTERS = r".*(mlp\.gate|router|router\.layer)"


@pytest.mark.parametrize(
    ("model", "plain", "verdict"),
    [
        # Plain stacks are experts by another name; listed ones stay plain.
        ("granitemoe", f".*lm_head|{_ROUTERS}", "warns"),
        ("granitemoe", f".*lm_head|{_ROUTERS}|listed", "loads"),
        # A router that is a parameter by another name keeps its codes; one that is a linear layer wants a scale.
        ("granitemoe", ".*lm_head|listed", "refuses"),
        ("jamba", f".*lm_head|{_ROUTERS}", "warns"),
        ("olmoe", f".*lm_head|{_ROUTERS}", "loads"),
        ("phimoe", f".*lm_head|{_ROUTERS}", "loads"),
        # Plain experts that are called otherwise than those that are built.
        ("llama4", f".*lm_head|{_ROUTERS}", "refuses"),
    ],
)
def test_blocks_of_models_with_experts(model: str, plain: str, verdict: str) -> None:
    checkpoint = model_of(model)
    experts = [f"model.layers.{layer}.block_sparse_moe.experts" for layer in (0, 1)] if plain.endswith("listed") else []
    deepseek((*HEAD, *experts), but=plain)(checkpoint)
    with at_release("transformers", "5.17.0", _BUNDLES):
        assert rows(checkpoint.to_files())["transformers"].verdict == verdict


@pytest.mark.parametrize(
    ("model", "prefix", "verdict"),
    [
        ("olmo2", "model.model.", "loads"),
        ("olmoe", "model.model.", "loads"),
        ("falcon_h1", "model.", "loads"),
        ("falcon_h1", "", "loads"),
        ("falcon_h1", "language_model.model.", "refuses"),
        ("jamba", "model.language_model.", "refuses"),
    ],
)
def test_prefixes_of_layers(model: str, prefix: str, verdict: str) -> None:
    checkpoint = model_of(model)
    deepseek((*HEAD, f"{prefix}layers.1.feed_forward.router"), but=f".*lm_head|{_ROUTERS}")(checkpoint)
    for file, shard in checkpoint.shards.items():
        checkpoint.shards[file] = {re.sub(r"^model\.", prefix, name): tensor for name, tensor in shard.items()}
    with at_release("transformers", "5.17.0", _BUNDLES):
        assert rows(checkpoint.to_files())["transformers"].verdict == verdict


def test_a_block_size_that_is_left_out_beside_own_names() -> None:
    for size, verdict in (({}, "refuses"), ({"weight_block_size": None}, "loads")):
        checkpoint = model_of("olmo2")
        block = {"activation_scheme": "dynamic", "quant_method": "fp8", "modules_to_not_convert": [*HEAD], **size}
        steps(in_fp8("tensor", "weight_scale_inv", but=".*lm_head"), declared(block))(checkpoint)
        with at_release("transformers", "5.17.0", _BUNDLES):
            assert rows(checkpoint.to_files())["transformers"].verdict == verdict


def test_prefixes_are_those_of_classes_that_exist() -> None:
    classes, asked = ENGINE.architectures() or frozenset(), [name for name in MODULES if MODULES[name].below]
    newer = {"HYV4ForCausalLM", "KimiLinearForCausalLM"}
    assert len(asked) > 100 and set(asked) - newer <= classes
    assert all(MODULES[name].below and not {*MODULES[name].below} & {*MODULES[name].elsewhere} for name in asked)
    assert all(Range(since=since) for since in MODEL_TYPES.values()) and MODEL_TYPES["llama"] == ""
