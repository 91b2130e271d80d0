"""The two dotted names that TFX calls: `components.entry_points.preprocessing_fn` (Transform) and `components.entry_points.run_fn` (Trainer)."""

from __future__ import annotations

from typing import Any


def preprocessing_fn(inputs: dict[str, Any], custom_config: dict[str, Any]) -> dict[str, Any]:
    """Raw features to transformed features, as the task named in `custom_config` does it with its `model` settings."""
    from components.trainer.run import read_settings
    from medimg.tasks import find_task

    task = find_task(custom_config["task"])
    settings = read_settings(task.model_settings, custom_config["model"], section="model")
    task.check_settings(settings)
    return task.preprocess(inputs, settings)


def run_fn(fn_args: Any) -> None:
    """Trains and exports; see `components.trainer.run.run`."""
    from components.trainer.run import run

    run(fn_args)
