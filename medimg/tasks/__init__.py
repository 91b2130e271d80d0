"""Tasks: each is one folder here with the same file names, found by the folder's name.

Its `TASK` is a record of plain callables.

A task touches pixels twice in the same way: `decode_case` serves training (tf.data) and the exported
signature, so both see the same numbers.
"""

from __future__ import annotations

import importlib.util
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from medimg.errors import UsageError, nearest


@dataclass(frozen=True)
class Task:
    """What the pipeline's glue needs to know of a task. `model` is the task's model settings throughout.

    Attributes:
        name: the folder's name.
        model_settings, training_settings: dataclasses of the settings.
        check_settings: (model) raises UsageError in one line where the settings contradict themselves.
        check_training: (model, training) does so for the two together.
        preprocess: (raw features, model) to transformed features, inside TensorFlow Transform; images never
            enter.
        image_spec: (model) to the parsing specification of the image features.
        decode_case: (parsed features of one case, model) to the network's image inputs of that case.
        clinical_sizes: (transform output, model) to the number of values per clinical column.
        clinical_inputs: (transformed features of a batch, model, sizes) to the network's clinical inputs, an
            empty dict if there are none.
        targets: (transformed features of a batch, model) to what the losses compare with.
        fit: (Data, model=, training=, folder=, report=) to Fitted; continues where an earlier call in
            `folder` was killed.
        make_predictor: (Fitted, model=, training=) to a tf.Module for the export. Its `predict` takes a batch
            of the network's inputs to the outputs; `details` to the same outputs and what is behind them;
            `has_details` says whether there is anything.
        case_bytes: (model) to the bytes of one decoded case.
        describe: (model) to JSON-able facts that a reader of the exported model needs.
        explain: (the exported Keras model, head) to its medimg.explain.network.Network; None where the task
            has nothing of the kind.
        embed: (the exported Keras model) to a Keras model from the same inputs, `images` among them, to one
            vector per case; or None.
    """

    name: str
    model_settings: type[Any]
    training_settings: type[Any]
    check_settings: Callable[[Any], None]
    check_training: Callable[[Any, Any], None]
    preprocess: Callable[..., dict[str, Any]]
    image_spec: Callable[[Any], dict[str, Any]]
    decode_case: Callable[..., dict[str, Any]]
    clinical_sizes: Callable[..., dict[str, int]]
    clinical_inputs: Callable[..., dict[str, Any]]
    targets: Callable[..., dict[str, Any]]
    fit: Callable[..., Any]
    make_predictor: Callable[..., Any]
    case_bytes: Callable[[Any], int]
    describe: Callable[[Any], dict[str, Any]]
    explain: Callable[..., Any] | None = None
    embed: Callable[..., Any] | None = None


def list_tasks() -> list[str]:
    """Returns the names of all tasks, sorted: the folders that hold a task.py."""
    folders = [module.name for module in pkgutil.iter_modules(__path__) if module.ispkg]
    return sorted(name for name in folders if importlib.util.find_spec(f"{__name__}.{name}.task"))


def check_task_name(name: str) -> None:
    """Raises UsageError if there is no such task; imports none of them."""
    if name not in list_tasks():
        raise UsageError(f"no task {name!r}; {nearest(name, list_tasks())}")


def find_task(name: str) -> Task:
    """The task in the folder called `name`.

    Raises:
        UsageError: no such task; the nearest is named.
    """
    check_task_name(name)
    task = importlib.import_module(f"{__name__}.{name}.task").TASK
    if not isinstance(task, Task):
        raise TypeError(f"medimg/tasks/{name}/task.py: TASK is {type(task).__name__}, expected Task")
    return task
