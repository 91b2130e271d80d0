"""What a search may change where a config names no space: four settings that are worth it on any data."""

from __future__ import annotations

from medimg.tasks.classification.settings import ModelSettings
from medimg.tasks.search_space import Choice, Range, Space


def get_search_space(model: ModelSettings) -> Space:
    """Learning rate, batch size, dropout, and the width of a backbone that has one."""
    space: dict[str, Choice | Range] = {
        "training.learning_rate": Range(1e-4, 1e-2, scale="log"),
        "training.batch_size": Choice((8, 16, 32)),
        "model.dropout": Range(0.0, 0.5),
    }
    return {**space, "model.width": Choice((8, 16, 24, 32))} if model.backbone == "small_cnn" else space
