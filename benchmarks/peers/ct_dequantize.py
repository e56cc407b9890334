"""compressed-tensors' own ``convert_checkpoint`` with its ``FP8BlockDequantizer``, on two workers.

Run with an interpreter that has compressed-tensors: ``python ct_dequantize.py SOURCE DESTINATION``.
"""

from __future__ import annotations

import sys

from compressed_tensors.entrypoints.convert import FP8BlockDequantizer, convert_checkpoint

if __name__ == "__main__":
    converter = FP8BlockDequantizer(targets=[r"re:.*_proj$"])
    convert_checkpoint(sys.argv[1], sys.argv[2], converter, max_workers=2, device="cpu")
