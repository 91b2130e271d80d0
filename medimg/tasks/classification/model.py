"""The network: one backbone for all views, fused to one embedding per case, one softmax per head.

Layers that others look up by name: `backbone` and `map_mean` (before and behind the feature map that Grad-CAM
reads), `fused_views`, and `embedding` (one vector per case).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import keras
from keras import layers, ops

from medimg.errors import UsageError
from medimg.tasks.classification.backbones import Tensor, build_backbone
from medimg.tasks.classification.inputs import image_shape
from medimg.tasks.classification.settings import ModelSettings

Shapes: TypeAlias = Sequence[tuple[int | None, ...]]
FUSIONS = ("mean", "max", "attention")


def build_model(settings: ModelSettings, *, clinical_width: int) -> keras.Model:
    """Builds the network, untrained but for the backbone's `weights`.

    Its inputs are a dict: `images` uint8 [batch, V, H, W, C]; `view_present` float32 [batch, V], 1 where the
    view exists (the pixels of an absent view have no influence); `clinical` float32 [batch, clinical_width]
    if that is above 0.

    Returns:
        a model whose output is a dict: head to class probabilities, float32 [batch, classes], whatever the
            precision policy.

    Raises:
        UsageError, MedimgError: see `build_backbone`.
    """
    views, height, width, channels = image_shape(settings)
    inputs = {
        "images": keras.Input((views, height, width, channels), dtype="uint8", name="images"),
        "view_present": keras.Input((views,), dtype="float32", name="view_present"),
    }
    if clinical_width:
        inputs["clinical"] = keras.Input((clinical_width,), dtype="float32", name="clinical")
    folded = ops.reshape(inputs["images"], (-1, height, width, channels))
    maps = build_backbone(settings)(folded)
    vectors = pool(maps)
    per_view = ops.reshape(vectors, (-1, views, vectors.shape[-1]))
    fused = FuseViews(settings.fusion, name="fused_views")([per_view, inputs["view_present"]])
    if clinical_width:
        fused = layers.Concatenate(name="with_clinical")([fused, inputs["clinical"]])
    embedding = layers.Identity(name="embedding")(fused)
    features = layers.Dropout(settings.dropout, name="dropout")(embedding)
    outputs = {
        head.name: layers.Dense(len(head.classes), activation="softmax", dtype="float32", name=head.name)(
            features
        )
        for head in settings.heads
    }
    return keras.Model(inputs, outputs, name=settings.backbone.lower())


def make_encoder(network: keras.Model) -> keras.Model:
    """A network's own way from its inputs to one vector per view, [batch, V, D].

    What comes behind is asked again at no cost.
    """
    vectors, _ = network.get_layer("fused_views").input
    return keras.Model(network.input, vectors)


def make_embedder(network: keras.Model) -> keras.Model:
    """A network's own way from its inputs to one vector per case, [batch, E]."""
    return keras.Model(network.input, network.get_layer("embedding").output)


def embed(network: keras.Model, vectors: Tensor, inputs: Mapping[str, Tensor]) -> Tensor:
    """Returns the embedding, [batch, E], of encoded views; of `inputs`, the pixels play no part."""
    fused = network.get_layer("fused_views")([vectors, inputs["view_present"]])
    if "clinical" in inputs:
        fused = network.get_layer("with_clinical")([fused, inputs["clinical"]])
    return network.get_layer("embedding")(fused)


def classify(network: keras.Model, embedding: Tensor) -> dict[str, Tensor]:
    """Returns head to class probabilities of embeddings [..., E], without dropout."""
    return {head: network.get_layer(head)(embedding) for head in network.output}


def pool(maps: Tensor) -> Tensor:
    """Returns mean and maximum over the map, side by side.

    A lesion of a few pixels vanishes in the mean alone.
    """
    mean, highest = (
        layers.GlobalAveragePooling2D(name="map_mean")(maps),
        layers.GlobalMaxPooling2D(name="map_maximum")(maps),
    )
    return layers.Concatenate(name="pooled")([mean, highest])


@keras.saving.register_keras_serializable("medimg")
class FuseViews(layers.Layer):
    """Joins the vectors of a case's views, [batch, V, D] with presence [batch, V], to [batch, D].

    Absent views have no influence.

    A case without any view gives zeros. "attention" is the gated form of Ilse et al. 2018 (arXiv 1802.04712)
    without the gate.
    """

    def __init__(self, how: str, **kwargs: object) -> None:
        super().__init__(**kwargs)
        if how not in FUSIONS:
            raise UsageError(f"model.fusion: found {how!r}, expected one of {', '.join(FUSIONS)}")
        self.how = how
        self.hidden = (
            layers.Dense(64, activation="tanh", dtype=self.dtype_policy) if how == "attention" else None
        )
        self.score = layers.Dense(1, dtype=self.dtype_policy) if how == "attention" else None

    def build(self, input_shape: Shapes) -> None:
        if self.hidden is not None and self.score is not None:
            self.hidden.build(input_shape[0])
            self.score.build((*input_shape[0][:-1], 64))
        self.built = True

    def call(self, inputs: Sequence[Tensor]) -> Tensor:
        vectors, present = inputs
        present = ops.cast(present, vectors.dtype)[..., None]
        if self.how == "max":
            # float16's range ends at 65504.
            return ops.max(ops.where(present > 0, vectors, -6e4), axis=1) * ops.max(present, axis=1)
        weights = present
        if self.hidden is not None and self.score is not None:
            weights = present * ops.exp(5.0 * ops.tanh(self.score(self.hidden(vectors))))
        return ops.sum(weights * vectors, axis=1) / ops.maximum(ops.sum(weights, axis=1), 1e-3)

    def compute_output_shape(self, input_shape: Shapes) -> tuple[int | None, int | None]:
        return input_shape[0][0], input_shape[0][-1]

    def get_config(self) -> dict[str, object]:
        return {**super().get_config(), "how": self.how}
