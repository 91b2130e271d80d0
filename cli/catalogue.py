"""What `medimg catalogue` builds by: a config's settings or the defaults, and what its options change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from medimg.cases import DataSet
from medimg.catalogue.settings import CatalogueSettings
from medimg.catalogue.split import check_settings
from medimg.datasets import find_data_set
from medimg.errors import UsageError


@dataclass(frozen=True)
class Asked:
    """What the command line says of the settings; None where it is silent.

    Attributes:
        config: name of the config that has data set and settings.
        overrides: of `--set`.
    """

    data_set: str | None
    config: str | None
    overrides: Sequence[str]
    ratios: tuple[float, float, float] | None
    folds: int | None
    seed: int | None
    near_duplicates: Literal["off", "hash", "keypoints"] | None
    follow_links: bool


def choose_settings(asked: Asked) -> tuple[DataSet, CatalogueSettings]:
    """Returns the data set and the settings of its catalogue, those that `medimg run` has with the config.

    Raises:
        UsageError: neither data set nor config, a config of another data set, or settings that are none.
    """
    name, settings = read_config(asked) if asked.config else read_defaults(asked)
    given = {
        "ratios": asked.ratios,
        "folds": asked.folds,
        "seed": asked.seed,
        "near_duplicates": asked.near_duplicates,
    }
    changed = {key: value for key, value in given.items() if value is not None}
    split = replace(settings.split, **changed)  # type: ignore[arg-type]
    check_settings(split)
    scan = replace(settings.scan, follow_links=settings.scan.follow_links or asked.follow_links)
    data_set = find_data_set(name, labels=settings.labels, scan=scan)
    return data_set, replace(settings, split=split, scan=scan)


def read_config(asked: Asked) -> tuple[str, CatalogueSettings]:
    """Returns data set and settings of the config; `--set` takes any of its keys, as for `medimg run`."""
    from pipeline.config.overrides import load_config
    from pipeline.config.resolve import check_task

    config = load_config(str(asked.config), overrides=asked.overrides)
    check_task(config)
    if asked.data_set not in (None, config.data_set):
        raise UsageError(
            f"{asked.data_set}: config {asked.config} is of {config.data_set}; expected that, or no data set "
            "beside --config"
        )
    return config.data_set, config.catalogue


def read_defaults(asked: Asked) -> tuple[str, CatalogueSettings]:
    """Returns the data set and the default settings; `--set` takes the keys that decide a catalogue."""
    if asked.data_set is None:
        raise UsageError("no data set: expected its name, or --config NAME")
    if not asked.overrides:
        return asked.data_set, CatalogueSettings()
    from pipeline.config.overrides import override_settings

    return asked.data_set, override_settings(CatalogueSettings(), asked.overrides)
