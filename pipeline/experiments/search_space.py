"""The settings that a search may change: read beside the config, checked like `--set`, for KerasTuner."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from medimg.errors import UsageError
from medimg.tasks.search_space import Choice, Range, Space
from pipeline.config.overrides import find_key, from_plain, to_plain
from pipeline.config.run_config import TRANSFORMED, RunConfig

if TYPE_CHECKING:
    import keras_tuner

SECTIONS = ("model.", "training.")
"""What the Trainer alone reads: all trials share catalogue, records and Transform graph."""
FIXED = tuple(f"model.{name}" for name in TRANSFORMED)
"""What of these decides labels and inputs."""


def load_space(name: str, config: RunConfig, *, fixed: Iterable[str] = ()) -> Space:
    """Returns the space of the config called `name`, else its task's, without the keys `fixed` by `--set`.

    Raises:
        UsageError: a key or value that the config does not take, one that would change the cases, or nothing
            to search.
    """
    module = importlib.import_module(f"pipeline.configs.{name}")
    if hasattr(module, "get_search_space"):
        space = module.get_search_space()
    else:
        space = importlib.import_module(f"medimg.tasks.{config.task}.search_space").get_search_space(
            config.model
        )
    fixed = tuple(f"{key}." for key in fixed)
    left = {key: parameter for key, parameter in space.items() if not f"{key}.".startswith(fixed)}
    check_space(left, config)
    return left


def check_space(space: Space, config: RunConfig) -> None:
    """Refuses what no trial could be made of, in one line that names the key."""
    if not space:
        raise UsageError("search space: nothing to search, expected a setting that --set leaves open")
    values = to_plain(config)
    for key, parameter in space.items():
        find_key(values, key, source=f"search space: {key}")
        if not key.startswith(SECTIONS) or key.startswith(FIXED):
            raise UsageError(
                f"search space: {key} changes the cases or how they are judged; "
                f"expected keys of model or training, not {', '.join(FIXED)}"
            )
        check_parameter(key, parameter)
        for value in parameter.values if isinstance(parameter, Choice) else (parameter.low, parameter.high):
            apply_values(config, {key: value})


def check_parameter(key: str, parameter: Choice | Range) -> None:
    """Refuses a choice without alternatives and a range without extent."""
    if isinstance(parameter, Choice) and len(set(map(json.dumps, parameter.values))) < max(
        2, len(parameter.values)
    ):
        raise UsageError(
            f"search space: {key} is chosen from {list(parameter.values)}, "
            "expected two values or more, each once"
        )
    if isinstance(parameter, Range) and not parameter.low < parameter.high:
        raise UsageError(
            f"search space: {key} ranges from {parameter.low:g} to {parameter.high:g}, "
            "expected a lower end below the upper one"
        )
    if isinstance(parameter, Range) and parameter.scale == "log" and parameter.low <= 0:
        raise UsageError(
            f"search space: {key} begins at {parameter.low:g} on a logarithmic scale, expected more than 0"
        )


def apply_values(config: RunConfig, values: Mapping[str, object]) -> RunConfig:
    """The config with these values, checked as any config is."""
    plain = to_plain(config)
    for key, value in values.items():
        owner, part = find_key(plain, key, source=f"search space: {key}")
        owner[part] = value
    return from_plain(plain)


def to_hyperparameters(space: Space) -> keras_tuner.HyperParameters:
    """The space as KerasTuner has it.

    A choice is one of JSON texts, for KerasTuner knows neither lists nor None.
    """
    import keras_tuner

    parameters = keras_tuner.HyperParameters()
    for key, parameter in space.items():
        if isinstance(parameter, Choice):
            parameters.Choice(key, [json.dumps(value) for value in parameter.values])
        elif isinstance(parameter.low, int) and isinstance(parameter.high, int):
            parameters.Int(key, parameter.low, parameter.high, sampling=parameter.scale)
        else:
            parameters.Float(key, parameter.low, parameter.high, sampling=parameter.scale)
    return parameters


def to_values(chosen: Mapping[str, object], space: Space) -> dict[str, object]:
    """The inverse for one trial: dotted key to value, in the order of the space."""
    return {
        key: json.loads(str(chosen[key])) if isinstance(parameter, Choice) else chosen[key]
        for key, parameter in space.items()
    }
