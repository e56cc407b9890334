"""Questions and answers by name. Whatever a change does to an answer - a word, a number, an order - shows here."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from ckptkit.checks import runner
from ckptkit.checks.registry import Level
from ckptkit.conversion.diff import compare
from ckptkit.conversion.plan import Plan
from ckptkit.conversion.planner import make_plan
from ckptkit.conversion.request import ConversionRequest
from ckptkit.formats import registry
from ckptkit.formats.reading import NotRead, config_faults, open_checkpoint, read
from ckptkit.model.manifest import manifest
from ckptkit.model.summary import summarise
from ckptkit.storage.container import Container
from tests.answers import choices, kinds, more
from tests.answers.common import Answers, digest, opened, refusal, words
from tests.answers.damage_json import damaged
from tests.damage import BLOCK, CONFIG, CT, CT_KV, INDEX, QUARK_KV, QUARK_SHARDED, REAL, load, plain_fp8
from tests.formats.test_mixed import KINDS, mixed
from tests.raw import raw_file, shard_bytes
from tests.storage.official import ours

FIXTURES = sorted(str(path.parent.relative_to(REAL)) for path in REAL.glob("*/*/config.json"))
#: One export of each kind of quantization config.
CONFIGS = (
    CT_KV,
    "llama/llmcompressor-groups",
    "llama/llmcompressor-weight-only",
    "llama/llmcompressor-dynamic-kv-heads",
    BLOCK,
    "llama/quark-ptpc",
    QUARK_KV,
    "llama/quark-fp8-kv-custom",
    "llama/quark-fp8-layers",
    "llama-block-aligned/quark-block",
    "llama/modelopt-fp8",
)
#: Exports that differ in what formats can hold of them.
CONVERTED = (
    *CONFIGS,
    QUARK_SHARDED,
    "gemma3/quark-fp8-kv",
    "llama/bf16",
    "llama/llmcompressor-fp8",
    "llama/quark-fp8-fake",
    "llama/quark-fp8-file2file",
    "llama/modelopt-fp8-kv",
    "llama-block-aligned/modelopt-block",
    "llama-block-aligned/modelopt-nvfp4",
    "phi3/quark-fp8-kv",
    "qwen2_5_vl/llmcompressor-fp8-kv",
    "qwen3_moe/modelopt-fp8",
    "qwen3_moe/quark-ptpc-experts",
)


def reading(files: dict[str, bytes]) -> str:
    """How a checkpoint is read: the model in words, its digest, and everything that is wrong with it."""

    def answer() -> str:
        container = opened(files)
        outcome = read(container)
        lines = [type(outcome).__name__]
        if isinstance(outcome, NotRead):
            lines += [outcome.message, *words(outcome.faults), *([f"help: {outcome.help}"] if outcome.help else [])]
        else:
            checkpoint = outcome.checkpoint
            summary = summarise(checkpoint)
            lines += [f"{checkpoint.format}, {checkpoint.dialect}: {summary.scheme}"]
            lines += [f"model {digest(manifest(checkpoint))}, summary {digest(summary.to_json())}"]
            lines += words(checkpoint.faults)
        lines += words(container.faults)
        lines += words(config_faults(container, outcome))
        return "\n".join(lines)

    return refusal(answer)


def configs(fixture: str) -> Answers:
    """A quantization config with every place damaged."""
    checkpoint = load(fixture)
    yield "as it is", reading(checkpoint.to_files())
    files = checkpoint.to_files()
    for name, block in damaged(checkpoint.block):
        config = {**checkpoint.config, "quantization_config": block}
        yield name, reading({**files, CONFIG: json.dumps(config).encode()})


def others() -> Answers:
    """Configs that hold another quantization beside FP8."""
    for kind, (storage, weights, inputs, parts) in KINDS.items():
        checkpoint = mixed(storage, weights, inputs, parts)
        files = checkpoint.to_files()
        yield kind, reading(files)
        for name, group in damaged(checkpoint.block["config_groups"]["group_1"]):
            groups = {**checkpoint.block["config_groups"], "group_1": group}
            block = {**checkpoint.block, "config_groups": groups}
            config = {**checkpoint.config, "quantization_config": block}
            yield f"{kind}: {name}", reading({**files, CONFIG: json.dumps(config).encode()})


_HEADER = {
    "__metadata__": {"format": "pt"},
    "a.weight": {"dtype": "F8_E4M3", "shape": [2, 4], "data_offsets": [0, 8]},
    "a.weight_scale": {"dtype": "F32", "shape": [1], "data_offsets": [8, 12]},
    "b.weight": {"dtype": "BF16", "shape": [2, 2], "data_offsets": [12, 20]},
}


def _header_answer(file: bytes) -> str:
    header = ours(file)
    lines = ["readable" if header.readable else "unreadable", *words(header.faults)]
    return "\n".join([*lines, *(f"{ref.name} {ref.dtype} {list(ref.shape)}" for ref in header.tensors.values())])


def headers() -> Answers:
    """A safetensors header with every place damaged, and files that end too early or too late."""
    data = bytes(20)
    sound = raw_file(_HEADER, data)
    yield "as it is", _header_answer(sound)
    for name, header in damaged(_HEADER):
        yield name, _header_answer(raw_file(header, data))
    for size in (0, 4, 8, 9, 40, len(sound) - 21, len(sound) - 20, len(sound) - 1):
        yield f"the first {size} bytes", _header_answer(sound[:size])
    yield "a byte more", _header_answer(sound + b"\0")
    for length in (0, 1, 2**24, 2**32, 2**62, 2**63, 2**64 - 1):
        yield f"a header of {length} bytes", _header_answer(raw_file(_HEADER, data, length=length))
    text = json.dumps(_HEADER)
    for name, spelled in {
        "trailing spaces": text + "    ",
        "leading space": " " + text,
        "trailing words": text + "x",
        "a name twice": text.replace('"b.weight"', '"a.weight"'),
        "a key twice": text.replace('"dtype": "BF16"', '"dtype": "BF16", "dtype": "BF16"'),
        "a metadata key twice": text.replace('"format": "pt"', '"format": "pt", "format": "np"'),
        "metadata twice": text.replace('{"__metadata__"', '{"__metadata__": {}, "__metadata__"'),
        "NaN": text.replace("[12, 20]", "[12, NaN]"),
        "a fraction": text.replace("[12, 20]", "[12, 20.0]"),
        "a minus": text.replace("[12, 20]", "[12, -20]"),
        "a large number": text.replace("[12, 20]", f"[12, {2**64}]"),
        "a list": "[1]",
        "an unknown dtype": text.replace('"BF16"', '"F7"'),
        "a control character": text.replace("b.weight", "b\\u0007weight"),
        "half a pair": text.replace("b.weight", "b\\ud800weight"),
        "an empty name": text.replace("b.weight", ""),
        "depth": '{"a":' * 300 + "1" + "}" * 300,
    }.items():
        yield name, _header_answer(raw_file(spelled, data))
    yield "not UTF-8", _header_answer(raw_file(text.encode().replace(b"b.weight", b"b\xffweight"), data))


def _container_answer(files: dict[str, bytes]) -> str:
    def answer() -> str:
        container = opened(files)
        lines = [f"{len(container.headers)} shards, {len(container.tensors)} tensors", *words(container.faults)]
        return "\n".join(lines)

    return refusal(answer)


def indexes() -> Answers:
    """An index with every place damaged, and folders that lack a file."""
    checkpoint = load(QUARK_SHARDED)
    assert checkpoint.index is not None
    files = checkpoint.to_files()
    yield "as it is", _container_answer(files)
    places = dict(list(checkpoint.index["weight_map"].items())[:6])
    for name, index in damaged({**checkpoint.index, "weight_map": places}):
        yield name, _container_answer({**files, INDEX: json.dumps(index).encode()})
    for file in files:
        yield f"no {file}", _container_answer({name: data for name, data in files.items() if name != file})
        yield f"an empty {file}", _container_answer({**files, file: b""})
        yield f"{file} of another kind", _container_answer({**files, file: b"[1, 2]"})
        yield f"half of {file}", _container_answer({**files, file: files[file][: len(files[file]) // 2]})
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 123\n"
    first, second, *_ = checkpoint.shards
    yield "a pointer", _container_answer({**files, first: pointer})
    yield "two shards alike", _container_answer({**files, second: files[first]})
    lone = shard_bytes(checkpoint.shards[first])
    yield "a shard beside", _container_answer({**files, "extra.safetensors": lone})


def _plan_answer(container: Container, target: str, mode: str | None, *, lossy: bool) -> str:
    def answer() -> str:
        context = runner.read_context(container)
        plan = make_plan(context, ConversionRequest.of(target, mode=mode, allow_lossy=lossy))
        document = plan.to_json()
        assert Plan.from_json(json.loads(json.dumps(document))).to_json() == document
        said = {key: document.get(key) for key in ("verdict", "cost", "tensors_kept", "changes", "gives_up", "notes")}
        steps = [json.dumps(step) for step in document["steps"]]
        lines = [*(f"{key}: {json.dumps(value)}" for key, value in said.items()), *steps]
        return "\n".join([*lines, f"plan {digest(document)}"])

    return refusal(answer)


def conversions(fixture: str) -> Answers:
    """A checkpoint to every format in every dialect that can be written."""
    container = opened(load(fixture).to_files())
    yield from _conversions(container)


def _conversions(container: Container) -> Answers:
    for form in registry.formats():
        for mode in (None, *(dialect.mode for dialect in form.dialects if dialect.mode)):
            name = f"{form.name} {mode or ''}".strip()
            yield name, _plan_answer(container, form.name, mode, lossy=False)
            if mode is None:
                yield f"{name}, lossy", _plan_answer(container, form.name, mode, lossy=True)


def odd_conversions() -> Answers:
    """Checkpoints that some formats cannot hold."""
    blocks = load(BLOCK)
    plain_fp8(blocks)
    for name, answer in _conversions(opened(blocks.to_files())):
        yield f"plain blocks: {name}", answer
    for kind, (storage, weights, inputs, parts) in KINDS.items():
        for name, answer in _conversions(opened(mixed(storage, weights, inputs, parts).to_files())):
            yield f"{kind}: {name}", answer


def plans() -> Answers:
    """A plan as data with every place damaged."""
    container = opened(load(CT_KV).to_files())
    plan = make_plan(runner.read_context(container), ConversionRequest.of("quark"))
    document = plan.to_json()
    document["jobs"] = [_short(job) for job in document["jobs"]]
    document["steps"] = document["steps"][:1]
    document["source_files"] = {CONFIG: document["source_files"][CONFIG]}
    for name, changed in damaged(document):
        yield name, refusal(lambda changed=changed: f"a plan {digest(Plan.from_json(changed).to_json())}")  # type: ignore[misc]


def _short(job: dict[str, Any]) -> dict[str, Any]:
    """A job with a few of its tensors only, one of each operation."""
    tensors = {tensor["operation"]: tensor for tensor in job.get("tensors", ())}
    return {**job, "tensors": list(tensors.values())} if tensors else job


def _comparison(left: dict[str, bytes], right: dict[str, bytes], level: Level = Level.FULL) -> str:
    def answer() -> str:
        a, b = (open_checkpoint(opened(files)).checkpoint for files in (left, right))
        document = compare(a, b, level=level).to_json()
        differences = [json.dumps(item) for item in document.pop("differences")]
        errors = _errors(document.pop("errors"))
        return "\n".join(
            [json.dumps(document), *differences[:6], f"{len(differences)}: {digest(differences)}", *errors]
        )

    return refusal(answer)


def _errors(errors: dict[str, Any] | None) -> Iterator[str]:
    """How far values are off in as many digits as no machine disputes."""
    if errors is not None:
        yield f"beside the {errors['base']} one, {errors['equal']} equal, not measured: {errors['not_measured'][:2]}"
        for weight in errors["weights"][:2]:
            yield f"{weight['name']}: {weight['base']}, {weight['other']}, {weight['relative_error']:.6g}"


def comparisons() -> Answers:
    """Real exports against their neighbours, and one with every place of its config.json damaged."""
    readable = [fixture for fixture in FIXTURES if "bf16" not in fixture]
    for left, right in pairwise(readable):
        if Path(left).parent == Path(right).parent:
            yield f"{left} and {right}", _comparison(load(left).to_files(), load(right).to_files())
    checkpoint = load(CT)
    files = checkpoint.to_files()
    block = {"quantization_config": checkpoint.config["quantization_config"]}
    rest = {key: value for key, value in checkpoint.config.items() if key != "quantization_config"}
    for name, config in damaged(rest, only=("missing", "number")):
        changed = {**files, CONFIG: json.dumps({**config, **block}).encode()}
        yield name, _comparison(files, changed, Level.HEADERS)
    for file in ("generation_config.json", "tokenizer.json", "tokenizer_config.json"):
        without = {name: data for name, data in files.items() if name != file}
        yield f"no {file}", _comparison(files, without, Level.HEADERS)
        yield f"{file} came", _comparison(without, files, Level.HEADERS)
        yield f"{file} is no JSON", _comparison(files, {**files, file: b"{"}, Level.HEADERS)
        yield f"{file} is a list", _comparison(files, {**files, file: b"[]"}, Level.HEADERS)
        for name, document in damaged(_first(json.loads(files[file])), only=("missing", "number")):
            shorter = {**files, file: json.dumps(_first(json.loads(files[file]))).encode()}
            yield f"{file}: {name}", _comparison(shorter, {**files, file: json.dumps(document).encode()}, Level.HEADERS)


def _first(document: Any) -> Any:
    """A document with a few keys of each object only."""
    if isinstance(document, dict):
        return {key: _first(value) for key, value in list(document.items())[:8]}
    return document[:2] if isinstance(document, list) else document


def every() -> Iterator[tuple[str, Callable[[], Answers]]]:
    """Each corpus by the name of its recorded file."""
    for fixture in CONFIGS:
        yield f"configs-{_file(fixture)}", lambda fixture=fixture: configs(fixture)  # type: ignore[misc]
    for fixture in CONVERTED:
        yield f"conversions-{_file(fixture)}", lambda fixture=fixture: conversions(fixture)  # type: ignore[misc]
    for corpus in (others, headers, indexes, odd_conversions, plans, comparisons):
        yield corpus.__name__.replace("_", "-"), corpus
    for corpus in (more.attacks, more.edits, more.promises, more.changed_sources, more.hub_refusals):
        yield corpus.__name__.replace("_", "-"), corpus
    for corpus in (
        choices.choices,
        choices.schemes,
        choices.borrowed_scales,
        choices.odd_values,
        choices.odd_companions,
    ):
        yield corpus.__name__.replace("_", "-"), corpus
    yield "written-configs", lambda: more.written_configs(reading)
    yield "unread", lambda: more.unread(reading)
    yield "one-format", lambda: kinds.one_format(reading)
    yield "recognised", kinds.recognised
    yield "folders", kinds.folders


def _file(fixture: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", fixture)


def listing(answers: Answers) -> str:
    """Answers as text, each once, below the questions that have it; what was done to one place stands in one line."""
    found: dict[str, dict[str, list[str]]] = {}
    for question, answer in answers:
        place, _, change = question.rpartition(": ")
        found.setdefault(answer, {}).setdefault(place, []).append(change)
    lines: list[str] = []
    for answer, questions in found.items():
        lines += [
            f"{place}: {', '.join(changes)}" if place else ", ".join(changes) for place, changes in questions.items()
        ]
        lines += [*(f"    {line}" for line in answer.splitlines()), ""]
    return "\n".join(lines)
