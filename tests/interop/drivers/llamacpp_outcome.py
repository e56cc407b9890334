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
import json
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
        with _vocabulary(folder):
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


def _forget(kind: type) -> None:
    """Some classes collect experts in themselves: what a conversion that ended early left there is not the next one's.

    Each conversion has a process of its own otherwise.
    """
    for owner in kind.__mro__:
        for name, held in vars(owner).items():
            if name.startswith("_experts") and isinstance(held, dict):
                held.clear()


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
    lists = [field.contents() for field in reader.fields.values() if len(field.types) > 1]
    return found, [*odd, *_absent_blocks(shapes, said, lists), *_misfits(shapes, said)]


def _absent_blocks(shapes: Mapping[str, tuple[int, ...]], said: Callable[..., Any], lists: list[Any]) -> list[str]:
    """What some block has and another of its kind has not: llama.cpp looks for it in all of them.

    Kinds are told by the metadata: dense blocks before those of experts, blocks that predict, and whatever has a value
    for each block, such as how many heads of keys there are, none in one that holds a state.
    """
    blocks = said("block_count", 0)
    dense, predicting = said("leading_dense_block_count", 0), said("nextn_predict_layers", 0)
    steps = [said(key, 0) for key in ("full_attention_interval", "interleave_moe_layer_step")]
    by_block = [values for values in lists if isinstance(values, list) and len(values) == blocks]

    def kind(number: int) -> tuple[Any, ...]:
        turns = (bool(step) and (number + 1) % step == 0 for step in steps)
        each = (values[number] for values in by_block)
        return (number < dense, number >= blocks - predicting, *turns, *each)

    inside = [name.split(".", 2) for name in shapes if name.startswith("blk.") and name.endswith(".weight")]
    held = {(int(number), last) for _, number, last in inside}
    kinds = {(kind(number), last) for number, last in held if number < blocks}
    # A router without any experts.
    kinds |= {(of, "ffn_down_exps.weight") for of, last in kinds if last == "ffn_gate_inp.weight"}
    empty = [f"blk.{number}" for number in range(blocks) if not any(number == mine for mine, _ in held)]
    return empty + sorted(
        f"blk.{n}.{last}" for n in range(blocks) for of, last in kinds if of == kind(n) and (n, last) not in held
    )


def _misfits(shapes: Mapping[str, tuple[int, ...]], said: Callable[..., Any]) -> list[str]:
    """The tensors that are not of the size that the metadata gives."""
    return sorted(name for name, shape in shapes.items() if not _fits(name, shape, shapes, said))


def _fits(name: str, shape: tuple[int, ...], shapes: Mapping[str, tuple[int, ...]], said: Callable[..., Any]) -> bool:
    """Whether a tensor is of the size that the metadata gives, which may give one for each block."""
    number, last = (int(name.split(".", 2)[1]), name.split(".", 2)[2]) if name.startswith("blk.") else (0, name)

    def own(key: str, otherwise: Any = 0) -> Any:
        value = said(key, otherwise)
        return value[min(number, len(value) - 1)] if isinstance(value, list) else value

    hidden, heads = own("embedding_length"), own("attention.head_count", 1)
    size = own("attention.key_length_mla") or own("attention.key_length", hidden // max(heads, 1))
    other = own("attention.value_length_mla") or own("attention.value_length", size)
    queries, keys = heads * size, own("attention.head_count_kv", heads) * size
    middle, experts = own("feed_forward_length"), own("expert_count")
    inner = own("expert_feed_forward_length", middle)
    meant = {
        "token_embd.weight": (own("vocab_size", shape[0]), hidden),
        **{"attn_q.weight": (queries, hidden), "attn_k.weight": (keys, hidden)},
        "attn_v.weight": (own("attention.head_count_kv", heads) * other, hidden),
        "attn_output.weight": (hidden, heads * other),
        **{"ffn_gate.weight": (middle, hidden), "ffn_up.weight": (middle, hidden), "ffn_down.weight": (hidden, middle)},
        **{"ffn_gate_exps.weight": (experts, inner, hidden), "ffn_up_exps.weight": (experts, inner, hidden)},
        **{"ffn_down_exps.weight": (experts, hidden, inner), "ffn_gate_inp.weight": (experts, hidden)},
        "exp_probs_b.bias": (experts,),
    }
    # Some classes have a gate merged with what it is for: of up projections, and of queries beside linear attention.
    merged = last == "ffn_up.weight" and f"blk.{number}.ffn_gate.weight" not in shapes
    gated = last == "attn_q.weight" and own("ssm.inner_size") > 0
    # Dimensions of one that come first are none: ggml counts four of them, whatever is stored.
    while shape[:1] == (1,) and len(shape) > len(meant.get(last, shape)):
        shape = shape[1:]
    rows, *columns = meant.get(last, shape)
    return shape in ((rows, *columns), (2 * rows if merged or gated else rows, *columns))


@contextlib.contextmanager
def _vocabulary(folder: Path) -> Iterator[None]:
    """A tokenizer of as many words as the embedding has rows, where a checkpoint comes without one.

    Some classes count its words, and take so many rows.
    """
    path = folder / "tokenizer.json"
    if path.exists() or (folder / "tokenizer.model").exists():
        yield
        return
    words = {str(number): number for number in range(_rows(folder))}
    path.write_text(json.dumps({"model": {"vocab": words}, "added_tokens": []}), encoding="utf-8")
    try:
        yield
    finally:
        path.unlink()


def _rows(folder: Path) -> int:
    """How many rows the embedding has."""
    from safetensors import SafetensorError, safe_open

    for path in folder.glob("*.safetensors"):
        with contextlib.suppress(SafetensorError), safe_open(path, "np") as shard:
            for name in shard.keys():  # noqa: SIM118
                if name.endswith("embed_tokens.weight"):
                    return int(shard.get_slice(name).get_shape()[0])
    return 0


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
            _forget(kind)
            return kind

        return found

    if hasattr(script, "get_model_class"):
        script.get_model_class = without_vocabulary(script.get_model_class)
    else:
        model.from_model_architecture = without_vocabulary(model.from_model_architecture)
    gc.freeze()


if __name__ == "__main__":
    main(patient(examine), _prepare)
