"""Typed settings of the classification task.

Plain frozen dataclasses, checked by pydantic where they are read.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Lt

from medimg.errors import UsageError

Positive = Annotated[int, Ge(1)]
Prevalence = Literal["train", "balanced"]


@dataclass(frozen=True)
class Head:
    """One thing to predict per case.

    Attributes:
        name: the label's name in the catalogue: "malignancy".
        classes: class names in order, the positive class last; empty means "as the data set says".
        weight: of this head's loss in the sum.
    """

    name: str
    classes: tuple[str, ...] = ()
    weight: float = 1.0


@dataclass(frozen=True)
class ModelSettings:
    """What the network is.

    Attributes:
        heads: the first is the main one: DataGate, early stopping and the report's headline look at it.
        roles: views of a case, each through the same backbone; a missing view is masked.
        image_size: height and width in pixels that the network sees.
        channels: 1 grey or 3 RGB.
        backbone: "small_cnn" or the name of a function in keras.applications ("EfficientNetB0").
        weights: None, "imagenet", or the path of a weights file.
        fusion: how the views' features become the case's.
        clinical_inputs: clinical columns the network sees; none by default, a column may well be the label in
            disguise.
        width: channels of small_cnn's first block; each block doubles it.
        dropout: rate before the heads.
    """

    heads: tuple[Head, ...]
    roles: tuple[str, ...]
    image_size: tuple[Positive, Positive] = (256, 208)
    channels: Literal[1, 3] = 1
    backbone: str = "small_cnn"
    weights: str | None = None
    fusion: Literal["mean", "max", "attention"] = "mean"
    clinical_inputs: tuple[str, ...] = ()
    width: Positive = 16
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.2


@dataclass(frozen=True)
class Augmentation:
    """Random changes of a training image, each drawn per image.

    Left-right flips are off where the orientation is canonical.
    """

    flip_vertical: bool = True
    flip_horizontal: bool = False
    rotate_degrees: float = 10.0
    shift_fraction: float = 0.05
    zoom_fraction: float = 0.1
    contrast_fraction: float = 0.1


@dataclass(frozen=True)
class TrainingSettings:
    """How it is trained.

    Attributes:
        epochs: at most; early stopping ends it after `patience` epochs in which the main head was no better
            on the eval split.
        batch_size: cases per step and replica.
        class_weights: weigh each head's classes inversely to their frequency in train.
        focal_gamma: of the focal loss (Lin et al. 2017, arXiv 1708.02002), which looks at hard cases more; 0
            is cross-entropy, 2 their choice.
        sampling: "balanced" shows each class of the only head equally often: rare cases several times an
            epoch, common ones in turns.
        logit_adjustment: (Menon et al. 2021, arXiv 2007.07314) "loss" adds the logarithm of the class
            frequencies to the logits while training; "post_hoc" takes it off the calibrated logits in the
            exported model.
        mixed_precision: "auto" uses float16 where a GPU is there.
        cache_bytes: decoded cases are cached on disk when they fit in this many bytes.
        seed: of weights, order and augmentation; member i of an ensemble has seed + i.
        calibrate: fit one temperature per head on the eval split, so that probabilities are as sure as they
            are right.
        members: of a deep ensemble (Lakshminarayanan et al. 2017, arXiv 1612.01474), trained one after the
            other; 1 is a single network.
        dropout_samples: how often each case is also answered with dropout on (Gal and Ghahramani 2016, arXiv
            1506.02142); 0 is never.
    """

    epochs: Positive = 30
    batch_size: Positive = 16
    learning_rate: Annotated[float, Gt(0)] = 1e-3
    patience: Positive = 8
    class_weights: bool = True
    focal_gamma: Annotated[float, Ge(0)] = 0.0
    sampling: Literal["shuffled", "balanced"] = "shuffled"
    logit_adjustment: Literal["loss", "post_hoc"] | None = None
    augmentation: Augmentation = field(default_factory=Augmentation)
    mixed_precision: Literal["auto", "on", "off"] = "auto"
    cache_bytes: Annotated[int, Ge(0)] = 20_000_000_000
    seed: Annotated[int, Ge(0)] = 0
    calibrate: bool = True
    members: Positive = 1
    dropout_samples: Annotated[int, Ge(0)] = 0

    @property
    def learns_balanced(self) -> bool:
        """Whether the network learns probabilities as if all classes were equally frequent."""
        return self.class_weights or self.sampling == "balanced" or self.logit_adjustment == "loss"

    @property
    def prevalence(self) -> Prevalence:
        """The class frequencies that the probabilities are meant for: those of train, or all alike."""
        return "balanced" if self.learns_balanced or self.logit_adjustment == "post_hoc" else "train"


def check_settings(settings: ModelSettings) -> None:
    """Raises UsageError in one line where the settings cannot make a network."""
    heads = [head.name for head in settings.heads]
    if not heads or not settings.roles:
        raise UsageError(
            f"model.heads {heads} and model.roles {list(settings.roles)}: expected at least one of each"
        )
    for name, count in Counter([*heads, *settings.roles]).items():
        if count > 1:
            raise UsageError(f"model: {name!r} is named {count} times among heads and roles, expected once")
    for head in settings.heads:
        if len(set(head.classes)) < 2 or len(set(head.classes)) < len(head.classes):
            raise UsageError(
                f"model.heads {head.name}: classes {list(head.classes)}, expected two or more, each once"
            )
    if min(settings.image_size) < 32:
        raise UsageError(
            f"model.image_size {list(settings.image_size)}: expected at least 32 pixels each way"
        )


def check_training(model: ModelSettings, training: TrainingSettings) -> None:
    """Raises UsageError in one line where the network cannot be trained as asked."""
    if training.dropout_samples == 1:
        raise UsageError(
            "training.dropout_samples: found 1, expected 0 for none, or 2 or more: "
            "one sample differs from nothing"
        )
    if training.dropout_samples and not model.dropout:
        raise UsageError(
            f"training.dropout_samples: found {training.dropout_samples} with model.dropout 0, "
            "expected a rate above 0"
        )
    check_balancing(model, training)


def check_balancing(model: ModelSettings, training: TrainingSettings) -> None:
    """Raises UsageError where means against imbalance contradict each other.

    Two of them would make rare classes count for more than common ones.
    """
    asked = {
        "class_weights": training.class_weights,
        "sampling": training.sampling,
        "logit_adjustment": training.logit_adjustment,
    }
    found = [
        f"{name}={value}".lower() for name, value in asked.items() if value not in (False, "shuffled", None)
    ]
    if len(found) > 1:
        raise UsageError(
            f"training: found {' and '.join(found)}, expected one of them at most: "
            "each alone makes every class count alike"
        )
    if training.focal_gamma and training.logit_adjustment:
        raise UsageError(
            f"training.focal_gamma: found {training.focal_gamma:g} with "
            f"logit_adjustment={training.logit_adjustment}, expected 0: "
            "the adjustment is of probabilities learnt by cross-entropy"
        )
    if training.sampling == "balanced" and len(model.heads) > 1:
        heads = ", ".join(head.name for head in model.heads)
        raise UsageError(
            f"training.sampling: found balanced with heads {heads}, expected one head: "
            "batches balanced for one are not so for others"
        )


def describe(settings: ModelSettings) -> dict[str, object]:
    """Returns what a reader of the exported model needs: outputs, classes in order, and what it looks at."""
    return {
        "heads": {head.name: list(head.classes) for head in settings.heads},
        "roles": list(settings.roles),
        "image_size": list(settings.image_size),
        "channels": settings.channels,
        "backbone": settings.backbone,
        "clinical_inputs": list(settings.clinical_inputs),
    }
