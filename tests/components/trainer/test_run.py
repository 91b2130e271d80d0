"""Trainer's run_fn on real TFRecords and a real Transform graph: learning, export, restart after a kill."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medimg.evaluation.classification.recalibration import Recalibration, recalibrate
from tests.components.examples import TRAINING, make_arguments, make_case, serialize, write_split

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def trained(root: Path) -> Path:
    """The outputs' folder of one whole run."""
    from components.trainer.run import run

    run(make_arguments(root, run="trained", checkpoints=str(root / "checkpoints")))
    return root / "trained"


def read_history(run: Path) -> list[dict[str, Any]]:
    return read_member(run)["history"]


def read_member(run: Path, index: int = 0) -> dict[str, Any]:
    return json.loads((run / "model_run" / "history.json").read_text())["members"][index]


def read_facts(run: Path) -> dict[str, Any]:
    return json.loads((run / "Format-Serving" / "medimg.json").read_text())


def predict(
    run: Path,
    cases: list[dict[str, Any]],
    *,
    without: tuple[str, ...] = (),
    signature: str = "serving_default",
) -> dict[str, np.ndarray]:
    import tensorflow as tf

    loaded = tf.saved_model.load(str(run / "Format-Serving"))
    serialized = []
    for case in cases:
        serialized.append(serialize({name: value for name, value in case.items() if name not in without}))
    outputs = loaded.signatures[signature](examples=tf.constant(serialized))
    return {name: value.numpy() for name, value in outputs.items()}


def predict_bare(
    run: Path, root: Path, cases: list[dict[str, Any]], *, file: str = "model.keras"
) -> dict[str, np.ndarray]:
    """What a member's bare network says."""
    import keras
    import tensorflow as tf
    import tensorflow_transform as tft

    from components.trainer.run import read_job
    from components.trainer.serving import decode_batch, raw_spec

    job = read_job(make_arguments(root, run="bare").custom_config)
    serialized = tf.constant([serialize(case) for case in cases])
    inputs = decode_batch(
        tf.io.parse_example(serialized, job.task.image_spec(job.model)), task=job.task, settings=job.model
    )
    output = tft.TFTransformOutput(str(root / "transform" / "graph"))
    transformed = output.transform_features_layer()(tf.io.parse_example(serialized, raw_spec(output)))
    inputs |= job.task.clinical_inputs(transformed, job.model, job.task.clinical_sizes(output, job.model))
    return keras.saving.load_model(run / "Format-Serving" / file).predict(inputs, verbose=0)


def test_a_bright_blob_is_told_from_a_faint_one(trained: Path) -> None:
    history = read_history(trained)
    assert max(epoch["figures"]["malignancy/auc"] for epoch in history) > 0.9


def test_the_exported_model_gives_the_best_epochs_auc(trained: Path) -> None:
    from sklearn.metrics import roc_auc_score

    cases = [make_case(number) for number in range(60, 90)]
    scores = predict(trained, cases)["malignancy"][:, 1]
    expected = read_history(trained)[read_member(trained)["best_epoch"]]["figures"]["malignancy/auc"]
    assert roc_auc_score(
        [case["label_malignancy"] == b"Malignant" for case in cases], scores
    ) == pytest.approx(expected, abs=1e-6)


def test_serving_needs_no_label_and_gives_one_probability_per_class(trained: Path) -> None:
    cases = [make_case(number) for number in range(60, 66)]
    with_labels, without = (
        predict(trained, cases),
        predict(trained, cases, without=("label_malignancy", "label_abnormality")),
    )
    assert {name: value.shape for name, value in without.items()} == {
        "malignancy": (6, 2),
        "abnormality": (6, 3),
    }
    for name, value in without.items():
        np.testing.assert_array_equal(value, with_labels[name])
        np.testing.assert_allclose(value.sum(axis=1), 1.0, atol=1e-6)


def test_a_case_gets_the_same_answer_in_any_batch(trained: Path) -> None:
    cases = [make_case(number) for number in range(60, 75)]
    whole = predict(trained, cases)["malignancy"]
    single = np.concatenate([predict(trained, [case])["malignancy"] for case in cases[:3]])
    np.testing.assert_allclose(single, whole[:3], atol=1e-6)


def apply_stored(probabilities: np.ndarray, stored: dict[str, Any]) -> np.ndarray:
    return recalibrate(probabilities, Recalibration(stored["temperature"], tuple(stored["bias"])))


def test_the_bare_network_recalibrated_as_stored_answers_as_the_export_does(
    trained: Path, root: Path
) -> None:
    cases = [make_case(number) for number in range(60, 75)]
    served, calibration = predict(trained, cases), read_facts(trained)["calibration"]
    for name, value in predict_bare(trained, root, cases).items():
        assert calibration[name]["temperature"] != 1
        np.testing.assert_allclose(apply_stored(value, calibration[name]), served[name], atol=1e-6)


def test_the_details_say_what_each_view_says_alone(trained: Path) -> None:
    cases = [make_case(number) for number in range(60, 75)]
    served, details = predict(trained, cases), predict(trained, cases, signature="details")
    assert set(details) == {"malignancy", "abnormality", "v/malignancy", "v/abnormality"}
    has_mlo = np.array(["image_MLO" in case for case in cases])
    for head, whole in served.items():
        alone = details[f"v/{head}"]
        np.testing.assert_allclose(details[head], whole, atol=1e-6)
        assert np.isnan(alone[~has_mlo, 1]).all()
        np.testing.assert_allclose(alone[~has_mlo, 0], whole[~has_mlo], atol=1e-6)
        np.testing.assert_allclose(
            alone[:, 0], predict(trained, cases, without=("image_MLO",))[head], atol=1e-6
        )
        np.testing.assert_allclose(
            alone[has_mlo, 1], predict(trained, cases, without=("image_CC",))[head][has_mlo], atol=1e-6
        )


def test_the_table_of_predictions_has_the_views_and_a_model_without_details_still_scores(
    trained: Path, root: Path, tmp_path: Path
) -> None:
    import tensorflow as tf

    from components.report_gen.scoring import score_examples

    model = trained / "Format-Serving"
    heads, files = read_facts(trained)["heads"], sorted(str(file) for file in (root / "eval").iterdir())
    table = score_examples(model, files, heads=heads)
    cases = [make_case(number) for number in range(60, 90)]
    assert list(table.case_id) == [case["case_id"].decode() for case in cases]
    np.testing.assert_allclose(
        table.p_malignancy_Malignant, predict(trained, cases)["malignancy"][:, 1], atol=1e-6
    )
    np.testing.assert_allclose(
        table.v_abnormality_mass_CC,
        predict(trained, cases, without=("image_MLO",))["abnormality"][:, 1],
        atol=1e-6,
    )
    assert table.v_malignancy_Benign_MLO.isna().tolist() == ["image_MLO" not in case for case in cases]
    train = sorted(str(file) for file in (root / "train").iterdir())
    both = score_examples(model, [*files, *train], heads=heads)
    assert list(both.case_id) == sorted(both.case_id)
    assert list(both.index) == list(range(90))
    loaded = tf.saved_model.load(str(model))
    tf.saved_model.save(
        loaded, str(tmp_path), signatures={"serving_default": loaded.signatures["serving_default"]}
    )
    (tmp_path / "medimg.json").write_text((model / "medimg.json").read_text())
    before = score_examples(tmp_path, files, heads=heads)
    assert set(table) - set(before) == {
        f"v_{head}_{name}_{role}"
        for head, classes in heads.items()
        for name in classes
        for role in ("CC", "MLO")
    }
    np.testing.assert_allclose(before.p_malignancy_Malignant, table.p_malignancy_Malignant, atol=1e-6)


def test_transform_features_gives_class_indices_with_minus_one_for_missing(trained: Path) -> None:
    import tensorflow as tf

    loaded = tf.saved_model.load(str(trained / "Format-Serving"))
    outputs = loaded.signatures["transform_features"](
        examples=tf.constant([serialize(make_case(number)) for number in range(8)])
    )
    assert outputs["label_malignancy"].dtype == tf.int64
    assert outputs["label_malignancy"].numpy().tolist() == [[number % 2] for number in range(8)]
    assert outputs["label_abnormality"].numpy()[:, 0].tolist() == [-1, 1, 2, 0, -1, 2, 0, 1]


def test_the_export_says_what_it_is(trained: Path) -> None:
    facts = read_facts(trained)
    assert facts["heads"] == {
        "malignancy": ["Benign", "Malignant"],
        "abnormality": ["calcification", "mass", "both"],
    }
    assert (facts["roles"], facts["image_size"], facts["code"]) == (["CC", "MLO"], [64, 52], "abc")
    assert facts["networks"] == ["model.keras"]
    assert facts["eval"]["malignancy/auc"] == pytest.approx(
        read_history(trained)[read_member(trained)["best_epoch"]]["figures"]["malignancy/auc"]
    )


def test_nothing_is_left_of_checkpoints_and_cache_after_export(trained: Path, root: Path) -> None:
    assert list((root / "checkpoints").iterdir()) == []


KILLED = """
import json, os, sys
from pathlib import Path
import components.trainer.run
from tests.components.examples import make_arguments
report = components.trainer.run.report_epoch
def die_after_second_epoch(epoch, job, *, writer):
    report(epoch, job, writer=writer)
    if epoch.number == 1 and epoch.member == job.training.members - 1:
        os._exit(137)
components.trainer.run.report_epoch = die_after_second_epoch
root = Path(sys.argv[1])
components.trainer.run.run(make_arguments(root, run="killed", **json.loads(sys.argv[2])))
"""


def test_a_killed_training_goes_on_at_the_epoch_reached_as_if_nothing_had_happened(
    trained: Path, root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from components.trainer.run import run

    config = {"checkpoints": str(root / "killed_checkpoints"), "training": {**TRAINING, "epochs": 4}}
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(root), json.dumps(config)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert killed.returncode == 137, killed.stderr
    (folder,) = (root / "killed_checkpoints").iterdir()
    (folder / "cache" / "train_0.lockfile").write_text("half written")
    run(make_arguments(root, run="resumed", **config))
    printed = [line for line in capfd.readouterr().out.splitlines() if line.startswith("epoch ")]
    assert [line.split(":")[0] for line in printed] == ["epoch 3/4", "epoch 4/4"]
    resumed, whole = read_history(root / "resumed"), read_history(trained)[:4]
    assert [epoch["number"] for epoch in resumed] == [0, 1, 2, 3]
    assert [epoch["figures"]["train/loss"] for epoch in resumed] == pytest.approx(
        [epoch["figures"]["train/loss"] for epoch in whole], rel=1e-3
    )


def test_an_ensemble_killed_in_its_second_member_goes_on_there_and_serves_the_calibrated_mean(
    root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from components.report_gen.scoring import score_examples
    from components.trainer.run import run

    config = {
        "checkpoints": str(root / "ensemble_checkpoints"),
        "training": {**TRAINING, "epochs": 3, "members": 2},
    }
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(root), json.dumps(config)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert killed.returncode == 137, killed.stderr
    run(make_arguments(root, run="ensemble", **config))
    printed = [line for line in capfd.readouterr().out.splitlines() if ", epoch " in line]
    assert [line.split(":")[0] for line in printed] == ["member 2/2, epoch 3/3"]
    ensemble = root / "ensemble"
    assert [len(read_member(ensemble, index)["history"]) for index in range(2)] == [3, 3]
    cases, facts = [make_case(number) for number in range(60, 90)], read_facts(ensemble)
    members = [predict_bare(ensemble, root, cases, file=file) for file in ("model.keras", "model1.keras")]
    table = score_examples(
        ensemble / "Format-Serving",
        sorted(str(file) for file in (root / "eval").iterdir()),
        heads=facts["heads"],
    )
    assert np.abs(members[0]["malignancy"] - members[1]["malignancy"]).max() > 0.01
    for index, member in enumerate(members):
        np.testing.assert_allclose(
            table[f"m{index}_malignancy_Malignant"], member["malignancy"][:, 1], atol=1e-6
        )
    mean = (members[0]["malignancy"] + members[1]["malignancy"]) / 2
    expected = apply_stored(mean, facts["calibration"]["malignancy"])
    np.testing.assert_allclose(table.p_malignancy_Malignant, expected[:, 1], atol=1e-6)
    np.testing.assert_allclose(predict(ensemble, cases)["malignancy"], expected, atol=1e-6)


def test_an_edited_label_is_another_training_even_where_the_file_keeps_its_size(tmp_path: Path) -> None:
    from components.trainer.run import record_checksums

    case = make_case(2)
    before = tmp_path / "before", {**case, "label_abnormality": b"mass"}
    after = tmp_path / "after", {**case, "label_abnormality": b"both"}
    checksums = []
    for folder, edited in (before, after):
        write_split(folder, [edited])
        checksums.append(list(record_checksums(str(folder / "data_tfrecord-00000-of-00002"))))
    sizes = {(folder / "data_tfrecord-00000-of-00002").stat().st_size for folder, _ in (before, after)}
    assert len(sizes) == 1
    assert checksums[0] != checksums[1]
