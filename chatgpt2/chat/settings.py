"""What a session may set for itself."""

from __future__ import annotations

from collections.abc import Mapping

from chatgpt2.errors import ConfigError

# The other fields of SamplingParams belong to the program.
SETTINGS: Mapping[str, type[int] | type[float]] = {
    "temperature": float,
    "top_k": int,
    "top_p": float,
    "repetition_penalty": float,
    "no_repeat_ngram": int,
    "max_new_tokens": int,
    "seed": int,
}


def known(name: str) -> str:
    """The name of a setting. Raises ConfigError when there is none of this name."""
    if name not in SETTINGS:
        raise ConfigError(f"There is no setting {name!r}: choose from {', '.join(SETTINGS)}.")
    return name


def number(name: str, value: str | float) -> int | float:
    """The value of a setting as its kind of number. Raises ConfigError when it is none."""
    kind = SETTINGS[name]
    try:
        read = kind(value)
    except (ValueError, OverflowError) as error:
        what = "a whole number" if kind is int else "a number"
        raise ConfigError(f"{name} is {value!r}: it must be {what}.") from error
    if kind is int and not 0 <= read < 2**63:
        raise ConfigError(f"{name} is {read}: it must be 0 or more, and below 2**63.")
    return read
