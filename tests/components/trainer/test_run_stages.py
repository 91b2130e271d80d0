"""What comes before and after a training: where its state is kept, what is told, and what is exported."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from components.trainer import run as trainer
from medimg.evaluation.classification.recalibration import Recalibration
from medimg.tasks.fitting import Data, Epoch, Fitted, Member, Report
from tests.components.examples import HEIGHT, MODEL, TRAINING, WIDTH, make_case, serialize, write_split
from tests.components.trainer.stand_ins import TASK, Mirror, Transformed, transform_clinical

TRAIN, EVAL = (1, 2, 5), (4, 6)
"""Numbers of the cases of a split, each of which is one shard's."""


class Training:
    """In the place of a task's `fit`: notes what it is given, and trains nothing."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.before: Callable[[Path], None] = lambda folder: None

    def fit(self, data: Data, *, model: Any, training: Any, folder: Path, report: Report) -> Fitted:
        self.calls.append({"data": data, "model": model, "training": training, "folder": folder})
        folder.mkdir(parents=True, exist_ok=True)
        self.before(folder)
        members = []
        for index, best in enumerate((1, 2)):
            names = ("train/loss", "kind/auc") if index == 0 else ("train/loss", "kind/ece")
            history = tuple(Epoch(number, 1.0, dict.fromkeys(names, 0.5), index) for number in range(3))
            report(history[0])
            network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(index + 1)])
            members.append(Member(network, history[best], history, {}))
        figures = {"kind/auc": 0.75, "kind/brier": 0.25, "kind/ece": 0.125}
        held_out = {"malignancy": np.array([[0.25, 0.75], [np.nan, np.nan]])}
        recalibrations = {"malignancy": Recalibration(20.0, (0.5, -0.5))}
        return Fitted(
            tuple(members), recalibrations, figures, held_out, parts=np.array(["calibrate", "choose"])
        )


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> Training:
    made = Training()
    task = dataclasses.replace(
        TASK, fit=made.fit, make_predictor=lambda fitted, *, model, training: Mirror(has_details=True)
    )
    monkeypatch.setattr(trainer, "find_task", lambda name: task)
    return made


@pytest.fixture
def arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What TFX hands over; the graph of Transform is at the second place that it may be at."""
    (tmp_path / "graph").mkdir()
    (tmp_path / "graph" / "saved_model.pb").write_text("graph")

    def open_graph(path: str) -> Transformed:
        output = Transformed()
        output.transform_savedmodel_dir = path  # type: ignore[attr-defined]
        assert path == str(tmp_path / "graph")
        return output

    monkeypatch.setattr(trainer.tft, "TFTransformOutput", open_graph)
    heads = [{"name": "malignancy", "classes": ["Benign", "Malignant"]}]
    return SimpleNamespace(
        train_files=[write_split(tmp_path / "train", [make_case(number) for number in TRAIN])],
        eval_files=[write_split(tmp_path / "eval", [make_case(number) for number in EVAL])],
        transform_graph_path=None,
        transform_output=str(tmp_path / "graph"),
        serving_model_dir=str(tmp_path / "model" / "Format-Serving"),
        model_run_dir=str(tmp_path / "model_run"),
        custom_config={
            "task": "classification",
            "model": {**MODEL, "heads": heads},
            "training": {**TRAINING, "members": 2},
        },
    )


def test_history_networks_and_facts_are_of_all_members(
    training: Training, arguments: SimpleNamespace, tmp_path: Path
) -> None:
    trainer.run(arguments)
    history = json.loads((tmp_path / "model_run" / "history.json").read_text())["members"]
    assert [(member["best_epoch"], len(member["history"])) for member in history] == [(1, 3), (2, 3)]
    serving = tmp_path / "model" / "Format-Serving"
    networks = [keras.saving.load_model(serving / name) for name in ("model.keras", "model1.keras")]
    assert [network.layers[-1].units for network in networks] == [1, 2]
    facts = json.loads((serving / "medimg.json").read_text())
    assert facts["clinical_sizes"] == {"clinical_age_years": 2, "clinical_source": 3}
    calibration = {"temperature": 20.0, "bias": [0.5, -0.5], "at_bound": True}
    assert facts["calibration"] == {"malignancy": calibration}
    table = pd.read_parquet(tmp_path / "model_run" / "calibration.parquet").set_index("case_id")
    assert sorted(table.index) == sorted(make_case(number)["case_id"].decode() for number in EVAL)
    assert table.iloc[0].to_dict() == {
        "eval_part": "calibrate",
        "c_malignancy_Benign": 0.25,
        "c_malignancy_Malignant": 0.75,
    }
    assert table.iloc[1, 1:].isna().all()
    assert not list(serving.rglob("*.parquet")), "what names cases is not pushed"
    assert facts["code"] == ""
    signatures = tf.saved_model.load(str(serving)).signatures
    assert set(signatures) == {"serving_default", "transform_features", "details"}
    served = signatures["serving_default"](examples=tf.constant([serialize(make_case(1))]))
    assert served["images"].shape == (1, 2, HEIGHT, WIDTH, 1)
    assert list((tmp_path / "model_run").glob("events.*"))


def test_the_last_line_names_the_best_epochs_and_the_figures_that_every_epoch_had(
    training: Training, arguments: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer.run(arguments)
    *epochs, bound, last = capsys.readouterr().out.splitlines()[1:]
    assert epochs == [
        "member 1/2, epoch 1/10: train loss 0.500, kind auc 0.500, 1.0 s",
        "member 2/2, epoch 1/10: train loss 0.500, kind ece 0.500, 1.0 s",
    ]
    assert bound.startswith("head malignancy: temperature 20 is the most that is sought")
    assert last == "best epoch 2, 3; calibrated on 1 of 2 cases of eval: kind auc 0.750; exporting"


@pytest.mark.parametrize("checkpoints", ["elsewhere", None])
def test_the_state_of_a_training_is_kept_under_its_key_until_the_export_is_whole(
    training: Training, arguments: SimpleNamespace, tmp_path: Path, checkpoints: str | None
) -> None:
    place = tmp_path / (checkpoints or "model_run")
    if checkpoints:
        arguments.custom_config["checkpoints"] = str(place)

    def kill(folder: Path) -> None:
        (folder / "cache").mkdir(exist_ok=True)
        (folder / "cache" / "train_0.lockfile").write_text("half written")
        (folder / "state.json").write_text("of the last epoch")
        raise KeyboardInterrupt

    training.before = kill
    with pytest.raises(KeyboardInterrupt):
        trainer.run(arguments)
    seen: list[set[str]] = []

    def look(folder: Path) -> None:
        seen.append({path.name for path in folder.rglob("*") if path.is_file()})

    training.before = look
    trainer.run(arguments)
    (names,) = seen
    assert "state.json" in names
    assert "train_0.lockfile" not in names
    first, second = (call["folder"] for call in training.calls)
    assert first == second
    assert first.parent == place
    assert not first.exists()


def test_a_task_trains_on_the_cases_of_each_split_with_all_of_their_inputs(
    training: Training, arguments: SimpleNamespace
) -> None:
    def look(folder: Path) -> None:
        data = training.calls[0]["data"]
        for cases, targets, numbers in (
            (data.train, data.train_targets, (1, 5, 2)),
            (data.eval, data.eval_targets, EVAL),
        ):
            assert targets["malignancy"].tolist() == [number % 2 for number in numbers]
            for number, (inputs, target) in zip(numbers, cases.as_numpy_iterator(), strict=True):
                case = make_case(number)
                assert target == {"malignancy": number % 2}
                assert set(inputs) == {"images", "view_present", "clinical"}
                np.testing.assert_allclose(inputs["clinical"], transform_clinical(case), rtol=1e-6)
                assert inputs["images"].shape == (2, HEIGHT, WIDTH, 1)
        assert data.clinical_width == 5

    training.before = look
    trainer.run(arguments)
    (call,) = training.calls
    assert (call["training"].members, call["model"].width) == (2, MODEL["width"])


def test_the_graph_of_transform_is_taken_from_its_own_place_first(
    training: Training, arguments: SimpleNamespace, tmp_path: Path
) -> None:
    arguments.transform_graph_path, arguments.transform_output = str(tmp_path / "graph"), "nowhere"
    trainer.run(arguments)
    assert len(training.calls) == 1
