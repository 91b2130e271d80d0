"""CaseExampleGen: the same bytes for any number of workers, and nothing lost where a file cannot be read."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections import Counter
from pathlib import Path

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf
from tfx.types import standard_artifacts

from components.artifacts import Catalogue, Rejects
from components.case_example_gen import executor
from components.case_example_gen.outcome import read_outcome, write_outcome
from medimg.cases import Record
from medimg.catalogue.build import BuildOptions, build_catalogue
from medimg.catalogue.split import SPLITS, SplitSettings
from medimg.catalogue.tables import read_catalogue
from medimg.datasets import find_data_set
from medimg.errors import MedimgError
from medimg.examples.encoding import record_to_examples
from medimg.images.prepare import Ingest
from pipeline.beam.flags import parse_beam

COLUMNS = ["source", "age_years"]
HEADS = {"malignancy": ["Benign", "Malignant"]}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cmmd")
    find_data_set("cmmd").write_phantom(folder / "data", cases=24, seed=3, rows=120, columns=100)
    build_catalogue(
        find_data_set("cmmd"),
        data_root=folder / "data",
        to=folder / "catalogue",
        options=BuildOptions(SplitSettings(ratios=(0.5, 0.25, 0.25))),
    )
    return folder


def write(data, to, *, workers=1, unlabelled=False, data_root=None):
    """Runs the executor's Beam pipeline and returns what it noted."""
    splits = executor.plan_splits(read_catalogue(data / "catalogue"), columns=COLUMNS, unlabelled=unlabelled)
    shards = [
        shard for split, cases in splits.items() for shard in executor.plan_shards(split, cases, str(to), 4)
    ]
    to.mkdir(parents=True)
    ingest = Ingest(image_size=(48, 40), orientation="mammogram", crop="breast")
    with beam.Pipeline(argv=list(parse_beam("local", cores=workers))) as pipeline:
        outcomes = (
            pipeline
            | beam.Create(shards)
            | beam.Reshuffle()
            | beam.ParDo(executor.WriteShard(str(data_root or data / "data"), ingest, 2**25))
        )
        _ = outcomes | beam.combiners.ToList() | beam.Map(write_outcome, str(to / "rejects.json"))
    return json.loads((to / "rejects.json").read_text())


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def read_examples(folder):
    for path in sorted(folder.glob("Split-*/*")):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            yield (
                path.parent.name.removeprefix("Split-"),
                tf.train.Example.FromString(record).features.feature,
            )


def features_of(case):
    """The features of a case without pixels."""
    (example,) = record_to_examples(Record(case, images={}))
    return tf.train.Example.FromString(example).features.feature


def test_any_number_of_workers_writes_the_same_bytes(data, tmp_path):
    write(data, tmp_path / "one", workers=1)
    write(data, tmp_path / "three", workers=3)
    assert contents(tmp_path / "one") == contents(tmp_path / "three")


def test_every_used_case_is_in_its_split_once_with_the_columns_asked_for(data, tmp_path):
    write(data, tmp_path / "out")
    found = {}
    for split, features in read_examples(tmp_path / "out"):
        case_id = features["case_id"].bytes_list.value[0].decode()
        assert case_id not in found
        found[case_id] = split
        assert {name for name in features if name.startswith("clinical_")} == {
            f"clinical_{column}" for column in COLUMNS
        }
    cases = read_catalogue(data / "catalogue").cases
    assert found == cases[cases.status == "used"].set_index("case_id")["split"].to_dict()


def test_unlabelled_cases_get_splits_of_their_own_on_request(data, tmp_path):
    written = write(data, tmp_path / "out", unlabelled=True)["written"]
    cases = read_catalogue(data / "catalogue").cases
    unlabelled = cases[cases.status == "unlabelled"].split.value_counts().to_dict()
    assert {
        name.removeprefix("unlabelled_"): count
        for name, count in written.items()
        if name.startswith("unlabelled_")
    } == unlabelled
    assert not any(
        "label_malignancy" in features
        for split, features in read_examples(tmp_path / "out")
        if split.startswith("unlabelled_")
    )


def test_every_case_carries_what_the_shortcuts_say_and_only_on_request(data):
    catalogue = read_catalogue(data / "catalogue")
    shortcuts = executor.score_shortcuts(
        catalogue, names=["source", "age_years"], heads={"malignancy": ["Benign", "Malignant"]}
    )
    splits = executor.plan_splits(catalogue, columns=[], unlabelled=True, shortcuts=shortcuts)
    cases = [case for split in splits.values() for case in split]
    features = {case.case_id: features_of(case) for case in cases}
    written = {
        case_id: feature["shortcut_malignancy"].float_list.value[0] for case_id, feature in features.items()
    }
    assert written == {
        case_id: np.float32(scores["malignancy"])
        for case_id, scores in shortcuts.items()
        if case_id in features
    }
    assert not any(name.startswith("clinical_") for feature in features.values() for name in feature)
    assert executor.score_shortcuts(catalogue, names=[], heads={}) == {}


def test_a_file_changed_since_it_was_catalogued_is_quarantined_and_its_other_view_is_kept(data, tmp_path):
    shutil.copytree(data / "data", tmp_path / "data")
    images = read_catalogue(data / "catalogue").images
    image = images[images.status == "used"].iloc[0]
    path = tmp_path / "data" / image.path
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    outcome = write(data, tmp_path / "out", data_root=tmp_path / "data")
    assert [reject["case_id"] for reject in outcome["rejects"]] == [image.case_id]
    assert image.path in outcome["rejects"][0]["reason"]
    assert executor.count_images(outcome["rejects"]) == 1
    features = next(
        f
        for _, f in read_examples(tmp_path / "out")
        if f["case_id"].bytes_list.value[0].decode() == image.case_id
    )
    assert len([name for name in features if name.startswith("image_")]) == 1


def lose_a_case(data, to):
    """Copies the data without the images of one case of several; returns its id and their number."""
    shutil.copytree(data / "data", to / "data")
    images = read_catalogue(data / "catalogue").images
    used = images[images.status == "used"]
    victim = used.case_id.value_counts().idxmax()
    paths = used[used.case_id == victim].path
    for path in paths:
        (to / "data" / path).unlink()
    return victim, len(paths)


def test_a_case_without_a_readable_view_counts_with_each_of_its_images(data, tmp_path):
    victim, count = lose_a_case(data, tmp_path)
    outcome = write(data, tmp_path / "out", data_root=tmp_path / "data")
    assert [reject["case_id"] for reject in outcome["rejects"]] == [victim]
    assert executor.count_images(outcome["rejects"]) == count == 2


def test_no_half_written_file_is_left_where_readers_look(data, tmp_path):
    write(data, tmp_path / "out")
    assert all(path.name.startswith("data_tfrecord-") for path in (tmp_path / "out").glob("Split-*/*"))
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "Split-train",
        "Split-eval",
        "Split-test",
        "rejects.json",
    }


def test_a_split_without_a_labelled_case_is_refused(data):
    catalogue = read_catalogue(data / "catalogue")
    catalogue.cases.loc[catalogue.cases.split == "test", "split"] = "train"
    with pytest.raises(MedimgError, match="no labelled case in split test"):
        executor.plan_splits(catalogue, columns=COLUMNS, unlabelled=False)


def test_neighbours_in_the_table_are_dealt_apart_in_an_order_that_only_ids_decide(data):
    cases = executor.plan_splits(read_catalogue(data / "catalogue"), columns=[], unlabelled=False)["train"]
    plans = []
    for order in (cases, cases[::-1]):
        shards = executor.plan_shards("train", order, "x", 4)
        plans.append([case.case_id for shard in shards for case in shard.cases])
    assert plans[0] == plans[1] != [case.case_id for case in cases]
    assert Path("x") == Path(next(iter(executor.plan_shards("train", cases, "x", 4))).path).parents[1]


class LosesAShard(executor.WriteShard):
    """Writes every shard, but what it reports of the train split's first one is lost on the way."""

    def process(self, shard):
        outcomes = list(super().process(shard))
        yield from () if "Split-train/data_tfrecord-00000-of-" in shard.path else outcomes


class TakesAShardTwice(executor.WriteShard):
    """As an engine would that counts two attempts at the test split."""

    def process(self, shard):
        for _ in range(1 + (shard.split == "test")):
            yield from super().process(shard)


def artifact(kind, uri):
    made = kind()
    made.uri = str(uri)
    Path(uri).mkdir(parents=True, exist_ok=True)
    return made


def execute(data, to, *, shortcuts=(), unlabelled=True, data_root=None):
    """Runs the executor as TFX does; returns the artifacts of its Examples and of what it rejected."""
    ingest = Ingest(image_size=(48, 40), orientation="mammogram", crop="breast")
    properties = {
        "data_root": str(data_root or data / "data"),
        "ingest": json.dumps(dataclasses.asdict(ingest)),
        "examples_settings": json.dumps(
            {"unlabelled": unlabelled, "cases_per_shard": 4, "largest_bytes": 2**25}
        ),
        "columns": json.dumps(COLUMNS),
        "shortcuts": json.dumps({"names": list(shortcuts), "heads": HEADS if shortcuts else {}}),
    }
    examples = artifact(standard_artifacts.Examples, to / "examples")
    rejects = artifact(Rejects, to / "rejects")
    outputs = {"examples": [examples], "rejects": [rejects]}
    context = executor.Executor.Context(
        beam_pipeline_args=list(parse_beam("local", cores=2)), tmp_dir=str(to), unique_id="1"
    )
    executor.Executor(context).Do(
        {"catalogue": [artifact(Catalogue, data / "catalogue")]}, outputs, properties
    )
    return examples, rejects


def test_the_counts_are_of_what_was_written(data, tmp_path):
    _, count = lose_a_case(data, tmp_path)
    examples, rejects = execute(data, tmp_path, data_root=tmp_path / "data")
    outcome = read_outcome(tmp_path / "rejects" / Rejects.FILE)
    read = Counter(split for split, _ in read_examples(tmp_path / "examples"))
    assert outcome.written == outcome.examples == read
    assert {split: examples.get_int_custom_property(f"cases_{split}") for split in read} == read
    assert rejects.get_int_custom_property("count") == count == 2


@pytest.mark.parametrize("unlabelled", [True, False])
def test_readers_are_told_the_splits_and_the_format_and_find_nothing_half_written(data, tmp_path, unlabelled):
    killed = tmp_path / "examples" / f"{executor.PART}train-of-a-worker-that-was-killed"
    killed.parent.mkdir()
    killed.touch()
    examples, _ = execute(data, tmp_path, shortcuts=COLUMNS, unlabelled=unlabelled)
    splits = [f"{kind}{split}" for kind in ("", "unlabelled_")[: 1 + unlabelled] for split in SPLITS]
    assert json.loads(examples.split_names) == sorted(splits)
    assert examples.get_string_custom_property("payload_format") == "FORMAT_TF_EXAMPLE"
    assert {path.name for path in killed.parent.iterdir()} == {f"Split-{split}" for split in splits}
    for _, features in read_examples(tmp_path / "examples"):
        assert {"clinical_source", "clinical_age_years", "shortcut_malignancy"} <= set(features)


@pytest.mark.parametrize(
    ("work", "words"),
    [
        (LosesAShard, "has written 9 and rejected 0 cases of split train, expected 13 together"),
        (TakesAShardTwice, "has written 10 and rejected 0 cases of split test, expected 5 together"),
    ],
)
def test_a_shard_that_is_lost_or_taken_twice_fails_the_run(work, words, data, tmp_path, monkeypatch):
    monkeypatch.setattr(executor, "WriteShard", work)
    with pytest.raises(
        MedimgError, match=f"^CaseExampleGen {words}; Beam has lost or doubled some, run again$"
    ):
        execute(data, tmp_path)
