"""Backbones: image to feature map.

`small_cnn` trains from scratch on two CPU cores; any other name is a function of keras.applications.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import keras
import tensorflow as tf
from keras import layers, ops

from medimg.errors import MedimgError, UsageError
from medimg.tasks.classification.settings import SMALL_CNN, ModelSettings, check_backbone

Tensor: TypeAlias = keras.KerasTensor | tf.Tensor
"""Symbolic while a network is built, with values when it runs."""


def build_backbone(settings: ModelSettings) -> keras.Model:
    """A model called `backbone`: uint8 [N, H, W, C] to a feature map [N, h, w, D].

    All normalisation is inside.

    Raises:
        UsageError: no such backbone, or weights that cannot belong to it.
        MedimgError: the ImageNet weights cannot be downloaded.
    """
    check_backbone(settings)
    image = keras.Input((*settings.image_size, settings.channels), dtype="uint8", name="image")
    maps = small_cnn(image, settings) if settings.backbone == SMALL_CNN else application(image, settings)
    return keras.Model(image, maps, name="backbone")


def small_cnn(image: Tensor, settings: ModelSettings) -> Tensor:
    """Returns the map of four blocks of convolution, normalisation and pooling.

    1/16 of the input's height and width, 8 * `width` channels.
    """
    maps = layers.Rescaling(1 / 255.0)(image)
    for block in range(4):
        maps = layers.Conv2D(
            settings.width * 2**block, 3, padding="same", use_bias=False, name=f"block{block}_convolution"
        )(maps)
        # Pooling first: normalisation and ReLU keep the order of values, and on a quarter of them a step
        # takes 0.6 of the time on a CPU.
        maps = layers.MaxPooling2D(2)(maps)
        # Keras' default of 0.99 needs hundreds of steps to forget the initial statistics; a small data set
        # has ten an epoch.
        maps = layers.BatchNormalization(momentum=0.9, name=f"block{block}_normalisation")(maps)
        maps = layers.Activation("relu")(maps)
    return maps


def application(image: Tensor, settings: ModelSettings) -> Tensor:
    """Returns the map of a network of keras.applications without its top.

    Grey becomes three equal channels, its own `preprocess_input` comes first.
    """
    make_network: Callable[..., keras.Model] = getattr(keras.applications, settings.backbone)
    network = load_application(make_network, settings)
    colour = layers.Concatenate()([image] * 3) if settings.channels == 1 else image
    return network(ApplicationInput(make_network.__module__.rsplit(".", 1)[-1])(colour))


def load_application(make_network: Callable[..., keras.Model], settings: ModelSettings) -> keras.Model:
    """The network with its weights: from ImageNet, from a file, or random."""
    weights = settings.weights
    if weights not in (None, "imagenet") and not Path(weights).is_file():
        raise UsageError(
            f"model.weights: no file {weights}; "
            f"expected none, imagenet or a weights file of {settings.backbone}"
        )
    shape = (*settings.image_size, 3)
    try:
        network = make_network(include_top=False, weights=weights, input_shape=shape)
    except Exception as error:
        # Keras raises a bare Exception for a failed download, and whatever h5py raises for a file that does
        # not fit.
        first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
        if weights == "imagenet":
            raise MedimgError(
                f"model.weights imagenet: the weights of {settings.backbone} could not be had "
                f"({first_line}); download the no-top weights file elsewhere and name its path in "
                "model.weights, or set it to none"
            ) from error
        raise UsageError(
            f"model.backbone {settings.backbone} with weights {weights} and images {shape}: {first_line}"
        ) from error
    return network


@keras.saving.register_keras_serializable("medimg")
class ApplicationInput(layers.Layer):
    """`keras.applications.<family>.preprocess_input` as a layer, so that it is part of what is exported.

    Takes 0 to 255.
    """

    def __init__(self, family: str, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.family = family

    def call(self, image: Tensor) -> Tensor:
        preprocess_input = importlib.import_module(f"keras.applications.{self.family}").preprocess_input
        return ops.cast(preprocess_input(ops.cast(image, "float32")), self.compute_dtype)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape

    def get_config(self) -> dict[str, object]:
        return {**super().get_config(), "family": self.family}
