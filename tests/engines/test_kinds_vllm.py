"""What vLLM makes of kinds of checkpoints that a third held-out set showed, each beside a near miss."""

from __future__ import annotations

import pytest

from tests.accuracy.corpus import corpus
from tests.accuracy.verdicts import rows
from tests.damage import opened, set_config

_R = "reported"
#: Checkpoint of the corpus -> the verdict on it.
KINDS = {
    # A list that names a part of what latent attention loads as one, and lists that name both or mean none.
    f"{_R}/served-list/latent/one/ct": "refuses",
    f"{_R}/served-list/latent/both/ct": "loads",
    f"{_R}/served-list/latent/one/quark": "silently wrong",
    f"{_R}/merged-parts/one/deepseek-v3-fp8": "refuses",
    f"{_R}/merged-parts/one/deepseek-v3-ct": "refuses",
    # Experts in high precision among experts in FP8, which no list names, and such that a list names.
    f"{_R}/abliterated/not-listed/olmoe-ct": "silently wrong",
    f"{_R}/uncalibrated/in-bf16/olmoe-autofp8": "silently wrong",
    # One of two scales of inputs that fill one place, and one that fills its own.
    # The lengths of what corrects a router.
    f"{_R}/pruned-experts/bias-whole/glm4-moe-fp8": "refuses",
    f"{_R}/pruned-experts/bias-whole/minimax-m2-fp8": "refuses",
    f"{_R}/uncalibrated/missing/deepseek-v2-autofp8": "loads",
    "damage/input-scale-lost/last/llama/modelopt-fp8-kv": "silently wrong",
    # Mixers that Jamba builds plain, and those of another class.
    f"{_R}/served-router/not-listed/jamba-ct": "loads",
    f"{_R}/served-router/listed/jamba-ct": "loads",
    f"{_R}/served-mamba/left-alone/granitemoehybrid": "silently wrong",
    # Layers that predict in a file of their own.
    f"{_R}/served-mtp/own-file/qwen3-next-fp8": "loads",
    # Stacks of experts, with scales that the class maps or does not.
    f"{_R}/experts-in-one/qwen3-next-fp8": "loads",
    f"{_R}/experts-in-one/deepseek-v3-fp8": "refuses",
    f"{_R}/served-experts/stacked/granitemoehybrid": "loads",
    f"{_R}/served-experts/stacked/granitemoe": "refuses",
    # A first part of a merged layer that is no whole number of blocks: some configs say where they are measured.
    f"{_R}/served-narrow/low-rank/deepseek-v3-ct": "refuses",
    f"{_R}/served-narrow/low-rank/deepseek-v3-fp8": "loads",
    # An index that names scales of weights that were dequantized, and one that names a weight.
    f"{_R}/cast-script/index-names-scales/deepseek-v3-fp8": "loads",
    f"{_R}/cast-script/index-names-scales/olmo2-ct": "loads",
    # Scales of keys and values at the layer that attention loads as one.
    f"{_R}/kv/on-the-merged/glm4": "loads",
    f"{_R}/kv/on-the-merged/llama-modelopt": "loads",
    # Codes that no config and no scale speaks of: of weights that were cast as they are, and of scaled ones.
    f"{_R}/saved-as-fp8/all/olmo2": "loads",
    f"{_R}/saved-as-fp8/linears/gemma2": "loads",
    f"{_R}/cast-script/one-left/deepseek-v3-fp8": "silently wrong",
    f"{_R}/merged16/config-gone/deepseek-v3-fp8": "refuses",
    # The same in BF16: they are cast back where a config and scales are left, as dequantized weights are not.
    f"{_R}/raw-cast/nothing-left/glm4-ct": "silently wrong",
    f"{_R}/raw-cast/all-left/glm4-ct": "loads",
    f"{_R}/raw-cast/all-left/deepseek-v3-fp8": "loads",
    f"{_R}/cast-script/config-left/deepseek-v3-fp8": "silently wrong",
    # What quantizers and adapters left behind.
    f"{_R}/leaked/comfy-quant/fp8-blocks": "refuses",
    f"{_R}/leaked/observer/quark": "refuses",
    f"{_R}/leaked/pre-quant-scale/modelopt": "refuses",
    f"{_R}/served-cache/query-too/modelopt": "refuses",
    # Input scales that no calibration gave, and that may be meant: they are taken as they are stored.
    f"{_R}/uncalibrated/ones/olmoe-autofp8": "unknown",
    "again/value/half/olmoe-autofp8": "loads",
    # A router that is a linear layer of transformers' class, under a name that the list's pattern does not mean.
    f"{_R}/served-router/listed/phimoe-ct": "silently wrong",
    # Modules that a class has not, by the names of all that it has, and a head that no class of these holds.
    "crossed/leaked/q-max/cohere2-fp8": "refuses",
    "crossed/defect/CK628/deepseek-v2-ct": "refuses",
    "crossed/mtp/own-part-in-fp8/starcoder2-autofp8": "refuses",
    # A layer that predicts, by its number: some classes know such layers by another name alone.
    "crossed/served-mtp/not-listed/exaone_moe": "refuses",
    "crossed/served-mtp/star/glm4_moe": "loads",
    "crossed/variant/experts-elsewhere/hunyuan_v1_moe": "refuses",
    "crossed/tied/stored-too/gemma2-autofp8": "refuses",
    "again/hub/cohere2/fp8": "loads",
    "again/hub/dots1/fp8": "loads",
    # A layer of experts without the router that others have.
    "crossed/missing/router/qwen3-next-ct": "silently wrong",
    # Patterns of ModelOpt's list on parts of a layer that is in FP8 all the same.
    "crossed/variant/modelopt-list-patterns-with-dots-in-mlp/glm4-moe-modelopt": "silently wrong",
    # Weights of four bits beside FP8: in whole groups, and in groups that end within one.
    "variant/w4a16-beside/llama-block-aligned/llmcompressor-block": "loads",
    "variant/w4a16-beside/llama/llmcompressor-dynamic": "refuses",
    **{f"{_R}/adapter/base-layer/{name}": "refuses" for name in ("ct", "fp8-blocks", "quark")},
    # Heads that are not said: the class takes what the model type stands for, and for the size of a head what
    # head_dim says or, as Qwen2's, the hidden size through their number.
    "variant/heads-gone/llama/llmcompressor-dynamic": "refuses",
    "variant/heads-gone/qwen2/llmcompressor-dynamic": "silently wrong",
    "variant/heads-gone/deepseek_v3": "refuses",
    "variant/head-dim-gone/qwen3/llmcompressor-dynamic": "refuses",
    "held/config/pack-quantized/qwen3-ct": "refuses",
    # No class is named: what a list leaves alone is asked of that of the model type.
    "variant/unnamed/qwen3_moe/transformers-block": "silently wrong",
}


@pytest.mark.parametrize(("name", "verdict"), KINDS.items(), ids=list(KINDS))
def test_verdicts_on_kinds(name: str, verdict: str) -> None:
    assert rows(corpus()[name].make())["vllm"].verdict == verdict


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        # AutoWeightsLoader passes no layer over that its class has not.
        ("held/model/granite/ct", "refuses"),
        ("again/hub/exaone4/ct", "refuses"),
        ("again/hub/qwen3-next/ct", "refuses"),
        ("again/hub/ernie4.5-moe/ct", "refuses"),
        # Left to transformers' own classes, and classes that count what the config says.
        ("again/hub/olmo2/ct", "loads"),
        ("again/hub/dots1/fp8", "loads"),
        ("again/hub/glm4/ct", "loads"),
    ],
)
def test_a_layer_that_predicts_by_its_number(name: str, verdict: str) -> None:
    checkpoint = opened(corpus()[name].make())
    for tensors, stored in checkpoint.places(r".*layers\.1\..*norm\.weight"):
        tensors[stored.replace("layers.1.", f"layers.{checkpoint.config['num_hidden_layers']}.")] = tensors[stored]
    set_config(num_nextn_predict_layers=1)(checkpoint)
    assert rows(checkpoint.to_files())["vllm"].verdict == verdict
