"""What llama.cpp's converter makes of what is stored, in the order in which it goes.

It finds its class, the files, the tensors that it leaves out, multiplies weights with scales
(:mod:`.dequantizing`), and looks for a name in the GGUF for all that is left: the first tensor without one ends it.
Nothing compares what is written with the metadata: a GGUF in which something is missing is written without a word, and
refused by everything that loads it. Read in ``conversion/base.py`` and the classes' ``modify_tensors``, and run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ckptkit.engines.llamacpp.architectures import architectures_of
from ckptkit.engines.llamacpp.classes import BARE, CLASSES, ModelClass
from ckptkit.engines.llamacpp.dequantizing import Dequantized, StopError, dequantize
from ckptkit.engines.llamacpp.further import LAYERS, judge_layers
from ckptkit.engines.llamacpp.gathering import COUNTS, judge_counts, judge_experts
from ckptkit.engines.llamacpp.lacking import GAINED, LACKING
from ckptkit.engines.llamacpp.sizes import misfit
from ckptkit.engines.llamacpp.towers import kept_in_vain, left_out, renamed
from ckptkit.engines.llamacpp.wanted import check_keys
from ckptkit.engines.releases import Range, Release
from ckptkit.engines.support import Answer, Judgement
from ckptkit.model.census import is_fp8, is_quantizer_name
from ckptkit.storage.container import Container
from ckptkit.storage.payload import TensorRef

_UNMAPPED = "ValueError: Can not map tensor"
_SIDE = "hf_quant_config.json"
#: What else may hold the language model's config; the first of these that is there is taken for ``text_config``.
_TEXT_CONFIGS = ("language_config", "lm_config", "llm_config")
#: Whose class is that of the whole model, whatever the language model's config says of itself.
_WHOLE = frozenset(
    {
        *("StepVLForConditionalGeneration", "Sarashina2VisionForCausalLM", "Exaone4_5_ForConditionalGeneration"),
        *("Step3p7ForConditionalGeneration", "KimiK3ForConditionalGeneration"),
    }
)
_IN_LAYER = re.compile(r"model\.layers\.\d+\.(.*)\.(?:weight|bias)$")
#: Without the prefix few names of a layer are known; classes of other kinds have names of their own.
_UNPREFIXED = re.compile(r"layers\.\d+\.(self_attn|mlp)\.")
_GENERATES = ("ForCausalLM", "ForConditionalGeneration")
_SKIPPED = (".attention.masked_bias", ".attention.bias", ".rotary_emb.inv_freq")
_DTYPES = frozenset({"F64", "F32", "BF16", "F16", "I64", "I32", "I16", "U8", "I8", "BOOL", "F8_E4M3", "F8_E5M2"})
#: Not yet on 2026-06-20, and by 2026-07-11.
_EXPONENTS, _EXPONENTS_SINCE = "F8_E8M0", "2026-07"
#: The map of names as it is: not yet in b8643, and in b11312.
_GAINS = Range(since="b8644")
_TABLES = ("model.embed_tokens", "lm_head", "model.lm_head")


def judge_stored(container: Container, release: Release, understood: bool) -> Iterator[Judgement]:
    """What goes wrong in a release, or is not known; nothing where all is converted.

    Of a config that was not ``understood`` no rule has looked for scales: FP8 numbers that nothing is multiplied with
    are told here then, unless no scale at all is stored: what they are is told by their numbers (CK601).
    """
    try:
        yield from _judge(container, release, understood)
    except StopError as end:
        yield Judgement(None, Answer.REFUSED, str(end))


def _judge(container: Container, release: Release, understood: bool) -> Iterator[Judgement]:
    config = _flat(container.config)
    architecture = _architecture(container.config)
    if architecture not in architectures_of(release):
        raise StopError(f"Model {architecture} is not supported")
    known = CLASSES.get(architecture)
    tensors = _kept(container, architecture, release)
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    found = dequantize(shapes, config.get("quantization_config"), _side(container), release)
    if not tensors and container.tensors:
        yield Judgement(None, Answer.SILENT, "no file has a name that it looks for: a GGUF without tensors is written")
        return
    _check_types(tensors, found, release)
    if known is not None:
        yield from _judge_names(known, config, found, shapes, release)
    else:
        gained = frozenset() if _GAINS.holds(release) else GAINED
        _check_left(found.shapes, tensors, LACKING.get(architecture, frozenset()) | gained)
        _check_prefix(found.shapes, architecture)
        _check_twice(found.shapes)
        odd = next((name for name in found.shapes if kept_in_vain(name, architecture, release)), None)
        if odd is not None:
            raise StopError(f"{_UNMAPPED} {odd!r}")
        yield from judge_experts(architecture, found.shapes)
        yield from judge_layers(architecture, config, found.shapes, release)
    check_keys(architecture, config)
    yield from judge_counts(config, found.shapes)
    if found.odd:
        yield Judgement(None, Answer.SILENT, f"elements of {found.odd} are multiplied with scales of others")
    if not understood and (container.config.get("quantization_config") or _holds_scales(container)):
        left = (tensors[name] for name in found.shapes if name in tensors and name not in found.multiplied)
        first = next((tensor.name for tensor in left if is_fp8(tensor.dtype) and len(tensor.shape) > 1), None)
        if first is not None:
            yield Judgement(None, Answer.SILENT, f"the codes of {first} are taken for values")


def _holds_scales(container: Container) -> bool:
    """Whether anything is stored that only a quantizer stores."""
    return any(is_quantizer_name(name) for name in container.tensors)


def _flat(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The config with that of the language model over it."""
    thinker = config.get("thinker_config")
    inner = [config.get("lfm"), *(config.get(key) for key in _TEXT_CONFIGS), config.get("text_config")]
    if isinstance(thinker, Mapping):
        inner.insert(2, thinker.get("text_config"))
    text = next((section for section in inner if isinstance(section, Mapping)), {})
    return {**config, **text}


def _architecture(config: Mapping[str, Any]) -> str:
    """The class that the config names; raises StopError where it names none."""
    named = config.get("architectures")
    text = config.get("text_config")
    own = text.get("architectures") if isinstance(text, Mapping) else None
    found = named[0] if isinstance(named, list) and named else None
    if isinstance(own, list) and own and found not in _WHOLE:
        found = own[0]
    if found is None and isinstance(config.get("ssm_cfg"), Mapping):
        found = f"{config['ssm_cfg'].get('layer', 'Mamba')}ForCausalLM"
    if found is None:
        raise StopError("ValueError: Failed to detect model architecture")
    return str(found)


def _side(container: Container) -> Mapping[str, Any] | None:
    """ModelOpt's own config; None where there is none. Raises StopError for one that is no JSON object."""
    raw = container.side_file(_SIDE)
    if raw is None:
        return None
    try:
        side = json.loads(raw)
    except ValueError:
        raise StopError(f"JSONDecodeError: in {_SIDE}") from None
    if not isinstance(side, Mapping):
        raise StopError(f"AttributeError: {type(side).__name__!r} object has no attribute 'get'")
    return side


def _kept(container: Container, architecture: str, release: Release) -> dict[str, TensorRef]:
    """The tensors that it indexes, under the names that it gives them at once."""
    found = container.tensors
    if container.index is None:
        found = {name: tensor for name, tensor in found.items() if tensor.shard.startswith("model")}
    kept = (name for name in found if not left_out(name, architecture, release))
    return {renamed(name, architecture, release): found[name] for name in kept}


def _check_types(tensors: Mapping[str, TensorRef], found: Dequantized, release: Release) -> None:
    """Raises StopError for a tensor that is read and of a type that the converter does not know."""
    known = _DTYPES | {_EXPONENTS} if release.date >= _EXPONENTS_SINCE else _DTYPES
    for name, tensor in tensors.items():
        if tensor.dtype not in known and name not in found.dropped:
            raise StopError(f"KeyError: {tensor.dtype!r}, the type of {name}")
    for name in found.packed:
        scale = tensors[f"{name}_scale"]
        if scale.nbytes != scale.numel:
            raise StopError(f"ValueError: the scales of {name} are no bytes: cannot reshape array")


def _check_left(left: Iterable[str], tensors: Mapping[str, TensorRef], lacking: frozenset[str]) -> None:
    """Raises StopError for what only a quantizer stores, and for what a class is known to have no name for."""
    for name in left:
        beside = name.endswith(".scale") and f"{name.removesuffix('.scale')}.weight" in tensors
        inside = _IN_LAYER.match(name)
        module = name.rpartition(".")[0]
        if is_quantizer_name(name) or beside or (inside[1] if inside else module) in lacking:
            raise StopError(f"{_UNMAPPED} {name!r}")


def _check_prefix(left: Iterable[str], architecture: str) -> None:
    """Raises StopError for the name of a layer's part that is not known without its prefix."""
    bare = (name for name in left if _UNPREFIXED.match(name) and not BARE.fullmatch(name))
    odd = next(bare, None) if architecture.endswith(_GENERATES) else None
    if odd is not None:
        raise StopError(f"{_UNMAPPED} {odd!r}")


def _check_twice(left: Iterable[str]) -> None:
    """Raises StopError for a second tensor of a name that the map knows by two."""
    seen: set[str] = set()
    for name in left:
        one = name.replace(".shared_experts.", ".shared_expert.")
        one = f"model.{one}" if BARE.fullmatch(one) else one
        if one in seen:
            raise StopError(f"ValueError: Duplicated tensor name for {name!r}")
        seen.add(one)


def _judge_names(
    known: ModelClass,
    config: Mapping[str, Any],
    found: Dequantized,
    stored: Mapping[str, tuple[int, ...]],
    release: Release,
) -> Iterator[Judgement]:
    """What a class whose names are known makes of what is left; raises StopError at what has none in the GGUF."""
    known.check(config)
    layers = next((config[key] for key in LAYERS if config.get(key) is not None), None)
    if type(layers) is not int:
        # transformers has a default for it, unless a list for each layer contradicts that: then it reads no config.
        if isinstance(config.get("layer_types"), list):
            raise StopError(f'KeyError: "could not find any of: {list(LAYERS)}"')
        yield Judgement(None, Answer.SILENT, "config.json does not say how many layers there are")
        return
    experts = next((config[key] for key in COUNTS if config.get(key) is not None), None)
    modules: dict[str, tuple[int, ...]] = {}
    single: dict[str, dict[str, tuple[int, ...]]] = {}
    seen: set[str] = set()
    for name, shape in [*_unpacked(found, stored), *found.shapes.items()]:
        if name.endswith(_SKIPPED):
            continue
        asked = known.asked(name)
        if asked in seen:
            raise StopError(f"ValueError: Duplicated tensor name for {name!r}")
        seen.add(asked)
        module, mark, last = asked.rpartition(".")
        if known.is_expert(asked) and name not in found.packed:
            single.setdefault(module.partition(".experts.")[0], {})[asked] = shape
        elif known.is_stack(asked):
            modules[asked.removesuffix(".weight")] = shape[1:]
        elif mark and last in ("weight", "bias") and known.maps(module, layers, release):
            if last == "weight":
                modules[module] = shape
        elif not known.is_expert(asked):
            raise StopError(f"{_UNMAPPED} {asked!r}")
    for owner, parts in single.items():
        if not isinstance(experts, int) or set(parts) != known.all_experts(owner, experts):
            raise StopError(f"ValueError: Unprocessed experts: {min(parts)} ...")
        if len({(name.split(".")[-2], shape) for name, shape in parts.items()}) > len(known.parts):
            raise StopError("RuntimeError: stack expects each tensor to be equal size")
        modules |= {name.removesuffix(".weight"): shape for name, shape in parts.items()}
    if known.permutes and any(known.is_of_meta(name) for name in found.shapes):
        words = "whether queries and keys are in the order of Meta, as their names say: it leaves them as they are"
        yield Judgement(None, Answer.UNKNOWN, words)
    absent = known.names.absent(modules, layers, tied=True)
    if absent is not None:
        yield Judgement(None, Answer.SILENT, f"nothing fills {absent}, and nobody looks")
    elif not {"lm_head", "model.lm_head"} & modules.keys() and config.get("tie_word_embeddings") is False:
        words = "whether the embedding, which it takes for the head that is not stored, is meant"
        yield Judgement(None, Answer.UNKNOWN, words)
    rows = {modules[name][:1] for name in _TABLES if name in modules}
    words = misfit(known.told, config, modules) or (
        "the embedding and the head are of other vocabularies" if len(rows) > 1 else ""
    )
    if words:
        yield Judgement(None, Answer.SILENT, words)


def _unpacked(found: Dequantized, stored: Mapping[str, tuple[int, ...]]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Weights of NVFP4 with the sizes that they have: two numbers are in a byte."""
    for name in found.packed:
        rows, columns = stored.get(name) or stored[f"{name}_packed"]
        yield name, (rows, 2 * columns)
