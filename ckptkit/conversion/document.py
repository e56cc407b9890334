"""``docs/formats.md``, from what the formats say of themselves."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.conversion.cells import markdown
from ckptkit.formats.base import Format, modes, written_dialect
from ckptkit.formats.dialect import Capabilities
from ckptkit.formats.registry import BUILT_IN

_INTRODUCTION = """\
# Formats

What each format's writer can express so that its serving engines read it right. Generated from the code by
`make docs`.

## Conversions

From any format to any other; what counts is how weights and inputs are quantized. No weight's value ever changes here;
plain weights that are quantized are another matter, below.

- **header**: tensors get other names and shapes, their bytes are copied.
- **new scales**: one scale is written several times, once for each row or block.
- **inputs change**: inputs are quantized otherwise while the model runs; no stored value changes, and the plan says so.
- **`--allow-lossy`**: stored scales of inputs have no place in the target, or inputs get coarser; refused without it.
- **-**: refused, with what cannot be held: the weights would have to be quantized again, or inputs be calibrated.

Scales keep their type wherever the target takes it; `fbgemm-fp8` holds F32 only, so that others are widened. Scales of
a KV cache move by a change of name wherever both formats have them.

{matrix}

## Quantizing plain weights

`ckptkit convert --to FORMAT --scheme NAME SRC DST` quantizes a checkpoint in BF16, F16 or F32 without data. Names are
those of each format's own tools, in any case, and so is the arithmetic: how the largest magnitude becomes a scale, in
which type, and how a weight is divided by it. The bytes are those of llm-compressor, Quark and ModelOpt.

{presets}

- A static scheme, and the scales of a KV cache, take numbers that only calibration gives: `--scales-from OTHER` takes
  them from a checkpoint of the same model in any format; what is missing there is listed in one refusal.
- Left alone, with the reason in the plan: output heads, routers and shared experts' gates, towers and projectors beside
  the language model, layers that predict further tokens, what engines build plain anyway, and what the tool's own list
  has. `--skip GLOB` adds to it, `--modules GLOB` restricts the choice, `--no-default-skips` quantizes these too.
- Stacks of experts `[experts, outputs, inputs]` go where the format holds stacks (`fp8` in blocks); elsewhere
  `--experts split` makes a module of each in the same conversion. A result at which some engine stops although it takes
  the source is refused.
- One difference: ModelOpt, and vLLM while it loads, give `q`, `k` and `v`, and `gate` and `up`, one scale where a
  weight has a single one; here each has its own.

"""


_PLAIN = """No quantization. FP8 modules of every format become weights in {dtype}, all of them or those that
`--modules` names (the others then keep their format). So do MXFP4, MXFP8 and NVFP4 ones; modules in any other
quantization are refused.
"""


def render_formats_markdown() -> str:
    """One section for each built-in format and mode."""
    sections = [_section(form, mode) for form in BUILT_IN for mode in modes(form)]
    introduction = _INTRODUCTION.format(matrix=markdown(BUILT_IN), presets="\n".join(_presets()))
    return "\n".join([introduction, *sections])


def _presets() -> Iterator[str]:
    """The table of presets: what is typed, what it makes, and how."""
    yield "| `--to` | `--scheme` | weights and inputs | scale | weight over scale |"
    yield "|---|---|---|---|---|"
    for form in BUILT_IN:
        for one in form.presets:
            names = ", ".join(f"`{name}`" for name in (one.name, *one.aliases))
            usual, arithmetic = " (or none)" if one.usual else "", one.arithmetic
            division = "times 1 / scale" if arithmetic.reciprocal else "divided"
            quotient = f"{division}, in {arithmetic.quotient or 'the type of the weight'}"
            scale = arithmetic.scale or "in the type of the weight"
            yield f"| `{form.name}` | {names}{usual} | {one.scheme} | {scale} | {quotient} |"


def _section(form: Format, mode: str) -> str:
    _, capabilities = written_dialect(form, mode)
    names = ", ".join(f"`{name}`" for name in (form.name, *form.aliases))
    title = form.name if len(modes(form)) == 1 else f"{form.name}, mode `{mode}`"
    dtype = form.weight_dtype
    facts = _tables(capabilities) if dtype is None else [_PLAIN.format(dtype=dtype)]
    return "\n".join([f"## {title}\n", f"Names on the command line: {names}.\n", *facts])


def _tables(capabilities: Capabilities) -> list[str]:
    lines = ["| weights | inputs |", "|---|---|"]
    by_weight: dict[str, list[str]] = {}
    for weight, inputs in sorted((weight.kind, str(inputs)) for weight, inputs in capabilities.schemes):
        by_weight.setdefault(weight, []).append(inputs)
    lines += [f"| {weight} | {', '.join(inputs)} |" for weight, inputs in by_weight.items()]
    lines += ["", "| | |", "|---|---|"]
    sizes = capabilities.block_sizes
    blocks = "any" if sizes is None else ", ".join(f"{r}x{c}" for r, c in sorted(sizes)) or "none"
    kinds = frozenset(kind.kind for kind in capabilities.kv_granularities)
    kv_scales = f"{_listed(kinds)}; attention roles {_listed(capabilities.kv_roles)}" if kinds else "none"
    facts = {
        "block sizes": blocks,
        "KV-cache scales": kv_scales,
        "different schemes in one checkpoint": _yes(capabilities.mixed_schemes),
        "quantized output head": _yes(capabilities.quantized_lm_head),
        "quantized embeddings": _yes(capabilities.quantized_embeddings),
        "all experts of a layer in one stack": _yes(capabilities.stacked_experts),
        "quantized outputs of linear modules": _yes(capabilities.output_quantization),
        "other quantizations beside FP8, carried as they are": _listed(capabilities.other_storages) or "none",
        "scale dtypes": _listed(capabilities.scale_dtypes),
    }
    return [*lines, *(f"| {name} | {value} |" for name, value in facts.items()), ""]


def _listed(items: frozenset[str]) -> str:
    return ", ".join(sorted(items))


def _yes(value: bool) -> str:
    return "yes" if value else "no"
