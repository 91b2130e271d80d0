"""The loss, which leaves out missing labels, and what of it follows the classes' frequencies in train."""

from __future__ import annotations

from collections.abc import Mapping

import keras
import numpy as np
from keras import ops

from medimg.evaluation.classification.recalibration import SMALLEST_PROBABILITY
from medimg.tasks.classification.backbones import Tensor
from medimg.tasks.classification.settings import ModelSettings, TrainingSettings


@keras.saving.register_keras_serializable("medimg")
class MaskedCrossEntropy(keras.losses.Loss):
    """Cross-entropy of class probabilities [batch, C] with class indices [batch].

    A label of -1 contributes nothing, nor any gradient.

    The batch's value is the sum over labelled cases of class weight times loss, divided by the number of
    cases in the batch.
    """

    def __init__(
        self,
        class_weights: tuple[float, ...],
        *,
        focal_gamma: float = 0.0,
        log_priors: tuple[float, ...] = (),
        name: str = "masked_cross_entropy",
        **kwargs: object,
    ) -> None:
        """Stores the configuration.

        Args:
            class_weights: [C].
            focal_gamma: each case's loss is multiplied by (1 - p) ** gamma, p being the probability of its
                label: the focal loss.
            log_priors: [C], added to the logits: the logit-adjusted loss. Empty adds nothing.
        """
        super().__init__(name=name, **kwargs)
        self.class_weights, self.focal_gamma, self.log_priors = (
            tuple(class_weights),
            focal_gamma,
            tuple(log_priors),
        )

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        label = ops.cast(ops.reshape(y_true, (-1,)), "int32")
        known = ops.cast(label >= 0, y_pred.dtype)
        index = ops.maximum(label, 0)
        weight = known * ops.take(ops.cast(self.class_weights, y_pred.dtype), index)
        if self.log_priors:
            y_pred = ops.softmax(
                ops.log(ops.maximum(y_pred, SMALLEST_PROBABILITY)) + ops.cast(self.log_priors, y_pred.dtype)
            )
        loss = keras.losses.sparse_categorical_crossentropy(index, y_pred)
        if self.focal_gamma:
            # From the loss and not from y_pred: Keras takes the loss from the logits, which loses no digit.
            # At 0 a root has no gradient.
            loss *= ops.maximum(1.0 - ops.exp(-loss), keras.config.epsilon()) ** self.focal_gamma
        return weight * loss

    def get_config(self) -> dict[str, object]:
        own = {
            "class_weights": self.class_weights,
            "focal_gamma": self.focal_gamma,
            "log_priors": self.log_priors,
        }
        return {**super().get_config(), **own}


def class_weights(labels: np.ndarray, *, classes: int, balanced: bool) -> tuple[float, ...]:
    """Returns the weight of each class, [C].

    It is inverse to its frequency among the labelled cases with a mean of 1 per case, or all are 1.

    Args:
        labels: int [N], -1 where missing. A class that does not occur has weight 1, and no effect.
    """
    counts = np.bincount(labels[labels >= 0], minlength=classes)
    if not balanced:
        return (1.0,) * classes
    present = int((counts > 0).sum())
    return tuple(float(counts.sum() / (present * count)) if count else 1.0 for count in counts)


def class_shares(labels: np.ndarray, *, classes: int) -> tuple[float, ...]:
    """Returns each class's share of the labelled cases, [C]; zeros if no case is labelled.

    Args:
        labels: int [N], -1 where missing.
    """
    counts = np.bincount(labels[labels >= 0], minlength=classes)
    return tuple((counts / max(counts.sum(), 1)).tolist())


def class_log_priors(labels: np.ndarray, *, classes: int) -> tuple[float, ...]:
    """Logarithm of each class's share of the labelled cases.

    0 for a class that does not occur, which there is nothing to adjust by.

    Args:
        labels: int [N], -1 where missing.
    """
    return tuple(float(np.log(share)) if share else 0.0 for share in class_shares(labels, classes=classes))


def make_losses(
    settings: ModelSettings, training: TrainingSettings, *, labels: Mapping[str, np.ndarray]
) -> tuple[dict[str, MaskedCrossEntropy], dict[str, float]]:
    """Loss and loss weight by head; class weights and frequencies from the train labels (head to int [N])."""
    losses = {}
    for head in settings.heads:
        found, classes = labels[head.name], len(head.classes)
        losses[head.name] = MaskedCrossEntropy(
            class_weights(found, classes=classes, balanced=training.weighs_classes(classes)),
            focal_gamma=training.focal_gamma,
            log_priors=class_log_priors(found, classes=classes)
            if training.logit_adjustment == "loss"
            else (),
        )
    return losses, {head.name: head.weight for head in settings.heads}
