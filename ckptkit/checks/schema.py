"""JSON Schemas as data: what a document may hold, and in words what one holds instead.

Validation has two gears, as header reading has. :func:`conforms` is a small interpreter of the keywords that our
schemas use and answers yes or no; nearly every config is right, and for those it is all that runs. Whatever it turns
down goes to the jsonschema library, which is slow to import and alone decides what is said. A test holds the two to
the same verdict.

No library is the first gear, since none is as cheap to start. Over the 46 configs of the fixtures, CPU time on Python
3.11, where a whole ``validate`` of one takes 270 ms: this interpreter 0.4 ms a config; jsonschema 82 ms to import;
fastjsonschema 2.22 0.2 ms a config after 6 ms to import it and 50 to 76 ms to compile a schema; jsonschema-rs 0.61
0.01 ms a config after 19 ms to import and 8 MB of memory, out of a wheel whose library is 15 MB. All four agreed on
all 46; jsonschema-rs turns down the NaN that Python's own JSON reads, and its errors do not hold the schema that they
are about, from which ours are worded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ckptkit.errors import Fault, UsageError, excerpt, json_path
from ckptkit.formats.base import ConfigFault

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

_FOLDER = Path(__file__).parents[1] / "schemas"

#: The kind of a fault about a key that a schema does not know.
UNKNOWN_KEY = "config-schema-key"

_TYPE_WORDS = {
    "object": "an object",
    "array": "a list",
    "string": "a string",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
}


@cache
def names() -> tuple[str, ...]:
    """The schemas that are shipped."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.json")))


@cache
def load(name: str) -> dict[str, Any]:
    """A schema by name; read once."""
    document: dict[str, Any] = json.loads((_FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return document


def config_faults(block: Mapping[str, Any], schema: str | Mapping[str, Any], file: str = "config.json") -> list[Fault]:
    """What a quantization config, found in ``file``, holds that its format's own library would refuse.

    ``schema`` is the name of one that is shipped, or one of another package, which may use every keyword there is.
    Raises UsageError for the name of none.
    """
    if isinstance(schema, str):
        if schema not in names():
            raise UsageError(f"there is no schema {schema!r}", help=f"schemas: {', '.join(names())}")
        return faults(schema, block, file=file)
    return _departures(schema, block, file)


def faults(name: str, document: Any, *, file: str) -> list[Fault]:
    """Every way in which a document departs from a schema, each with the JSON path that a person would write."""
    schema = load(name)
    return [] if conforms(document, schema, schema) else _departures(schema, document, file)


def _departures(schema: Mapping[str, Any], document: Any, file: str) -> list[Fault]:
    """What the library says, in our words."""
    from jsonschema import Draft202012Validator

    errors = Draft202012Validator(schema).iter_errors(document)
    found = dict.fromkeys(fault for error in errors for fault in _explain(error, file))
    return sorted(found, key=lambda fault: fault.message)


def conforms(value: Any, schema: Any, root: Mapping[str, Any]) -> bool:
    """Whether a value has what a schema asks for. ``root`` is the document that ``$ref`` points into."""
    if isinstance(schema, bool):
        return schema
    for keyword, rule in schema.items():
        check = _CHECKS.get(keyword)
        if check is not None and not check(value, rule, schema, root):
            return False
    return True


def _ref(value: Any, rule: str, schema: Mapping[str, Any], root: Mapping[str, Any]) -> bool:
    target: Any = root
    for part in rule.removeprefix("#/").split("/"):
        target = target[part]
    return conforms(value, target, root)


def _if(value: Any, rule: Any, schema: Mapping[str, Any], root: Mapping[str, Any]) -> bool:
    branch = schema.get("then" if conforms(value, rule, root) else "else", True)
    return conforms(value, branch, root)


def _properties(value: Any, rule: Mapping[str, Any], schema: Mapping[str, Any], root: Mapping[str, Any]) -> bool:
    return not isinstance(value, dict) or all(
        conforms(value[key], inner, root) for key, inner in rule.items() if key in value
    )


def _additional(value: Any, rule: Any, schema: Mapping[str, Any], root: Mapping[str, Any]) -> bool:
    if not isinstance(value, dict):
        return True
    known = schema.get("properties", {})
    return all(conforms(item, rule, root) for key, item in value.items() if key not in known)


def _same(left: Any, right: Any) -> bool:
    """Equality of JSON scalars; true is not 1."""
    return bool(left == right) and isinstance(left, bool) == isinstance(right, bool)


_IS_TYPE: Mapping[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "number": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
    "integer": lambda value: (
        not isinstance(value, bool) and (isinstance(value, int) or (isinstance(value, float) and value.is_integer()))
    ),
}
_IS_NUMBER = _IS_TYPE["number"]

#: Keyword -> (value, what the keyword says, the schema it stands in, the root) -> whether the value passes.
_CHECKS: Mapping[str, Any] = {
    "$ref": _ref,
    "type": lambda value, rule, *_: any(_IS_TYPE[kind](value) for kind in ([rule] if isinstance(rule, str) else rule)),
    "enum": lambda value, rule, *_: any(_same(value, item) for item in rule),
    "const": lambda value, rule, *_: _same(value, rule),
    "required": lambda value, rule, *_: not isinstance(value, dict) or all(key in value for key in rule),
    "properties": _properties,
    "additionalProperties": _additional,
    "minProperties": lambda value, rule, *_: not isinstance(value, dict) or len(value) >= rule,
    "items": lambda value, rule, schema, root: (
        not isinstance(value, list) or all(conforms(item, rule, root) for item in value)
    ),
    "minItems": lambda value, rule, *_: not isinstance(value, list) or len(value) >= rule,
    "maxItems": lambda value, rule, *_: not isinstance(value, list) or len(value) <= rule,
    "minLength": lambda value, rule, *_: not isinstance(value, str) or len(value) >= rule,
    "pattern": lambda value, rule, *_: not isinstance(value, str) or re.search(rule, value) is not None,
    "minimum": lambda value, rule, *_: not _IS_NUMBER(value) or value >= rule,
    "maximum": lambda value, rule, *_: not _IS_NUMBER(value) or value <= rule,
    "allOf": lambda value, rule, schema, root: all(conforms(value, inner, root) for inner in rule),
    "anyOf": lambda value, rule, schema, root: any(conforms(value, inner, root) for inner in rule),
    "not": lambda value, rule, schema, root: not conforms(value, rule, root),
    "if": _if,
}

#: Keywords that say nothing about a value by themselves.
ANNOTATIONS = frozenset({"$schema", "$id", "$defs", "title", "description", "then", "else"})
KEYWORDS = frozenset(_CHECKS) | ANNOTATIONS


def _explain(error: ValidationError, file: str) -> Iterator[Fault]:
    """A library's error as faults: one for each key, with what may stand there in words."""
    path = list(error.absolute_path)
    schema: Mapping[str, Any] = error.schema if isinstance(error.schema, dict) else {}
    help_text = schema.get("description")
    value: Any = error.instance
    if error.validator == "required":
        missing = [key for key in schema["required"] if key not in value]
        for key in missing:
            inner = schema.get("properties", {}).get(key, {})
            yield _fault(file, [*path, key], "is missing", _expected(inner), None, inner.get("description"))
    elif error.validator == "additionalProperties" and error.validator_value is False:
        known = list(schema.get("properties", {}))
        for key in value.keys() - set(known):
            yield _unknown_key(file, path, key, known, value[key])
    elif error.validator == "anyOf" and error.context:
        for inner in error.context:
            yield from _explain(inner, file)
    else:
        expected = _expected(schema if error.validator != "not" else {}) or None
        yield _fault(file, path, "is not valid", expected, excerpt(value), help_text)


def _unknown_key(file: str, path: list[str | int], key: str, known: list[str], value: Any) -> Fault:
    from difflib import get_close_matches

    near = get_close_matches(key, known, 1)
    help_text = f"did you mean {near[0]}?" if near else "remove it"
    what, listed = "is not a key that is known here", ", ".join(known)
    return replace(_fault(file, [*path, key], what, listed, excerpt(value), help_text), kind=UNKNOWN_KEY)


def _fault(
    file: str, path: Sequence[str | int], what: str, expected: str | None, found: str | None, help_text: str | None
) -> Fault:
    where = json_path(path) or "the document"
    found = found or "nothing"
    return ConfigFault("config-schema", f"{where} {what}", file, None, expected, found, help_text, path=tuple(path))


def _expected(schema: Any) -> str | None:
    """What a schema allows, in words, as far as one line goes.

    >>> _expected({"type": ["integer", "null"], "minimum": -1})
    'a whole number, at least -1, or null'
    """
    if not isinstance(schema, Mapping):
        return None
    if "const" in schema:
        return json.dumps(schema["const"])
    if "enum" in schema:
        return " or ".join(json.dumps(item) for item in schema["enum"])
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else list(kinds)
    words = [_TYPE_WORDS[kind] for kind in kinds if kind != "null"]
    if "minItems" in schema and "array" in kinds:
        words = [f"a list of {schema['minItems']}" if word == "a list" else word for word in words]
    text = " or ".join(words)
    for keyword, word in (("minimum", "at least"), ("maximum", "at most"), ("pattern", "matching")):
        if keyword in schema:
            text = f"{text}, {word} {schema[keyword]}" if text else f"{word} {schema[keyword]}"
    if "null" in kinds:
        text = f"{text}{',' if ', ' in text else ''} or null" if text else "null"
    return text or None
