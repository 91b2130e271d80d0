"""Losses that leave out missing labels, and the class weights that go with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from medimg.tasks.classification.settings import ModelSettings


@keras.saving.register_keras_serializable("medimg")
class MaskedCrossEntropy(keras.losses.Loss):
    """Cross-entropy of class probabilities [batch, C] with class indices [batch]; a label of -1 contributes nothing, nor any gradient.

    The batch's value is the sum over labelled cases of class weight times loss, divided by the number of cases in the batch.
    """

    def __init__(self, class_weights: tuple[float, ...], name: str = "masked_cross_entropy", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.class_weights = tuple(class_weights)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        label = ops.cast(ops.reshape(y_true, (-1,)), "int32")
        known = ops.cast(label >= 0, y_pred.dtype)
        index = ops.maximum(label, 0)
        weight = known * ops.take(ops.cast(self.class_weights, y_pred.dtype), index)
        return weight * keras.losses.sparse_categorical_crossentropy(index, y_pred)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "class_weights": self.class_weights}


def class_weights(labels: np.ndarray, *, classes: int, balanced: bool) -> tuple[float, ...]:
    """Weight of each class: inverse to its frequency among the labelled cases with a mean of 1 per case, or all 1.

    Args:
        labels: int [N], -1 where missing. A class that does not occur has weight 1, and no effect.
    """
    counts = np.bincount(labels[labels >= 0], minlength=classes)
    if not balanced:
        return (1.0,) * classes
    present = int((counts > 0).sum())
    return tuple(float(counts.sum() / (present * count)) if count else 1.0 for count in counts)


def make_losses(
    settings: ModelSettings, *, labels: Mapping[str, np.ndarray], balanced: bool
) -> tuple[dict[str, MaskedCrossEntropy], dict[str, float]]:
    """Loss and loss weight by head; class weights from the train labels (head to int [N])."""
    losses = {
        head.name: MaskedCrossEntropy(class_weights(labels[head.name], classes=len(head.classes), balanced=balanced)) for head in settings.heads
    }
    return losses, {head.name: head.weight for head in settings.heads}
