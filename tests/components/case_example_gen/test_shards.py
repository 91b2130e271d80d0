"""One shard's file: whole studies only, under its name only when whole, and counted as it was written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from components.case_example_gen import executor
from components.case_example_gen.executor import Shard, WriteShard
from medimg.cases import Case, ImageRef, Record, Stack
from medimg.catalogue.split import SPLITS, Assignment
from medimg.catalogue.tables import Catalogue
from medimg.errors import MedimgError, UnreadableFile
from medimg.images.prepare import Ingest
from tests.small_catalogue import write_small_catalogue

SLICES = 6
BLOCK_BYTES = 900
"""Of the largest Example: two slices of these studies."""


def make_case(case_id: str, *, images: int = SLICES, **values: object) -> Case:
    return Case(case_id, case_id, (ImageRef(f"{case_id}.dcm", "T1"),) * images, **values)  # type: ignore[arg-type]


def slices_of(broken: int | None) -> Iterator[np.ndarray]:
    """Noise, slice by slice, as a reader of volumes yields them; the one that is broken cannot be read."""
    for number in range(SLICES):
        if number == broken:
            raise UnreadableFile(f"slice {number}: truncated")
        yield np.random.default_rng(number).integers(0, 255, (16, 16), np.uint8)


@pytest.fixture
def reading(monkeypatch):
    """Makes studies of noise; notes what is on disk below a folder while each is read."""

    def start(to: Path, **broken: int) -> list[list[str]]:
        seen: list[list[str]] = []

        def read_record(case, *, data_root, ingest):
            seen.append(sorted(path.relative_to(to).as_posix() for path in to.rglob("*") if path.is_file()))
            return Record(case, {"T1": Stack(slices_of(broken.get(case.case_id)), SLICES)}), []

        monkeypatch.setattr(executor, "read_record", read_record)
        return seen

    return start


def write_shard(to: Path, *cases: Case) -> tuple[dict, list[tuple[str, list[int]]]]:
    """Returns the shard's outcome, and the case and block of each Example in its file."""
    path = to / "Split-train" / "data_tfrecord-00000-of-00001"
    (outcome,) = WriteShard("data", Ingest(None), BLOCK_BYTES).process(Shard("train", str(path), cases))
    found = []
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        feature = tf.train.Example.FromString(record).features.feature
        case_id = feature["case_id"].bytes_list.value[0].decode()
        found.append((case_id, list(feature["block"].int64_list.value)))
    return json.loads(outcome), found


@pytest.mark.parametrize("broken", [0, 3, SLICES - 1])
def test_of_a_study_with_a_slice_that_cannot_be_read_nothing_is_written(reading, tmp_path, broken):
    reading(tmp_path, bad=broken)
    outcome, found = write_shard(tmp_path, make_case("a"), make_case("bad"), make_case("c"))
    blocks = [case_id for case_id, _ in found]
    assert set(blocks) == {"a", "c"}
    assert blocks.count("a") == blocks.count("c") > 2
    assert outcome == {
        "split": "train",
        "written": 2,
        "examples": len(blocks),
        "rejects": [
            {"case_id": "bad", "split": "train", "reason": f"slice {broken}: truncated", "images": SLICES}
        ],
    }


def test_a_shard_is_beside_the_split_until_it_is_whole_and_under_another_name_in_each_attempt(
    reading, tmp_path
):
    seen = reading(tmp_path)
    for _ in range(2):
        write_shard(tmp_path, make_case("a"))
    (first,), (second, finished) = seen
    assert finished == "Split-train/data_tfrecord-00000-of-00001"
    assert first.startswith(executor.PART)
    assert second.startswith(executor.PART)
    assert first != second
    assert [path.name for path in tmp_path.rglob("*")] == ["Split-train", "data_tfrecord-00000-of-00001"]


@pytest.mark.parametrize(
    ("cases", "sizes"), [(1, [1]), (3, [3]), (4, [4]), (5, [4, 1]), (8, [4, 4]), (9, [4, 4, 1]), (0, [])]
)
def test_every_case_is_in_one_shard_and_no_shard_is_empty(cases, sizes):
    planned = [make_case(f"c{number}") for number in range(cases)]
    shards = list(executor.plan_shards("eval", planned, "out", 4))
    assert [len(shard.cases) for shard in shards] == sizes
    assert {case.case_id for shard in shards for case in shard.cases} == {case.case_id for case in planned}
    assert [shard.path for shard in shards] == [
        f"out/Split-eval/data_tfrecord-{number:05d}-of-{len(sizes):05d}" for number in range(len(sizes))
    ]


def catalogue_of(to: Path, cases: dict[str, tuple[Case, str]]) -> Catalogue:
    assignments = {name: Assignment(split) for name, (_, split) in cases.items()}
    return write_small_catalogue(to, [case for case, _ in cases.values()], assignments)


def make_catalogue(to: Path) -> Catalogue:
    cases = {
        f"{split}-{status}": (
            make_case(f"{split}-{status}", images=1, status=status, clinical={"age_years": 44, "site": "n"}),
            split,
        )
        for split in SPLITS
        for status in ("used", "unlabelled", "excluded")
    }
    return catalogue_of(to, cases)


@pytest.mark.parametrize("unlabelled", [True, False])
def test_each_split_gets_its_used_cases_and_on_request_its_unlabelled_ones_apart(tmp_path, unlabelled):
    splits = executor.plan_splits(
        make_catalogue(tmp_path), columns=["age_years", "dose"], unlabelled=unlabelled
    )
    expected = {split: [f"{split}-used"] for split in SPLITS}
    if unlabelled:
        expected |= {f"unlabelled_{split}": [f"{split}-unlabelled"] for split in SPLITS}
    assert {name: [case.case_id for case in cases] for name, cases in splits.items()} == expected
    assert splits["eval"][0].clinical == {"age_years": 44, "dose": None}


@pytest.mark.parametrize("empty", SPLITS)
def test_any_split_without_a_labelled_case_is_refused(tmp_path, empty):
    catalogue = make_catalogue(tmp_path)
    catalogue.cases.loc[catalogue.cases["case_id"] == f"{empty}-used", "split"] = pd.NA
    with pytest.raises(MedimgError, match=f"^no labelled case in split {empty}: more groups are needed"):
        executor.plan_splits(catalogue, columns=[], unlabelled=True)


@pytest.mark.parametrize("size", [None, (48, 40)])
def test_an_ingest_comes_back_from_its_json(size):
    ingest = Ingest(size, bits=16, channels=3, orientation="mammogram", crop="breast", fit="stretch")
    assert executor.ingest_from_json(json.dumps(vars(ingest))) == ingest
