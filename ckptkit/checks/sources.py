"""Where each rule's defect was reported: public issues and pull requests, by rule code.

A report is written ``owner/repository#number``. A rule without one says why in ``UNREPORTED``.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

REPORTS: Mapping[str, str] = MappingProxyType(
    {
        "CK101": "NVIDIA/TensorRT-LLM#2052 huggingface/transformers#27923 microsoft/OmniParser#34",
        "CK102": "QwenLM/Qwen#462 run-ai/runai-model-streamer#121",
        "CK103": "safetensors/safetensors#401 ml-explore/mlx#3363 ohdearquant/lattice#752",
        "CK104": "sgl-project/sglang#32279 Neph0s/CoSER#3 Blaizzy/mlx-vlm#1827",
        "CK105": "huggingface/huggingface_hub#4725 huggingface/huggingface_hub#4728 vllm-project/vllm#57108",
        "CK106": "vllm-project/vllm#54230 vllm-project/vllm#5353",
        "CK107": "syv-ai/qwen38-27b-rtx3090#123 JustVugg/colibri#1479 sgl-project/sglang#35107",
        "CK108": "modelscope/ms-swift#7074 Blaizzy/mlx-vlm#1464 ggml-org/llama.cpp#8807",
        "CK109": "unslothai/unsloth#2355",
        "CK110": "huggingface/huggingface_hub#4391",
        "CK111": "foundation-model-stack/fastsafetensors#96 safetensors/safetensors#549 ml-explore/mlx#743",
        "CK112": "deepseek-ai/DeepSeek-V3#2 vllm-project/compressed-tensors#641 NVIDIA/cosmos-framework#157",
        "CK113": (
            "vllm-project/vllm#51063 vllm-project/vllm#6758 vllm-project/llm-compressor#2798 neuralmagic/AutoFP8#31"
        ),
        "CK114": "vllm-project/llm-compressor#1630 vllm-project/llm-compressor#2735 intel/auto-round#1526",
        "CK118": "vllm-project/vllm#30433 vllm-project/vllm#39480",
        "CK201": "vllm-project/vllm#57108 radixark/miles#1640 kekzl/imp#1450",
        "CK202": "vllm-project/vllm#31757 vllm-project/vllm#43892",
        "CK203": "amd/Quark#42 vllm-project/vllm#54770 vllm-project/vllm#54126 huggingface/transformers#45699",
        "CK204": (
            "vllm-project/vllm#5353 vllm-project/vllm#41982 amd/Quark#44 wuwangzhang1216/abliterix#93 "
            "leejet/stable-diffusion.cpp#1898"
        ),
        "CK205": "vllm-project/vllm#36297 NVIDIA/TransformerEngine#123",
        "CK206": "sgl-project/sglang#38618 vllm-project/vllm#50355 hiyouga/LlamaFactory#8338 vllm-project/vllm#19643",
        "CK207": "vllm-project/llm-compressor#2833 vllm-project/vllm#44739 huggingface/transformers#44222",
        "CK208": "NVIDIA/Model-Optimizer#2038 NVIDIA/Model-Optimizer#2064",
        "CK301": "NVIDIA/TensorRT-LLM#15415 sgl-project/sglang#25286 FlashML-org/FreeToken#415",
        "CK302": "vllm-project/vllm#10765 vllm-project/vllm#29867 unslothai/unsloth#8953",
        "CK303": "vllm-project/compressed-tensors#547 NVIDIA/TensorRT-Model-Connect#1115 modelscope/mcore-bridge#32",
        "CK304": "unslothai/unsloth#8953",
        "CK305": "vllm-project/vllm#54126 NVIDIA/TensorRT-LLM#17433",
        "CK306": "NVIDIA/Model-Optimizer#1962 ml-explore/mlx-lm#1075 vllm-project/vllm#16474",
        "CK307": "vllm-project/vllm#47058",
        "CK308": "vllm-project/vime#133 radixark/miles#1338",
        "CK309": "vllm-project/vllm#39764 neuralmagic/nm-vllm#336 NVIDIA/TensorRT-LLM#6761",
        "CK310": "vllm-project/vllm#7550 vllm-project/vllm#17595 pytorch/ao#1268",
        "CK312": "vllm-project/vllm#31454 vllm-project/vllm#44836",
        "CK401": "HabanaAI/vllm-fork#2141 vllm-project/llm-compressor#958 intel/auto-round#207",
        "CK402": "vllm-project/vllm#53278 sgl-project/sglang#26701",
        "CK403": "jundot/omlx#2159",
        "CK404": "vllm-project/vllm#58157 sgl-project/sglang#28662 sgl-project/sglang#13067 vllm-project/vllm#51372",
        "CK405": "vllm-project/vllm#7210 sgl-project/sglang#35111 triton-lang/triton#10745",
        "CK406": "vllm-project/vllm#8409 vllm-project/vllm#45040",
        "CK407": "radixark/miles#2044 radixark/miles#1641",
        "CK408": "huggingface/transformers#44596 meta-llama/llama3#285",
        "CK409": "vllm-project/llm-compressor#2308",
        "CK501": "vllm-project/vllm#45212 THUDM/slime#2256 NVIDIA/Model-Optimizer#1382",
        "CK502": "vllm-project/vllm#54444 onnxruntime/mobius#447",
        "CK503": (
            "NVIDIA/Model-Optimizer#1633 NVIDIA/Model-Optimizer#1397 vllm-project/vllm-omni#4025 "
            "huggingface/transformers#42775"
        ),
        "CK504": "THUDM/slime#2256",
        "CK505": "Lightricks/LTX-2#172 wuwangzhang1216/abliterix#93",
        "CK506": "intel/auto-round#1390 NVIDIA/Model-Optimizer#1410",
        "CK507": "NVIDIA/Model-Optimizer#2276",
        "CK601": "vllm-project/vllm#53950 vllm-project/vllm#53967",
        "CK602": "huggingface/transformers#37250 sgl-project/sglang#23841 hiyouga/LlamaFactory#6777",
        "CK603": "NVIDIA/TensorRT-LLM#3167 sgl-project/sglang#13919 vllm-project/vllm#22073",
        "CK604": "NVIDIA/Model-Optimizer#2203 vllm-project/vllm-omni#4202",
        "CK605": "vllm-project/vllm#47445 ROCm/ATOM#755 vllm-project/vllm#48226",
        "CK606": "vllm-project/compressed-tensors#712",
        "CK607": (
            "vllm-project/compressed-tensors#866 vllm-project/llm-compressor#2641 sgl-project/sglang#24927 "
            "vllm-project/vllm#51910"
        ),
        "CK608": (
            "vllm-project/vllm#44628 sgl-project/sglang#23467 huggingface/transformers#47990 vllm-project/vllm#51265"
        ),
        "CK609": "vllm-project/vllm#41457 NVIDIA/TensorRT-LLM#17551",
        "CK610": "sgl-project/sglang#26213 sgl-project/sglang#39317 vllm-project/vllm#46757",
        "CK611": "sgl-project/sglang#34895 sgl-project/sglang#35358 vllm-project/vllm#40999 NVIDIA/TensorRT-LLM#17728",
        "CK612": (
            "vllm-project/llm-compressor#1306 vllm-project/llm-compressor#1766 vllm-project/vllm-omni#2702 "
            "vllm-project/vllm#19424"
        ),
        "CK613": "vllm-project/llm-compressor#2714 NVIDIA/Model-Optimizer#1858 kekzl/imp#1159",
        "CK614": "vllm-project/vllm#38650 vllm-project/vllm#49187 vllm-project/vllm#43893 vllm-project/vllm#52649",
        "CK615": "vllm-project/vllm#48506",
        "CK616": "NVIDIA/TensorRT-LLM#15415 alibaba/rtp-llm#1276",
        "CK617": "vllm-project/compressed-tensors#862 vllm-project/vllm#49483",
        "CK618": "ml-explore/mlx-lm#1865 neuralmagic/nm-vllm#343 vllm-project/vllm-ascend#10222",
        "CK619": (
            "vllm-project/llm-compressor#2057 vllm-project/llm-compressor#2234 "
            "vllm-project/compressed-tensors#599 vllm-project/llm-compressor#865"
        ),
        "CK620": "vllm-project/compressed-tensors#169 vllm-project/llm-compressor#1241 EricLBuehler/mistral.rs#2416",
        "CK621": "NVIDIA/TensorRT-LLM#6530 NVIDIA/Model-Optimizer#500 vllm-project/vllm#49715",
        "CK622": "ggml-org/llama.cpp#22346 sgl-project/sglang#5095",
        "CK623": "vllm-project/vllm#30938 sgl-project/sglang#15468 NVIDIA/TensorRT-LLM#18664 vllm-project/vllm#54367",
        "CK624": "sgl-project/sglang#4524",
        "CK625": "huggingface/transformers#48349 xorbitsai/inference#4959",
        "CK626": "vllm-project/vllm#46311 NVIDIA/Model-Optimizer#929",
        "CK627": "vllm-project/vllm#10765 vllm-project/vllm#54547",
        "CK628": "vllm-project/vllm#28920 vllm-project/vllm#54206",
        "CK632": "sgl-project/sglang#32028",
        "CK633": "instructlab/training#128 vllm-project/vllm#46497 vllm-project/vllm#14105",
        "CK701": "vllm-project/vllm#25378 vllm-project/vllm#11354 vllm-project/vllm#47473",
        "CK702": "NVIDIA/Model-Optimizer#1354 vllm-project/vllm#22674",
        "CK703": "vllm-project/vllm#41457 vllm-project/llm-compressor#1988 radixark/miles#2044",
        "CK704": "vllm-project/vllm#4332 vllm-project/vllm#5940 vllm-project/vllm#12612",
        "CK705": "NVIDIA/TensorRT-LLM#10780 intel/auto-round#1216 vllm-project/vllm-gaudi#720",
        "CK706": "NVIDIA/TensorRT-LLM#14199 NVIDIA/Model-Optimizer#1411",
        "CK801": "sgl-project/sglang#26107 vllm-project/vllm#21404",
        "CK802": (
            "vllm-project/vllm#54178 vllm-project/vllm#52997 sgl-project/sglang#3345 ROCm/ATOM#1488 "
            "vllm-project/vllm#39046"
        ),
        "CK803": "vllm-project/vllm#48586 vllm-project/vllm#54367",
        "CK804": "NVIDIA/TensorRT-LLM#10796 zml/zml#811 sqliteai/warp#26",
        "CK901": "vllm-project/vllm#25968 ROCm/vllm#317 sgl-project/sgl-cookbook#237",
        "CK902": "sgl-project/sglang#35455 sgl-project/sglang#1559",
        "CK903": (
            "sgl-project/sglang#39942 vllm-project/vllm#25047 vllm-project/vllm#54624 intel/auto-round#2370 "
            "vllm-project/compressed-tensors#133 vllm-project/vllm#34293 sgl-project/sglang#20870"
        ),
        "CK904": "vllm-project/vllm#46265 vllm-project/vllm#6081 sgl-project/sglang#1835",
        "CK905": "vllm-project/vllm#54624",
        "CK906": "sgl-project/sglang#39942 vllm-project/vllm#46265 onnxruntime/mobius#447",
        "CK907": "vllm-project/vllm#30141 sgl-project/sglang#26436 vllm-project/vllm#6761",
        "CK908": "NVIDIA/Model-Optimizer#20",
        "CK909": "vllm-project/vllm#37054",
        "CK910": "vllm-project/llm-compressor#1294 vllm-project/vllm#52012 vllm-project/vllm#15734",
        "CK911": "1CatAI/1Cat-vLLM#613 vllm-project/vllm#37054 vllm-project/vllm#45040",
        "CK912": "sgl-project/sglang#35455",
        "CK913": "vllm-project/vllm#7210 vllm-project/vllm#15734",
    }
)

#: Rules whose defect nobody has reported in these words: why they exist all the same.
UNREPORTED: Mapping[str, str] = MappingProxyType(
    {
        "CK115": "a security check: following such a path reads a file outside the checkpoint",
        "CK116": "plain damage: nothing can be read without these files",
        "CK117": "readers differ on which of two equal keys counts, found by comparing them",
        "CK311": "the formats' own definition; found by comparing readers",
        "CK410": "the formats' own definition; found by comparing readers",
        "CK508": "a property of the full scan, of use when two exports are compared",
        "CK629": "the formats' own definition: what the libraries' classes refuse",
        "CK631": "a security check: such a pattern stops whoever reads the checkpoint",
        "CK630": "a card is read by people; engines do not look at it",
        "CK805": "found by running the exporters' own ragged blocks",
        "CK600": "says that ckptkit itself cannot judge the config",
    }
)


def sources_of(code: str) -> tuple[str, ...]:
    """The addresses of a rule's reports. GitHub leads from an issue's address to the pull request of that number.

    >>> sources_of("CK102")[0]
    'https://github.com/QwenLM/Qwen/issues/462'
    """
    reports = REPORTS.get(code, "").split()
    return tuple(f"https://github.com/{report.replace('#', '/issues/')}" for report in reports)
