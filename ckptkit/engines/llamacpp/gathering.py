"""How classes of llama.cpp's converter gather the experts of a layer, and what becomes of those that do not add up.

A class keeps whatever has its container's name until it has as many tensors as there are experts, of three projections
each (Nemotron-H: of two), and makes one of each projection of them. What is kept in the end stops it with "Unprocessed
experts", but not every class looks: the others write a GGUF without these experts. A few take one tensor for all
experts of a layer as well, or instead. Listed from ``modify_tensors`` and ``prepare_tensors`` of every class and of
what it is made of, at 0c1e57098bba (b11312) and f49e9178767d (b8643), which agree on the classes that both have.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from ckptkit.engines.llamacpp.dequantizing import Shape, StopError
from ckptkit.engines.support import Answer, Judgement
from ckptkit.record import record

_UNMAPPED = "ValueError: Can not map tensor"
_SINGLE = re.compile(r"\.experts\.\d+\.")
_STACKS = (".gate_up_proj", ".down_proj")
#: Keys that say how many experts there are, the first that is there counts.
COUNTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts", "moe_num_primary_experts")
#: What holds something for each expert, along its last axis (FFN_EXP_PROBS_B) or its first (FFN_GATE_INP, and stacks).
_BIASES = re.compile(r"\.(?:e_score_correction(?:_bias|\.bias)|expert_bias(?:\.bias)?)$")
_BY_EXPERT = re.compile(
    r"\.(?:mlp|block_sparse_moe|feed_forward|mixer)\.(?:gate|router)\.weight$"
    r"|\.experts\.(?:gate_up_proj|down_proj)(?:\.weight)?$|\.block_sparse_moe\.(?:input|output)_linear\.weight$"
)


@record
class Gathering:
    """What a class looks for: the ``container`` of single experts, empty where none has a name, whether it takes
    ``stacks`` of all experts too, and whether it is ``quiet`` about what it keeps in the end."""

    container: str
    stacks: bool = False
    quiet: bool = False


#: The container, "and stacks" or "quietly", and the classes.
_LINES = """
mlp.experts: AfmoeForCausalLM BailingMoeForCausalLM BailingMoeV2ForCausalLM BailingMoeV3ForCausalLM
  BailingMoeV3VLForConditionalGeneration Cohere2MoeForCausalLM DeepseekForCausalLM DeepseekOCRForCausalLM
  DeepseekV2ForCausalLM DeepseekV32ForCausalLM DeepseekV3ForCausalLM Ernie4_5_MoeForCausalLM ExaoneMoEForCausalLM
  ExaoneMoeForCausalLM Glm4MoeForCausalLM Glm4MoeLiteForCausalLM Glm4vMoeForConditionalGeneration
  Glm5NextForConditionalGeneration GlmMoeDsaForCausalLM GroveMoeForCausalLM HYV3ForCausalLM HunYuanMoEV1ForCausalLM
  KimiK25ForConditionalGeneration KimiVLForConditionalGeneration LLaDAMoEModel LLaDAMoEModelLM MapleForCausalLM
  MiMoV2FlashForCausalLM MiMoV2ForCausalLM OlmoeForCausalLM SarvamMoEForCausalLM SolarOpenForCausalLM
  UnlimitedOCRForCausalLM modeling_grove_moe.GroveMoeForCausalLM modeling_sarvam_moe.SarvamMoEForCausalLM
mlp.experts and stacks: Dots1ForCausalLM MiniCPMV4_6ForConditionalGeneration Qwen2MoeForCausalLM Qwen3NextForCausalLM
  Qwen3OmniMoeForConditionalGeneration Qwen3VLMoeForConditionalGeneration Qwen3_5MoeForCausalLM
  Qwen3_5MoeForConditionalGeneration Qwen4ExpForCausalLM Qwen4ExpForConditionalGeneration RND1
mlp.experts quietly: LagunaForCausalLM MellumForCausalLM
block_sparse_moe.experts: ArcticForCausalLM BambaForCausalLM GraniteMoeForCausalLM GraniteMoeHybridForCausalLM
  GraniteMoeSharedForCausalLM GraniteSwitchForCausalLM KimiK3ForConditionalGeneration KimiLinearForCausalLM
  KimiLinearModel Llama4ForCausalLM Llama4ForConditionalGeneration PhiMoEForCausalLM SmallThinkerForCausalLM
block_sparse_moe.experts and stacks: GraniteMoeSWAForCausalLM
block_sparse_moe.experts quietly: MiniMaxM1ForCausalLM MiniMaxM2ForCausalLM MiniMaxM3SparseForCausalLM
  MiniMaxM3SparseForConditionalGeneration MiniMaxText01ForCausalLM
feed_forward.experts: JambaForCausalLM Lfm2MoeForCausalLM
mixer.experts: NemotronHForCausalLM NemotronHPuzzleForCausalLM
 : DbrxForCausalLM GptOssForCausalLM
"""


def _read() -> dict[str, Gathering]:
    found: dict[str, Gathering] = {}
    for line in _LINES.replace("\n  ", " ").strip("\n").splitlines():
        what, _, classes = line.partition(":")
        container, *words = what.split() or [""]
        found |= dict.fromkeys(classes.split(), Gathering(container, "stacks" in words, "quietly" in words))
    return found


GATHERINGS: Mapping[str, Gathering] = MappingProxyType(_read())
#: Classes that write a GGUF without experts that do not add up.
QUIET = tuple(name for name, known in GATHERINGS.items() if known.quiet)


def judge_experts(architecture: str, shapes: Mapping[str, Shape]) -> Iterator[Judgement]:
    """What becomes of experts under the names that they have; raises StopError where the converter stops."""
    known = GATHERINGS.get(architecture)
    if known is None:
        return
    inside = f".{known.container}."
    odd = next((n for n in shapes if _SINGLE.search(n) and not (known.container and inside in n)), None)
    if odd is not None:
        raise StopError(f"{_UNMAPPED} {odd!r}, or KeyError")
    kept = next((n for n in shapes if known.container and _is_kept(n, inside, known)), None)
    if kept is not None and known.quiet:
        yield Judgement(None, Answer.SILENT, f"{kept} is not of a single expert: the GGUF goes without it")
    elif kept is not None:
        raise StopError(f"ValueError: Unprocessed experts: {kept!r} ..., or no name for it")


def judge_counts(config: Mapping[str, Any], shapes: Mapping[str, Shape]) -> Iterator[Judgement]:
    """What holds something for another number of experts than the metadata says: nothing loads such a GGUF."""
    count = next((config[key] for key in COUNTS if config.get(key) is not None), None)
    if type(count) is not int or count < 1:
        return
    for name, shape in shapes.items():
        of = shape[-1:] if _BIASES.search(name) else shape[:1] if _BY_EXPERT.search(name) else ()
        if of and of[0] != count:
            yield Judgement(None, Answer.SILENT, f"{name} is of {of[0]} experts, and the metadata says {count}")
            return


def _is_kept(name: str, inside: str, known: Gathering) -> bool:
    """Whether a tensor is a stack of experts that its class takes for one of them."""
    stack = inside in name and name.removesuffix(".weight").endswith(tuple(inside[:-1] + end for end in _STACKS))
    return stack and not known.stacks
