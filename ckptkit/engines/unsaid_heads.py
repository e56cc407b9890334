"""What a config means by saying nothing of its attention's heads, by model type.

A line is the heads of queries, those of keys and values, and the size of one, where the key is missing, and the types
of models. "=" stands for as many as of queries, "/" for ``hidden_size`` through the heads of queries. It was taken on
2026-11-30 from what the config classes of transformers 5.19.0 hold that were given other sizes, and 5.16.1 holds the
same (``configuration_*.py``): every engine here reads config.json through them. Of a type that is not listed nothing is
known.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ckptkit.record import record

_LINES = """
32 = /: apertus arcee aria_text deepseek_ocr2_text diffllama flex_olmo granite granitemoe granitemoe_swa
  granitemoehybrid granitemoeshared hunyuan_v1_dense hunyuan_v1_moe hunyuan_vl_text hyperclovax kyutai_speech_to_text
  llama moshi olmo olmo2 olmo3 phi phi3
32 8 /: bamba emu3_text_model evolla falcon_h1 jamba lfm2 lfm2_moe minimax ministral mistral mixtral mllama_text_model
  phi4_multimodal phimoe
32 32 /: chameleon dots1 exaone4 exaone_moe qwen2 stablelm
64 8 128: hy_v3 inkling_text solar_open step3p5
8 4 256: gemma2 gemma3_text vaultgemma
16 2 256: qwen3_5_moe_text qwen3_next qwen4_exp_text
20 4 /: ernie4_5_moe ernie4_5_vl_moe_text granite_swa
32 2 128: glm glm4 muse_glimmer_text
32 32 128: mistral4 qwen3 qwen3_vl_text
32 8 128: ministral3 muse_glimmer_assistant nemotron_h
48 8 128: cwm laguna minimax_m2
64 = /: cohere cohere2 cohere_compass_text
16 16 /: qwen2_moe qwen3_vl_moe_text
16 2 128: ernie4_5 paddleocr_vl_text
28 4 /: qwen2_5_omni_text qwen3_omni_moe_text
32 2 /: glm4v_text glm_image_text
32 = 64: deepseek_v2 hy_v4
64 64 64: axk1 glm_moe_dsa
64 8 /: qwen2_5_vl_text qwen2_vl_text
96 8 /: glm4_moe glm4v_moe_text
128 128 64: deepseek_v3 deepseek_v32
6 = /: nanochat
8 2 128: zaya
8 2 256: gemma3n_text
8 = /: doge
10 = /: recurrent_gemma
12 1 /: gpt_bigcode
16 1 /: dbrx
16 16 256: gemma
16 16 64: youtu
16 4 /: smollm3
16 4 256: qwen3_5_text
16 8 /: glm_ocr_text
16 8 128: cosmos3_edge_text
16 = /: olmoe
16 = 128: afmoe
20 20 128: helium
20 20 64: glm4_moe_lite
20 5 /: bitnet
24 2 /: starcoder2
26 = /: jais2
30 = /: olmo_hybrid
32 16 128: jetmoe
32 32 64: kimi_linear
32 4 /: qwen3_moe
32 4 128: mellum
40 40 32: minicpm3
40 8 128: llama4_text
48 = /: nemotron
64 1 512: deepseek_v4
64 4 128: minimax_m3_vl_text
64 4 192: mimo_v2_flash
64 8 64: gpt_oss
64 = 128: cohere2_moe
64 = 64: longcat_flash
80 8 128: seed_oss
"""


@record
class UnsaidHeads:
    """The numbers that stand for missing keys: ``keys`` None for as many as queries, ``size`` None for the hidden size
    through the heads of queries."""

    queries: int
    keys: int | None
    size: int | None


def _read() -> dict[str, UnsaidHeads]:
    found: dict[str, UnsaidHeads] = {}
    for line in _LINES.replace("\n  ", " ").strip().splitlines():
        numbers, _, types = line.partition(": ")
        queries, keys, size = (int(word) if word.isdecimal() else None for word in numbers.split())
        found |= dict.fromkeys(types.split(), UnsaidHeads(queries or 0, keys, size))
    return found


#: Type of the language model -> what stands for keys that it leaves out.
UNSAID_HEADS: Mapping[str, UnsaidHeads] = MappingProxyType(_read())
