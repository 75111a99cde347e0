"""Configurations: YAML -> dataclasses, strictly; an unknown key or a wrong type stops the run.

A configuration is described by dataclasses; the type of a field is what YAML may hold there. A
section that chooses one of several things (a front-end, a model, a loss) holds its ``name``, and
the other keys belong to the dataclass registered under that name. A class that is written otherwise
in YAML brings a ``build(content, where)``, and a ``describe()`` that gives back what it was made of.
"""

import dataclasses
import difflib
import math
import types
import typing

import yaml

from asvtk.io.errors import AsvtkError
from asvtk.io.text import check_extent, parse_float, read_text

__all__ = [
    "apply_overrides",
    "build",
    "build_named",
    "differences",
    "load_yaml",
    "parse_yaml",
    "set_value",
    "to_mapping",
]

#: bytes of the largest configuration: PyYAML reads some 100 kB a second
_LARGEST = 256 << 10
_MAX_DEPTH = 32


def load_yaml(path) -> dict:
    """Read a YAML mapping; nothing in it is ever executed.

    Raises:
        AsvtkError: the file is missing, is no YAML, or is no mapping.
    """
    content = parse_yaml(read_text(path, _LARGEST), str(path))
    if not isinstance(content, dict):
        raise AsvtkError(f"{path}: expected 'key: value' lines")
    return content


def parse_yaml(text: str, where: str):
    """The value of a YAML text, by PyYAML's safe loader; ``where`` names it in messages.

    Raises:
        AsvtkError: it is no YAML, names a key twice, or nests too deep.
    """
    try:
        _check_nesting(text, where)
        content = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise AsvtkError(f"{where}: is no YAML: {' '.join(str(error).split())}") from None
    except (
        AttributeError,
        IndexError,
        KeyError,
        OverflowError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        # PyYAML's own words for 2001-99-99, !!int '', !!bool maybe, a number of thousands of digits ...
        raise AsvtkError(f"{where}: holds a value that YAML does not know: {error}") from None
    check_extent(content, where)
    return content


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, but a key that stands twice is refused: the first one would silently be lost."""

    def construct_mapping(self, node, deep=False):
        if isinstance(node, yaml.MappingNode):
            seen = set()
            for key, _ in node.value:
                if key.value in seen and isinstance(key, yaml.ScalarNode) and key.value != "<<":
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key.value!r} stands twice", key.start_mark
                    )
                if isinstance(key, yaml.ScalarNode):
                    seen.add(key.value)
        return super().construct_mapping(node, deep)


def _check_nesting(text: str, where: str) -> None:
    """Before anything is built from it, as building takes a stack frame a level."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _MAX_DEPTH:
            raise AsvtkError(f"{where}: is nested more than {_MAX_DEPTH} deep")


def apply_overrides(content: dict, overrides: list[str]) -> dict:
    """Apply ``section.key=value`` words (values in YAML) to a loaded configuration, in order.

    Raises:
        AsvtkError: a word has no ``=``, or goes through a value that is no section.
    """
    for word in overrides:
        dotted, equals, value = word.partition("=")
        if not equals:
            raise AsvtkError(f"override {word!r}: expected section.key=value, such as training.epochs=3")
        try:
            parsed = parse_yaml(value, f"override {word!r}")
        except AsvtkError as error:
            raise AsvtkError(f"{error}; write lists without spaces") from None
        set_value(content, dotted, parsed, f"override {word!r}")
    return content


def set_value(content: dict, dotted: str, value, where: str) -> None:
    """Set ``section.key`` of a loaded configuration; sections that are not there are made.

    Raises:
        AsvtkError: a section on the way is a value.
    """
    *sections, key = dotted.split(".")
    place = content
    for section in sections:
        if place.get(section) is None:  # absent, or named and left empty
            place[section] = {}
        place = place[section]
        if not isinstance(place, dict):
            raise AsvtkError(f"{where}: {section} is a value, no section")
    place[key] = value


def build(cls, content, where: str):
    """Make the dataclass ``cls`` from a mapping.

    Args:
        cls: a dataclass; fields without a default must be given.
        content: the mapping as YAML gave it.
        where: file and section, for messages.

    Raises:
        AsvtkError: unknown key (with the nearest valid one), missing key, or a value of the wrong
            type or refused by the dataclass itself (``ValueError`` in ``__post_init__``).
    """
    if content is None:
        content = {}
    if not isinstance(content, dict):
        raise AsvtkError(f"{where}: expected keys and values, found {content!r}")
    fields = {field.name: field for field in dataclasses.fields(cls)}
    hints = typing.get_type_hints(cls)
    for key in content:
        if key not in fields:
            raise AsvtkError(f"{where}: unknown key {key!r}; {_nearest(key, fields)}")
    values = {}
    for name, field in fields.items():
        if name in content:
            values[name] = _convert(hints[name], content[name], f"{where}.{name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise AsvtkError(f"{where}: the key {name!r} is missing")
    try:
        return cls(**values)
    except ValueError as error:
        raise AsvtkError(f"{where}: {error}") from None


def build_named(registry: dict[str, type], content, where: str):
    """Make the dataclass that ``content['name']`` stands for in ``registry``.

    Raises:
        AsvtkError: as ``build``, or the name is missing or unknown.
    """
    if not isinstance(content, dict) or "name" not in content:
        raise AsvtkError(f"{where}: the key 'name' is missing; one of {', '.join(registry)}")
    name = content["name"]
    if not isinstance(name, str) or name not in registry:
        raise AsvtkError(f"{where}.name: unknown {name!r}; {_nearest(name, registry)}")
    return build(registry[name], {key: value for key, value in content.items() if key != "name"}, where)


def to_mapping(config) -> dict:
    """The mapping that ``build`` makes ``config`` from, every default written out."""
    content = {}
    if name := getattr(config, "name", None):
        content["name"] = name
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if hasattr(type(value), "build"):
            value = value.describe()
        elif dataclasses.is_dataclass(value):
            value = to_mapping(value)
        content[field.name] = list(value) if isinstance(value, tuple) else value
    return content


def differences(old: dict, new: dict, prefix: str = "") -> list[str]:
    """``key: old -> new`` for every value in which two mappings differ."""
    lines = []
    for key in dict.fromkeys([*old, *new]):
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            lines += differences(before, after, f"{prefix}{key}.")
        elif before != after:
            lines.append(f"{prefix}{key}: {before} -> {after}")
    return lines


def _nearest(key, valid) -> str:
    close = difflib.get_close_matches(str(key), list(valid), n=1)
    return f"did you mean {close[0]!r}?" if close else f"valid are {', '.join(valid)}"


def _convert(hint, value, where: str):
    """Check ``value`` against a type hint; the few hints that configurations use."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is object:  # a section that was built already
        return value
    if hasattr(hint, "build"):
        return hint.build(value, where)
    if dataclasses.is_dataclass(hint):
        return build(hint, value, where)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        for alternative in arguments:
            if alternative is type(None):
                continue
            if dataclasses.is_dataclass(alternative):  # a section that may be absent: it says what is wrong
                return _convert(alternative, value, where)
            try:
                return _convert(alternative, value, where)
            except AsvtkError:
                continue
        raise AsvtkError(f"{where}: {value!r:.80} does not fit; expected {_describe(hint)}")
    if origin is typing.Literal:
        if value in arguments:
            return value
        raise AsvtkError(f"{where}: {value!r:.80} does not fit; expected {_describe(hint)}")
    if origin is tuple and isinstance(value, (list, tuple)):
        return tuple(_convert(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if origin is dict and isinstance(value, dict):
        return {key: _convert(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    if hint is float and not isinstance(value, bool):
        try:
            number = parse_float(value) if isinstance(value, str) else float(value)  # YAML reads 1e-4 as text
            if math.isfinite(number):
                return number
        except (OverflowError, TypeError, ValueError):
            pass
    if hint in (int, str, bool) and type(value) is hint:
        return value
    raise AsvtkError(f"{where}: {value!r:.80} does not fit; expected {_describe(hint)}")


def _describe(hint) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_describe(argument) for argument in arguments)
    if origin is typing.Literal:
        return " or ".join(str(argument) for argument in arguments)
    if origin is tuple:
        return f"a list, each {_describe(arguments[0])}"
    words = {int: "a whole number", float: "a number", str: "text", bool: "true or false", type(None): "null"}
    return words.get(hint, str(hint))
