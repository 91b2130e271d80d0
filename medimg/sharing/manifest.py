"""A bundle's manifest: which run it is of, and the sha256 of every file in it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd
import pydantic

from medimg.errors import UsageError
from medimg.files import hash_file
from medimg.reporting.run_facts import RunFacts

MANIFEST_FILE = "manifest.json"


@dataclass(frozen=True)
class Manifest:
    """What a bundle says of itself.

    Attributes:
        format: of the bundle.
        title, config_name, data_set, licence, doi, synthetic, blessed, config, versions: as in the run's
        facts.
        images: whether images of patients are in it.
        hashes: of data, code and model as in the facts; `split` is of the cases that were scored, see
            `hash_split`.
        files: sha256 by path, of all files but the manifest.
    """

    format: Literal[1]
    title: str
    config_name: str
    data_set: str
    licence: str
    doi: str
    synthetic: bool
    blessed: bool | None
    images: bool
    config: Mapping[str, str]
    versions: Mapping[str, str]
    hashes: Mapping[str, str]
    files: Mapping[str, str]


def write_manifest(folder: Path, *, facts: RunFacts, predictions: pd.DataFrame, images: bool) -> Manifest:
    """Writes manifest.json for the files that are in a folder."""
    shared = {
        field.name: getattr(facts, field.name)
        for field in dataclasses.fields(Manifest)
        if hasattr(facts, field.name)
    }
    hashes = {**facts.hashes, "split": hash_split(predictions)}
    files = {name: hash_file(folder / name) for name in list_files(folder)}
    manifest = Manifest(**{**shared, "format": 1, "images": images, "hashes": hashes, "files": files})
    text = json.dumps(dataclasses.asdict(manifest), indent=1, ensure_ascii=False)
    (folder / MANIFEST_FILE).write_text(text + "\n", encoding="utf-8")
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """A bundle's manifest.

    Raises:
        UsageError: there is none, or it is none of ours.
    """
    try:
        return pydantic.TypeAdapter(Manifest).validate_json((folder / MANIFEST_FILE).read_bytes())
    except OSError as error:
        raise UsageError(
            f"{folder}: {MANIFEST_FILE} cannot be read ({error.strerror}), expected a bundle of medimg share"
        ) from None
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "its text"
        raise UsageError(
            f"{folder / MANIFEST_FILE}: {where}: {first['msg']}, expected what medimg share writes"
        ) from None


def find_faults(folder: Path, manifest: Manifest) -> list[str]:
    """One line for each file that is missing, changed, or not named by the manifest."""
    there = {name: hash_file(folder / name) for name in list_files(folder)}
    missing = [
        f"{name}: missing, the manifest names it" for name in sorted(manifest.files.keys() - there.keys())
    ]
    unknown = [f"{name}: not in the manifest" for name in sorted(there.keys() - manifest.files.keys())]
    changed = [
        f"{name}: sha256 is {there[name]}, the manifest says {manifest.files[name]}"
        for name in sorted(there.keys() & manifest.files.keys())
        if there[name] != manifest.files[name]
    ]
    return [*missing, *unknown, *changed]


def list_files(folder: Path) -> Iterator[str]:
    """Paths of all files below a folder but the manifest, relative and sorted.

    Raises:
        UsageError: one is a link, which could lead out of the folder.
    """
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            raise UsageError(f"{folder}: {name!r} is a link, expected plain files and folders")
        if path.is_file() and name != MANIFEST_FILE:
            yield name


def hash_split(predictions: pd.DataFrame) -> str:
    """Returns the sha256 over case, group and split of all that was scored, in any order.

    Two runs with one hash were measured on the same cases.
    """
    rows = predictions[["case_id", "group_id", "split"]].astype(str).sort_values("case_id")
    return hashlib.sha256(
        "\n".join("\0".join(row) for row in rows.itertuples(index=False)).encode()
    ).hexdigest()
