"""llm-compressor's own way to quantize without loading a model, on the CPU.

Run with an interpreter that has llm-compressor: ``python model_free.py SCHEME SOURCE DESTINATION``.
"""

from __future__ import annotations

import sys

from llmcompressor import model_free_ptq

if __name__ == "__main__":
    ignore = ["lm_head", "re:.*embed_tokens"]
    model_free_ptq(sys.argv[2], sys.argv[3], scheme=sys.argv[1], ignore=ignore, device="cpu")
