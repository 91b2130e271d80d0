"""Configs by name, as plain values, and what --set changes in them."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import json
import pkgutil
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pydantic

from medimg.console.terminal import make_console
from medimg.errors import UsageError, nearest
from medimg.reporting.run_facts import rename_keys, say_renamed
from pipeline.config.run_config import RunConfig

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Settings = TypeVar("Settings", bound="DataclassInstance")

WORDS = ("labels.keep",)
"""Keys whose values are words of the user's table, where none, null and 1 are words too."""


def list_configs() -> list[str]:
    """Names of all configs, sorted."""
    package = importlib.import_module("pipeline.configs")
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__))


def load_config(name: str, *, overrides: Iterable[str] = ()) -> RunConfig:
    """Returns the config called `name` (a file in pipeline/configs/) with overrides applied.

    Args:
        overrides: `key=value`, or `@file` with a JSON object of them.

    Raises:
        UsageError: no such config, file or key (the nearest right one is named), or a value of the wrong
            type.
    """
    if name not in list_configs():
        raise UsageError(f"no config {name!r}; {nearest(name, list_configs())}")
    values = to_plain(importlib.import_module(f"pipeline.configs.{name}").get_config())
    for override in overrides:
        apply_override(values, override)
    config = from_plain(values)
    check_chosen(config)
    return config


def check_chosen(config: RunConfig) -> None:
    """Raises UsageError for a config that says that a search has chosen its settings, and has others."""
    chosen = config.tuning.chosen if config.tuning else {}
    for key, value in read_keys(config, chosen).items():
        if value != chosen[key]:
            raise UsageError(
                f"config key {key}: found {value!r}, expected {chosen[key]!r}, "
                "which a search has chosen (--set tuning=null forgets it)"
            )


def to_plain(config: RunConfig) -> dict[str, Any]:
    """The config as JSON-able values."""
    return plain_values(config)


def plain_values(settings: DataclassInstance) -> dict[str, Any]:
    """Settings as JSON-able values."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(settings)))
    return plain


def from_plain(values: Mapping[str, object]) -> RunConfig:
    """Returns the config of plain values: the inverse of `to_plain`.

    Keys of an earlier version are read by their present names, and a line on the terminal says so.

    Raises:
        UsageError: an unknown key, a value of the wrong type or out of its range; names the key.
    """
    return validate(rename(values), RunConfig)


def override_settings(settings: Settings, overrides: Iterable[str]) -> Settings:
    """Returns a part of a config with overrides applied; its sections are top keys as in a config.

    Raises:
        UsageError: as for `load_config`.
    """
    values = plain_values(settings)
    for override in overrides:
        apply_override(values, override)
    return validate(values, type(settings))


def validate(values: Mapping[str, object], kind: type[Settings]) -> Settings:
    """Returns plain values as a dataclass of this kind; UsageError as for `from_plain`."""
    try:
        config = make_validator(kind).validate_python(values)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        found = reprlib.repr(first["input"])
        raise UsageError(f"config key {key}: {first['msg'].lower()}, found {found}") from None
    # pydantic leaves unknown keys of a dataclass aside, and a misspelt `slice` would make a gate one on the
    # whole split.
    known = all_keys(plain_values(config))
    for key in all_keys(values):
        if key not in known:
            raise UsageError(f"config key {key}: no such config key; {nearest(key, known)}")
    return config


@functools.cache
def make_validator(kind: type[Settings]) -> pydantic.TypeAdapter[Settings]:
    """Returns pydantic's validator of a config; made once, which takes longer than many a validation."""
    return pydantic.TypeAdapter(kind)


def apply_override(values: dict[str, Any], override: str) -> None:
    """Sets one `section.key=value`, or those of an `@file`, in plain config values, in place.

    A list is written with commas: `model.image_size=256,208`; its items are reached by position:
    `evaluation.gates.0.lower_bound=0.7`.
    """
    if override.startswith("@"):
        for key, value in rename(read_overrides(Path(override[1:]))).items():
            owner, part = find_key(values, key, source=f"--set {override}: {key}")
            owner[part] = value
        return
    key, separator, text = override.partition("=")
    if not separator:
        raise UsageError(f"--set {override}: expected key=value or @FILE")
    [key] = rename({key.strip(): text})
    owner, part = find_key(values, key, source=f"--set {key}")
    owner[part] = parse_words(text) if key in WORDS else parse_value(text, like=owner[part])


def rename(values: Mapping[str, object]) -> dict[str, Any]:
    """Gives keys of an earlier version their present names; a line on the terminal names both."""
    renamed, before = rename_keys(values)
    say_renamed(make_console(), before)
    return renamed


def list_keys(overrides: Iterable[str]) -> list[str]:
    """Lists the dotted keys that overrides set, by their present names."""
    keys: list[str] = []
    for override in overrides:
        if override.startswith("@"):
            keys += read_overrides(Path(override[1:]))
        else:
            keys.append(override.partition("=")[0].strip())
    renamed, _ = rename_keys(dict.fromkeys(keys))
    return list(renamed)


def read_keys(config: RunConfig, keys: Iterable[str]) -> dict[str, object]:
    """The config's plain values of dotted keys."""
    values = to_plain(config)
    found = {}
    for key in keys:
        owner, part = find_key(values, key, source=key)
        found[key] = owner[part]
    return found


def read_overrides(path: Path) -> dict[str, object]:
    """A JSON file of dotted key to value. Raises UsageError where it is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"--set @{path}: {getattr(error, 'strerror', None) or error}, expected a JSON file of settings"
        ) from None
    if not isinstance(content, dict):
        raise UsageError(
            f"--set @{path}: found a {type(content).__name__}, expected a JSON object of dotted key to value"
        )
    return content


def find_key(values: Any, key: str, *, source: str) -> tuple[Any, Any]:
    """Finds a dotted key in plain config values.

    Returns:
        the dict or list that holds it, and its key or position there.

    Raises:
        UsageError: no such key; begins with `source` and names the nearest right one.
    """
    owner: Any = None
    part: Any = None
    node = values
    for name in key.split("."):
        owner, part = node, int(name) if isinstance(node, list) and name.isdecimal() else name
        if not (
            (isinstance(owner, dict) and part in owner)
            or (isinstance(owner, list) and part in range(len(owner)))
        ):
            raise UsageError(f"{source}: no such config key; {nearest(key, all_keys(values))}")
        node = owner[part]
    return owner, part


def parse_value(text: str, *, like: object) -> object:
    """JSON if it reads as JSON, a list where the present value is one, else the text itself."""
    if text.strip().lower() in ("none", "null"):
        return None
    if isinstance(like, list) and not text.strip().startswith("["):
        return [parse_value(item.strip(), like="") for item in text.split(",") if item.strip()]
    try:
        return json.loads(text)
    except ValueError:  # No JSON, or a number of more digits than Python reads.
        return {"true": True, "false": False}.get(text.strip().lower(), text)


def parse_words(text: str) -> object:
    """A list of words as written, or a JSON list."""
    if text.strip().startswith("["):
        return parse_value(text, like=[])
    return [word.strip() for word in text.split(",") if word.strip()]


def all_keys(values: Mapping[str, object] | Sequence[object], prefix: str = "") -> list[str]:
    """Dotted keys of nested plain values.

    An item of a list has its position as key, if it has keys itself.
    """
    keys = []
    items = (
        values.items()
        if isinstance(values, Mapping)
        else [(str(position), item) for position, item in enumerate(values)]
    )
    for name, value in items:
        if isinstance(values, Mapping):
            keys.append(f"{prefix}{name}")
        if isinstance(value, dict | list | tuple):
            keys += all_keys(value, f"{prefix}{name}.")
    return keys
