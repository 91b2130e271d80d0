"""What decides a catalogue beside its data, and whether one that is there was made so."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from medimg.cases import DataSet, LabelSettings, ScanSettings
from medimg.catalogue.split import SplitSettings
from medimg.catalogue.tables import CASES, IMAGES, PAIRS, SUMMARY, Catalogue, read_catalogue
from medimg.errors import UsageError
from medimg.files import hash_file, replace_file

IN_SUMMARY = {"labels": "label_settings", "split": "split_settings", "scan": "scan_settings"}
"""Where a catalogue's summary has each section of its settings."""


@dataclass(frozen=True)
class CatalogueSettings:
    """What decides a catalogue beside its data; a run's config has the same settings under the same keys."""

    labels: LabelSettings = field(default_factory=LabelSettings)
    split: SplitSettings = field(default_factory=SplitSettings)
    scan: ScanSettings = field(default_factory=ScanSettings)


def check_made(folder: Path, *, data_set: DataSet, settings: CatalogueSettings) -> Catalogue:
    """Reads a catalogue that a run is to use as it is.

    Raises:
        UsageError: no catalogue, one of another data set or of other settings (the first is named), or one
            whose tables have been changed since it was made.
    """
    catalogue = read_catalogue(folder)
    summary = catalogue.summary
    if summary["data_set"] != data_set.name:
        raise UsageError(f"{folder}: a catalogue of {summary['data_set']}, expected one of {data_set.name}")
    for key, found, expected in compare_settings(summary, settings):
        raise UsageError(
            f"{folder}: made with {key}={found}, the config has {expected}; expected a catalogue of the "
            "config's settings (medimg catalogue --config)"
        )
    for name, sha256 in summary["tables"].items():
        if hash_file(folder / name) != sha256:
            raise UsageError(f"{folder / name}: changed since the catalogue was made, expected it as it was")
    return catalogue


def compare_settings(
    summary: Mapping[str, Any], settings: CatalogueSettings
) -> Iterator[tuple[str, str, str]]:
    """Yields the key of each setting that differs, with the catalogue's value and that of `settings`.

    A setting that an older catalogue does not name had its default.
    """
    defaults = asdict(CatalogueSettings())
    for section, wanted in asdict(settings).items():
        made = {**defaults[section], **summary.get(IN_SUMMARY[section], {})}
        for key, value in wanted.items():
            found, expected = json.dumps(made[key]), json.dumps(value)
            if found != expected:
                yield f"{section}.{key}", found, expected


def check_same_data(folder: Path, *, data: str, data_root: Path, brought: bool) -> None:
    """Raises UsageError unless a catalogue is of the data whose `content_hash` is `data`.

    `brought` is whether that hash is of a split file, too.
    """
    summary = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    split_file = summary.get("split_file", "")
    if split_file and not brought:
        raise UsageError(
            f"{folder}: made with --split-file {split_file}; expected the same beside --catalogue"
        )
    if summary["content_hash"] != data:
        raise UsageError(
            f"{folder}: made of other data than {data_root} holds now: images, tables or receipts were "
            "added, changed or removed; expected a catalogue of these data (medimg catalogue makes it again)"
        )


def copy_catalogue(folder: Path, to: Path) -> Catalogue:
    """Copies a catalogue's files as they are, the summary last."""
    to.mkdir(parents=True, exist_ok=True)
    for name in (CASES, IMAGES, PAIRS, SUMMARY):
        if (folder / name).is_file():
            replace_file(to / name, write=functools.partial(shutil.copyfile, folder / name))
    return read_catalogue(to)
