"""llm-compressor's own way to quantize without loading a model, on the CPU.

Run with an interpreter that has llm-compressor: ``python model_free.py SOURCE DESTINATION SCHEME``.
"""

from __future__ import annotations

import sys

from llmcompressor import model_free_ptq

if __name__ == "__main__":
    ignore = ["lm_head", "re:.*embed_tokens"]
    model_free_ptq(sys.argv[1], sys.argv[2], scheme=sys.argv[3], ignore=ignore, device="cpu")
