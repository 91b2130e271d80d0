"""Trainer's run_fn on real TFRecords and a real Transform graph: learning, export, restart after a kill, refusals."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medimg.errors import MedimgError, UsageError
from tests.components.examples import MODEL, TRAINING, make_arguments, make_case, serialize, write_split, write_transform_graph

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 cases for train, 30 for eval, and the Transform graph of train."""
    folder = tmp_path_factory.mktemp("trainer")
    train = [make_case(number) for number in range(60)]
    write_split(folder / "train", train)
    write_split(folder / "eval", [make_case(number) for number in range(60, 90)])
    write_transform_graph(folder / "transform", train, {"task": "classification", "model": MODEL})
    return folder


@pytest.fixture(scope="module")
def trained(root: Path) -> Path:
    """The outputs' folder of one whole run."""
    from components.training import run

    run(make_arguments(root, run="trained", checkpoints=str(root / "checkpoints")))
    return root / "trained"


def read_history(run: Path) -> list[dict[str, Any]]:
    return json.loads((run / "model_run" / "history.json").read_text())["history"]


def predict(run: Path, cases: list[dict[str, Any]], *, without: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
    import tensorflow as tf

    loaded = tf.saved_model.load(str(run / "Format-Serving"))
    serialized = [serialize({name: value for name, value in case.items() if name not in without}) for case in cases]
    return {name: value.numpy() for name, value in loaded.signatures["serving_default"](examples=tf.constant(serialized)).items()}


def test_a_bright_blob_is_told_from_a_faint_one(trained: Path) -> None:
    history = read_history(trained)
    assert max(epoch["figures"]["malignancy/auc"] for epoch in history) > 0.9


def test_the_exported_model_gives_the_best_epochs_auc(trained: Path) -> None:
    from sklearn.metrics import roc_auc_score

    cases = [make_case(number) for number in range(60, 90)]
    scores = predict(trained, cases)["malignancy"][:, 1]
    best = json.loads((trained / "model_run" / "history.json").read_text())["best_epoch"]
    expected = read_history(trained)[best]["figures"]["malignancy/auc"]
    assert roc_auc_score([case["label_malignancy"] == b"Malignant" for case in cases], scores) == pytest.approx(expected, abs=1e-6)


def test_serving_needs_no_label_and_gives_one_probability_per_class(trained: Path) -> None:
    cases = [make_case(number) for number in range(60, 66)]
    with_labels, without = predict(trained, cases), predict(trained, cases, without=("label_malignancy", "label_abnormality"))
    assert {name: value.shape for name, value in without.items()} == {"malignancy": (6, 2), "abnormality": (6, 3)}
    for name, value in without.items():
        np.testing.assert_array_equal(value, with_labels[name])
        np.testing.assert_allclose(value.sum(axis=1), 1.0, atol=1e-6)


def test_a_case_gets_the_same_answer_in_any_batch(trained: Path) -> None:
    cases = [make_case(number) for number in range(60, 75)]
    whole = predict(trained, cases)["malignancy"]
    single = np.concatenate([predict(trained, [case])["malignancy"] for case in cases[:3]])
    np.testing.assert_allclose(single, whole[:3], atol=1e-6)


def test_the_bare_keras_model_answers_as_the_export_does(trained: Path, root: Path) -> None:
    import keras
    import tensorflow as tf
    import tensorflow_transform as tft

    from components.signatures import decode_batch, raw_spec
    from components.training import read_job

    job = read_job(make_arguments(root, run="trained").custom_config)
    cases = [make_case(number) for number in range(60, 75)]
    serialized = tf.constant([serialize(case) for case in cases])
    inputs = decode_batch(tf.io.parse_example(serialized, job.task.image_spec(job.model)), task=job.task, settings=job.model)
    output = tft.TFTransformOutput(str(root / "transform" / "graph"))
    transformed = output.transform_features_layer()(tf.io.parse_example(serialized, raw_spec(output)))
    inputs |= job.task.clinical_inputs(transformed, job.model, job.task.clinical_sizes(output, job.model))
    model = keras.saving.load_model(trained / "Format-Serving" / "model.keras")
    for name, value in model.predict(inputs, verbose=0).items():
        np.testing.assert_allclose(value, predict(trained, cases)[name], atol=1e-6)


def test_transform_features_gives_class_indices_with_minus_one_for_missing(trained: Path) -> None:
    import tensorflow as tf

    loaded = tf.saved_model.load(str(trained / "Format-Serving"))
    outputs = loaded.signatures["transform_features"](examples=tf.constant([serialize(make_case(number)) for number in range(8)]))
    assert outputs["label_malignancy"].dtype == tf.int64
    assert outputs["label_malignancy"].numpy().tolist() == [[number % 2] for number in range(8)]
    assert outputs["label_abnormality"].numpy()[:, 0].tolist() == [-1, 1, 2, 0, -1, 2, 0, 1]


def test_the_export_says_what_it_is(trained: Path) -> None:
    facts = json.loads((trained / "Format-Serving" / "medimg.json").read_text())
    assert facts["heads"] == {"malignancy": ["Benign", "Malignant"], "abnormality": ["calcification", "mass", "both"]}
    assert (facts["roles"], facts["image_size"], facts["code"]) == (["CC", "MLO"], [64, 52], "abc")


def test_nothing_is_left_of_checkpoints_and_cache_after_export(trained: Path, root: Path) -> None:
    assert list((root / "checkpoints").iterdir()) == []


KILLED = """
import json, os, sys
from pathlib import Path
import components.training
from tests.components.examples import make_arguments
report = components.training.report_epoch
def die_in_third_epoch(epoch, job, *, writer):
    report(epoch, job, writer=writer)
    if epoch.number == 1:
        os._exit(137)
components.training.report_epoch = die_in_third_epoch
root = Path(sys.argv[1])
components.training.run(make_arguments(root, run="killed", **json.loads(sys.argv[2])))
"""


def test_a_killed_training_goes_on_at_the_epoch_reached_as_if_nothing_had_happened(
    trained: Path, root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from components.training import run

    config = {"checkpoints": str(root / "killed_checkpoints"), "training": {**TRAINING, "epochs": 4}}
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(root), json.dumps(config)], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert killed.returncode == 137, killed.stderr
    (folder,) = (root / "killed_checkpoints").iterdir()
    (folder / "cache" / "train_0.lockfile").write_text("half written")
    run(make_arguments(root, run="resumed", **config))
    printed = [line for line in capfd.readouterr().out.splitlines() if line.startswith("epoch ")]
    assert [line.split(":")[0] for line in printed] == ["epoch 3/4", "epoch 4/4"]
    resumed, whole = read_history(root / "resumed"), read_history(trained)[:4]
    assert [epoch["number"] for epoch in resumed] == [0, 1, 2, 3]
    assert [epoch["figures"]["train/loss"] for epoch in resumed] == pytest.approx([epoch["figures"]["train/loss"] for epoch in whole], rel=1e-3)


def test_an_edited_label_is_another_training_even_where_the_file_keeps_its_size(tmp_path: Path) -> None:
    from components.training import record_checksums

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


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    from components.training import record_checksums

    write_split(tmp_path, [make_case(1)])
    file = tmp_path / "data_tfrecord-00000-of-00002"
    file.write_bytes(file.read_bytes()[:-7])
    with pytest.raises(MedimgError, match="data_tfrecord-00000-of-00002: truncated TFRecord"):
        list(record_checksums(str(file)))


def test_one_class_in_train_is_refused_with_the_counts(root: Path, tmp_path: Path) -> None:
    from components.training import run

    arguments = make_arguments(root, run="refused", checkpoints=str(tmp_path / "checkpoints"))
    arguments.train_files = [write_split(tmp_path / "train", [make_case(number) for number in range(1, 9, 2)])]
    with pytest.raises(MedimgError, match=r"head malignancy: one class only in train \(0 Benign, 4 Malignant\)"):
        run(arguments)


def test_an_empty_split_is_refused(root: Path, tmp_path: Path) -> None:
    from components.training import run

    arguments = make_arguments(root, run="refused", checkpoints=str(tmp_path / "checkpoints"))
    arguments.train_files = [write_split(tmp_path / "train", [])]
    with pytest.raises(MedimgError, match="no labelled case in train"):
        run(arguments)
    arguments.train_files = [str(tmp_path / "nowhere" / "*")]
    with pytest.raises(MedimgError, match="no Examples in split train"):
        run(arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": "classificaton"}, "did you mean 'classification'"),
        ({"model": {**MODEL, "dropout": "much"}}, "config key model.dropout: .*'much'"),
        ({"training": {**TRAINING, "batch_size": 1.5}}, "config key training.batch_size"),
        ({"model": {**MODEL, "heads": [{"name": "malignancy"}]}}, "model.heads malignancy: classes"),
    ],
)
def test_a_wrong_setting_is_named(root: Path, change: dict[str, Any], message: str) -> None:
    from components.training import read_job

    with pytest.raises(UsageError, match=message):
        read_job(make_arguments(root, run="refused", **change).custom_config)
