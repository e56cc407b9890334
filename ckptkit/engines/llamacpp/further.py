"""Layers beyond those that the config counts, and what tells how many there are, in llama.cpp's converter.

A class has names in the GGUF for as many layers as it counts. Those of _FURTHER look for more than the config's key,
or leave further ones out; the others stop at the first tensor of one. Listed from the sources of the classes and of
what they are made of, at 0c1e57098bba (b11312) and f49e9178767d (b8643).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from ckptkit.engines.llamacpp.dequantizing import StopError
from ckptkit.engines.releases import Range, Release
from ckptkit.engines.support import Answer, Judgement

#: One name after another, with blanks between them.
_NAMES = """
BailingMoeV2ForCausalLM BailingMoeV3ForCausalLM BailingMoeV3VLForConditionalGeneration Cohere2MoeForCausalLM
DeciLMForCausalLM DeepseekOCRForCausalLM DeepseekV2ForCausalLM DeepseekV32ForCausalLM DeepseekV3ForCausalLM
DeepseekV4DSparkModel DeepseekV4ForCausalLM Dots3NoteForCausalLM Dots3NoteForConditionalGeneration
Dots3NoteTextForCausalLM Ernie4_5_MoeForCausalLM Exaone4_5_ForConditionalGeneration ExaoneMoEForCausalLM
ExaoneMoeForCausalLM Gemma4AssistantForCausalLM Gemma4UnifiedAssistantForCausalLM Glm4MoeForCausalLM
Glm4MoeLiteForCausalLM Glm4vMoeForConditionalGeneration Glm5NextForConditionalGeneration GlmMoeDsaForCausalLM
GlmOcrForConditionalGeneration GraniteSwitchForCausalLM HYV3ForCausalLM HYV4ForCausalLM HrmTextForCausalLM
KimiK25ForConditionalGeneration KimiVLForConditionalGeneration MiMoV2FlashForCausalLM MiMoV2ForCausalLM
MiniCPMV4_6ForConditionalGeneration Ministral3ForCausalLM Mistral3ForConditionalGeneration NemotronHForCausalLM
NemotronHPuzzleForCausalLM NomicBertModel OpenELMForCausalLM Qwen3NextForCausalLM Qwen3_5ForCausalLM
Qwen3_5ForConditionalGeneration Qwen3_5MoeForCausalLM Qwen3_5MoeForConditionalGeneration Qwen4ExpForCausalLM
Qwen4ExpForConditionalGeneration SarvamMoEForCausalLM SolarOpenForCausalLM Step3p5ForCausalLM
Step3p7ForConditionalGeneration UnlimitedOCRForCausalLM YoutuForCausalLM YoutuVLForConditionalGeneration
modeling_sarvam_moe.SarvamMoEForCausalLM
"""
_FURTHER = frozenset(_NAMES.split())
#: Classes that take layers that predict into the same GGUF (``_QwenMtpMixin`` in ``conversion/qwen.py``): how many is a
#: key of the config, or else told by the names of tensors, and none at all is an assertion. Not yet in b8643.
_PREDICTING = frozenset(
    {
        *("MiniCPMV4_6ForConditionalGeneration", "Qwen3NextForCausalLM", "Qwen3_5ForCausalLM"),
        *("Qwen3_5ForConditionalGeneration", "Qwen3_5MoeForCausalLM", "Qwen3_5MoeForConditionalGeneration"),
        *("Qwen4ExpForCausalLM", "Qwen4ExpForConditionalGeneration"),
    }
)
_PREDICTS = Range(since="b8644")
_PREDICTED, _PREDICTED_KEY = re.compile(r"(?:model\.)?mtp\.layers\.(\d+)\."), "mtp_num_hidden_layers"
_ROUTER = ".gate.weight"
_NO_PREDICTION = "AssertionError: assert self.opt_num_mtp_layers != 0; --no-mtp goes around it"
#: Classes that count layers that predict among the others, by a key of the config alone: those that b8643 has, and
#: those that b11312 has besides.
_COUNTING = frozenset(
    {
        *("BailingMoeV2ForCausalLM", "ExaoneMoEForCausalLM", "Glm4MoeForCausalLM", "Glm4vMoeForConditionalGeneration"),
        *("GlmMoeDsaForCausalLM", "GlmOcrForConditionalGeneration", "SolarOpenForCausalLM"),
    }
)
_COUNTING_SINCE = _COUNTING | {
    *("BailingMoeV3ForCausalLM", "BailingMoeV3VLForConditionalGeneration", "Cohere2MoeForCausalLM"),
    *("DeepseekV32ForCausalLM", "Exaone4_5_ForConditionalGeneration", "ExaoneMoeForCausalLM", "Glm4MoeLiteForCausalLM"),
    *("Glm5NextForConditionalGeneration", "HYV3ForCausalLM", "SarvamMoEForCausalLM", "Step3p5ForCausalLM"),
    *("Step3p7ForConditionalGeneration", "modeling_sarvam_moe.SarvamMoEForCausalLM"),
}
_COUNTED_KEY, _UNFILLED = "num_nextn_predict_layers", "layers that predict are counted, and nothing fills them"
#: Keys that the count of layers may have, and how a class of state spaces calls them besides.
LAYERS = ("n_layers", "num_hidden_layers", "n_layer", "num_layers")
_OF_STATES = tuple(f"mamba_{key}" for key in LAYERS)
_NO_COUNT = f'KeyError: "could not find any of: {list(LAYERS)}"'
#: Model types that write no such key, and that transformers 4.57, by which the converter reads configs, does not know:
#: it then reads the file itself, and gets no default.
_UNCOUNTED = frozenset({"nemotron_h"})
_NUMBER = re.compile(r"model\.layers\.(\d+)\.")
#: What b8643 writes of where attention is, among layers that hold a state: how many layers there are to one of it.
_INTERVAL, _DEFAULT_INTERVAL = "full_attention_interval", 4


def judge_layers(
    architecture: str, config: Mapping[str, Any], names: Collection[str], release: Release
) -> Iterator[Judgement]:
    """What goes wrong with how many layers there are; raises StopError where the converter stops."""
    if config.get("model_type") in _UNCOUNTED and not any(key in config for key in (*LAYERS, *_OF_STATES)):
        raise StopError(_NO_COUNT)
    count = next((config[key] for key in LAYERS if config.get(key) is not None), None)
    counted = config.get(_COUNTED_KEY) if architecture in _counting(release) else None
    if type(counted) is int and counted > 0 and type(count) is int and not _holds_further(names, count):
        yield Judgement(None, Answer.SILENT, _UNFILLED)
    if architecture in _PREDICTING and _PREDICTS.holds(release):
        predicted = {int(found[1]) for found in map(_PREDICTED.match, names) if found}
        said = config.get(_PREDICTED_KEY, 0)
        if not said and not predicted:
            raise StopError(_NO_PREDICTION)
        if isinstance(said, int) and said > len(predicted):
            yield Judgement(None, Answer.SILENT, _UNFILLED)
        owners = [name.removesuffix(_ROUTER) for name in names if _PREDICTED.match(name) and name.endswith(_ROUTER)]
        if not all(any(name.startswith(f"{owner}.experts.") for name in names) for owner in owners):
            yield Judgement(None, Answer.SILENT, "a layer that predicts has a router, and no experts")
    elif architecture in _PREDICTING and not _keeps_interval(config):
        words = f"the metadata says attention in every {config.get(_INTERVAL, _DEFAULT_INTERVAL)} layers"
        yield Judgement(None, Answer.SILENT, words)
    elif architecture not in _FURTHER and type(count) is int:
        beyond = (name for name in names if (found := _NUMBER.match(name)) and int(found[1]) >= count)
        first = next(beyond, None)
        if first is not None:
            raise StopError(f"ValueError: Can not map tensor {first!r}")


def _counting(release: Release) -> frozenset[str]:
    return _COUNTING_SINCE if _PREDICTS.holds(release) else _COUNTING


def _holds_further(names: Collection[str], count: int) -> bool:
    """Whether anything is stored of a layer beyond those that the config counts, under whatever name."""
    inside = (found for name in names if (found := _NUMBER.match(name)))
    return any(int(found[1]) >= count for found in inside) or any("mtp" in name or "nextn" in name for name in names)


def _keeps_interval(config: Mapping[str, Any]) -> bool:
    """Whether the kinds of layers, where they are listed, are those that the interval gives."""
    kinds, interval = config.get("layer_types"), config.get(_INTERVAL, _DEFAULT_INTERVAL)
    if not isinstance(kinds, list) or type(interval) is not int or interval < 1:
        return True
    return all((kind == "full_attention") is ((number + 1) % interval == 0) for number, kind in enumerate(kinds))
