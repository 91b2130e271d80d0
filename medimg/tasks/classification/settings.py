"""Typed settings of the classification task.

Plain frozen dataclasses, checked by pydantic where they are read.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Le

from medimg.errors import UsageError, nearest
from medimg.numeric_types import (
    Bytes,
    Count,
    Degrees,
    Fraction,
    FractionBelowOne,
    NonNegative,
    Pixels,
    PositiveCount,
    PositiveFinite,
    Seed,
)

SMALL_CNN = "small_cnn"
APPLICATIONS = (
    "ConvNeXtBase",
    "ConvNeXtLarge",
    "ConvNeXtSmall",
    "ConvNeXtTiny",
    "ConvNeXtXLarge",
    "DenseNet121",
    "DenseNet169",
    "DenseNet201",
    "EfficientNetB0",
    "EfficientNetB1",
    "EfficientNetB2",
    "EfficientNetB3",
    "EfficientNetB4",
    "EfficientNetB5",
    "EfficientNetB6",
    "EfficientNetB7",
    "EfficientNetV2B0",
    "EfficientNetV2B1",
    "EfficientNetV2B2",
    "EfficientNetV2B3",
    "EfficientNetV2L",
    "EfficientNetV2M",
    "EfficientNetV2S",
    "InceptionResNetV2",
    "InceptionV3",
    "MobileNet",
    "MobileNetV2",
    "MobileNetV3Large",
    "MobileNetV3Small",
    "NASNetLarge",
    "NASNetMobile",
    "ResNet101",
    "ResNet101V2",
    "ResNet152",
    "ResNet152V2",
    "ResNet50",
    "ResNet50V2",
    "VGG16",
    "VGG19",
    "Xception",
)
"""The networks of keras.applications, by name: importing Keras takes seconds, which a refusal need not."""
Prevalence = Literal["train", "balanced"]


@dataclass(frozen=True)
class Head:
    """One thing to predict per case.

    Attributes:
        name: the label's name in the catalogue: "malignancy".
        classes: class names in order, the positive class last; empty means "as the data set says".
        weight: of this head's loss in the sum, above 0, at most 1e6.
    """

    name: str
    classes: tuple[str, ...] = ()
    weight: PositiveFinite = 1.0


@dataclass(frozen=True)
class ModelSettings:
    """What the network is.

    Attributes:
        heads: the first is the main one: DataGate, early stopping and the report's headline look at it.
        roles: views of a case, each through the same backbone; a missing view is masked.
        image_size: height and width in pixels that the network sees, each 32 to 16384.
        channels: 1 grey or 3 RGB.
        backbone: "small_cnn" or the name of a function in keras.applications ("EfficientNetB0").
        weights: None, "imagenet", or the path of a weights file.
        fusion: how the views' features become the case's.
        clinical_inputs: clinical columns the network sees; none by default, a column may well be the label in
            disguise.
        width: channels of small_cnn's first block, 1 to 4096; each block doubles it.
        dropout: rate before the heads, 0 to less than 1.
    """

    heads: tuple[Head, ...]
    roles: tuple[str, ...]
    image_size: tuple[Pixels, Pixels] = (256, 208)
    channels: Literal[1, 3] = 1
    backbone: str = "small_cnn"
    weights: str | None = None
    fusion: Literal["mean", "max", "attention"] = "mean"
    clinical_inputs: tuple[str, ...] = ()
    width: Annotated[PositiveCount, Le(4096)] = 16
    dropout: FractionBelowOne = 0.2


@dataclass(frozen=True)
class Augmentation:
    """Random changes of a training image, each drawn per image.

    Left-right flips are off where the orientation is canonical. Each number is the largest change, either
    way; 0 turns it off.

    Attributes:
        rotate_degrees: 0 to 180.
        shift_fraction: of height and width, 0 to 1.
        zoom_fraction, contrast_fraction: of 1, the image as it is; 0 to less than 1.
    """

    flip_vertical: bool = True
    flip_horizontal: bool = False
    rotate_degrees: Degrees = 10.0
    shift_fraction: Fraction = 0.05
    zoom_fraction: FractionBelowOne = 0.1
    contrast_fraction: FractionBelowOne = 0.1


@dataclass(frozen=True)
class TrainingSettings:
    """How it is trained. A count is at most 10 million.

    Attributes:
        epochs: at most, 1 or more; early stopping ends it after `patience` epochs (1 or more) in which the
            main head was no better on the eval split.
        batch_size: cases per step and replica, 1 or more.
        learning_rate: of the optimiser, above 0, at most 1e6.
        class_weights: weigh each head's classes inversely to their frequency in train; None does so for heads
            of more than two classes, unless `sampling` or `logit_adjustment="loss"` makes them count alike.
        focal_gamma: of the focal loss (Lin et al. 2017, arXiv 1708.02002), which looks at hard cases more; 0
            is cross-entropy, 2 their choice; at most 1e6.
        sampling: "balanced" shows each class of the only head equally often: rare cases several times an
            epoch, common ones in turns.
        logit_adjustment: (Menon et al. 2021, arXiv 2007.07314) "loss" adds the logarithm of the class
            frequencies to the logits while training; "post_hoc" takes it off the calibrated logits in the
            exported model, whose answers are then as if all classes were equally frequent.
        mixed_precision: "auto" uses float16 where a GPU is there.
        cache_bytes: decoded cases are cached on disk when they fit in this many bytes, 0 to 10^15.
        seed: of weights, order and augmentation, 0 to 2 billion; member i of an ensemble has seed + i.
        calibrate: fit a temperature and a bias per head on cases of the eval split that chose no epoch, so
            that probabilities are as sure as they are right. Without, the bias is what follows from how the
            classes counted while training.
        members: of a deep ensemble (Lakshminarayanan et al. 2017, arXiv 1612.01474), trained one after the
            other, 1 or more; 1 is a single network.
        dropout_samples: how often each case is also answered with dropout on (Gal and Ghahramani 2016, arXiv
            1506.02142), 2 or more; 0 is never.
    """

    epochs: PositiveCount = 30
    batch_size: PositiveCount = 16
    learning_rate: PositiveFinite = 1e-3
    patience: PositiveCount = 8
    class_weights: bool | None = None
    focal_gamma: NonNegative = 0.0
    sampling: Literal["shuffled", "balanced"] = "shuffled"
    logit_adjustment: Literal["loss", "post_hoc"] | None = None
    augmentation: Augmentation = field(default_factory=Augmentation)
    mixed_precision: Literal["auto", "on", "off"] = "auto"
    cache_bytes: Bytes = 20_000_000_000
    seed: Seed = 0
    calibrate: bool = True
    members: PositiveCount = 1
    dropout_samples: Count = 0

    def weighs_classes(self, classes: int) -> bool:
        """Whether the loss of a head of so many classes weighs them."""
        if self.class_weights is not None:
            return self.class_weights
        return classes > 2 and self.sampling == "shuffled" and self.logit_adjustment != "loss"

    def learns_balanced(self, classes: int) -> bool:
        """Whether a head of so many classes learns probabilities as if all were equally frequent."""
        return self.weighs_classes(classes) or self.sampling == "balanced" or self.logit_adjustment == "loss"

    @property
    def prevalence(self) -> Prevalence:
        """The class frequencies that the probabilities are meant for: those of train, or all alike."""
        return "balanced" if self.logit_adjustment == "post_hoc" else "train"


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
    check_backbone(settings)
    if min(settings.image_size) < 32:
        raise UsageError(
            f"model.image_size {list(settings.image_size)}: expected at least 32 pixels each way"
        )


def check_backbone(settings: ModelSettings) -> None:
    """Raises UsageError for a backbone that does not exist, or for weights that it does not take."""
    known = (SMALL_CNN, *APPLICATIONS)
    if settings.backbone not in known:
        raise UsageError(
            f"model.backbone: no backbone {settings.backbone!r}; {nearest(settings.backbone, known)}"
        )
    if settings.backbone == SMALL_CNN and settings.weights is not None:
        raise UsageError(
            f"model.weights: found {settings.weights!r}, expected none: {SMALL_CNN} is trained from scratch"
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
        "class_weights=true": training.class_weights,
        "sampling=balanced": training.sampling == "balanced",
        "logit_adjustment=loss": training.logit_adjustment == "loss",
    }
    found = [name for name, value in asked.items() if value]
    if len(found) > 1:
        raise UsageError(
            f"training: found {' and '.join(found)}, expected one of them at most: "
            "each alone makes every class count alike"
        )
    if training.focal_gamma and training.logit_adjustment == "loss":
        raise UsageError(
            f"training.focal_gamma: found {training.focal_gamma:g} with logit_adjustment=loss, expected 0: "
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
