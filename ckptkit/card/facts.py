"""What a model card says about quantization, worked out from the tensors; and claims of a card that they deny.

Nothing here needs the hub library: a local validation may ask for :func:`contradictions`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from itertools import chain
from types import MappingProxyType
from typing import Any

from ckptkit.card import CARD_FILE
from ckptkit.card.markdown import BYTE_ORDER_MARK, METADATA, cell, code, from_cell
from ckptkit.errors import Fault
from ckptkit.formats import registry
from ckptkit.model.checkpoint import Checkpoint, QuantizedModule
from ckptkit.model.granularity import PerBlock, PerChannel, PerGroup, PerTensor
from ckptkit.model.scheme import Scheme
from ckptkit.model.summary import ignored, summarise
from ckptkit.storage.untrusted import parse_yaml

START = "<!-- ckptkit:quantization:start -->"
END = "<!-- ckptkit:quantization:end -->"
#: The row that tensors cannot tell; it is kept when a section is written again.
CONVERTED = "Converted from"

#: Tags of other quantizations: true of a checkpoint only where it holds modules of that one too.
_FOREIGN_TAGS = frozenset(
    {"awq", "gptq", "gguf", "bitsandbytes", "4-bit", "int4", "int8", "w4a16", "nvfp4", "mxfp4", "mxfp8", "exl2", "hqq"}
)
#: Tags of schemes -> whether activations are quantized.
_SCHEME_TAGS = {"w8a8": True, "w8a16": False}

_ROW = re.compile(r"^\| ([^|\n]{1,80}?) \| (.*?) \|$", re.MULTILINE)
_PRESET = re.compile(r"""scheme\s*[=:]\s*["']?(FP8_DYNAMIC|FP8_BLOCK|FP8)\b""")
_IGNORE = re.compile(r"""ignore\s{0,8}=\s{0,8}\[([^\]]{0,4000})\]""")
_KV_CLAIM = re.compile(r"\b(?:fp8|quantized) kv[- ]cache\b", re.IGNORECASE)
#: The characters that are looked at: the longest of these words, and what may stand between.
_NEAR = 48
_NEGATION = re.compile(r"\b(?:no|not|without|never|non)\b[^.\n]{0,20}$", re.IGNORECASE)


def section(checkpoint: Checkpoint, name: str, converted_from: str | None = None) -> str:
    """The quantization section of a card, markers included. ``name`` is what to serve: a repository or a path."""
    from ckptkit.card.serving import serving  # judging a card takes no engine

    table = "\n".join(f"| {key} | {value} |" for key, value in facts(checkpoint, converted_from).items())
    return f"""{START}
## Quantization

| | |
|---|---|
{table}

{serving(checkpoint, name)}
{END}"""


def facts(checkpoint: Checkpoint, converted_from: str | None = None) -> dict[str, str]:
    """The rows of the section's table, as they stand in the card."""
    rows = {key: text for key, row in _ROWS.items() if (text := row(checkpoint)) is not None}
    if converted_from:
        rows[CONVERTED] = cell(converted_from)
    return rows


def tags(checkpoint: Checkpoint) -> tuple[str, ...]:
    """The tags that are true of a checkpoint."""
    quantized = {scheme.input is not None for scheme in checkpoint.schemes}
    scheme_tags = [tag for tag, activations in _SCHEME_TAGS.items() if quantized == {activations}]
    return tuple(dict.fromkeys(("fp8", *scheme_tags, checkpoint.format)))


def is_untrue_tag(tag: str, checkpoint: Checkpoint) -> bool:
    """Whether the tensors deny a tag."""
    word = tag.lower()
    if word in _FOREIGN_TAGS:
        return not any(word in scheme.name.lower() for scheme in checkpoint.other_schemes)
    if word in _format_tags():
        return word != checkpoint.format
    return word in _SCHEME_TAGS and bool(checkpoint.schemes) and word not in tags(checkpoint)


@cache
def _format_tags() -> frozenset[str]:
    """Tags of formats: at most the one of a checkpoint's own format can be true."""
    return frozenset(dialect.tag for dialect in registry.dialects() if dialect.tag)


def metadata(text: str) -> dict[str, Any]:
    """The metadata block of a card; empty when there is none, or none that can be read."""
    match = METADATA.match(text.removeprefix(BYTE_ORDER_MARK))
    try:
        document = parse_yaml(match[2]) if match else None
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def own_section(text: str) -> str | None:
    """The section between the markers."""
    start, end = text.find(START), text.find(END)
    return text[start : end + len(END)] if 0 <= start < end else None


def section_rows(section_text: str) -> dict[str, str]:
    """The table of a section."""
    return {key.strip(): value.strip() for key, value in _ROW.findall(section_text) if not set(key) <= set("- ")}


def converted_from(section_text: str) -> str | None:
    """The checkpoint that a section says this one was converted from."""
    found = section_rows(section_text).get(CONVERTED)
    return None if found is None else from_cell(found)


def contradictions(checkpoint: Checkpoint, text: str) -> list[Fault]:
    """Every claim of a card that the tensors deny: tags, scheme, KV cache, ignored layers, and our own section.

    Only claims that can be told from prose with certainty count: metadata, the section between our markers, the
    names of presets and ignore lists of a recipe, and the words "FP8 KV cache".
    """
    return [*_metadata_faults(checkpoint, text), *_section_faults(checkpoint, text), *_prose_faults(checkpoint, text)]


def is_outdated(checkpoint: Checkpoint, text: str) -> bool:
    """Whether the tensors deny something that ``ckptkit card`` rewrites: a tag, or a row of our own section.

    The format is looked at first: a conversion changes it, and then nothing else has to be worked out.
    """
    faults = chain(_metadata_faults(checkpoint, text), _section_faults(checkpoint, text, (_FORMAT, *_ROWS)))
    return next(faults, None) is not None


def _metadata_faults(checkpoint: Checkpoint, text: str) -> Iterator[Fault]:
    found = metadata(text)
    claimed = found.get("tags")
    for tag in claimed if isinstance(claimed, list) else ():
        if is_untrue_tag(str(tag), checkpoint):
            yield _fault(
                "card-tag", f"the tag {tag!r} is not true of the tensors", ", ".join(tags(checkpoint)), str(tag)
            )
    relation = found.get("base_model_relation")
    if relation not in (None, "quantized"):
        yield _fault("card-relation", "the card does not call the checkpoint quantized", "quantized", str(relation))


def _section_faults(checkpoint: Checkpoint, text: str, keys: Iterable[str] = ()) -> Iterator[Fault]:
    """Rows of our own section that are not so, in the order of these keys or of the section."""
    own = own_section(text)
    if own is None:
        return
    claimed = section_rows(own)
    for key in keys or _ROWS:
        expected = _ROWS[key](checkpoint) if key in claimed else None
        if expected is not None and claimed[key] != expected:
            yield _fault("card-section", f"the quantization section is out of date: {key}", expected, claimed[key])


def _prose_faults(checkpoint: Checkpoint, text: str) -> Iterator[Fault]:
    own = own_section(text)
    prose = text.replace(own, "") if own else text
    for preset in dict.fromkeys(_PRESET.findall(prose)):
        if checkpoint.schemes and not any(_fits(preset, scheme) for scheme in checkpoint.schemes):
            words = "; ".join(str(scheme) for scheme in checkpoint.schemes)
            yield _fault("card-scheme", f"the card's recipe says {preset}", words, preset)
    for listed in _IGNORE.findall(prose):
        for name in re.findall(r"""["']([^"']+)["']""", listed):
            if name in checkpoint.modules:
                yield _fault("card-ignored", f"the card says that {name} is not quantized", "FP8", "ignored", name)
    if checkpoint.kv_cache is None:
        claims = (match for match in _KV_CLAIM.finditer(prose) if not _is_negated(prose, match.start()))
        if claim := next(claims, None):
            yield _fault("card-kv-cache", "the card claims a quantized KV cache", "no KV-cache scales", claim[0])


def _is_negated(prose: str, position: int) -> bool:
    """Whether a word shortly before a claim turns it round."""
    return _NEGATION.search(prose[max(0, position - _NEAR) : position]) is not None


def _fits(preset: str, scheme: Scheme) -> bool:
    granularity, inputs = scheme.weight.granularity, scheme.input
    if preset == "FP8_BLOCK":
        return isinstance(granularity, PerBlock)
    if preset == "FP8_DYNAMIC":
        return isinstance(granularity, PerChannel) and inputs is not None and inputs.dynamic
    return isinstance(granularity, PerTensor) and inputs is not None and not inputs.dynamic


def _fault(kind: str, message: str, expected: str, found: str, tensor: str | None = None) -> Fault:
    help_text = "correct the card; 'ckptkit card' rewrites the section and the tags"
    return Fault(kind, message, CARD_FILE, tensor, expected, found, help_text)


def _schemes(checkpoint: Checkpoint) -> Iterator[str]:
    for scheme, members in checkpoint.schemes.items():
        where = f" ({len(members)} modules)" if len(checkpoint.schemes) > 1 else ""
        yield f"{scheme}{where}"


def _scale_words(checkpoint: Checkpoint) -> Iterator[str]:
    """Type, shape and meaning of weight scales, of each kind by its largest: extents of one do not tell axes apart."""
    largest: dict[tuple[object, ...], QuantizedModule] = {}
    for module in checkpoint.modules.values():
        scale = module.weight_scale
        if scale is None:
            largest.setdefault((), module)
            continue
        kind = (module.scheme.weight.granularity, scale.dtype, len(scale.shape), module.experts is None)
        known = largest.setdefault(kind, module).weight_scale
        if known is not None and known.numel < scale.numel:
            largest[kind] = module
    for module in largest.values():
        scale, granularity = module.weight_scale, module.scheme.weight.granularity
        if scale is None:
            yield "missing"
            continue
        shape = f"{scale.dtype} `{_in_letters(module, scale.shape)}`"
        if isinstance(granularity, PerChannel):
            yield f"{shape}, one per output row"
        elif isinstance(granularity, PerBlock):
            yield f"{shape}, one per tile of {granularity.rows} x {granularity.columns}"
        elif isinstance(granularity, PerGroup):
            yield f"{shape}, one per {granularity.size} elements of a row"
        else:
            yield f"{shape}, one per weight"


def _in_letters(module: QuantizedModule, shape: tuple[int, ...]) -> str:
    """The shape of a weight's scale as it is stored, in letters for the extents of weights [E, N, K]."""
    *_, rows, columns = module.weight.shape
    granularity = module.scheme.weight.granularity
    wanted = [("E", module.experts)] if module.experts else []
    if isinstance(granularity, (PerChannel, PerGroup)):
        wanted.append(("N", rows))
    if isinstance(granularity, PerBlock):
        wanted.append((f"ceil(N/{granularity.rows})", -(-rows // granularity.rows)))
        wanted.append((f"ceil(K/{granularity.columns})", -(-columns // granularity.columns)))
    if isinstance(granularity, PerGroup):
        wanted.append((f"ceil(K/{granularity.size})", -(-columns // granularity.size)))
    found = []
    for extent in shape:
        meant = bool(wanted) and wanted[0][1] == extent
        found.append(wanted.pop(0)[0] if meant else str(extent))
    return f"[{', '.join(found)}]"


def _kv_words(checkpoint: Checkpoint) -> str:
    cache = checkpoint.kv_cache
    if cache is None or cache.scheme is None:
        return "not quantized"
    scaled = sum(bool(item.stored()) for item in cache.attention)
    return f"{cache.scheme}, scales stored for {scaled} attention modules"


def _exporter(checkpoint: Checkpoint) -> str | None:
    """The tool that wrote the config, when the config says so."""
    version = checkpoint.raw.get("version") or checkpoint.raw.get("quark_version")
    detected = registry.detect(checkpoint.container)
    tool = (detected[1].tool if detected is not None else "") or checkpoint.format
    return cell(f"{tool} {version}") if isinstance(version, str) and version else None


def _size_words(checkpoint: Checkpoint) -> str:
    summary = summarise(checkpoint, scales=False)
    return f"{_size(summary.data_bytes)}, {summary.ratio:.2f} of the {_size(summary.original_bytes)} in 16 bits"


def _size(nbytes: int) -> str:
    """
    >>> _size(9_090_000_000), _size(70_000)
    ('8.47 GiB', '68.4 KiB')
    """
    value = float(nbytes)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.3g} {unit}"
        value /= 1024
    return f"{value:.3g} GiB"


_FORMAT = "Format"
#: The rows of the section's table: what each says, None where there is nothing to say.
_ROWS: Mapping[str, Callable[[Checkpoint], str | None]] = MappingProxyType(
    {
        "Scheme": lambda checkpoint: cell("; ".join(_schemes(checkpoint))),
        "Weight scales": lambda checkpoint: "; ".join(_scale_words(checkpoint)),
        "KV cache": _kv_words,
        "Not quantized": lambda checkpoint: ", ".join(map(code, ignored(checkpoint))) or "nothing",
        "Size": _size_words,
        _FORMAT: lambda checkpoint: cell(f"{checkpoint.format} ({checkpoint.dialect})"),
        "Made with": _exporter,
    }
)
