"""What llama.cpp's converter leaves out of a model's GGUF, as parts of towers beside it, and takes out of names.

Newer builds do so in ``filter_tensors``, the same for all classes; b8643 in each class's ``modify_tensors``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from ckptkit.engines.releases import Range, Release
from ckptkit.model import names
from ckptkit.record import record

#: One list for all classes: not yet in b8643, and in b11312.
_ONE_LIST = Range(since="b8644")


def renamed(name: str, architecture: str, release: Release) -> str:
    """A stored name without the part that says that it is of the language model, as far as a release takes it out.

    >>> renamed("model.language_model.norm.weight", "LlamaForCausalLM", Release("b11312", "2026-10-01"))
    'model.norm.weight'
    >>> renamed("model.language_model.norm.weight", "LlamaForCausalLM", Release("b8643", "2026-04-03"))
    'model.language_model.norm.weight'
    """
    older = None if _ONE_LIST.holds(release) else _OLDER_NAMES.get(architecture)
    taken = older is None or older.language.match(name) is not None
    return name.replace(_LANGUAGE, "") if taken else name


def left_out(name: str, architecture: str, release: Release) -> bool:
    """Whether a tensor is of a tower beside the language model, and left out of its GGUF.

    >>> left_out("model.visual.norm.weight", "Qwen2ForCausalLM", Release("b11312", "2026-10-01"))
    True
    >>> left_out("model.visual.norm.weight", "Qwen2ForCausalLM", Release("b8643", "2026-04-03"))
    False
    """
    older = None if _ONE_LIST.holds(release) else _OLDER_NAMES.get(architecture)
    return (_TOWERS if older is None else older.towers).match(name) is not None


def kept_in_vain(name: str, architecture: str, release: Release) -> bool:
    """Whether a tensor that is of a tower, or still says that it is of the language model, is looked up all the same:
    nothing has such a name in the language model's GGUF. Of older classes that are not listed nothing is known.

    >>> kept_in_vain("visual.norm.weight", "Qwen3VLForConditionalGeneration", Release("b8643", "2026-04-03"))
    True
    """
    known = not _ONE_LIST.holds(release) and architecture in _OLDER_NAMES
    return known and (names.other_tower(name) is not None or _LANGUAGE in name)


_TOWERS = re.compile(
    r"mlp|vit\.|vpm\.|siglip2\.|conformer\.|merger\.|resampler\.|sound_encoder\.|sound_projection\.|speech_embeddings\."
    r"|.*(visual\.|vision\.|audio\.|talker\.|vision_|audio_|token2wav\.|code2wav\.|projector\.|pre_mm_projector_norm"
    r"|image_newline|view_seperator|patch_embed|patch_merger\.|patch_merge_mlp\.|model\.connector\.)"
)
_LANGUAGE = "language_model."
_NEVER, _FIRST, _ANYWHERE = re.compile(r"(?!)"), re.compile(re.escape(_LANGUAGE)), re.compile(r".*language_model\.")
_QWEN = r"mlp|multi_modal_projector|vision_model|audio_tower|model\.vision_tower|model\.multi_modal_projector"


@record
class _OlderNames:
    """What a class of an older build leaves out, and from which names it takes out that of the language model."""

    towers: re.Pattern[str]
    language: re.Pattern[str]


_LLAMA = _OlderNames(
    re.compile(
        r"(vision_encoder|vision_language_adapter|patch_merger|audio_encoder)\.|pre_mm_projector_norm"
        r"|.*(vision_tower|vision_model|audio_tower|model\.connector|multi_modal_projector)"
    ),
    _FIRST,
)
_QWEN_MOE = _OlderNames(
    re.compile(r"mlp|vision_model|model\.vision_tower|model\.multi_modal_projector|model\.visual"), _ANYWHERE
)
_OLDER_NAMES: Mapping[str, _OlderNames] = MappingProxyType(
    {
        **dict.fromkeys(
            (
                *(
                    "LLaMAForCausalLM",
                    "LlamaForCausalLM",
                    "LlamaBidirectionalModel",
                    "LlamaModel",
                    "MistralForCausalLM",
                ),
                *("MixtralForCausalLM", "IQuestCoderForCausalLM", "SmolLM3ForCausalLM", "VLlama3ForCausalLM"),
                "GraniteForCausalLM",
                *("LlavaForConditionalGeneration", "VoxtralForConditionalGeneration"),
            ),
            _LLAMA,
        ),
        **dict.fromkeys(
            ("Qwen2ForCausalLM", "Qwen2Model", "KORMoForCausalLM"), _OlderNames(re.compile(_QWEN), _ANYWHERE)
        ),
        **dict.fromkeys(
            ("Qwen3ForCausalLM", "Qwen3Model"), _OlderNames(re.compile(rf"{_QWEN}|.*model\.vision_"), _ANYWHERE)
        ),
        **dict.fromkeys(
            ("Qwen2MoeForCausalLM", "Qwen3MoeForCausalLM", "Qwen3VLMoeForConditionalGeneration"),
            _QWEN_MOE,
        ),
        "Qwen3VLForConditionalGeneration": _OlderNames(
            re.compile(rf"model\.visual\.|{_QWEN}|.*model\.vision_"), _ANYWHERE
        ),
        **dict.fromkeys(
            ("Qwen3_5ForConditionalGeneration", "Qwen3_5MoeForConditionalGeneration", "Qwen3_5ForCausalLM"), _QWEN_MOE
        ),
        **dict.fromkeys(
            ("Qwen2VLForConditionalGeneration", "Qwen2_5_VLForConditionalGeneration"),
            _OlderNames(re.compile(r"(thinker\.)?(visual|audio|talker|token2wav)"), _NEVER),
        ),
        **dict.fromkeys(
            ("Gemma3ForCausalLM", "Gemma3ForConditionalGeneration"),
            _OlderNames(
                re.compile(r"(?!.*language_model\.)(multi_?modal_projector|vision_tower|vision_model)\."), _ANYWHERE
            ),
        ),
        "Ministral3ForCausalLM": _OlderNames(re.compile(r".*(multi_modal_projector|vision_tower)"), _ANYWHERE),
        **dict.fromkeys(
            ("Ernie4_5ForCausalLM", "Ernie4_5_ForCausalLM"), _OlderNames(re.compile(r".*(mlp_AR|vision_model)"), _NEVER)
        ),
        **dict.fromkeys(
            (
                f"Glm4{kind}"
                for kind in (
                    "ForCausalLM",
                    "vForConditionalGeneration",
                    "MoeForCausalLM",
                    "vMoeForConditionalGeneration",
                )
            ),
            _OlderNames(re.compile(r"model\.visual\."), re.compile(r"model\.language_model\.")),
        ),
        **dict.fromkeys(("DreamModel", "SeedOssForCausalLM"), _OlderNames(_NEVER, _NEVER)),
        "Phi3ForCausalLM": _OlderNames(re.compile(r"(model\.)?(vision_tower|mm_projector)\."), _NEVER),
    }
)
