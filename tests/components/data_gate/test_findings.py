"""Every finding of the gate is in its report, stops the run or warns, and nothing else does."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from tensorflow_metadata.proto.v0 import anomalies_pb2, statistics_pb2
from tfx.types import standard_artifacts

from components.artifacts import Catalogue as Catalogues
from components.artifacts import GateReport, Rejects
from components.case_example_gen.outcome import RejectRow, write_outcome
from components.data_gate import executor
from medimg.cases import Case
from medimg.catalogue.quarantine import LIST_SQL
from medimg.catalogue.split import SPLITS, Assignment, SplitSettings
from medimg.errors import MedimgError
from tests.small_catalogue import write_small_catalogue

REJECT: RejectRow = {"case_id": "c", "split": "train", "reason": "a.dcm: truncated", "images": 2}


class Run:
    """The artifacts that the gate reads, sound until a test spoils them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cases = [
            Case(f"{split}-{label}", f"{split}-{label}", (), labels={"malignancy": label, "kind": "x"})
            for split in SPLITS
            for label in ("Benign", "Malignant")
        ]
        self.places: dict[str, str] = {}
        self.summary: dict[str, object] = {
            "images": {"used": 95, "unlabelled": 7, "excluded": 9, "quarantined": 5},
            "split_settings": asdict(SplitSettings()),
        }
        self.rejects: list[RejectRow] = []
        self.statistics = {split: statistics_pb2.DatasetFeatureStatistics(num_examples=2) for split in SPLITS}
        self.anomalies = {split: anomalies_pb2.Anomalies() for split in SPLITS}

    def add(self, case_id: str, group: str, split: str, **values: object) -> None:
        given = {"labels": {"malignancy": "Benign"}, **values}
        self.cases.append(Case(case_id, group, (), **given))  # type: ignore[arg-type]
        self.places[case_id] = split

    def describe(self, split: str, name: str, **buckets: int) -> None:
        """What StatisticsGen has counted of a text feature."""
        feature = self.statistics[split].features.add()
        feature.path.step.append(name)
        for label, count in buckets.items():
            feature.string_stats.rank_histogram.buckets.add(label=label, sample_count=count)

    def note(self, split: str, feature: str, short: str, long: str) -> None:
        """What ExampleValidator has found."""
        info = self.anomalies[split].anomaly_info[feature]
        info.short_description, info.description = short, long

    def check(self, **settings: float) -> tuple[list[str], list[str], str]:
        """Returns the report's failures and warnings, and the error that stops the run."""
        inputs, outputs = self.write()
        properties = {
            "settings": json.dumps({"quarantined_share": 0.05, "drift": 0.25, **settings}),
            "head": "malignancy",
        }
        error = ""
        try:
            executor.Executor().Do(inputs, outputs, properties)
        except MedimgError as stopped:
            error = str(stopped)
        report = json.loads((self.folder / "report" / GateReport.FILE).read_text())
        return report["failures"], report["warnings"], error

    def write(self) -> tuple[dict, dict]:
        artifacts = {
            "catalogue": Catalogues(),
            "rejects": Rejects(),
            "statistics": standard_artifacts.ExampleStatistics(),
            "anomalies": standard_artifacts.ExampleAnomalies(),
            "report": GateReport(),
        }
        for name, artifact in artifacts.items():
            artifact.uri = str(self.folder / name)
            (self.folder / name).mkdir(parents=True)
        assignments = {
            case.case_id: Assignment(self.places.get(case.case_id, case.case_id.partition("-")[0]))
            for case in self.cases
        }
        write_small_catalogue(self.folder / "catalogue", self.cases, assignments, summary=self.summary)
        shards = [
            json.dumps({"split": split, "written": 2, "examples": 2, "rejects": []}) for split in SPLITS
        ]
        shards.append(json.dumps({"split": "train", "written": 0, "examples": 0, "rejects": self.rejects}))
        write_outcome(shards, str(self.folder / "rejects" / Rejects.FILE))
        for name, found, file in (
            ("statistics", self.statistics, "FeatureStats.pb"),
            ("anomalies", self.anomalies, "SchemaDiff.pb"),
        ):
            artifacts[name].split_names = json.dumps(list(SPLITS))
            for split, message in found.items():
                (self.folder / name / f"Split-{split}").mkdir()
                if name == "statistics":
                    message = statistics_pb2.DatasetFeatureStatisticsList(datasets=[message])
                (self.folder / name / f"Split-{split}" / file).write_bytes(message.SerializeToString())
        report = {"report": [artifacts.pop("report")]}
        return {name: [artifact] for name, artifact in artifacts.items()}, report


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def test_sound_data_pass_with_the_share_of_quarantined_images_that_the_config_allows(run):
    assert run.check() == ([], [], "")


def test_one_finding_stops_the_run_and_of_several_the_first_is_named_and_the_rest_counted(run):
    run.add("other", "eval-Benign", "train")
    failures, _, error = run.check()
    assert failures == ["group eval-Benign is in splits eval and train, expected one"]
    assert error == failures[0]


def test_every_kind_of_finding_is_in_the_report_in_its_order(run):
    run.statistics["eval"].num_examples = 3
    run.note("test", "clinical_age_years", "Out-of-range values", "Unexpectedly high value: 400")
    run.note("test", "box_CC", "Column dropped", "Gone")
    run.note("train", "label_kind", "New column", "New")
    run.add("other", "eval-Benign", "train")
    run.cases = [case for case in run.cases if case.case_id != "eval-Malignant"]
    run.rejects = [REJECT]
    failures, warnings, error = run.check()
    assert failures == [
        "StatisticsGen has counted 3 Examples of split eval, expected 2 as written by CaseExampleGen; "
        "Beam has lost or doubled some, run again",
        "split train, feature label_kind: new column (New)",
        "split test, feature box_CC: column dropped (Gone)",
        "split test, feature clinical_age_years: out-of-range values (Unexpectedly high value: 400)",
        "group eval-Benign is in splits eval and train, expected one",
        "7 of 100 images are quarantined (7.0%), data_gate.quarantined_share allows 5.0%: 2 x truncated "
        f'(a.dcm); the list: medimg query {run.folder / "catalogue"} "{LIST_SQL}"',
        "class 'Malignant' of 'malignancy' is missing from split eval; another split.seed, other "
        "split.ratios or more groups are needed",
    ]
    assert warnings == []
    assert error == f"{failures[0]} (and 6 more, see the log)"


def test_two_findings_are_one_and_one_more(run):
    run.add("other", "eval-Benign", "train")
    run.rejects = [REJECT]
    failures, _, error = run.check()
    assert len(failures) == 2
    assert error.endswith(" (and 1 more, see the log)")


def test_leaks_and_drift_warn_and_stop_nothing(run):
    leak = "leak: 1 of 2 groups lie in more than one split"
    run.summary["leaks"] = [leak]
    for split, benign in (("train", 5), ("eval", 8), ("test", 1)):
        run.describe(split, "label_malignancy", Benign=benign, Malignant=10 - benign)
        run.describe(split, "clinical_source", D1=benign, D2=10 - benign)
        run.describe(split, "label_kind", x=benign, y=10 - benign)
        run.describe(split, "image_CC", x=benign, y=10 - benign)
    run.describe("test", "clinical_new", a=1)
    assert run.check() == (
        [],
        [
            leak,
            *(
                f"{what} is distributed differently in {split} than in train: distance {distance}, warned of "
                "above 0.25"
                for split, distance in (("eval", "0.30"), ("test", "0.40"))
                for what in ("malignancy", "source")
            ),
        ],
        "",
    )


@pytest.mark.parametrize(("threshold", "warns"), [(0.25, False), (0.24, True), (0.0, True)])
def test_drift_is_warned_of_above_the_threshold_only(run, threshold, warns):
    for split in ("train", "eval"):
        run.describe(split, "case_id", **{split: 4})
        run.describe(split, "clinical_of_eval_alone" if split == "eval" else "label_other", D1=4)
    run.describe("train", "clinical_source", D1=2, D2=2)
    run.describe("eval", "clinical_source", D1=3, D2=1)
    _, warnings, _ = run.check(drift=threshold)
    assert len(warnings) == warns


@pytest.mark.parametrize(("status", "stops"), [("used", True), ("unlabelled", True), ("excluded", False)])
def test_a_group_in_two_splits_stops_the_run_if_its_cases_are_in_use(run, status, stops):
    run.add("other", "eval-Benign", "test", status=status)
    failures, _, _ = run.check()
    assert failures == ["group eval-Benign is in splits eval and test, expected one"] * stops


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("status", ["excluded", "quarantined", "unlabelled"])
def test_a_class_that_only_an_unused_case_has_is_missing_from_its_split(run, split, status):
    run.cases = [
        replace(case, status=status) if case.case_id == f"{split}-Malignant" else case for case in run.cases
    ]
    failures, _, _ = run.check()
    assert failures == [
        f"class 'Malignant' of 'malignancy' is missing from split {split}; another split.seed, other "
        "split.ratios or more groups are needed"
    ]


def test_a_catalogue_without_images_has_no_share_of_quarantined_ones(run):
    run.summary["images"] = {"used": 0, "unlabelled": 0, "excluded": 0, "quarantined": 0}
    run.rejects = [REJECT]
    assert run.check()[0] == []


@pytest.mark.parametrize(
    ("first", "second", "distance"),
    [((50, 10), (45, 3), 0.5), ((50, 10), (50, 30), 0.0), ((50, 0), (60, 10), 0.0), ((-5, 2), (5, 1), 5.0)],
)
def test_numbers_are_compared_in_the_deviations_of_train_whichever_way_they_move(first, second, distance):
    features = []
    for mean, deviation in (first, second):
        feature = statistics_pb2.FeatureNameStatistics()
        feature.num_stats.mean, feature.num_stats.std_dev = mean, deviation
        features.append(feature)
    assert executor.feature_distance(*features) == pytest.approx(distance)
