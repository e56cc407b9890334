"""Load the corpus in the real engines and record what they do."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from ckptkit.checks import runner
from ckptkit.storage.container import open_container
from tests.accuracy.corpus import Entry, Files, corpus, files_of, write
from tests.accuracy.plain import dequantized
from tests.accuracy.records import REFUSED, RIGHT, UNTRIED, WRONG, Record, Seen, digest, read
from tests.damage import CONFIG
from tests.interop import environments
from tests.interop.runner import Answer, DriverError, Drivers
from tests.raw import MemorySource

#: On a CPU vLLM has no kernel for FP8 experts; by then everything is loaded and compared.
NO_KERNEL = (
    "Unsupported FP8 MoE backend",
    "No FP8 MoE backend supports",
    "is not supported on CPU",
    "weight_pack: support only",
)
#: What says that this environment lacks something, and nothing about the checkpoint.
NOT_HERE = (
    *("failed to be inspected", "requires the Torchvision library", "No module named", "Failed to find a kernel"),
    *("Forced NVFP4 kernel", "Marlin FP4 not available", "Please install the latest version of Quark"),
    *("requires accelerate", "requires a GPU", "No accelerator (CUDA", "requires platform support", "Can't load image"),
    *("but got torch_native", "/tokenizer.json'", "Torch not compiled with CUDA enabled", "CppCompileError"),
    "no stand-in for",
)
#: Logits further than this from those of the checkpoint that was meant, in the same scheme, are others.
#: Without one in the same scheme, further than this from the plain model; with one, so far that both are garbage.
SAME, SIMILAR, ANOTHER = 0.001, 0.2, 0.5
#: A number is rounded to e4m3 by so much of itself at most: a layer that is further from the plain one, on the same
#: inputs, does not only round them.
ROUNDED = 2**-4
#: The quantization method of transformers' own FP8 quantizer.
_OWN = "fp8"
#: Libraries that engines leave a part of the reading to.
LIBRARIES = ("compressed-tensors", "transformers")
#: Inputs are not rounded where weights are dequantized first.
_OWN_READING = ("held/config/dequantize/*",)
#: Their plain model is what ckptkit makes of it: a build that gives other numbers would else be compared with itself.
_NVFP4 = ("real/llama-block-aligned/modelopt-nvfp4", "near/CK209-1", "near/CK209-3")
CHUNK = 24
#: So many loads are recorded at a time.
PART = 240
ORDER = (
    "real",
    "scheme",
    "report",
    "variant",
    "defect",
    "meant",
    "given",
    "damage",
    "converted",
    "near",
    "held",
    "again",
    "reported",
    "crossed",
)


@dataclass(frozen=True)
class Judge:
    """An engine that loads checkpoints: its driver, its environment, its release, and what its answers mean.

    ``by_answer`` says that its logits are compared, which another scheme of the same weights changes. ``literal`` are
    patterns of ids of which it takes what is stored for what is meant: other engines take it for something else.
    ``dialects`` are those of the checkpoints that it is asked about, empty for all.
    ``instead`` gives, for checkpoints without a plain model, others with the same weights to be compared with.
    """

    engine: str
    version: str
    environment: str
    driver: str
    outcome: Callable[[Answer], tuple[str, str]]
    how: str
    by_answer: bool = False
    literal: tuple[str, ...] = ()
    dialects: tuple[str, ...] = ()
    instead: Mapping[str, str] = field(default_factory=dict)

    def is_literal(self, entry: Entry) -> bool:
        """Whether what is stored counts as meant."""
        return any(fnmatch(entry.id, pattern) for pattern in self.literal)

    def meant(self, entry: Entry) -> str:
        """The id of the checkpoint whose weights an entry's are compared with."""
        return entry.id if self.is_literal(entry) else self.instead.get(entry.meant, entry.meant)

    @property
    def bundles(self) -> dict[str, str]:
        """The releases of the libraries that decide with it what becomes of a checkpoint."""
        pins = (environments.REQUIREMENTS / f"{self.environment}.txt").read_text(encoding="utf-8")
        return {name: found for name, found in re.findall(r"(?m)^([\w-]+)==(\S+)", pins) if name in LIBRARIES}

    @property
    def path(self) -> Path:
        """The file that its record is kept in."""
        return Record(self.engine, self.version).path


def untried(answer: Answer) -> bool:
    """Whether the environment could not even try."""
    error = answer["error"]
    return error is not None and any(words in error["message"] for words in NOT_HERE)


def _refusal(error: Mapping[str, Any]) -> str:
    message = " ".join(str(error["message"]).split())
    return f"{error['type']}: {message}"[:160] + (f" [{error['stage']}]" if error["stage"] else "")


def of_vllm(answer: Answer) -> tuple[str, str]:
    """What a load in vLLM means."""
    error = answer["error"]
    if error is not None and not (error["stage"] == "process" and any(w in error["message"] for w in NO_KERNEL)):
        return REFUSED, _refusal(error)
    found = []
    for key in ("unset", "differs", "absent"):
        names = list(answer.get(key) or ())
        if names:
            found.append(f"{key}: {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}")
    return (WRONG, "; ".join(found)) if found else (RIGHT, "")


def of_transformers(answer: Answer) -> tuple[str, str]:
    """What a load in transformers means.

    A parameter that nothing filled is wrong whatever the prompt makes of it, and so are codes without their scale.
    Without logits of the checkpoint that was meant, and without scales of activations, each layer is held against the
    plain one on the inputs that it gets: further than rounding explains is wrong, and where rounding explains all of
    it, logits may be as far apart as it takes to add up over layers. Where nothing gives logits to compare with,
    nothing tells right from wrong; and where a checkpoint stands for itself and brings scales of activations, its
    distance from the plain model may be what these scales say: it then counts as right where it is near, and as not
    tried where every key was found.
    """
    if answer["error"] is not None:
        return REFUSED, _refusal(answer["error"])
    kinds = ("missing", "unexpected", "mismatched", "bare")
    listed = [f"{key}: {', '.join(answer[key][:2])}" for key in kinds if answer[key]]
    meant, plain = answer["apart"].get("meant"), answer["apart"].get("plain")
    words = "; ".join([*listed, f"off by {meant if meant is not None else plain}"])
    if meant is None and plain is None:
        return UNTRIED, words
    if answer["missing"] or answer["mismatched"] or answer["bare"]:
        return WRONG, words
    layers = answer["layers"] if meant is None and not answer["static"] else None
    explained = layers is not None and layers <= ROUNDED
    limit = SIMILAR if meant is None and not explained else ANOTHER
    wrong = (meant is not None and meant > SAME) or (plain is not None and plain > limit)
    if layers is not None and layers > ROUNDED:
        wrong, words = True, f"{words}; layers by {min(round(layers, 4), 1e9)}"
    if wrong and meant is None and not listed and answer["static"]:
        return UNTRIED, words
    return (WRONG if wrong else RIGHT), words


def dialect_of(files: Files) -> str:
    """The dialect that a checkpoint's config is understood as; empty where it is not."""
    return runner.read_context(open_container(MemorySource(files))).dialect_key or ""


JUDGES = {
    judge.engine + "-" + judge.version: judge
    for judge in (
        Judge("vllm", "0.32.0", "vllm", "vllm_outcome", of_vllm, "CPU wheel, loads without kernels"),
        Judge("vllm", "0.31.0", "vllm-0.31", "vllm_outcome", of_vllm, "CPU wheel, loads without kernels"),
        *(
            Judge(
                "transformers",
                release,
                environment,
                "transformers_outcome",
                of_transformers,
                "CPU, one forward pass",
                by_answer=True,
                literal=_OWN_READING,
            )
            for release, environment in (("5.16.1", "quark"), ("5.17.0", "vllm-0.31"), ("5.19.0", "vllm"))
        ),
        Judge(
            "quark",
            "0.13",
            "quark",
            "quark_outcome",
            of_transformers,
            "CPU, its own importer, one forward pass",
            by_answer=True,
            dialects=("quark", "quark-fp8"),
        ),
        Judge("sglang", "0.5.23", "sglang", "sglang_outcome", of_vllm, "no GPU packages, weights loaded, no kernels"),
        *(
            Judge(
                "llamacpp",
                build,
                environment,
                "llamacpp_outcome",
                of_vllm,
                "CPU, a GGUF written and read back",
                literal=(
                    *("damage/e5m2-weight/*", "near/CK405-*", "defect/CK634-*", "held/type/*E5M2/*"),
                    *("crossed/damage/e5m2-weight/*", "crossed/defect/CK634/*", "crossed/type/*E5M2/*"),
                ),
                instead=dict.fromkeys(_NVFP4, "converted/llama-block-aligned/modelopt-nvfp4/bf16"),
            )
            for build, environment in (("b11312", "llamacpp"), ("b8643", "llamacpp-b8643"))
        ),
    )
}


def measure(judge: Judge, wanted: Iterable[Entry], *, again: bool = False) -> Record:
    """Ask an engine about entries that its record does not hold, or holds for other files; the record is kept."""
    record = read(judge.path) if judge.path.exists() else Record(judge.engine, judge.version, how=judge.how)
    record.bundles = judge.bundles
    ids = {entry.id for entry in wanted}
    once = [(entry, files, code) for entry, files, code in distinct(corpus().values()) if entry.id in ids]
    once = [given for given in once if not judge.dialects or dialect_of(given[1]) in judge.dialects]
    todo = [entry for entry, _, code in once if again or not _known(record, entry, code)]
    print(f"{judge.engine} {judge.version}: {len(todo)} loads")
    for number in range(0, len(todo), PART):
        for entry, seen in outcomes(judge, todo[number : number + PART]):
            record.loads[entry.id] = seen
        record.date = date.today().isoformat()
        record.write()
        print(f"{min(number + PART, len(todo))} of {len(todo)}", flush=True)
    return record


def outcomes(judge: Judge, wanted: Iterable[Entry]) -> Iterator[tuple[Entry, Seen]]:
    """What an engine does with entries, a few at a time in one process that has imported it."""
    todo = [(entry, files) for entry, files, _ in distinct(wanted)]
    with Drivers() as drivers, tempfile.TemporaryDirectory() as scratch:
        keeper = _Keeper(judge, drivers, Path(scratch))
        for number in range(0, len(todo), CHUNK):
            for entry, files, answer in keeper.answers(todo[number : number + CHUNK]):
                tried = judge.outcome(answer) if not untried(answer) else (UNTRIED, _refusal(answer["error"]))
                yield entry, Seen(digest(files), *tried)


def distinct(entries: Iterable[Entry]) -> Iterator[tuple[Entry, Files, str]]:
    """Entries with their files and what tells these apart, those that others do not have too; the kinds that say most
    come first."""
    found: dict[str, tuple[Entry, Files, str]] = {}
    for entry in sorted(entries, key=lambda entry: ORDER.index(entry.kind)):
        files = files_of(entry)
        if files is not None:
            code = digest(files)
            found.setdefault(code, (entry, files, code))
    return iter(found.values())


def _known(record: Record, entry: Entry, code: str) -> bool:
    seen = record.loads.get(entry.id)
    return seen is not None and seen.digest == code


class _Keeper:
    """Writes folders, and sees to it that what they are compared with was loaded before."""

    def __init__(self, judge: Judge, drivers: Drivers, scratch: Path) -> None:
        self._judge, self._drivers, self._scratch = judge, drivers, scratch
        self._kept: dict[str, dict[str, str]] = {}
        self._paths: set[str] = set()

    def answers(self, entries: list[tuple[Entry, Files]]) -> Iterator[tuple[Entry, Files, Answer]]:
        meant = {entry.id: self._judge.meant(entry) for entry, _ in entries}
        new = [name for name in meant.values() if name not in self._kept]
        self._keep(new, {entry.stands_for for entry in corpus().values() if entry.stands_for != entry.id})
        folders = [write(files, self._scratch / f"{n}-{digest(files)}") for n, (_, files) in enumerate(entries)]
        against = {
            str(folder.resolve()): {
                key: path
                for key, path in self._kept[meant[entry.id]].items()
                if key == "plain" or not self._judge.by_answer or self._same_scheme(entry, files)
            }
            for folder, (entry, files) in zip(folders, entries, strict=True)
        }
        literal = [path for path, (entry, _) in zip(against, entries, strict=True) if self._judge.is_literal(entry)]
        found = self._ask(folders, against=against, **({"literal": literal} if literal else {}))
        for folder in folders:
            shutil.rmtree(folder)
        for (entry, files), answer in zip(entries, found, strict=True):
            yield entry, files, answer

    def _same_scheme(self, entry: Entry, files: Files) -> bool:
        """Whether an entry's inputs are rounded as those of what it stands for: not by an FP8 quantizer where that is
        another's."""
        if entry.kind == "converted":
            return False
        return _method(files) != _OWN or _method(files_of(corpus()[self._judge.meant(entry)]) or {}) == _OWN

    def _keep(self, names: list[str], others: set[str]) -> None:
        """Load what is meant by ``others``, and the same without quantization, for what will be compared with it."""
        folders: list[Path] = []
        paths: dict[str, str] = {}
        for name in dict.fromkeys(names):
            files = files_of(corpus()[name])
            if files is None:
                raise ValueError(f"{name} cannot be made")
            self._kept[name] = {}
            for key, content in (("meant", files if name in others else None), ("plain", _or_none(files))):
                if content is not None:
                    path = self._kept[name][key] = str(self._scratch / f"{digest(content)}.npz")
                    if path not in self._paths:
                        self._paths.add(path)
                        folders.append(write(content, self._scratch / f"meant-{digest(content)}"))
                        paths[str(folders[-1].resolve())] = path
        if folders:
            answers = self._ask(folders, keep=paths)
            misread = {paths[str(f.resolve())] for f, answer in zip(folders, answers, strict=True) if _misread(answer)}
            for kept in self._kept.values():
                if kept.get("meant") in misread:
                    del kept["meant"]
            for folder in folders:
                shutil.rmtree(folder, ignore_errors=True)

    def _ask(self, folders: list[Path], **options: Any) -> list[Answer]:
        """One answer for each folder; where the process dies, each is asked about alone."""
        try:
            return self._drivers.run(self._judge.environment, self._judge.driver, folders, **options)
        except DriverError as error:
            if len(folders) == 1:
                return [{"error": {"type": "Crash", "message": str(error).splitlines()[0], "stage": None}}]
            return [answer for folder in folders for answer in self._ask([folder], **options)]


def _misread(answer: Answer) -> bool:
    """Whether an engine makes something else of a checkpoint than it means: no answer of another is held against it."""
    return bool(answer.get("missing") or answer.get("bare"))


def _method(files: Files) -> object:
    """The quantization method that a config names, as far as one can be found."""
    try:
        return json.loads(files[CONFIG])["quantization_config"]["quant_method"]
    except (KeyError, TypeError, ValueError):
        return None


def _or_none(files: Files) -> Files | None:
    """The plain model; None where shapes do not tell what the scales are for."""
    try:
        return dequantized(files)
    except (ValueError, KeyError, IndexError):
        return None
