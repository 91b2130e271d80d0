"""The first task hands on what changes with the data and the pushed models.

It hands on nothing that changes by itself.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from kubeflow.executor_input import NOTHING
from kubeflow.fingerprint_task import write_fingerprints
from medimg.datasets import find_data_set
from medimg.errors import MedimgError


@pytest.fixture
def place(tmp_path) -> Path:
    """A folder with data and no state."""
    find_data_set("cmmd").write_phantom(tmp_path / "data", cases=4, seed=1)
    return tmp_path


def take(place, name="out", previous=""):
    """What the task hands on, read back as the launcher does."""
    files = {value: place / name / value for value in ("data", "baseline")}
    given = {
        "previous": previous,
        "split_file": "",
        "scan": '{"follow_links": false}',
        "data_set": "cmmd",
        "data_root": place / "data",
        "index": place / "state/index.parquet",
        "serving": place / "state/models",
    }
    message = {
        "inputs": {"parameterValues": {name: str(value) for name, value in given.items()}},
        "outputs": {"parameters": {name: {"outputFile": str(file)} for name, file in files.items()}},
    }
    write_fingerprints(message)
    return {name: file.read_text() for name, file in files.items()}


def test_the_same_data_and_models_have_the_same_fingerprints(place):
    first = take(place)
    assert take(place, "again") == first
    assert first["baseline"] == NOTHING


def test_they_are_those_that_a_run_on_one_machine_takes(place):
    from medimg.catalogue.build import data_fingerprint

    assert take(place)["data"] == data_fingerprint(find_data_set("cmmd"), data_root=place / "data")


def test_a_changed_image_a_pushed_model_and_an_earlier_catalogue_each_change_theirs_alone(place):
    first = take(place)
    model = place / "state/models/1/saved_model.pb"
    model.parent.mkdir(parents=True)
    model.write_bytes(b"weights")
    pushed = take(place)
    assert (pushed["data"] == first["data"], pushed["baseline"] == first["baseline"]) == (True, False)

    (place / "earlier").mkdir()
    (place / "earlier/cases.parquet").write_bytes(b"cases")
    assert take(place, previous=str(place / "earlier"))["data"] != first["data"]

    next((place / "data").rglob("*.dcm")).unlink()
    fewer = take(place)
    assert (fewer["data"] == first["data"], fewer["baseline"] == pushed["baseline"]) == (False, True)


def test_a_state_that_nobody_can_write_is_named_before_anything_is_read(place):
    (place / "state").write_text("a file where the volume should be")
    (place / "data").rename(place / "elsewhere")
    with pytest.raises(
        MedimgError, match=r"state .*/state cannot be written by user \d+ \(File exists\); expected a volume"
    ):
        take(place)
