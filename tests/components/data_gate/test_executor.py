"""DataGate says in plain words what breaks the contract; each check is seen to fail."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from tensorflow_metadata.proto.v0 import statistics_pb2
from tfx.types import standard_artifacts

from components.artifacts import Catalogue as Catalogues
from components.artifacts import GateReport, Rejects
from components.case_example_gen.outcome import WrittenExamples, lost_examples, write_outcome
from components.data_gate import executor
from medimg.catalogue.build import BuildOptions, build_catalogue
from medimg.catalogue.split import SplitSettings
from medimg.catalogue.tables import Catalogue
from medimg.datasets import find_data_set
from medimg.errors import MedimgError


def make_catalogue(rows, *, quarantined=0, used=100, by="group"):
    cases = pd.DataFrame(rows, columns=["case_id", "group_id", "split", "label_malignancy"]).assign(
        status="used", official_split=None, reason=""
    )
    images = {"used": used, "quarantined": quarantined, "unlabelled": 0, "excluded": 0}
    files = pd.DataFrame({"case_id": [], "path": [], "status": [], "reason": []})
    return Catalogue(cases, files, pd.DataFrame(), {"images": images, "split_settings": {"by": by}})


def count_too_many(catalogue, rejected=0):
    """Lines on quarantined images, where a twentieth may be."""
    rejects = [{"case_id": "c", "split": "train", "reason": "a.dcm: cut", "images": rejected}]
    return list(executor.too_many_quarantined(catalogue, rejects, share=0.05, folder=Path("made")))


GOOD = [
    (f"{split}-{label}", f"{split}-{label}", split, label)
    for split in ("train", "eval", "test")
    for label in ("Benign", "Malignant")
]


def test_good_data_pass():
    catalogue = make_catalogue(GOOD)
    assert not list(executor.split_groups(catalogue))
    assert not list(executor.missing_classes(catalogue, "malignancy"))
    assert not count_too_many(catalogue)


def test_a_group_in_two_splits_is_named_with_its_splits():
    catalogue = make_catalogue([*GOOD, ("other", "train-Benign", "test", "Benign")])
    assert list(executor.split_groups(catalogue)) == [
        "group train-Benign is in splits test and train, expected one"
    ]


def test_a_group_in_two_splits_passes_where_cases_are_dealt_or_the_publisher_parts_it():
    rows = [*GOOD, ("other", "train-Benign", "test", "Benign")]
    assert not list(executor.split_groups(make_catalogue(rows, by="case")))
    published = make_catalogue(rows)
    published.cases["official_split"] = published.cases["split"].replace("eval", "train")
    assert not list(executor.split_groups(published))
    published.cases.loc[published.cases["case_id"] == "other", "official_split"] = "train"
    assert list(executor.split_groups(published)) == [
        "group train-Benign is in splits test and train, expected one"
    ]


@pytest.mark.parametrize(
    ("rows", "head", "words"),
    [
        (
            [row for row in GOOD if row[0] != "test-Malignant"],
            "malignancy",
            "'Malignant' of 'malignancy' is missing from split test",
        ),
        ([row for row in GOOD if row[3] == "Benign"], "malignancy", "one class only"),
        (GOOD, "subtype", "no case has a label 'subtype'; labels found: malignancy"),
    ],
)
def test_a_class_that_a_split_lacks_is_named(rows, head, words):
    assert words in next(executor.missing_classes(make_catalogue(rows), head))


def test_of_the_columns_only_labels_are_named_as_such():
    [line] = executor.missing_classes(make_catalogue(GOOD), "subtype")
    assert line == "no case has a label 'subtype'; labels found: malignancy"


@pytest.mark.parametrize(
    ("quarantined", "rejected", "stops"), [(5, 0, False), (6, 0, True), (3, 3, True), (0, 0, False)]
)
def test_more_quarantined_images_than_the_config_allows_stop_the_run(quarantined, rejected, stops):
    catalogue = make_catalogue(GOOD, quarantined=quarantined, used=100 - quarantined)
    assert bool(count_too_many(catalogue, rejected)) == stops


def text_feature(counts):
    feature = statistics_pb2.FeatureNameStatistics()
    for label, count in counts.items():
        feature.string_stats.rank_histogram.buckets.add(label=label, sample_count=count)
    return feature


def number_feature(mean, deviation):
    feature = statistics_pb2.FeatureNameStatistics()
    feature.num_stats.mean, feature.num_stats.std_dev = mean, deviation
    return feature


def test_distance_of_words_is_the_largest_difference_of_shares():
    assert executor.feature_distance(
        text_feature({"a": 3, "b": 1}), text_feature({"a": 1, "c": 1})
    ) == pytest.approx(0.5)
    assert executor.feature_distance(text_feature({"a": 3, "b": 1}), text_feature({"a": 6, "b": 2})) == 0


def test_distance_of_numbers_is_the_shift_in_standard_deviations():
    assert executor.feature_distance(number_feature(50, 10), number_feature(55, 3)) == pytest.approx(0.5)


def test_words_in_one_split_and_numbers_in_the_other_share_no_value():
    words, numbers = text_feature({"a": 3, "b": 1}), number_feature(50, 10)
    assert executor.feature_distance(words, numbers) == pytest.approx(0.75)
    assert executor.feature_distance(numbers, words) == pytest.approx(0.75)


def write_statistics(folder, counts):
    """What StatisticsGen writes of Examples of which it has seen so many by split."""
    artifact = standard_artifacts.ExampleStatistics()
    artifact.uri, artifact.split_names = str(folder), json.dumps(sorted(counts))
    for split, count in counts.items():
        statistics = statistics_pb2.DatasetFeatureStatisticsList()
        statistics.datasets.add(num_examples=count)
        (folder / f"Split-{split}").mkdir(parents=True)
        (folder / f"Split-{split}" / "FeatureStats.pb").write_bytes(statistics.SerializeToString())
    return artifact


def lost(folder, counts, outcome):
    return list(
        lost_examples("StatisticsGen", executor.count_examples(write_statistics(folder, counts)), outcome)
    )


# Ten studies of test are fourteen records; unlabelled cases have no statistics.
OUTCOME = WrittenExamples(
    written={"eval": 8, "test": 10, "train": 30, "unlabelled_train": 5},
    examples={"eval": 8, "test": 14, "train": 30, "unlabelled_train": 5},
    rejects=(),
)


def test_statistics_of_every_example_pass_and_blocks_of_a_study_count_each(tmp_path):
    assert lost(tmp_path, {"eval": 8, "test": 14, "train": 30}, OUTCOME) == []


@pytest.mark.parametrize(
    ("split", "found", "expected"), [("train", 29, 30), ("test", 10, 14), ("eval", 9, 8)]
)
def test_statistics_of_fewer_or_more_examples_than_were_written_are_named(split, found, expected, tmp_path):
    counts = {"eval": 8, "test": 14, "train": 30} | {split: found}
    assert lost(tmp_path, counts, OUTCOME) == [
        f"StatisticsGen has counted {found} Examples of split {split}, expected {expected} as written by"
        " CaseExampleGen; Beam has lost or doubled some, run again"
    ]


def test_an_example_that_statistics_have_lost_stops_the_run(tmp_path):
    data_set = find_data_set("cmmd")
    data_set.write_phantom(tmp_path / "data", cases=24, seed=3, rows=120, columns=100)
    options = BuildOptions(SplitSettings(ratios=(0.5, 0.25, 0.25)))
    build_catalogue(data_set, data_root=tmp_path / "data", to=tmp_path / "catalogue", options=options)
    (tmp_path / "rejects").mkdir()
    report = json.dumps({"split": "train", "written": 27, "examples": 27, "rejects": []})
    write_outcome([report], str(tmp_path / "rejects" / Rejects.FILE))
    anomalies = standard_artifacts.ExampleAnomalies()
    anomalies.split_names = "[]"
    kinds = {"catalogue": Catalogues, "rejects": Rejects, "report": GateReport}
    artifacts = {name: kind() for name, kind in kinds.items()}
    for name, artifact in artifacts.items():
        artifact.uri = str(tmp_path / name)
        (tmp_path / name).mkdir(exist_ok=True)
    inputs = {name: [artifact] for name, artifact in artifacts.items() if name != "report"}
    inputs |= {
        "anomalies": [anomalies],
        "statistics": [write_statistics(tmp_path / "statistics", {"train": 26})],
    }
    settings = {"quarantined_share": 0.5, "drift": 1.0}
    properties = {"settings": json.dumps(settings), "head": "malignancy"}
    with pytest.raises(
        MedimgError, match=r"StatisticsGen has counted 26 Examples of split train, expected 27"
    ):
        executor.Executor().Do(inputs, {"report": [artifacts["report"]]}, properties)
