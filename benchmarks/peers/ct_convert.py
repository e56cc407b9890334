"""compressed-tensors' own ``convert_checkpoint``, with a converter that does what ``ckptkit convert quark→ct`` does.

Run with an interpreter that has compressed-tensors: ``python ct_convert.py SOURCE DESTINATION WORKERS``.
"""

from __future__ import annotations

import sys

import torch
from compressed_tensors.entrypoints.convert import convert_checkpoint
from compressed_tensors.quantization import QuantizationArgs, QuantizationConfig, QuantizationScheme, QuantizationStatus
from load_and_save import to_compressed_tensors


class FromQuark:
    """Renames KV scales, gives scalars the shape [1], and writes the config of static per-tensor FP8."""

    def process(self, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return dict(to_compressed_tensors(name, tensor) for name, tensor in tensors.items())

    def validate(self, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return self.process(tensors)

    def update_config(self, config: QuantizationConfig | None) -> QuantizationConfig:
        args = QuantizationArgs(num_bits=8, type="float", strategy="tensor", symmetric=True, dynamic=False)
        scheme = QuantizationScheme(targets=["Linear"], weights=args, input_activations=args, format="float-quantized")
        return QuantizationConfig(
            config_groups={"group_0": scheme},
            format="float-quantized",
            ignore=["lm_head"],
            kv_cache_scheme=args,
            quantization_status=QuantizationStatus.COMPRESSED,
        )

    def update_model_config(self, model_config: dict[str, object]) -> dict[str, object]:
        return model_config

    def get_dependencies(self, weight_name: str) -> set[str]:
        return set()


if __name__ == "__main__":
    convert_checkpoint(sys.argv[1], sys.argv[2], FromQuark(), max_workers=int(sys.argv[3]), device="cpu")
