"""ReportGen as TFX runs it: what of a run's artifacts becomes the sources of its report.

The exported model and the Evaluator's output are stood in for, and so are what is drawn of them: embeddings,
explanations and the page have tests of their own.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from tfx.types import standard_artifacts

from components.artifacts import Catalogue, GateReport, Rejects, Report
from components.case_example_gen.outcome import write_outcome
from components.report_gen import executor
from components.report_gen.executor import Executor
from components.report_gen.explaining import ScoredSplit
from medimg.cases import Case
from medimg.catalogue.split import Assignment, SplitSettings
from medimg.errors import MedimgError
from medimg.evaluation.figures import Figure
from pipeline.config.overrides import load_config, to_plain
from tests.components.examples import serialize
from tests.small_catalogue import write_small_catalogue

CLASSES = ("calcification", "mass", "both")
MERGE = {"name": "any_mass", "head": "kind", "classes": {"mass or both": ["mass", "both"]}}
# Folder of the Examples, label, probability of each class, and direction of the embedding in degrees.
CASES: dict[str, tuple[str, str | None, tuple[float, float, float], int]] = {
    "t0": ("train", "calcification", (0.7, 0.2, 0.1), 0),
    "t1": ("train", "mass", (0.1, 0.8, 0.1), 30),
    "t2": ("train", "both", (0.1, 0.2, 0.7), 60),
    "t3": ("train", "mass", (0.2, 0.7, 0.1), 90),
    "e0": ("eval", "mass", (0.1, 0.2, 0.7), 45),
    "s0": ("test", "calcification", (0.6, 0.3, 0.1), 5),
    "s1": ("test", "mass", (0.05, 0.15, 0.8), 85),
    "u0": ("unlabelled_test", None, (0.2, 0.3, 0.5), 45),
    "ut": ("unlabelled_train", None, (0.2, 0.3, 0.5), 45),
}
FIGURE = Figure(
    head="kind",
    name="accuracy",
    slice="overall",
    protocol="cases",
    level="case",
    split="test",
    value=0.5,
    low=0.0,
    high=1.0,
    n=2,
    positives=1,
    groups=2,
)


def draw(case_id: str) -> bytes:
    """A PNG that differs from case to case."""
    return cv2.imencode(".png", np.full((4, 4), list(CASES).index(case_id), np.uint8))[1].tobytes()


@dataclass
class Run:
    """A run that only ReportGen is left of, and what the stand-ins were given."""

    folder: Path
    evaluation: dict[str, Any] = field(default_factory=dict)
    unscored: str = ""
    evaluated: float = 2.0
    given: dict[str, Any] = field(default_factory=dict)
    report: Report = field(default_factory=Report)

    @property
    def config(self) -> dict[str, Any]:
        config = to_plain(load_config("cmmd_demo"))
        config["model"]["heads"] = [{"name": "kind", "classes": list(CLASSES)}]
        config["evaluation"] |= {"gates": [], "slices": ["source", "age_band"], "merge": [MERGE], "costs": []}
        config["evaluation"] |= {"shortcuts": ["source"], "protocols": ["P1"], **self.evaluation}
        return config

    def execute(self) -> Path:
        """Runs the executor; returns the report's folder."""
        kinds = {
            "catalogue": Catalogue(),
            "examples": standard_artifacts.Examples(),
            "model": standard_artifacts.Model(),
            "model_run": standard_artifacts.ModelRun(),
            "evaluation": standard_artifacts.ModelEvaluation(),
            "gate": GateReport(),
            "rejects": Rejects(),
            "report": self.report,
        }
        for name, artifact in kinds.items():
            artifact.uri = str(self.folder / name)
            (self.folder / name).mkdir()
        self.write()
        Executor().Do(
            {name: [artifact] for name, artifact in kinds.items() if name != "report"},
            {"report": [self.report]},
            {"config": json.dumps(self.config), "facts": json.dumps({"data": "d"})},
        )
        return self.folder / "report"

    def write(self) -> None:
        """Writes catalogue, Examples, what is known of them, and what names the model's outputs."""
        cases, places = [], {}
        for number, (case_id, (place, label, _, _)) in enumerate(CASES.items()):
            status = "used" if label else "unlabelled"
            known = {"status": status, "clinical": {"source": "D1" if number % 2 else "D2"}}
            cases.append(Case(case_id, f"g-{case_id}", (), labels={"kind": label} if label else {}, **known))
            places[case_id] = Assignment(place.removeprefix("unlabelled_"))
            file = self.folder / "examples" / f"Split-{place}" / case_id
            file.parent.mkdir(exist_ok=True)
            with tf.io.TFRecordWriter(str(file)) as writer:
                writer.write(serialize({"case_id": case_id.encode(), "image_CC": draw(case_id)}))
        write_small_catalogue(
            self.folder / "catalogue",
            cases,
            places,
            summary={
                "title": "CMMD",
                "licence": "CC BY 4.0",
                "doi": "10.1",
                "content_hash": "ab",
                "split_settings": asdict(SplitSettings()),
                "duplicates": [],
            },
        )
        shards = [
            json.dumps({"split": place, "written": 1, "examples": 1, "rejects": []})
            for place, _, _, _ in CASES.values()
        ]
        write_outcome(shards, str(self.folder / "rejects" / Rejects.FILE))
        (self.folder / "gate" / GateReport.FILE).write_text(json.dumps({"warnings": ["drifted"]}))
        serving = self.folder / "model" / "Format-Serving"
        serving.mkdir()
        (serving / "medimg.json").write_text(json.dumps({"prevalence": "train"}))
        held_out = {"case_id": ["e0"], "eval_part": ["calibrate"]}
        held_out |= {f"c_kind_{name}": [0.1 * number] for number, name in enumerate(CLASSES, start=3)}
        pd.DataFrame(held_out).to_parquet(self.folder / "model_run" / "calibration.parquet", index=False)

    def score(self, model: Path, files: list[str], *, heads: dict[str, tuple[str, ...]]) -> pd.DataFrame:
        """What `score_examples` returns, of the cases that the files are named by."""
        assert model == self.folder / "model" / "Format-Serving"
        assert heads == {"kind": CLASSES}
        rows = []
        for name in (Path(file).name for file in files):
            _, label, probabilities, _ = CASES[name]
            row = {"case_id": name, "group_id": f"g-{name}", "label_kind": label, "clinical_source": "D1"}
            row |= {f"p_kind_{one}": value for one, value in zip(CLASSES, probabilities, strict=True)}
            rows.append(row)
        return pd.DataFrame([row for row in rows if row["case_id"] != self.unscored])

    def read_evaluation(self, uri: str, *, only_head: str) -> dict[tuple[str, str, str], float]:
        assert uri == str(self.folder / "evaluation")
        return {(only_head, "example_count", "overall"): self.evaluated}

    def embed(self, report: Path, **given: Any) -> pd.DataFrame:
        self.given["embed"] = {"report": report, **given}
        rows = []
        for case_id, (place, label, _, degrees) in CASES.items():
            vector = np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))])
            rows.append(("model", case_id, place, label, vector))
        return pd.DataFrame(rows, columns=["embedding", "case_id", "split", "label_kind", "vector"])

    def explain(self, report: Path, **given: Any) -> None:
        self.given["explain"] = {"report": report, **given}

    def derive(self, folder: Path) -> list[Figure]:
        """Notes which sources are there when the rest is derived from them."""
        assert "explain" in self.given
        self.given["sources"] = {path.name for path in folder.iterdir()}
        (folder / "metrics.json").write_text("[the figures]")
        return [FIGURE]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    made = Run(tmp_path)
    monkeypatch.setattr(executor, "score_examples", made.score)
    monkeypatch.setattr(executor, "read_evaluation", made.read_evaluation)
    monkeypatch.setattr(executor, "embed_splits", made.embed)
    monkeypatch.setattr(executor, "explain_split", made.explain)
    monkeypatch.setattr(executor, "derive", made.derive)
    return made


@pytest.mark.parametrize(
    ("score_train", "scored"), [(True, "e0 s0 s1 t0 t1 t2 t3 u0"), (False, "e0 s0 s1 u0")]
)
def test_the_predictions_are_of_the_splits_asked_for_with_the_merged_classes(
    run: Run, score_train: bool, scored: str
) -> None:
    run.evaluation = {"score_train": score_train}
    table = pd.read_parquet(run.execute() / "predictions.parquet").set_index("case_id")
    assert sorted(table.index) == scored.split()
    assert table.loc["s1", "p_any_mass_mass or both"] == pytest.approx(0.95)
    assert table.loc["e0", ["eval_part", "c_kind_mass"]].tolist() == ["calibrate", pytest.approx(0.4)]
    assert table.loc["e0", "c_any_mass_mass or both"] == pytest.approx(0.4 + 0.5)
    assert table.drop("e0")[["eval_part", "c_kind_mass", "c_any_mass_mass or both"]].isna().all(axis=None)
    assert table.loc["s0", "label_any_mass"] == "calcification"
    assert table.loc["s1", ["split", "cluster_id", "clinical_source"]].tolist() == ["test", "g-s1", "D1"]
    assert table["clinical_age_band"].isna().all()
    assert table.loc["u0", "split"] == "test"


def test_the_gallery_is_of_the_mistakes_on_test_and_of_their_nearest_training_cases(run: Run) -> None:
    report = run.execute()
    gallery = json.loads((report / "gallery.json").read_text())
    assert sorted(gallery) == ["s1", "t1", "t2", "t3"]
    assert {case_id: (report / roles["CC"]).read_bytes() for case_id, roles in gallery.items()} == {
        case_id: draw(case_id) for case_id in gallery
    }


def test_the_facts_have_the_merged_heads_and_what_they_are_merged_of(run: Run) -> None:
    facts = json.loads((run.execute() / "facts.json").read_text())
    assert facts["heads"] == {"kind": list(CLASSES), "any_mass": ["calcification", "mass or both"]}
    assert facts["merges"] == [MERGE]
    assert facts["title"] == "CMMD: kind"
    assert facts["warnings"] == ["drifted"]
    assert facts["hashes"]["data"] == "d"


def test_the_network_is_asked_for_embeddings_and_for_the_reasons_of_its_answers_on_test(run: Run) -> None:
    report = run.execute()
    model = run.folder / "model" / "Format-Serving"
    embed, explain = run.given["embed"], run.given["explain"]
    for given in (embed, explain):
        assert (given["report"], given["config"], given["model"]) == (report, run.config, model)
        assert sorted(given["catalogue"].cases["case_id"]) == sorted(CASES)
    assert embed["examples"] == str(run.folder / "examples")
    scored: ScoredSplit = explain["scored"]
    assert scored.name == "test"
    assert [Path(file).name for file in scored.files] == ["s0", "s1"]
    assert [case.case_id for case in scored.misclassified] == ["s1"]
    assert "label_any_mass" in scored.predictions


@pytest.mark.parametrize("shortcuts", [["source"], []])
def test_all_sources_are_there_when_the_page_is_made_of_them(run: Run, shortcuts: list[str]) -> None:
    run.evaluation = {"shortcuts": shortcuts}
    report = run.execute()
    tables = {"shortcuts.parquet"} if shortcuts else set()
    assert run.given["sources"] == {
        "facts.json", "predictions.parquet", "gallery.json", "gallery", *tables
    }  # fmt: skip
    if shortcuts:
        table = pd.read_parquet(report / "shortcuts.parquet")
        assert {"clinical_source", "clinical_age_band"} <= set(table)


def test_the_figures_are_properties_of_the_report(run: Run) -> None:
    run.execute()
    assert run.report.get_string_custom_property("metrics") == "[the figures]"
    assert run.report.get_int_custom_property("kind.accuracy.cases.case.test.overall.n") == 2


@pytest.mark.parametrize("lost", ["u0", "s0", "e0", "t3"])
def test_a_case_that_the_model_did_not_score_fails_the_run(run: Run, lost: str) -> None:
    run.evaluation, run.unscored = {"score_train": True}, lost
    with pytest.raises(MedimgError, match=r"^ReportGen has counted \d cases of split"):
        run.execute()


@pytest.mark.parametrize("evaluated", [1.0, 3.0])
def test_another_count_of_the_evaluator_fails_the_run(run: Run, evaluated: float) -> None:
    run.evaluated = evaluated
    with pytest.raises(MedimgError, match=f"^Evaluator has counted {evaluated:.0f} Examples of split test"):
        run.execute()
