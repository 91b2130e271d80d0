"""Every folder in medimg/tasks is a task with the same file names, and is found by its name."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

import medimg.tasks
from medimg.errors import UsageError
from medimg.tasks import Task, find_task, list_tasks

FILES = ("__init__.py", "task.py", "settings.py", "preprocess.py", "model.py", "losses.py", "metrics.py")
TASKS = Path(medimg.tasks.__file__).parent


def test_there_is_a_task() -> None:
    assert "classification" in list_tasks()
    assert "shared" not in list_tasks()  # A folder without a task.py.
    assert list_tasks() == sorted(path.parent.name for path in TASKS.glob("*/task.py"))


@pytest.mark.parametrize("name", list_tasks())
def test_a_task_is_found_by_its_folders_name(name: str) -> None:
    task = find_task(name)
    assert isinstance(task, Task)
    assert task.name == name


@pytest.mark.parametrize("name", list_tasks())
def test_a_task_has_the_file_names_of_its_siblings(name: str) -> None:
    folder = TASKS / name
    assert [file for file in FILES if not (folder / file).is_file()] == []


@pytest.mark.parametrize("name", list_tasks())
def test_the_settings_are_frozen_dataclasses_with_defaults_for_training(name: str) -> None:
    task = find_task(name)
    training = task.training_settings()
    with pytest.raises(dataclasses.FrozenInstanceError):
        training.seed = 1
    assert dataclasses.is_dataclass(task.model_settings)


def test_an_unknown_task_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="no task 'clasification'; did you mean 'classification'"):
        find_task("clasification")
    with pytest.raises(UsageError, match=r"known: .*classification"):
        find_task("zzz")


def test_a_module_whose_task_is_none_is_named_with_what_it_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medimg.tasks.classification.task.TASK", {"name": "classification"})
    with pytest.raises(TypeError, match=r"tasks/classification/task\.py: TASK is dict, expected Task"):
        find_task("classification")
