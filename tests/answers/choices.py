"""What each choice of a conversion leads to, a plan in words or the refusal, for exports that meet it differently."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Any

from ckptkit.checks import runner
from ckptkit.conversion.planner import make_plan
from ckptkit.conversion.request import ConversionRequest
from ckptkit.formats import registry
from ckptkit.formats.reading import open_checkpoint
from ckptkit.operations.stream import stream
from ckptkit.storage.container import Container
from ckptkit.storage.virtual import VirtualSource
from tests.answers.common import Answers, digest, opened, refusal
from tests.damage import BF16, BLOCK, CT, CT_FP8, CT_KV, MOE, QUARK_KV, QUARK_SHARDED, TIED, load
from tests.raw import RawTensor

_MXFP8, _NVFP4 = "llama-block-aligned/modelopt-mxfp8", "llama-block-aligned/modelopt-nvfp4"
_PHI, _STACKED = "phi3/quark-fp8-kv", "qwen3_moe/modelopt-fp8"
_PLAIN, _PLAIN_MOE = "llama-block-aligned/bf16", "qwen3_moe/bf16"

#: Choices by the words that name them in the record.
_FORM: dict[str, dict[str, Any]] = {
    "as it is": {},
    "modules of one kind": {"modules": "*.mlp.*"},
    "modules that are not there": {"modules": "*.nothing"},
    "modules by a broken pattern": {"modules": "[z-a]*"},
    "shards of 20 kB": {"max_shard_size": "20KB"},
    "shards of a byte": {"max_shard_size": 1},
    "shards of no size": {"max_shard_size": "much"},
    "shards of nothing": {"max_shard_size": 0},
    "experts split": {"experts": "split"},
    "experts stacked": {"experts": "stack"},
    "experts otherwise": {"experts": "melt"},
    "fused parts split": {"fused": "split"},
    "parts fused": {"fused": "fuse"},
    "a scale a channel": {"granularity": "channel"},
    "a scale a block": {"granularity": "block"},
    "scales in BF16": {"scale_dtype": "bf16"},
    "scales in F16": {"scale_dtype": "F16"},
    "scales in F32": {"scale_dtype": "F32"},
    "scales as exponents": {"scale_dtype": "e8m0"},
    "scales in F64": {"scale_dtype": "F64"},
    "without KV scales": {"drop_kv_scales": True},
    "microscaling to FP8": {"mx_to_fp8": True},
}
_SCHEMES: dict[str, dict[str, Any]] = {
    **{
        name: {"scheme": name}
        for name in (
            *("FP8_DYNAMIC", "FP8_BLOCK", "FP8", "ptpc_fp8", "fp8", "fp8_per_tensor", "FP8_PB_WO", "FP8_DYNAMICS"),
            *("FP8_PER_CHANNEL_PER_TOKEN", "FP8_DEFAULT_CFG", "fp8_block", "W4A16", ""),
        )
    },
    "a skip": {"skip": "*.down_proj"},
    "a skip of nothing": {"skip": "*.nothing"},
    "no usual skips": {"default_skips": False},
    "only some": {"modules": "*.layers.0.*"},
}
_OTHERS = (CT_KV, QUARK_KV, CT_FP8, MOE, "llama-tied/modelopt-fp8", "llama/quark-fp8-kv-excluded")
_FORM_SOURCES = (CT_KV, QUARK_SHARDED, BLOCK, _PHI, MOE, _STACKED, _MXFP8, _NVFP4, TIED)
_SCHEME_SOURCES = (BF16, _PLAIN, _PLAIN_MOE, "gemma3/bf16", CT, QUARK_KV, BLOCK, _MXFP8)


def choices() -> Answers:
    """Every choice of form, to the format that a checkpoint is in and to plain weights."""
    for fixture in _FORM_SOURCES:
        container = opened(load(fixture).to_files())
        own = open_checkpoint(container).checkpoint.format
        for target in (own, "bf16"):
            for label, given in _FORM.items():
                yield from _both(f"{fixture} to {target}", label, container, target, given)


def schemes() -> Answers:
    """Plain weights, and FP8 ones, by every preset of every format that has some, with and without skips."""
    for fixture in _SCHEME_SOURCES:
        container = opened(load(fixture).to_files())
        for target in ("ct", "quark", "fp8", "modelopt", "fbgemm"):
            for label, given in _SCHEMES.items():
                if fixture != BF16 and given.get("scheme", _USUAL.get(target)) not in _known(target):
                    continue  # a name that a format has not is refused before the source is looked at
                given = {"scheme": _USUAL.get(target), **given}
                yield from _both(f"{fixture} to {target}", label, container, target, given)


_USUAL = {"ct": "FP8_DYNAMIC", "quark": "ptpc_fp8", "fp8": "fp8_per_tensor", "modelopt": "FP8_PER_CHANNEL_PER_TOKEN"}


def _known(target: str) -> set[str | None]:
    """The presets of a format by all their names; without any, none is named."""
    return {None, *(name for preset in registry.by_name(target).presets for name in (preset.name, *preset.aliases))}


def borrowed_scales() -> Answers:
    """Scales of inputs and of the KV cache from other checkpoints: alike, without them, and of another model."""
    for fixture, scheme in ((BF16, "FP8"), (CT, None), (CT_FP8, None), (CT_KV, None), (QUARK_KV, None), (MOE, None)):
        container = opened(load(fixture).to_files())
        for other in _OTHERS:
            scales = open_checkpoint(opened(load(other).to_files())).checkpoint
            yield from _both(
                f"{fixture} to ct", f"from {other}", container, "ct", {"scheme": scheme, "scales_from": scales}
            )


def _both(source: str, label: str, container: Container, target: str, given: dict[str, Any]) -> Answers:
    """The answer, and where it is a refusal the one that allows loss."""
    strict = _planned(container, target, given)
    yield f"{source}: {label}", strict
    if strict.startswith("ConversionRefused"):
        yield f"{source}, lossy: {label}", _planned(container, target, {**given, "allow_lossy": True})


def _planned(container: Container, target: str, given: dict[str, Any]) -> str:
    def answer() -> str:
        plan = make_plan(runner.read_context(container), ConversionRequest.of(target, **given))
        document = plan.to_json()
        return "\n".join([*_told(document), *_jobs(document)])

    return refusal(answer)


def _told(document: dict[str, Any]) -> Iterator[str]:
    """What a plan says of itself."""
    for key in ("verdict", "cost", "gives_up", "notes"):
        if document.get(key):
            yield f"{key}: {json.dumps(document[key])}"
    changes = document.get("changes") or []
    if changes:
        yield f"{len(changes)} changes ({digest(changes)}): {json.dumps(changes[0])}"


def _jobs(document: dict[str, Any]) -> Iterator[str]:
    """The operations of all files, with a digest of what is planned."""
    jobs = document["jobs"]
    names = sorted({tensor["operation"] for job in jobs for tensor in job.get("tensors", ())})
    yield f"{len(jobs)} files by {' '.join(names)}: {digest(jobs)}"


def _damaged(fixture: str, pattern: str, data: Callable[[RawTensor], RawTensor]) -> Container:
    """A fixture with the tensors of these names changed."""
    checkpoint = load(fixture)
    for shard, name in checkpoint.places(pattern):
        shard[name] = data(shard[name])
    return opened(checkpoint.to_files())


def _filled(text: str) -> Callable[[RawTensor], RawTensor]:
    """Tensors that begin with these bytes, written in hexadecimal."""
    begin = bytes.fromhex(text)
    return lambda tensor: RawTensor(tensor.dtype, tensor.shape, begin + tensor.data[len(begin) :])


def _typed(dtype: str) -> Callable[[RawTensor], RawTensor]:
    return lambda tensor: RawTensor(dtype, tensor.shape, tensor.data)


_FIRST = r"model\.layers\.0\.mlp\.up_proj"
_ODD: dict[str, tuple[str, str, Callable[[RawTensor], RawTensor]]] = {
    "a NaN code": (CT, rf"{_FIRST}\.weight", _filled("007f")),
    "a scale that is NaN": (QUARK_KV, rf"{_FIRST}\.weight_scale", _filled("c07f")),
    "an endless scale": (CT, rf"{_FIRST}\.weight_scale", _filled("807f")),
    "a scale of zero": (CT, rf"{_FIRST}\.weight_scale", _filled("0000")),
    "a scale below zero": (CT, rf"{_FIRST}\.weight_scale", _filled("80bf")),
    "a scale beyond F16": (CT, rf"{_FIRST}\.weight_scale", _filled("004a")),
    "a group that is no number": (_MXFP8, rf"{_FIRST}\.weight_scale", _filled("ff")),
    "codes without a negative zero": (CT, r".*_proj\.weight", _typed("F8_E4M3FNUZ")),
    "codes of wider range": (CT, r".*_proj\.weight", _typed("F8_E5M2")),
    "a weight that is NaN": (BF16, rf"{_FIRST}\.weight", _filled("c07f")),
    "a weight that is endless": (BF16, rf"{_FIRST}\.weight", _filled("80ff")),
    "a row of zeros": (BF16, rf"{_FIRST}\.weight", _filled("00" * 128)),
    "a second scale that is NaN": (_NVFP4, rf"{_FIRST}\.weight_scale_2", _filled("0000c07f")),
}


def odd_values() -> Answers:
    """Values that cannot be kept or are no numbers, and what each target makes of them: its bytes, or the error."""
    for label, (fixture, pattern, data) in _ODD.items():
        container = _damaged(fixture, pattern, data)
        for target, given in (
            *((dtype, {}) for dtype in ("bf16", "f16", "f32")),
            *((name, {}) for name in ("ct", "quark", "fp8", "modelopt")),
            ("fp8", {"mx_to_fp8": True}),
            ("ct", {"scheme": "FP8_DYNAMIC"}),
            ("ct", {"scheme": "FP8_BLOCK", "modules": "*.down_proj"}),
            ("ct", {"granularity": "channel", "scale_dtype": "F16"}),
        ):
            asked = " ".join([target, *map(str, given.values())])
            yield f"{label} to {asked}", _made(container, target, {**given, "allow_lossy": True})


def _made(container: Container, target: str, given: dict[str, Any]) -> str:
    """The bytes of a conversion that nobody wrote."""

    def answer() -> str:
        plan = make_plan(runner.read_context(container), ConversionRequest.of(target, **given))
        source = VirtualSource(plan.output, container.source, stream)
        read = {entry.name: sha256(source.read(entry.name)).hexdigest()[:8] for entry in source.files()}
        return f"{len(read)} files: {digest(read)}"

    return refusal(answer)


def odd_companions() -> Answers:
    """Checkpoints whose scales, or whose files, do not go with what is asked."""
    heads, first = "llama/llmcompressor-dynamic-kv-heads", r"model\.layers\.0\.self_attn\.[kv]_scale"
    lacking, other = load(CT_KV), load(CT_KV)
    lacking.drop(first)
    other.drop(first.replace("[kv]", "k"))
    for label, files in (
        ("per head", load(heads).to_files()),
        ("in part", lacking.to_files()),
        ("half", other.to_files()),
    ):
        scales = open_checkpoint(opened(files)).checkpoint
        for fixture in (CT, CT_FP8, BF16, heads):
            given = {"scales_from": scales, "scheme": "FP8" if fixture == BF16 else None}
            yield from _both(f"{fixture} to ct", f"scales {label}", opened(load(fixture).to_files()), "ct", given)
    files = {**load(CT).to_files(), "model-00001-of-00006.safetensors.txt": b"", "notes/model.txt": b"x"}
    yield from _both("beside other files", "shards of 20 kB", opened(files), "ct", {"max_shard_size": "20KB"})
    for mode in ("custom", "nonsense"):
        yield from _both("modes", mode, opened(load(CT_KV).to_files()), "quark", {"mode": mode})


CORPORA = (choices, schemes, borrowed_scales, odd_values, odd_companions)
