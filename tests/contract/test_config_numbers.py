"""Every number in every config is finite and bounded: one out of its range is refused in one line."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import types
import typing
from collections.abc import Iterator, Mapping

import pytest

from medimg.errors import UsageError
from pipeline.config.overrides import (
    apply_override,
    find_key,
    from_plain,
    list_configs,
    load_config,
    to_plain,
)
from pipeline.config.resolve import resolve_config
from pipeline.config.run_config import RunConfig

# What none of the configs has, so that its numbers are there too.
MORE = (
    'deployment.components={"Trainer": {"gpus": 1}}',
    'tuning={"chosen": {}, "objective": "loss", "score": 0.5, "trials": 2, "failed": 0, "oracle": "random", '
    '"seed": 0}',
    "split.folds=5",
    "split.test_fold=1",
    "training.class_weights=false",
    "training.sampling=shuffled",
    "training.logit_adjustment=none",
    "model.dropout=0.2",
    "training.dropout_samples=2",
)
CLASSES = {"label": ("a", "b"), "tissue": ("skin_1", "skin_2", "endometrium_1", "endometrium_2", "liver")}


@functools.cache
def complete_config(name: str) -> RunConfig:
    """The config with a value in every optional part, and with classes where only the data tell them."""
    config = load_config(name, overrides=MORE)
    head = config.model.heads[0]
    head = dataclasses.replace(head, classes=head.classes or CLASSES[head.name])
    costs = json.dumps([{"head": head.name, "matrix": {head.classes[0]: {head.classes[1]: 2.0}}}])
    values = to_plain(config)
    apply_override(values, f"evaluation.costs={costs}")
    values["model"]["heads"][0]["classes"] = list(head.classes)
    if not values["evaluation"]["gates"]:
        raise AssertionError(f"{name} has no gate, whose numbers would go untested")
    return from_plain(values)


@functools.cache
def write_plain(name: str) -> str:
    """The complete config's plain values as JSON, which are sooner read than copied."""
    return json.dumps(to_plain(complete_config(name)))


def list_numbers(kind: object, value: object, key: str) -> Iterator[str]:
    """Dotted keys below `key` that take a number, by the types of the settings; `value` has the items."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        yield from list_numbers(arguments[0], value, key)
    elif origin in (typing.Union, types.UnionType):
        for one in arguments:
            if one is not types.NoneType:
                yield from list_numbers(one, value, key)
    elif dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind, include_extras=True)
        for field in dataclasses.fields(kind):
            below = f"{key}.{field.name}" if key else field.name
            yield from list_numbers(hints[field.name], getattr(value, field.name), below)
    elif isinstance(value, Mapping) and arguments:
        for name, item in value.items():
            yield from list_numbers(arguments[1], item, f"{key}.{name}")
    elif isinstance(value, tuple) and arguments:
        each = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else arguments
        for position, (one, item) in enumerate(zip(each, value, strict=True)):
            yield from list_numbers(one, item, f"{key}.{position}")
    elif kind in (int, float) or (origin is typing.Literal and isinstance(arguments[0], int)):
        yield key


NUMBERS = [
    (name, key) for name in list_configs() for key in list_numbers(RunConfig, complete_config(name), "")
]


def try_number(name: str, key: str, text: str) -> float | None:
    """What the config has after `--set key=text`; None where that is refused, in one line that says where.

    Only what a whole run refuses, settings that do not go together, may leave the key unnamed.
    """
    values = json.loads(write_plain(name))
    refusal = ""
    try:
        apply_override(values, f"{key}={text}")
        config = from_plain(values)
    except UsageError as error:
        refusal = str(error)
    if refusal:
        assert key in refusal
        assert "\n" not in refusal
        return None
    try:
        resolve_config(config, None)
    except UsageError as error:
        refusal = str(error)
    assert "\n" not in refusal
    owner, part = find_key(to_plain(config), key, source=key)
    number: float = owner[part]
    return number


def test_the_walk_finds_numbers_in_items_of_lists_and_in_optional_parts() -> None:
    keys = {key for name, key in NUMBERS if name == "cmmd_demo"}
    expected = {
        "model.image_size.1",
        "model.heads.0.weight",
        "split.ratios.2",
        "split.test_fold",
        "ingest.image_size.0",
        "ingest.bits",
        "evaluation.gates.2.change",
        "evaluation.costs.0.matrix.Benign.Malignant",
        "deployment.components.Trainer.memory_gb",
        "tuning.score",
        "data_gate.drift",
        "training.augmentation.zoom_fraction",
    }
    assert expected <= keys


@pytest.mark.parametrize("name", list_configs())
def test_a_complete_config_is_one_that_a_run_would_take(name: str) -> None:
    resolve_config(complete_config(name), None)


@pytest.mark.parametrize(("name", "key"), NUMBERS)
def test_a_number_is_finite_and_within_its_range(name: str, key: str) -> None:
    for text in ("nan", "NaN", "inf", "-inf", "Infinity", "1e400"):
        assert try_number(name, key, text) is None, text
    for number in (10**23, 1e23, -(10**23)):
        assert try_number(name, key, str(number)) is None, number
    for number in (-1, 0, 1):
        found = try_number(name, key, str(number))
        assert found is None or (found == number and math.isfinite(found))


@pytest.mark.parametrize(
    "key", ["training.epochs", "model.width", "split.folds", "examples.largest_bytes", "model.dropout"]
)
def test_a_number_of_more_digits_than_python_reads_is_refused_in_one_short_line(key: str) -> None:
    with pytest.raises(UsageError, match=rf"config key {key}: .*, found '9+\.\.\.9+'$") as caught:
        load_config("cmmd_demo", overrides=[f"{key}={'9' * 5000}"])
    assert len(str(caught.value)) < 200
