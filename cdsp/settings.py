"""Settings: small dataclasses whose fields explain and check themselves.

`setting` declares a field with its meaning and range; `parse_settings` turns what a YAML file or a
command line says into such a dataclass and refuses, in words that help, whatever it does not know.
"""

from __future__ import annotations

import copy
import dataclasses
import datetime
import difflib
import json
import math
import os
import types
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from cdsp.io.files import no_such, read_text

Settings = TypeVar("Settings")


def setting(
    default: Any,
    help: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    is_path: bool = False,
    prefix: str | None = None,
) -> Any:
    """A dataclass field with its meaning and, for numbers, its range (both ends included).

    ``minimum`` and ``maximum`` apply to each number of a list. Without a default, give ``...``.
    A text that ``is_path`` may begin with ``~``, the home folder. Beside its choices, a Literal
    takes any text that begins with ``prefix`` and does not end there.
    """
    metadata = {
        "help": help,
        "minimum": minimum,
        "maximum": maximum,
        "is_path": is_path,
        "prefix": prefix,
    }
    if default is ...:
        return dataclasses.field(metadata=metadata)
    if isinstance(default, dict) or dataclasses.is_dataclass(default):
        return dataclasses.field(default_factory=lambda: copy.deepcopy(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def nearest(word: str, known: Iterable[Any]) -> str:
    """A hint for a mistyped word: the nearest known one, and all of them."""
    known = [str(name) for name in sorted(known)]
    lower = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), list(lower), n=1, cutoff=0.5)
    hint = f"; did you mean '{lower[close[0]]}'?" if close else ""
    return f"{hint} (known: {', '.join(known)})"


def check_known(name: str, known: Iterable[str], where: str) -> None:
    """Raise a ValueError where a name that stands at ``where`` is none of the known ones."""
    if name not in known:
        raise ValueError(f"{where}: unknown name {name!r}{nearest(name, known)}")


def check_unique(values: Iterable[Any], where: str) -> None:
    """Raise a ValueError where one of the values that stand at ``where`` stands there twice."""
    values = list(values)
    repeated = sorted({value for value in values if values.count(value) > 1})
    if repeated:
        raise ValueError(f"{where}: {repeated[0]!r} is named twice")


def parse_settings(kind: type[Settings], value: Any, where: str) -> Settings:
    """Make a settings dataclass from a mapping.

    Args:
        kind: the dataclass; its fields are made by `setting`.
        value: the mapping, as YAML or JSON gives it.
        where: the file and key that it stands at, for messages.

    Raises:
        ValueError: an unknown key (the nearest one is named), a missing key, a value of another
            type or out of range.
    """
    if value is None:
        value = {}
    if not isinstance(value, Mapping):
        raise ValueError(f"{where}: expected settings (key: value), found {value!r}")
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    hints = get_type_hints(kind)
    for key in value:
        if key not in fields:
            raise ValueError(f"{where}: unknown key {key!r}{nearest(str(key), fields)}")
    arguments = {}
    for name, field in fields.items():
        if name in value:
            arguments[name] = _parse_value(
                hints[name], value[name], f"{where}.{name}", field.metadata
            )
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ValueError(f"{where}: the key '{name}' is missing ({field.metadata['help']})")
    try:
        return kind(**arguments)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def parse_setting(kind: type, name: str, value: Any, where: str) -> Any:
    """Check the value of one setting of a dataclass, and give it the setting's own type.

    Raises:
        ValueError: see `parse_settings`.
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}
    if name not in fields:
        raise ValueError(f"{where}: unknown key {name!r}{nearest(name, fields)}")
    return _parse_value(get_type_hints(kind)[name], value, f"{where}.{name}", fields[name].metadata)


def _parse_value(hint: Any, value: Any, where: str, metadata: Mapping[str, Any]) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        (hint,) = (argument for argument in arguments if argument is not type(None))
        return _parse_value(hint, value, where, metadata)
    if origin is Literal:
        prefix = metadata.get("prefix")
        if prefix and isinstance(value, str) and value.startswith(prefix) and value != prefix:
            return value
        if value not in arguments:
            raise ValueError(f"{where}: unknown value {value!r}{nearest(str(value), arguments)}")
        return arguments[arguments.index(value)]
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ValueError(f"{where}: expected a list, found {value!r}")
        if Ellipsis not in arguments and len(value) != len(arguments):
            raise ValueError(f"{where}: expected {len(arguments)} values, found {value!r}")
        return tuple(
            _parse_value(arguments[0], item, f"{where}[{index}]", metadata)
            for index, item in enumerate(value)
        )
    if origin is dict:
        if not isinstance(value, Mapping):
            raise ValueError(f"{where}: expected a mapping (name: value), found {value!r}")
        return {
            str(key): _parse_value(arguments[1], item, f"{where}.{key}", metadata)
            for key, item in value.items()
        }
    if dataclasses.is_dataclass(hint):
        return parse_settings(hint, value, where)  # type: ignore[arg-type]
    if hint is Any:
        return value
    return _parse_scalar(hint, value, where, metadata)


def _parse_scalar(hint: type, value: Any, where: str, metadata: Mapping[str, Any]) -> Any:
    accepted = {float: (int, float), int: (int,), bool: (bool,), str: (str,)}[hint]
    names = {float: "a number", int: "a whole number", bool: "true or false", str: "text"}
    if not isinstance(value, accepted) or (isinstance(value, bool) and hint is not bool):
        hint_for_text = ""
        if hint in (float, int) and isinstance(value, str):
            hint_for_text = " (YAML reads 1e-3 as text: write 0.001 or 1.0e-3)"
        if hint is str:
            hint_for_text = _quoting_hint(value)
        raise ValueError(f"{where}: expected {names[hint]}, found {value!r}{hint_for_text}")
    if hint in (float, int):
        low, high = metadata.get("minimum"), metadata.get("maximum")
        if not math.isfinite(value):
            raise ValueError(f"{where}: expected a finite number, found {value}")
        if low is not None and value < low:
            raise ValueError(f"{where}: {value} is out of range; expected at least {low}")
        if high is not None and value > high:
            raise ValueError(f"{where}: {value} is out of range; expected at most {high}")
    return os.path.expanduser(str(value)) if metadata.get("is_path") else hint(value)


def _quoting_hint(value: Any) -> str:
    """How to write in YAML what was meant as text."""
    if isinstance(value, bool):
        words, example = ("yes, on and true", "yes") if value else ("no, off and false", "no")
        return f" (YAML reads {words} as {value}: put the word in quotes, such as '{example}')"
    if isinstance(value, int | float | datetime.date):
        return f" (YAML reads it as a number or a date: put it in quotes, '{value}')"
    return ""


def settings_dict(settings: Any) -> dict[str, Any]:
    """A settings dataclass as plain JSON-able values."""
    return dataclasses.asdict(settings)


def read_yaml(text_or_path: str) -> Any:
    """Parse YAML from a file, if the text names one, or else from the text itself.

    What is JSON, as which the workflow hands settings on, is read as JSON: its ``1e-05`` is a
    number, and text to the readers of YAML.

    Raises:
        ValueError: the YAML is broken, the message tells the line; or a key stands twice in a
            mapping, of which YAML's readers drop the first; or the file is not UTF-8.
    """
    expanded = os.path.expanduser(text_or_path)
    is_file = os.path.isfile(expanded)  # Path.is_file raises on a text of one long line
    path = Path(expanded)
    if not is_file and path.suffix in (".yaml", ".yml", ".json") and ":" not in text_or_path:
        raise ValueError(no_such(path, "settings file"))
    text = read_text(path) if is_file else text_or_path
    try:
        value = yaml.load(text, _UniqueKeys)
    except yaml.YAMLError as error:
        raise ValueError(f"{text_or_path}: broken YAML: {error}") from error
    with suppress(ValueError):
        return json.loads(text)
    return value


class _UniqueKeys(yaml.SafeLoader):
    """YAML's safe loader, which refuses a key that stands twice in a mapping."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping; what ``<<`` merges into it may be overridden."""
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            line = key.start_mark.line + 1
            if key.value in lines:
                raise yaml.constructor.ConstructorError(
                    problem=f"the key {key.value!r} stands twice, in line {lines[key.value]} and "
                    f"in line {line}; join the two"
                )
            lines[key.value] = line
        return super().construct_mapping(node, deep)


def describe_settings(kind: type, indent: str = "") -> str:
    """One line for each key of a settings dataclass: name, default, meaning and range."""
    lines = []
    hints = get_type_hints(kind)
    for field in dataclasses.fields(kind):
        if dataclasses.is_dataclass(hints[field.name]):
            lines.append(f"{indent}{field.name}:  {field.metadata['help']}")
            lines.append(describe_settings(hints[field.name], indent + "  "))  # type: ignore[arg-type]
            continue
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        elif default is dataclasses.MISSING:
            default = "required"
        default = list(default) if isinstance(default, tuple) else default
        choices = get_args(hints[field.name]) if get_origin(hints[field.name]) is Literal else ()
        if prefix := field.metadata["prefix"]:
            choices = (*choices, f"{prefix}<name>")
        extra = f" [{', '.join(map(str, choices))}]" if choices else ""
        low, high = field.metadata["minimum"], field.metadata["maximum"]
        if low is not None:
            extra += f" [{low} to {high}]" if high is not None else f" [at least {low}]"
        elif high is not None:
            extra += f" [at most {high}]"
        lines.append(f"{indent}{field.name}: {default}  {field.metadata['help']}{extra}")
    return "\n".join(lines)
