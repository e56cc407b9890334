"""The layout as a law: imports run downwards, formats do not know each other, heavy libraries wait to be needed."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest

import ckptkit
from ckptkit import errors
from ckptkit.checks.schema import load
from ckptkit.engines.registry import engines
from ckptkit.formats import registry

ROOT = Path(ckptkit.__file__).parent
SOURCES = sorted(path for path in ROOT.rglob("*.py") if "__pycache__" not in path.parts)

#: From the bottom up. A package imports from lines below its own, and never from a sibling on the same line.
LINES = (
    {"record"},
    {"errors", "dtypes"},
    {"plugins", "shown"},
    {"storage"},
    {"model"},
    {"operations"},
    {"measure"},
    {"edits"},
    {"engines", "formats", "kernels"},
    {"card"},
    {"checks"},
    {"rules", "views"},
    {"conversion"},
    {"doctor"},
    {"hub", "report"},
    {"validation"},
    {"page"},
    {"api"},
    {"cli"},
    {"__main__", "__init__"},
)
RANK = {package: rank for rank, line in enumerate(LINES) for package in line}

#: Packages that see less than what is below them.
ONLY = {
    "errors": {"record"},
    "dtypes": {"record"},
    "shown": {"errors", "record"},
    "storage": {"errors", "dtypes", "record", "shown"},
    "kernels": {"errors", "dtypes", "record", "storage", "model"},
    "__main__": {"cli"},
    "__init__": {
        *("api", "card", "checks", "conversion", "doctor", "errors", "hub", "model", "page", "storage"),
        *("validation", "views"),
    },
}

#: What a package may import at module level besides the standard library. Everything else is imported where it is
#: used, since a person who asks for help or inspects a header should not wait for it.
THIRD_PARTY = {"cli": {"click"}, "operations.loops": {"numba", "numpy"}}

BUILT_IN_FORMATS = {path.name for path in (ROOT / "formats").iterdir() if (path / "__init__.py").is_file()}


def parts_of(path: Path) -> tuple[str, ...]:
    """``ckptkit/formats/quark/write.py`` -> ``("formats", "quark", "write")``."""
    return path.relative_to(ROOT).with_suffix("").parts


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(path: Path) -> Iterator[tuple[str, ...]]:
    """Every module of ours that a file imports, anywhere in it, without the leading ``ckptkit``."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the layer that they cross"
            found = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in found:
            top, *rest = name.split(".")
            if top == "ckptkit" and rest and rest[0] != "__version__":
                yield tuple(rest)


def module_level_imports(tree: ast.Module) -> Iterator[str]:
    """Top-level names of what is imported when a module is, type checking apart."""
    pending: list[ast.AST] = [*tree.body]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").split(".")[0]
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            pending += node.orelse
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            pending += ast.iter_child_nodes(node)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: ".".join(parts_of(path)))
def test_imports_run_downwards(path: Path) -> None:
    package = parts_of(path)[0]
    assert package in RANK, f"{package} has no place in the layout"
    for target, *_ in imported(path):
        if target != package:
            assert RANK.get(target, len(LINES)) < RANK[package], f"{package} imports {target}"
            assert target in ONLY.get(package, {target}), f"{package} imports {target}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: ".".join(parts_of(path)))
def test_formats_are_known_to_the_registry_only(path: Path) -> None:
    parts = parts_of(path)
    for target in imported(path):
        if target[0] == "formats" and len(target) > 1 and target[1] in BUILT_IN_FORMATS:
            own = parts[:2] == target[:2]
            assert own or parts == ("formats", "registry"), f"{'.'.join(parts)} imports {'.'.join(target)}"


def literals(path: Path) -> Iterator[tuple[int, str]]:
    """Every string in a file's code with its line; documentation, which may name what it likes, apart."""
    tree = tree_of(path)
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            yield node.lineno, node.value


#: Layers below the command line: their texts reach users of the library too.
LIBRARY = (
    "api",
    "checks",
    "conversion",
    "edits",
    "formats",
    "measure",
    "model",
    "operations",
    "plugins",
    "storage",
    "validation",
)

#: What writes pages of the documentation, which speak of the command line.
PAGES = (("conversion", "cells"), ("conversion", "document"))


def command_line_words() -> set[str]:
    from ckptkit.cli.main import COMMANDS, cli

    context = click.Context(cli)
    commands = [cli.get_command(context, name) for name in COMMANDS]
    options = [option for command in commands if command for option in command.params]
    return {word for option in options for word in (*option.opts, *option.secondary_opts) if word.startswith("--")}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: ".".join(parts_of(path)))
def test_texts_of_the_library_are_right_without_a_command_line(path: Path) -> None:
    """An option stands beside its name in Python, or in a whole command that a user may run."""
    if parts_of(path)[0] not in LIBRARY or parts_of(path) in PAGES:
        return
    for line, text in literals(path):
        for word in set(re.findall(r"(?<![\w-])--[a-z-]+", text)) & command_line_words():
            in_python = word.removeprefix("--").replace("-", "_") in text.replace(word, "")
            assert in_python or "ckptkit " in text, f"{path}:{line}: {word} says nothing to a user of the library"


#: Words that name a format or a dialect of it, as code would compare them.
FORMAT_WORDS = {
    word
    for dialect in registry.dialects()
    for word in (dialect.format, dialect.name, dialect.key, dialect.mode, dialect.schema)
} | {alias for form in registry.BUILT_IN for alias in form.aliases}
#: (file, word) -> what else the word is there.
OTHER_MEANINGS = {
    ("card/facts.py", "fp8"): "a tag of model cards, whatever the format",
    ("card/facts.py", "mxfp4"): "a tag of model cards, whatever the format",
    ("card/facts.py", "mxfp8"): "a tag of model cards, whatever the format",
    ("card/section.py", "transformers"): "the library that model cards name",
    ("checks/finding.py", "tensor"): "the thing that safetensors hold",
    ("checks/runner.py", "tensor"): "the thing that safetensors hold",
    ("cli/convert.py", "block"): "a granularity of scales",
    ("conversion/diff.py", "tensor"): "the thing that safetensors hold",
    ("conversion/request.py", "block"): "a granularity of scales",
    ("conversion/plan.py", "tensor"): "the thing that safetensors hold",
    ("conversion/prepare/microscaling.py", "block"): "a granularity of scales",
    ("conversion/prepare/microscaling.py", "fp8"): "the word of config.json for what experts are stored in",
    ("conversion/prepare/quantize.py", "fp8"): "the word of config.json for what experts are stored in",
    ("conversion/prepare/scale_form.py", "block"): "a granularity of scales",
    ("page/document.py", "tensor"): "the thing that safetensors hold",
    ("model/inventory.py", "tensor"): "the thing that safetensors hold",
    ("report/findings_text.py", "tensor"): "the thing that safetensors hold",
    ("report/inventory_text.py", "tensor"): "the thing that safetensors hold",
    ("report/text.py", "tensor"): "the thing that safetensors hold",
    ("storage/container.py", "tensor"): "the thing that safetensors hold",
}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: ".".join(parts_of(path)))
def test_no_code_asks_for_a_format_by_its_name(path: Path) -> None:
    """Facts are asked from the dialect; only formats, and what is known of engines, speak of a format by name."""
    if parts_of(path)[0] in ("formats", "engines", "kernels"):  # kernels see no formats at all
        return
    file = path.relative_to(ROOT).as_posix()
    words = FORMAT_WORDS - {word for other, word in OTHER_MEANINGS if other == file}
    found = [(line, word) for line, word in literals(path) if word in words]
    assert not found, f"{file} names a format: ask the dialect for a fact, or write a hook of the format"


#: Keys that a format's quantization config has at its top, as its schema lists them.
CONFIG_KEYS = {
    key
    for dialect in registry.dialects()
    if isinstance(dialect.schema, str)
    for key in load(dialect.schema)["properties"]
}
#: (file, key) -> what else the word is there; "quant_method" is what tells formats apart, and no format's own.
OTHER_KEYS = {("rules/files/ck111_metadata_format.py", "format"): "a key of the headers of safetensors"}


@pytest.mark.parametrize("path", [path for path in SOURCES if parts_of(path)[0] == "rules"], ids=lambda path: path.stem)
def test_rules_know_no_key_of_a_formats_config(path: Path) -> None:
    """They ask the dialect for the key that says what they look for, or the format for a kind of fault."""
    file = path.relative_to(ROOT).as_posix()
    known = CONFIG_KEYS - {"quant_method"} - {key for other, key in OTHER_KEYS if other == file}
    assert [(line, text) for line, text in literals(path) if re.split(r"[.\[]", text)[0] in known] == []


def test_the_keys_of_configs_are_found() -> None:
    assert {
        "config_groups",
        "kv_cache_scheme",
        "export",
        "sparsity_config",
        "layer_quant_config",
        "ignore",
    } < CONFIG_KEYS
    assert all(key in {text for _, text in literals(ROOT / file)} for file, key in OTHER_KEYS)


#: Engines as texts name them; Quark is a format's tool too, and goes by its package where it is the engine.
ENGINE_NAMES = re.compile(r"vllm|sglang|trt-?llm|tensorrt|transformers|amd-quark|llama\.?cpp", re.IGNORECASE)
#: Numbers of issues and pull requests: what is known comes from somewhere.
REPORT = re.compile(r"[\w.-]+/[\w.-]+#\d+")
#: (file, text) -> why an engine's name stands there, on 29 November 2026; a text that ends in ... is a beginning.
ENGINES_NAMED = {
    ("api.py", "vllm"): "the default of a parameter that takes an engine's name",
    ("card/section.py", "transformers"): "the library that model cards name",
    ("cli/convert.py", "A dialect of the target..."): "the word of a dialect",
    ("cli/convert.py", "a model of AMD's for vLLM..."): "an example of a command",
    ("cli/report.py", "Only what hits vllm, sglang..."): "words to type",
    ("cli/serve.py", "vllm"): "the default of an option that takes an engine's name",
    ("cli/serve.py", "vllm, sglang or llama.cpp..."): "words to type",
    ("cli/serve.py", "the vllm command..."): "an example of a command",
    ("cli/serve.py", "ckptkit serve org/model --for sglang..."): "an example of a command",
    ("cli/serve.py", "for SGLang, over four devices"): "an example of a command",
    ("cli/validate.py", "Only what hits vllm, sglang..."): "words to type",
    ("conversion/diff_files.py", "transformers_version"): "a key of config.json",
    ("conversion/document.py", "# Formats..."): "a page of the documentation",
    ("formats/fp8/facts.py", "per tensor, transformers' names"): "the name of a dialect",
    ("formats/fp8/facts.py", "fp8-transformers"): "the key of a dialect",
    ("formats/fp8/facts.py", "transformers"): "the word of a dialect",
    ("formats/known.py", "FP8 in SGLang's own layout"): "the name of a method",
    ("formats/known.py", "config_sentence_transformers.json"): "the name of a file",
    ("formats/known.py", "sentence-transformers model"): "another library",
    ("kernels/quantize.py", "vllm"): "the name of an arithmetic",
    ("views/inventory.py", "GGUF files are listed and not read..."): "the tools of a file format",
}


def named_as_allowed(file: str, text: str) -> bool:
    return any(
        file == other and (text.startswith(known.removesuffix("...")) if known.endswith("...") else text == known)
        for other, known in ENGINES_NAMED
    )


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: ".".join(parts_of(path)))
def test_what_engines_do_is_told_from_their_data(path: Path) -> None:
    """A text that names an engine speaks of some release of it, and only the engines' data know which."""
    file = path.relative_to(ROOT).as_posix()
    if parts_of(path)[0] == "engines":
        return
    texts = [(line, text) for line, text in literals(path) if ENGINE_NAMES.search(REPORT.sub("", text))]
    found = [(line, text) for line, text in texts if not named_as_allowed(file, text)]
    assert not found, f"{file} says what an engine does: a row of its tables can, with a release"


def test_engines_that_are_named_are_named() -> None:
    for file, known in ENGINES_NAMED:
        texts = [text for _, text in literals(ROOT / file) if ENGINE_NAMES.search(text)]
        assert any(named_as_allowed(file, text) and text.startswith(known.removesuffix("...")) for text in texts), known
    labels = [word for engine in engines().values() for word in (engine.label, engine.name, engine.package or "")]
    assert {word for word in labels if not ENGINE_NAMES.search(word)} <= {"Quark", "quark", ""}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: ".".join(parts_of(path)))
def test_no_code_decides_by_what_a_message_says(path: Path) -> None:
    """Faults have kinds and paths, findings have subjects; their texts are for people, and may be put otherwise."""
    told = r"\b\w+ in \w*(fault|finding|observation)\.message|(fault|finding|observation)\.message\.(?!message)\w+\("
    assert re.findall(told, path.read_text(encoding="utf-8")) == []


def test_other_meanings_are_in_use() -> None:
    for file, word in OTHER_MEANINGS:
        assert word in FORMAT_WORDS and word in {text for _, text in literals(ROOT / file)}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: ".".join(parts_of(path)))
def test_heavy_libraries_are_imported_where_they_are_used(path: Path) -> None:
    allowed = THIRD_PARTY.get(parts_of(path)[0], THIRD_PARTY.get(".".join(parts_of(path)), set()))
    found = set(module_level_imports(tree_of(path)))
    assert found - sys.stdlib_module_names - {"ckptkit"} <= allowed


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: ".".join(parts_of(path)))
def test_the_meaning_of_files_does_not_open_them(path: Path) -> None:
    """Formats and the model get containers and give drafts; bytes are moved elsewhere."""
    if parts_of(path)[0] in ("formats", "model", "engines"):
        calls = [node.func for node in ast.walk(tree_of(path)) if isinstance(node, ast.Call)]
        names = {call.id if isinstance(call, ast.Name) else getattr(call, "attr", "") for call in calls}
        assert not names & {"open", "read_bytes", "read_text", "write_bytes", "write_text", "unlink", "mkdir"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: ".".join(parts_of(path)))
def test_files_stay_small_and_say_what_they_are(path: Path) -> None:
    assert path.read_text(encoding="utf-8").count("\n") < 400
    assert ast.get_docstring(tree_of(path)), "a module says what it is for"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: ".".join(parts_of(path)))
def test_classes_that_do_not_change_are_records(path: Path) -> None:
    """A hundred frozen dataclasses are a third of the time that a quick command takes; one with slots is no record."""
    assert "@dataclass(frozen=True)" not in path.read_text(encoding="utf-8")


def test_no_module_imports_itself_by_a_detour() -> None:
    """Not even inside functions: what needs each other belongs together, or on something below both."""
    modules = {parts_of(path) if path.stem != "__init__" else parts_of(path)[:-1] for path in SOURCES}
    graph = {
        parts_of(path): {name if name in modules else name[:-1] for name in runtime_imports(tree_of(path))}
        for path in SOURCES
        if path.stem != "__init__"
    }
    while leaves := [name for name, needed in graph.items() if not needed & graph.keys() - {name}]:
        for name in leaves:
            del graph[name]
    assert sorted(graph) == []


def runtime_imports(tree: ast.Module) -> Iterator[tuple[str, ...]]:
    """Every module of ours that a file imports when it runs, anywhere in it, type checking apart."""
    pending: list[ast.AST] = [*tree.body]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            pending += node.orelse
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ckptkit."):
            yield from (tuple(f"{node.module}.{alias.name}".split(".")[1:]) for alias in node.names)
        else:
            pending += ast.iter_child_nodes(node)


def test_what_the_package_offers() -> None:
    assert sorted(ckptkit.__all__) == sorted(dir(ckptkit))
    for name in ckptkit.__all__:
        value = getattr(ckptkit, name)
        if name not in ("__version__", "hub"):
            home = sys.modules[value.__module__]
            assert value is getattr(home, name) and home.__name__.startswith("ckptkit.")
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = ckptkit.nothing


def test_every_error_is_in_the_drawn_tree() -> None:
    drawn = errors.__doc__ or ""
    classes = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)]
    assert all(issubclass(found, errors.CkptkitError) and found.__name__ in drawn for found in classes)


def test_reading_a_checkpoint_loads_nothing_heavy() -> None:
    fixture = Path(__file__).resolve().parents[1] / "fixtures" / "real" / "llama" / "quark-ptpc"
    heavy = ["torch", "transformers", "huggingface_hub", "numpy", "safetensors", "click", "rich", "jsonschema"]
    work = f"ckptkit.plan({str(fixture)!r}, to='ct')"
    code = f"import sys, ckptkit; {work}; print([module for module in {heavy!r} if module in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_inspecting_loads_nothing_of_rules_and_writers() -> None:
    fixture = Path(__file__).resolve().parents[1] / "fixtures" / "real" / "llama" / "quark-ptpc"
    code = f"import sys, ckptkit; ckptkit.inspect({str(fixture)!r}); print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = [name.split(".")[1:] for name in result.stdout.split() if name.startswith("ckptkit.")]
    assert ["views", "inventory"] in loaded
    unneeded = {"conversion", "engines", "operations", "rules"}
    found = [
        ".".join(parts) for parts in loaded if parts and (parts[0] in unneeded or parts[-1] in ("write", "drafting"))
    ]
    assert found == []
    assert [parts for parts in loaded if parts[0] == "checks"] == [["checks"], ["checks", "level"]]


def test_the_command_that_inspects_loads_nothing_of_reports_for_programs() -> None:
    fixture = Path(__file__).resolve().parents[1] / "fixtures" / "real" / "llama" / "quark-ptpc"
    code = (
        f"import sys; sys.argv = ['ckptkit', 'inspect', {str(fixture)!r}]\nfrom ckptkit.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\nprint('loaded:', *sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = result.stdout.rpartition("loaded:")[2].split()
    assert "ckptkit.views.inventory" in loaded
    assert {"ckptkit.report.machine", "ckptkit.engines.base", "xml.etree", "difflib"}.isdisjoint(loaded)


def test_a_table_is_written_once() -> None:
    """Two copies of a fact drift apart. The tables of engines are shorthand for their own rows."""
    places: dict[str, set[str]] = {}
    for path in SOURCES:
        if parts_of(path)[0] == "engines":
            continue
        for node in tree_of(path).body:
            value = node.value if isinstance(node, (ast.Assign, ast.AnnAssign)) else None
            strings = [item for item in ast.walk(value or ast.Pass()) if isinstance(item, ast.Constant)]
            if value is not None and sum(len(str(item.value)) for item in strings) > 13:
                places.setdefault(ast.dump(value), set()).add(".".join(parts_of(path)))
    assert [sorted(found) for found in places.values() if len(found) > 1] == []
