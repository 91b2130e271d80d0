"""What Trainer refuses, in one line: truncated files, splits to learn nothing from, wrong settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from medimg.errors import MedimgError, UsageError
from tests.components.examples import MODEL, TRAINING, make_arguments, make_case, write_split


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    from components.trainer.run import record_checksums

    write_split(tmp_path, [make_case(1)])
    file = tmp_path / "data_tfrecord-00000-of-00002"
    file.write_bytes(file.read_bytes()[:-7])
    with pytest.raises(MedimgError, match="data_tfrecord-00000-of-00002: truncated TFRecord"):
        list(record_checksums(str(file)))


def test_one_class_in_train_is_refused_with_the_counts(root: Path, tmp_path: Path) -> None:
    from components.trainer.run import run

    arguments = make_arguments(root, run="refused", checkpoints=str(tmp_path / "checkpoints"))
    arguments.train_files = [
        write_split(tmp_path / "train", [make_case(number) for number in range(1, 9, 2)])
    ]
    with pytest.raises(
        MedimgError, match=r"head malignancy: one class only in train \(0 Benign, 4 Malignant\)"
    ):
        run(arguments)


def test_an_empty_split_is_refused(root: Path, tmp_path: Path) -> None:
    from components.trainer.run import run

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
        ({"training": {**TRAINING, "members": 0}}, "config key training.members"),
        # The first in the order of the settings, of several.
        ({"training": {**TRAINING, "members": 0, "epochs": "many"}}, "config key training.epochs"),
        ({"training": {**TRAINING, "dropout_samples": 1}}, "training.dropout_samples: found 1"),
        (
            {"training": {**TRAINING, "dropout_samples": 9}, "model": {**MODEL, "dropout": 0}},
            "dropout_samples: found 9 with model.dropout 0",
        ),
    ],
)
def test_a_wrong_setting_is_named(root: Path, change: dict[str, Any], message: str) -> None:
    from components.trainer.run import read_job

    with pytest.raises(UsageError, match=message):
        read_job(make_arguments(root, run="refused", **change).custom_config)
