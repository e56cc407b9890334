"""Types of plain tensors, for engines that keep them as they are stored: what two layers multiply has to be alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ckptkit.engines.support import Answer, Judgement
from ckptkit.model import names
from ckptkit.model.checkpoint import Checkpoint
from ckptkit.storage.payload import TensorRef

_FLOATS = ("BF16", "F16", "F32", "F64")
#: Norms of queries and keys, which the next layer gets nothing of.
_WITHIN_ATTENTION = ("q_", "k_", "query_", "key_")


def promoted(dtypes: Iterable[str]) -> str:
    """The type of a sum of tensors of these types, as torch takes it.

    >>> promoted(["BF16"]), promoted(["BF16", "F16"]), promoted(["F32", "BF16"])
    ('BF16', 'F32', 'F32')
    """
    found = set(dtypes)
    return found.pop() if len(found) == 1 else "F64" if "F64" in found else "F32"


def judge_types(checkpoint: Checkpoint, *, give_back: bool) -> Iterator[Judgement]:
    """The first plain linear layer whose weight is of another type than what it gets.

    That is the embedding's type, and the norms' too unless these ``give_back`` the type that they got.
    """
    tensors = {
        name: tensor
        for name, tensor in checkpoint.container.tensors.items()
        if name.endswith(".weight") and tensor.dtype in _FLOATS and names.other_tower(tensor.module) is None
    }
    embedding = next((tensor for tensor in tensors.values() if names.is_embedding(tensor.module)), None)
    if embedding is None:
        return
    norms = {tensor.dtype for tensor in tensors.values() if _is_norm(tensor)}
    hidden = promoted({embedding.dtype} if give_back else {embedding.dtype, *norms})
    plain = {f"{module}.weight" for module in checkpoint.unquantized if not names.is_router(module)}
    layers = [tensor for name, tensor in tensors.items() if name in plain or names.is_head(tensor.module)]
    if not any(names.is_head(tensor.module) for tensor in checkpoint.container.tensors.values()):
        layers.append(embedding)
    odd = next((tensor for tensor in layers if tensor.dtype != hidden), None)
    if odd is not None:
        words = f"{odd.name} is {odd.dtype}, and what it multiplies {hidden}; at the first request"
        yield Judgement(None, Answer.REFUSED, words)


def _is_norm(tensor: TensorRef) -> bool:
    last = names.last_part(tensor.module)
    return len(tensor.shape) == 1 and "norm" in last and not last.startswith(_WITHIN_ATTENTION)
