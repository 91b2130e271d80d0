"""The two dotted names that TFX calls.

`components.entry_points.preprocessing_fn` is Transform's, `components.entry_points.run_fn` Trainer's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tensorflow as tf
    from tfx.components.trainer.fn_args_utils import FnArgs


def preprocessing_fn(inputs: dict[str, tf.Tensor], custom_config: dict[str, Any]) -> dict[str, tf.Tensor]:
    """Transforms raw features as the task does that `custom_config` names, with its settings.

    `custom_config` has `task`, and its model settings under `model`.
    """
    from components.trainer.run import read_settings
    from medimg.tasks import find_task

    task = find_task(custom_config["task"])
    settings = read_settings(task.model_settings, custom_config["model"], section="model")
    task.check_settings(settings)
    return task.preprocess(inputs, settings)


def run_fn(fn_args: FnArgs) -> None:
    """Trains and exports; see `components.trainer.run.run`."""
    from components.trainer.run import run

    run(fn_args)
