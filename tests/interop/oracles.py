"""The drivers' answers with types: what each real library makes of a checkpoint folder.

Tests get an :class:`Oracles` from the ``oracles`` fixture::

    source, target = oracles.vllm([a, b])
    assert differences(source.processed, target.processed) == []

A library that refuses a folder raises :class:`RefusedError`, unless ``refusals=True`` is asked for: then the reading's
``error`` says why and what was learned before it is still there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy
from numpy.typing import NDArray

from .runner import Answer, Drivers


class RefusedError(AssertionError):
    """A real library raised while reading a folder that it was expected to read."""


@dataclass(frozen=True)
class Failure:
    """What a library raised: the exception's type and message, and the step where a driver has several."""

    type: str
    message: str
    stage: str | None


@dataclass(frozen=True)
class TensorFacts:
    """A tensor that stayed in the driver's process. ``values_sha256`` hashes its values as float32."""

    dtype: str
    shape: tuple[int, ...]
    sha256: str
    values_sha256: str
    value: float | None = None

    def __str__(self) -> str:
        content = self.sha256[:12] if self.value is None else repr(self.value)
        return f"{self.dtype}{list(self.shape)} {content}"


@dataclass(frozen=True)
class Reading:
    """What every reading has: which folder, and why it was refused if it was."""

    folder: Path
    error: Failure | None


@dataclass(frozen=True)
class Logits(Reading):
    """transformers: the logits of the fixed prompt, and what it said about keys while loading."""

    values: NDArray[numpy.float32] | None
    sha256: str | None
    linear_classes: Mapping[str, str]
    missing_keys: tuple[str, ...]
    unexpected_keys: tuple[str, ...]
    mismatched_keys: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class CompressedTensorsReading(Reading):
    """compressed-tensors: the scheme of each module it quantizes, and each weight as its compressor restores it.

    ``failures`` are modules whose tensors it could not decompress; ``kv_scales`` are the files' own tensors; ``errors``
    say how far each weight is off beside a base, where one was given.
    """

    schemes: Mapping[str, Mapping[str, Any]]
    weights: Mapping[str, TensorFacts]
    failures: Mapping[str, Failure]
    kv_scales: Mapping[str, TensorFacts]
    modules_not_in_model: tuple[str, ...]
    errors: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class QuarkReading(Reading):
    """Quark's own importer: quantized modules, scales as ``module.role``, dequantized weights and logits.

    ``scales`` holds stored scales only; ``dynamic`` lists the ``module.role`` whose scale is computed at run time;
    ``failures`` are modules that it loaded but cannot dequantize.
    """

    modules: Mapping[str, str]
    scales: Mapping[str, TensorFacts]
    dynamic: tuple[str, ...]
    weights: Mapping[str, TensorFacts]
    failures: Mapping[str, Failure]
    unused_tensors: tuple[str, ...]
    logits: NDArray[numpy.float32] | None
    logits_sha256: str | None


@dataclass(frozen=True)
class AttentionScales:
    """The scales one vLLM attention layer uses (one, or one per head) and the dtype of its KV cache."""

    kv_cache_dtype: str
    k: tuple[float, ...]
    v: tuple[float, ...]
    q: tuple[float, ...]
    prob: tuple[float, ...]


@dataclass(frozen=True)
class Generation:
    """Greedy tokens, and the log-probability of each prompt token but the first."""

    tokens: tuple[int, ...]
    prompt_logprobs: tuple[float, ...]


@dataclass(frozen=True)
class VllmReading(Reading):
    """vLLM: parameters as loaded and as handed to kernels, scales never set, attention scales, an answer.

    ``loaded`` keeps each dialect's shapes; ``processed`` is equal for exact conversions of one another.
    """

    quantization: str | None
    schemes: Mapping[str, str]
    loaded: Mapping[str, TensorFacts]
    processed: Mapping[str, TensorFacts]
    unset: tuple[str, ...]
    attention: Mapping[str, AttentionScales]
    generation: Generation | None


R = TypeVar("R", bound=Reading)


class Oracles:
    """Questions to the real libraries. Every method takes folders and returns one reading per folder, in order."""

    def __init__(self, drivers: Drivers) -> None:
        self._drivers = drivers
        self._arrays: dict[str, NDArray[numpy.float32]] = {}

    def logits(self, folders: Sequence[Path], *, environment: str = "quark", refusals: bool = False) -> list[Logits]:
        """transformers' ``from_pretrained`` and one forward pass (``environment`` picks the version)."""
        answers = self._drivers.run(environment, "transformers_logits", folders)
        return _readings(folders, answers, self._logits, refusals)

    def compressed_tensors(
        self,
        folders: Sequence[Path],
        *,
        environment: str = "quark",
        refusals: bool = False,
        base: Path | None = None,
    ) -> list[CompressedTensorsReading]:
        """The reference reader: 0.20 in ``quark``, 0.19 in ``llmcompressor``, 0.17 in ``vllm``."""
        options = {} if base is None else {"base": str(base)}
        answers = self._drivers.run(environment, "compressed_tensors_read", folders, **options)
        return _readings(folders, answers, _compressed_tensors, refusals)

    def quark(self, folders: Sequence[Path], *, refusals: bool = False) -> list[QuarkReading]:
        """Quark's ``import_model_from_safetensors``, for both of its dialects."""
        return _readings(folders, self._drivers.run("quark", "quark_load", folders), self._quark, refusals)

    def modelopt(self, folders: Sequence[Path]) -> list[Mapping[str, Any]]:
        """The flat config that ModelOpt itself makes of the file beside config.json."""
        return [answer["flat"] for answer in self._drivers.run("modelopt", "modelopt_config", folders)]

    def vllm(
        self,
        folders: Sequence[Path],
        *,
        generate: bool = False,
        kv_cache_dtype: str = "auto",
        refusals: bool = False,
    ) -> list[VllmReading]:
        """vLLM's model loader; with ``generate`` its engine too (2 s a folder). KV scales that Quark and plain fp8
        checkpoints carry count only with ``kv_cache_dtype="fp8"``: vLLM does not turn it on for them."""
        options = {"generate": generate, "kv_cache_dtype": kv_cache_dtype}
        return _readings(folders, self._drivers.run("vllm", "vllm_load", folders, **options), _vllm, refusals)

    def _logits(self, folder: Path, error: Failure | None, answer: Answer) -> Logits:
        logits = answer.get("logits")
        return Logits(
            folder,
            error,
            values=self._array(logits),
            sha256=logits and logits["sha256"],
            linear_classes=answer.get("linear_classes", {}),
            missing_keys=tuple(answer.get("missing_keys", ())),
            unexpected_keys=tuple(answer.get("unexpected_keys", ())),
            mismatched_keys=tuple(answer.get("mismatched_keys", ())),
            warnings=tuple(answer.get("warnings", ())),
        )

    def _quark(self, folder: Path, error: Failure | None, answer: Answer) -> QuarkReading:
        modules, logits = answer.get("modules", {}), answer.get("logits")
        scales = {
            f"{name}.{role}": scale for name, module in modules.items() for role, scale in module["scales"].items()
        }
        weights = {name: module["dequantized"] for name, module in modules.items() if "dequantized" in module}
        return QuarkReading(
            folder,
            error,
            modules={name: module["class"] for name, module in modules.items()},
            scales=_tensors({name: scale for name, scale in scales.items() if scale != "dynamic"}),
            dynamic=tuple(name for name, scale in scales.items() if scale == "dynamic"),
            weights=_tensors(_without_errors(weights)),
            failures=_errors(weights),
            unused_tensors=tuple(answer.get("unused_tensors", ())),
            logits=self._array(logits),
            logits_sha256=logits and logits["sha256"],
        )

    def _array(self, described: Answer | None) -> NDArray[numpy.float32] | None:
        """Take over an array a driver left in a file; the file goes, the array stays for later questions."""
        if described is None:
            return None
        path = described["path"]
        if path not in self._arrays:
            self._arrays[path] = numpy.load(path)
            Path(path).unlink()
        return self._arrays[path]


def _readings(
    folders: Sequence[Path],
    answers: Sequence[Answer],
    read: Callable[[Path, Failure | None, Answer], R],
    refusals: bool,
) -> list[R]:
    readings = [
        read(folder, _failure(answer["error"]), answer) for folder, answer in zip(folders, answers, strict=True)
    ]
    refused = [f"{reading.folder}: {reading.error}" for reading in readings if reading.error]
    if refused and not refusals:
        raise RefusedError("\n".join(refused))
    return readings


def _compressed_tensors(folder: Path, error: Failure | None, answer: Answer) -> CompressedTensorsReading:
    weights = answer.get("weights", {})
    return CompressedTensorsReading(
        folder,
        error,
        schemes=answer.get("schemes", {}),
        weights=_tensors(_without_errors(weights)),
        failures=_errors(weights),
        kv_scales=_tensors(answer.get("kv_scales", {})),
        modules_not_in_model=tuple(answer.get("modules_not_in_model", ())),
        errors=answer.get("errors", {}),
    )


def _vllm(folder: Path, error: Failure | None, answer: Answer) -> VllmReading:
    generation = answer.get("generation")
    return VllmReading(
        folder,
        error,
        quantization=answer.get("quantization"),
        schemes=answer.get("schemes", {}),
        loaded=_tensors(answer.get("loaded", {})),
        processed=_tensors(answer.get("processed", {})),
        unset=tuple(answer.get("unset", ())),
        attention={
            name: AttentionScales(scales["kv_cache_dtype"], *(tuple(scales[key]) for key in ("k", "v", "q", "prob")))
            for name, scales in answer.get("attention", {}).items()
        },
        generation=generation and Generation(tuple(generation["tokens"]), tuple(generation["prompt_logprobs"])),
    )


def _failure(error: Answer | None) -> Failure | None:
    return None if error is None else Failure(**error)


def _errors(answers: Mapping[str, Answer]) -> dict[str, Failure]:
    return {name: Failure(**answer["error"]) for name, answer in answers.items() if "error" in answer}


def _without_errors(answers: Mapping[str, Answer]) -> dict[str, Answer]:
    return {name: answer for name, answer in answers.items() if "error" not in answer}


def _tensors(described: Mapping[str, Answer]) -> dict[str, TensorFacts]:
    return {name: TensorFacts(**{**facts, "shape": tuple(facts["shape"])}) for name, facts in described.items()}
