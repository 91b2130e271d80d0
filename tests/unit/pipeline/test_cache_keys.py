"""Fingerprints change with the content that they stand for, and with nothing else."""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path

import pytest

from medimg.datasets import find_data_set
from medimg.errors import UsageError
from pipeline import cache_keys
from pipeline.cache_keys import (
    CodeFingerprints,
    Fingerprints,
    baseline_fingerprint,
    find_weights,
    previous_fingerprint,
    take_fingerprints,
    weights_fingerprint,
)
from pipeline.config.overrides import load_config
from pipeline.config.places import Places
from pipeline.config.run_config import RunConfig

CODE = CodeFingerprints(**{field.name: field.name for field in dataclasses.fields(CodeFingerprints)})


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunConfig:
    """A config with a file of weights, whose data, schema, earlier catalogue and pushed model are here.

    Sources are not hashed, which takes a second each time: tests/unit/test_hashing.py changes those.
    """
    monkeypatch.setattr(cache_keys, "code_fingerprints", lambda config: CODE)
    find_data_set("folder").write_phantom(tmp_path / "data", cases=4, seed=1)
    for name in (
        "weights.h5",
        "schema.pbtxt",
        "earlier/cases.parquet",
        "made/summary.json",
        "models/1/model.pb",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text(name)
    return load_config(
        "folder_classification",
        overrides=["model.backbone=MobileNetV2", f"model.weights={tmp_path / 'weights.h5'}"],
    )


def take(config: RunConfig, folder: Path) -> Fingerprints:
    places = Places(
        data_root=str(folder / "data"),
        pipeline_root="",
        metadata="",
        serving=str(folder / "models"),
        checkpoints="",
        index=str(folder / "index.parquet"),
        schema=str(folder / "schema.pbtxt"),
        previous=str(folder / "earlier"),
        catalogue=str(folder / "made"),
    )
    return take_fingerprints(config, places)


CHANGES = {
    "data/labels.csv": ["data"],
    "weights.h5": ["weights"],
    "schema.pbtxt": ["schema"],
    "earlier/cases.parquet": ["previous"],
    "made/summary.json": ["catalogue"],
    "models/1/model.pb": ["baseline"],
    "models/2/model.pb": ["baseline"],
    "earlier/images.parquet": [],
}


def edit(path: Path) -> None:
    """Changes a file and leaves it as large and as old as it was, which says nothing of the content."""
    path.parent.mkdir(exist_ok=True, parents=True)
    path.touch()
    before = path.stat()
    path.write_bytes((path.read_bytes() or b"as of another day")[:-3] + b"zzz")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_changed_file_changes_the_fingerprint_that_stands_for_it_alone(
    config: RunConfig, tmp_path: Path
) -> None:
    before = dataclasses.asdict(take(config, tmp_path))
    assert dataclasses.asdict(take(config, tmp_path)) == before
    assert all(before.values())
    found = {}
    for file in CHANGES:
        edit(tmp_path / file)
        after = dataclasses.asdict(take(config, tmp_path))
        found[file] = [name for name in before if after[name] != before[name]]
        before = after
    assert found == CHANGES


def test_another_weights_file_is_another_fingerprint_and_an_equal_one_the_same(tmp_path: Path) -> None:
    for name, content in (("a.h5", "one"), ("b.h5", "two"), ("c.h5", "one")):
        (tmp_path / name).write_text(content)
    first, other, equal = (weights_fingerprint(str(tmp_path / f"{name}.h5")) for name in "abc")
    assert first == equal != other
    assert first != ""


@pytest.mark.parametrize("weights", [None, "imagenet"])
def test_no_weights_and_those_of_a_release_of_keras_have_no_fingerprint(weights: str | None) -> None:
    assert find_weights(weights) is None
    assert weights_fingerprint(weights) == ""


def test_a_file_of_weights_that_is_not_there_is_refused(tmp_path: Path) -> None:
    for weights in (tmp_path, tmp_path / "nowhere.h5"):
        with pytest.raises(
            UsageError, match=r"model\.weights: no file .*; expected none, imagenet or a file"
        ):
            weights_fingerprint(str(weights))


def test_without_an_earlier_catalogue_there_is_nothing_to_hash() -> None:
    assert previous_fingerprint("") == ""


def test_the_baseline_is_the_content_of_the_newest_pushed_model(tmp_path: Path) -> None:
    serving = tmp_path / "models"
    assert baseline_fingerprint(serving) == ""
    serving.mkdir()
    assert baseline_fingerprint(serving) == ""
    found = []
    # By number and not by letters, of which 10 would come before 9; what is no number is no model.
    for version, content in (
        ("9", "first"),
        ("10", "second"),
        ("8", "older"),
        ("tmp", "none"),
        ("11", "second"),
    ):
        (serving / version).mkdir()
        (serving / version / "saved_model.pb").write_text(content)
        found.append(baseline_fingerprint(serving))
    assert found[0] not in found[1:]
    assert len(set(found[1:])) == 1
    shutil.rmtree(serving / "11")
    (serving / "10" / "variables").mkdir()
    (serving / "10" / "variables" / "data").write_text("one more file")
    assert baseline_fingerprint(serving) not in found
