"""More questions: hostile files, formats without exports, edits and operations that cannot be, changed sources."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ckptkit.checks import runner
from ckptkit.conversion.execute import require_same_source
from ckptkit.conversion.planner import make_plan
from ckptkit.conversion.request import ConversionRequest
from ckptkit.edits.changes import (
    AddItem,
    Drop,
    Duplicate,
    Edit,
    Move,
    RebuildIndex,
    RemoveItem,
    RemoveKey,
    Rename,
    RenameKey,
    Reshape,
    SetKey,
    SetMetadata,
    TakeValue,
)
from ckptkit.edits.editor import EditConflictError
from ckptkit.edits.workspace import Workspace
from ckptkit.errors import CkptkitError
from ckptkit.operations.operation import OperationError
from ckptkit.operations.outputs import broken_promises, labels, loss_of
from ckptkit.operations.stream import stream
from ckptkit.storage.output import OutputTensor
from ckptkit.storage.payload import TensorRef
from ckptkit.storage.remote import HubLocation, HubSource
from ckptkit.storage.virtual import VirtualSource
from fixtures.hostile.folders import FOLDER_ATTACKS
from fixtures.hostile.shards import SHARD_ATTACKS
from tests.answers.common import Answers, digest, opened, refusal, words
from tests.answers.damage_json import damaged
from tests.damage import CONFIG, CT, CT_FP8, CT_KV, QUARK_SHARDED, load
from tests.raw import MemorySource
from tests.storage.official import ours


def attacks() -> Answers:
    """Hostile shards and folders."""
    from ckptkit.storage.container import open_container
    from ckptkit.storage.source import LocalSource

    for attack in SHARD_ATTACKS:
        yield attack.name, "\n".join(words(ours(attack.file).faults))
    for planted in FOLDER_ATTACKS:
        with tempfile.TemporaryDirectory() as parent:
            folder = Path(parent) / "checkpoint"
            planted.plant(folder)

            def answer(folder: Path = folder) -> str:
                return "\n".join(words(open_container(LocalSource(folder)).faults))

            yield planted.name, refusal(answer).replace(parent, "HERE").replace(str(Path(parent).resolve()), "HERE")


def written(fixture: str, target: str, mode: str | None) -> dict[str, bytes]:
    """The files of a conversion that nobody wrote."""
    container = opened(load(fixture).to_files())
    plan = make_plan(runner.read_context(container), ConversionRequest.of(target, mode=mode))
    source = VirtualSource(plan.output, container.source, stream)
    return {entry.name: source.read(entry.name) for entry in source.files()}


def written_configs(reading: Callable[[dict[str, bytes]], str]) -> Answers:
    """The configs of formats of which there is no export, as ckptkit writes them, with every place damaged."""
    for target, fixture, mode in (
        ("fp8", CT_FP8, "tensor"),
        ("fp8", CT_FP8, "transformers"),
        ("fbgemm", CT, None),
    ):
        files = written(fixture, target, mode)
        config = json.loads(files[CONFIG])
        name = f"{target} {mode or ''}".strip()
        yield f"{name}: as it is", reading(files)
        for change, block in damaged(config["quantization_config"]):
            changed = {**config, "quantization_config": block}
            yield f"{name}: {change}", reading({**files, CONFIG: json.dumps(changed).encode()})


def unread(reading: Callable[[dict[str, bytes]], str]) -> Answers:
    """Configs that no reader claims."""
    checkpoint = load(CT)
    files = checkpoint.to_files()
    for method in (
        "awq",
        "gptq",
        "bitsandbytes",
        "mxfp4",
        "torchao",
        "nonsense",
        "FP8",
        "modelopt",
        "quark",
        "",
        None,
        7,
    ):
        config = {**checkpoint.config, "quantization_config": {"quant_method": method}}
        yield f"quant_method: {method}", reading({**files, CONFIG: json.dumps(config).encode()})
    for name, block in (("no block", None), ("an empty block", {}), ("a list", []), ("a word", "fp8")):
        config = {**checkpoint.config, "quantization_config": block}
        yield name, reading({**files, CONFIG: json.dumps(config).encode()})
    without = {key: value for key, value in checkpoint.config.items() if key != "quantization_config"}
    yield "no key", reading({**files, CONFIG: json.dumps(without).encode()})
    yield "no config", reading({name: data for name, data in files.items() if name != CONFIG})
    yield (
        "nested",
        reading(
            {
                **files,
                CONFIG: json.dumps({**without, "text_config": {"quantization_config": checkpoint.block}}).encode(),
            }
        ),
    )


def edits() -> Answers:
    """Edits of a small checkpoint, those that cannot be made among them."""
    container = opened(load(QUARK_SHARDED).to_files())
    workspace = Workspace.of(container)
    first, second = (header.shard for header in container.headers[:2])
    a, b, *_ = container.headers[0].tensors.values()
    path = ("quantization_config", "exclude")
    tried: list[Edit] = [
        *(
            Rename(shard, tensor, to)
            for shard in (first, "no.safetensors")
            for tensor in (a.name, "no")
            for to in ("x", b.name)
        ),
        *(Duplicate(first, tensor, to) for tensor in (a.name, "no") for to in ("x", b.name)),
        *(Reshape(first, a.name, before, to) for before in (a.shape, (7,)) for to in ((a.numel, 1), (7, 7), (-1,))),
        *(Drop(first, name) for name in (a.name, "no")),
        *(Move(first, name, to) for name in (a.name, "no") for to in (second, first, "no.safetensors")),
        *(TakeValue(first, a.name, donor) for donor in (a.name, b.name, "no")),
        *(SetMetadata(shard, "format", word) for shard in (first, "no.safetensors") for word in ("pt", "tf")),
        *(SetKey(way, 1) for way in (("new",), ("a", "b"), ("vocab_size", "b"), (*path, 0), (*path, 99))),
        *(RemoveKey(way) for way in (("vocab_size",), ("no",), ("no", "a"), ("vocab_size", "a"), (*path, 0))),
        *(RenameKey(way, "other") for way in (("vocab_size",), ("no",), path)),
        *(AddItem(way, "lm_head") for way in (path, ("no",), ("vocab_size",), (*path, 0))),
        *(RemoveItem(way, item) for way in (path, ("no",), ("vocab_size",)) for item in ("lm_head", "no")),
        RebuildIndex(),
        RebuildIndex(places=False),
    ]
    for edit in tried:
        yield str(edit), _edited(workspace, (edit,))
    pairs = [(x, y) for x in tried[::3] for y in tried[1::4]]
    for x, y in pairs:
        yield f"{x}, then {y}", _edited(workspace, (x, y))


def _edited(workspace: Workspace, wanted: tuple[Edit, ...]) -> str:
    def answer() -> str:
        try:
            after = workspace.apply(wanted)
            again = after.reopened() if after.changed else after.original
        except EditConflictError as error:
            return f"conflict: {error}"
        tensors = [[ref.shard, ref.name, ref.dtype, list(ref.shape)] for ref in again.tensors.values()]
        faults = words(again.faults)
        found = digest([tensors, again.config, sorted(faults), [header.metadata for header in again.headers]])
        return "\n".join([f"{'changed' if after.changed else 'the same'} {found}", *faults[:3]])

    return refusal(answer)


def promises() -> Answers:
    """Output tensors, those that break what their operation promises among them."""
    weight = TensorRef("w", "F8_E4M3", (4, 4), "one.safetensors", 0, 16)
    scale = TensorRef("s", "BF16", (4, 1), "one.safetensors", 16, 24)
    for what in ("keep", "rename", "reshape", "duplicate", "take", "cast", "repeat", "constant", "nonsense"):
        for label, inputs in (("none", ()), ("weight", (weight,)), ("scale", (scale,)), ("both", (weight, scale))):
            for parameters in ({}, {"dtype": "F32"}, {"dtype": "F32", "shape": [8, 1]}, {"dtype": "F16"}, {"odd": 1}):
                for shape in ((4, 1), (8, 1), (4, 4)):
                    tensor = OutputTensor("t", "F32", shape, what, inputs, parameters, "because")
                    given = json.dumps(parameters).replace(": ", "=")
                    yield f"{what} {label} {given} {list(shape)}", _promise(tensor)


def _promise(tensor: OutputTensor) -> str:
    try:
        lines = words(broken_promises([tensor]))
        lines += [" ".join(labels(tensor)), str(loss_of(tensor))]
    except (CkptkitError, OperationError, IndexError) as error:
        return f"{type(error).__name__}: {error}"
    return "\n".join(lines)


def changed_sources() -> Answers:
    """A plan for a checkpoint that is another one now."""
    checkpoint = load(CT_KV)
    files = checkpoint.to_files()
    container = opened(files)
    plan = make_plan(runner.read_context(container), ConversionRequest.of("quark"))

    def now(changed: dict[str, bytes]) -> str:
        def answer() -> str:
            require_same_source(plan, MemorySource(changed))
            return "the same"

        return refusal(answer)

    yield "as it is", now(files)
    for file in files:
        yield f"{file}: missing", now({name: data for name, data in files.items() if name != file})
        yield f"{file}: longer", now({**files, file: files[file] + b" "})
        yield f"{file}: empty", now({**files, file: b""})
        swapped = files[file][:-2] + files[file][-2:][::-1]
        yield f"{file}: two bytes swapped", now({**files, file: swapped})
    yield "one more file", now({**files, "more.txt": b"x"})
    for damage, name in _damages(load(CT_KV)):
        damage_files = damage.to_files()
        yield name, now(damage_files)


def _damages(checkpoint: Any) -> list[tuple[Any, str]]:
    made = []
    for name, pattern, to in (
        ("a name as long", r"model\.norm\.weight", "model.morn.weight"),
        ("another k scale", r"model\.layers\.0\.self_attn\.k_scale", "model.layers.0.self_attn.x_scale"),
    ):
        other = load(CT_KV)
        other.rename(pattern, to)
        made.append((other, name))
    return made


def hub_refusals() -> Answers:
    """What the Hub answers with an error, in words."""
    for folder in ("", "fp8"):
        for known in (False, True):
            source = object.__new__(HubSource)
            source.location = HubLocation("org/model", "v1" if known else None, folder)
            source._endpoint = "https://hub"
            if known:
                source.commit = "0" * 40
            for what in ("the list of files", "model.safetensors"):
                for status in (400, 401, 403, 404, 410, 451):
                    for code in ("", "GatedRepo", "RevisionNotFound", "EntryNotFound", "RepoNotFound"):
                        for said in ("", "Invalid credentials in Authorization header", "no\u0007thing"):
                            given = {"x-error-code": code, "x-error-message": said}
                            response = SimpleNamespace(status_code=status, headers=given)
                            error = source._explain(what, response)
                            place = f"{source.location} {what} {status} {code or 'no code'}"
                            yield f"{place}: {said or 'nothing'}", f"{type(error).__name__}: {error}"
