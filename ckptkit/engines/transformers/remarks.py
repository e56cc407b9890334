"""What users of transformers should know of sound checkpoints."""

from __future__ import annotations

from ckptkit.engines.releases import Evidence
from ckptkit.engines.remarks import Remark, Trait

REMARKS: tuple[Remark, ...] = (
    Remark("does not apply the scales of this mode", ("quark-fp8",), how=Evidence.RUN),
    Remark(
        "does not apply scales under these names; mode transformers writes its own",
        ("fp8",),
        where="integrations/finegrained_fp8.py",
    ),
    Remark(
        "has no reader for this layout: it takes codes for values",
        ("modelopt",),
        how=Evidence.RUN,
    ),
    Remark("needs fbgemm-gpu for this method", ("fbgemm",), where="quantizers/quantizer_fbgemm_fp8.py"),
    Remark(
        "loads no FP8 experts of this class: it has no biases for them. Make it plain (ckptkit convert --to bf16), or "
        "leave it as it is",
        trait=Trait.STACKS,
        architectures=("GptOss",),
        how=Evidence.RUN,
    ),
)
