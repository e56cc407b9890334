"""Names under which scales are stored."""

from __future__ import annotations

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Finding, StoredTensor
from ckptkit.storage.payload import TensorRef

#: Endings of weights that another kind of quantization has packed; CK626 speaks of those.
PACKED_ENDINGS = frozenset({"weight_packed", "qweight", "qzeros", "g_idx", "weight_shape", "weight_zero_point"})


#: The two names that a weight's scale has in one dialect or another.
_WEIGHT_SCALES = ("weight_scale", "weight_scale_inv")


def misnamed_scale(context: Context) -> tuple[str, str] | None:
    """A weight scale's name in the checkpoint's dialect, and its name in others; None where either will do."""
    if context.dialect is None:
        return None
    names = context.dialect.weight_scale
    wrong = [name for name in _WEIGHT_SCALES if name not in names.known]
    return (names.written, wrong[0]) if len(wrong) == 1 else None


def stored_tensor(context: Context, finding: Finding) -> TensorRef | None:
    """The tensor that a finding is about, from the shard that it names."""
    subject = finding.subject
    if isinstance(subject, StoredTensor):
        for header in context.container.headers:
            if header.shard == subject.shard and subject.name in header.tensors:
                return header.tensors[subject.name]
    return None
