"""The classification network cut in two for explanations: at the feature map."""

from __future__ import annotations

import keras
import tensorflow as tf

from medimg.explain.network import Network, OtherInputs


def cut_network(model: keras.Model, head: str) -> Network:
    """Cuts what `build_model` made; the halves share the model's weights."""
    backbone = model.get_layer("backbone")
    # The backbone takes whole numbers, which have no gradient: the same layers on an input of floats.
    image = keras.Input(backbone.input.shape[1:], dtype="float32")
    to_maps = keras.models.clone_model(backbone, input_tensors=image, clone_function=lambda layer: layer)
    maps = model.get_layer("map_mean").input
    others = {name: tensor for name, tensor in model.input.items() if name != "images"}
    to_embedding = keras.Model([maps, others], model.get_layer("embedding").output)
    dense = model.get_layer(head)

    def to_logits(maps_BVhwD: tf.Tensor, inputs: OtherInputs) -> tf.Tensor:
        folded = keras.ops.reshape(maps_BVhwD, (-1, *maps_BVhwD.shape[2:]))
        embedding = to_embedding([folded, {name: inputs[name] for name in others}], training=False)
        return keras.ops.matmul(keras.ops.cast(embedding, "float32"), dense.kernel) + dense.bias

    return Network(lambda images: to_maps(images, training=False), to_logits)
