"""A bot's settings as a dataclass of its adapter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from chatgpt2.errors import ConfigError

T = TypeVar("T")


def read_settings(kind: type[T], settings: Mapping[str, Any]) -> T:
    """The settings as the dataclass `kind`, whose fields are str, int, float, bool, a tuple of one of them, or one
    of them or None. Raises ConfigError for a setting that is unknown, missing, or not of its type."""
    types, known = get_type_hints(kind), {each.name: each for each in fields(kind)}  # type: ignore[arg-type]
    given = {key.replace("-", "_"): value for key, value in settings.items()}
    for key in given.keys() - known.keys():
        raise ConfigError(f"there is no setting {key}: there are {', '.join(known)}")
    for name, each in known.items():
        if name not in given and _required(each):
            raise ConfigError(f"the setting {name} is missing")
    return kind(**{key: _fitting(key, types[key], value) for key, value in given.items()})


def _required(each: Field[Any]) -> bool:
    return each.default is MISSING and each.default_factory is MISSING


def _fitting(name: str, kind: Any, value: Any) -> Any:
    if get_origin(kind) is tuple:
        inner = get_args(kind)[0]
        if isinstance(value, list | tuple):
            return tuple(_fitting(name, inner, each) for each in value)
        raise ConfigError(f'{name} must be a list, such as ["a", "b"]')
    kinds = get_args(kind) if isinstance(kind, UnionType) else (kind,)
    if value is None and NoneType in kinds:
        return None
    for each in kinds:
        converted = _converted(each, value)
        if converted is not None:
            return converted
    names = {str: "text in quotes", int: "a whole number", float: "a number", bool: "true or false"}
    what = next(names[each] for each in kinds if each in names)
    raise ConfigError(f"{name} must be {what}")  # without the value, which may be a secret


def _converted(kind: Any, value: Any) -> Any:
    """The value as such a thing, None when it is none. The environment has text only."""
    if kind is bool:
        words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
        return value if isinstance(value, bool) else words.get(str(value).lower())
    if kind is str:
        # A token of digits is a number to TOML.
        return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else None
    if kind in (int, float) and not isinstance(value, bool):
        try:
            return kind(value) if isinstance(value, str | int) or kind is float else None
        except (TypeError, ValueError):
            return None
    return None
