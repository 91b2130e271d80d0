"""What names a training, what is read of its records, what is kept on disk, and what is told of it."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from medimg.errors import MedimgError, UsageError
from tests.components.examples import MODEL, TRAINING, make_arguments, make_case, serialize, write_split

FACTS: dict[str, Any] = {
    "task": "classification",
    "model": MODEL,
    "training": TRAINING,
    "code": "abc",
    "weights": "",
    "checkpoints": "/somewhere",
}


def name_training(
    folder: Path, *, facts: dict[str, Any] | None = None, order: tuple[int, int] = (0, 1)
) -> str:
    """The key of a training on the files of two splits and a graph below a folder."""
    from components.trainer.run import job_facts, training_key

    splits = [sorted(str(file) for file in (folder / name).iterdir()) for name in ("train", "eval")]
    graph = SimpleNamespace(transform_savedmodel_dir=str(folder / "graph"))
    return training_key(job_facts(facts or FACTS), [splits[number] for number in order], graph)


def test_a_training_has_a_name_of_16_hexadecimal_digits(folder: Path) -> None:
    assert re.fullmatch("[0-9a-f]{16}", name_training(folder))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Records of two splits, and files that stand for a Transform graph."""
    write_split(tmp_path / "train", [make_case(number) for number in range(4)])
    write_split(tmp_path / "eval", [make_case(number) for number in range(4, 6)])
    (tmp_path / "graph" / "assets").mkdir(parents=True)
    for name in ("saved_model.pb", "assets/clinical_source"):
        (tmp_path / "graph" / name).write_text(name)
    return tmp_path


@pytest.mark.parametrize(
    ("key", "value", "same"),
    [
        ("checkpoints", "/elsewhere", True),
        ("model", {**MODEL, "width": 8}, False),
        ("training", {**TRAINING, "seed": 4}, False),
        ("code", "abd", False),
        ("weights", "other", False),
        ("task", "other", False),
    ],
)
def test_a_training_is_named_by_its_settings_but_not_by_where_it_is_kept(
    folder: Path, key: str, value: object, same: bool
) -> None:
    assert (name_training(folder) == name_training(folder, facts={**FACTS, key: value})) == same


def test_a_training_is_named_by_the_content_of_its_records_by_split_and_of_its_graph(folder: Path) -> None:
    before = name_training(folder)
    assert name_training(folder, order=(1, 0)) != before
    shutil.copytree(folder, folder.parent / "moved")
    assert name_training(folder.parent / "moved") == before
    found = {before}
    for name in ("assets/clinical_source", "saved_model.pb"):
        (folder / "graph" / name).write_text(name.upper())
        found.add(name_training(folder))
    (folder / "graph" / "saved_model.pb").rename(folder / "graph" / "assets" / "saved_model.pb")
    found.add(name_training(folder))
    for split in ("train", "eval"):
        write_split(folder / split, [make_case(number, seed=1) for number in range(6)])
        found.add(name_training(folder))
    assert len(found) == 6


def test_a_record_has_its_length_and_checksum_read(tmp_path: Path) -> None:
    import struct

    from components.trainer.run import record_checksums

    cases = [make_case(number) for number in range(6)]
    write_split(tmp_path, cases)
    found = list(record_checksums(str(tmp_path / "data_tfrecord-00001-of-00002")))
    lengths = [struct.unpack("<Q", checksum[:8])[0] for checksum in found]
    assert lengths == [len(serialize(case)) for case in cases[1::2]]
    assert len({checksum[8:] for checksum in found}) == 3
    content = (tmp_path / "data_tfrecord-00001-of-00002").read_bytes()
    assert found[-1][8:] == content[-4:]
    assert found[0][8:] == content[lengths[0] + 12 :][:4]


@pytest.mark.parametrize("cut", [1, 4, 5])
def test_any_end_but_that_of_a_record_is_truncated(tmp_path: Path, cut: int) -> None:
    from components.trainer.run import record_checksums

    write_split(tmp_path, [make_case(1)])
    file = tmp_path / "data_tfrecord-00000-of-00002"
    whole = file.read_bytes()
    assert len(list(record_checksums(str(file)))) == 1
    for content in (whole[:-cut], whole + whole[: cut + 10]):
        file.write_bytes(content)
        with pytest.raises(
            MedimgError, match=f"truncated TFRecord at byte .* of {len(content)}, or compressed"
        ):
            list(record_checksums(str(file)))


def read(root: Path, folder: Path, *, cache_bytes: int, monkeypatch: pytest.MonkeyPatch, free: int) -> Any:
    """Both splits as the Trainer reads them, with so much room on the disk."""
    import tensorflow_transform as tft

    from components.trainer import run

    monkeypatch.setattr(run.shutil, "disk_usage", lambda path: SimpleNamespace(free=free))
    arguments = make_arguments(root, run="read", training={**TRAINING, "cache_bytes": cache_bytes})
    return run.read_data(
        run.read_job(arguments.custom_config),
        train_files=run.list_files(arguments.train_files, split="train"),
        eval_files=run.list_files(arguments.eval_files, split="eval"),
        transform_output=tft.TFTransformOutput(arguments.transform_graph_path),
        folder=folder,
    )


NEEDED = 90 * 2 * 64 * 52
"""Bytes of the decoded cases of both splits."""


@pytest.mark.parametrize(
    ("cache_bytes", "free", "kept"),
    [
        (NEEDED, 2 * NEEDED, True),
        (NEEDED - 1, 2 * NEEDED, False),
        (10 * NEEDED, 2 * NEEDED - 2, False),
        (0, 10 * NEEDED, False),
    ],
)
def test_decoded_cases_are_kept_on_disk_where_they_fit_in_half_of_it(
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    cache_bytes: int,
    free: int,
    kept: bool,
) -> None:
    data = read(root, tmp_path, cache_bytes=cache_bytes, monkeypatch=monkeypatch, free=free)
    assert any((tmp_path / "cache").glob("train*")) == kept
    told = "decoded and kept on disk" if kept else "will be decoded again in each epoch"
    assert capsys.readouterr().out == f"90 cases of train and eval {told}\n"
    assert (len(data.train), len(data.eval), data.clinical_width) == (60, 30, 5)


def test_targets_and_inputs_of_a_case_belong_together(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = read(root, tmp_path, cache_bytes=0, monkeypatch=monkeypatch, free=0)
    # Of two shards, the even cases come first; malignancy is odd, every fourth second label is missing.
    numbers = {"train": [*range(0, 60, 2), *range(1, 60, 2)], "eval": [*range(60, 90, 2), *range(61, 90, 2)]}
    for name, targets in (("train", data.train_targets), ("eval", data.eval_targets)):
        assert targets["malignancy"].tolist() == [number % 2 for number in numbers[name]]
        expected = [number % 3 if number % 4 else -1 for number in numbers[name]]
        assert targets["abnormality"].tolist() == expected
        assert targets["abnormality"].dtype == np.int64
    for number, (inputs, targets) in zip(numbers["eval"], data.eval.as_numpy_iterator(), strict=True):
        assert targets["malignancy"] == number % 2
        assert inputs["view_present"].tolist() == [1, float(number % 7 > 0)]


def test_files_are_sorted_over_all_patterns(tmp_path: Path) -> None:
    from components.trainer.run import list_files

    for name in ("b", "a", "c"):
        (tmp_path / name).touch()
    assert list_files([str(tmp_path / "[bc]"), str(tmp_path / "a")], split="train") == [
        str(tmp_path / name) for name in "abc"
    ]


@pytest.mark.parametrize("missing", ["task", "model", "training"])
def test_a_part_of_the_configuration_that_is_missing_is_named(missing: str) -> None:
    from components.trainer.run import read_job

    with pytest.raises(
        UsageError, match=f"custom_config has no {missing}; expected task, model and training"
    ):
        read_job({name: value for name, value in FACTS.items() if name != missing})
    with pytest.raises(UsageError, match="custom_config has no task, model, training;"):
        read_job(None)


@pytest.mark.parametrize(
    ("members", "line", "names"),
    [
        (1, "epoch 3/10", ["train/loss", "m/auc"]),
        (2, "member 2/2, epoch 3/10", ["member1/train/loss", "member1/m/auc"]),
    ],
)
def test_an_epoch_is_a_line_for_people_and_points_for_tensorboard(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], members: int, line: str, names: list[str]
) -> None:
    import tensorflow as tf

    from components.trainer.run import read_job, report_epoch
    from medimg.tasks.fitting import Epoch

    job = read_job({**FACTS, "training": {**TRAINING, "members": members}})
    writer = tf.summary.create_file_writer(str(tmp_path))
    epoch = Epoch(2, 1.26, {"train/loss": 0.41249, "m/auc": float("nan")}, member=members - 1)
    report_epoch(epoch, job, writer=writer)
    assert capsys.readouterr().out == f"{line}: train loss 0.412, m auc undefined, 1.3 s\n"
    (file,) = tmp_path.iterdir()
    found = {}
    for event in tf.compat.v1.train.summary_iterator(str(file)):
        for value in event.summary.value:
            found[value.tag] = event.step
    assert found == dict.fromkeys(names, 2)


def test_an_undefined_figure_is_null_in_json_at_any_depth(tmp_path: Path) -> None:
    from components.trainer.facts import write_json

    nan = float("nan")
    write_json(tmp_path / "a" / "b.json", {"z": nan, "list": [1.5, nan, (nan, 0)], "deep": {"x": {"y": nan}}})
    text = (tmp_path / "a" / "b.json").read_text()
    assert json.loads(text) == {"z": None, "list": [1.5, None, [None, 0]], "deep": {"x": {"y": None}}}
    assert list(json.loads(text)) == ["deep", "list", "z"]


def test_the_export_describes_all_members_and_what_the_answer_is_meant_for() -> None:
    from components.trainer.facts import describe_fitted, describe_member, list_bounds
    from medimg.evaluation.classification.recalibration import Recalibration
    from medimg.tasks.fitting import Epoch, Fitted, Member

    epochs = tuple(Epoch(number, 1.0, {"m/auc": 0.5}, member=1) for number in range(3))
    member = Member(None, epochs[1], epochs, {})
    recalibrations = {"m": Recalibration(1.5, (0.0, 1.0)), "s": Recalibration(0.05, (0.0, 0.0))}
    priors = {"m": (0.0, -1.0)}
    fitted = Fitted((member,) * 3, recalibrations, {"m/auc": 0.7}, {}, [], priors, "balanced")
    assert describe_fitted(fitted) == {
        "networks": ["model.keras", "model1.keras", "model2.keras"],
        "eval": {"m/auc": 0.7},
        "calibration": {
            "m": {"temperature": 1.5, "bias": (0.0, 1.0), "at_bound": False},
            "s": {"temperature": 0.05, "bias": (0.0, 0.0), "at_bound": True},
        },
        "log_priors": {"m": [0.0, -1.0]},
        "prevalence": "balanced",
    }
    (line,) = list_bounds(fitted)
    assert line.startswith("head s: temperature 0.05 is the least that is sought")
    assert describe_member(member) == {
        "best_epoch": 1,
        "history": [dataclasses.asdict(epoch) for epoch in epochs],
    }
