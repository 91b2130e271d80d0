"""Maps of where the evidence for a class lies: Grad-CAM and integrated gradients, per view, never negative.

Both explain the class's log-odds (`Network.score`). A map keeps evidence for the class and drops evidence
against it; its scale is the method's own, so only places within one case can be compared. Axes as in
medimg.explain.network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf
from scipy.ndimage import gaussian_filter

from medimg.explain.measured_checks import GRAD_CAM
from medimg.explain.network import Inputs, Network

STEPS = 16
SMOOTHING = 0.02
"""Standard deviation in longer sides of the image.

Single pixels of a gradient are noise (Smilkov et al. 2017, arXiv 1706.03825).
"""


def grad_cam(network: Network, inputs: Inputs, *, class_index: int) -> np.ndarray:
    """Channels of the feature map, weighted by their mean gradient, summed.

    What is left of it above 0 (Selvaraju et al. 2017, arXiv 1610.02391).

    Returns:
        float32 [B, V, H, W], at least 0; a view that is not there is 0 everywhere.
    """
    images_BVHWC = tf.cast(inputs["images"], tf.float32)
    maps = network.read_maps(images_BVHWC)
    weights_BVD = tf.reduce_mean(
        network.map_gradient(maps, to_other_inputs(inputs), class_index), axis=(2, 3)
    )
    cams_BVhw = tf.nn.relu(tf.einsum("bvhwd,bvd->bvhw", maps, weights_BVD)).numpy()
    size = images_BVHWC.shape[2:4]
    cams_BVHW = np.empty((*cams_BVhw.shape[:2], *size), np.float32)
    for index in np.ndindex(*cams_BVhw.shape[:2]):
        cams_BVHW[index] = enlarge(cams_BVhw[index], size)
    return cams_BVHW * mask_views(inputs)


def enlarge(cam_hw: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A feature map as large as the image, interpolated between the centres of its cells.

    Strides are powers of two. Where they do not divide the image, pooling leaves the last rows and columns
    out: stretching the map over the whole image would move everything by up to half a cell.
    """
    cells = [stride_cells(pixels, count) for pixels, count in zip(size, cam_hw.shape, strict=True)]
    enlarged = interpolate(interpolate(cam_hw, cells[0]).T, cells[1]).T
    return np.ascontiguousarray(enlarged, dtype=np.float32)


def stride_cells(pixels: int, count: int) -> np.ndarray:
    """Of each pixel's centre the position among the `count` cells, [pixels]."""
    stride = 2.0 ** np.round(np.log2(pixels / count))
    return np.clip((np.arange(pixels) + 0.5) / stride - 0.5, 0, count - 1)


def interpolate(rows: np.ndarray, places_H: np.ndarray) -> np.ndarray:
    """Rows [h, N] at fractional positions, [H, N]."""
    lower_H = np.floor(places_H).astype(int)
    upper_H = np.minimum(lower_H + 1, len(rows) - 1)
    share_H1 = (places_H - lower_H)[:, None]
    blended: np.ndarray = rows[lower_H] * (1 - share_H1) + rows[upper_H] * share_H1
    return blended


def integrated_gradients(
    network: Network, inputs: Inputs, *, class_index: int, steps: int = STEPS
) -> np.ndarray:
    """The positive part of `attribute`, summed over colours and smoothed.

    Returns:
        float32 [B, V, H, W], at least 0.
    """
    attributions_BVHW = attribute(network, inputs, class_index=class_index, steps=steps).sum(axis=-1)
    sigma = SMOOTHING * max(attributions_BVHW.shape[2:])
    smoothed = gaussian_filter(np.maximum(attributions_BVHW, 0), sigma=(0, 0, sigma, sigma), mode="constant")
    return smoothed.astype(np.float32) * mask_views(inputs)


def attribute(network: Network, inputs: Inputs, *, class_index: int, steps: int = STEPS) -> np.ndarray:
    """Computes integrated gradients (Sundararajan et al. 2017, arXiv 1703.01365).

    The path is a straight line from black images, the integral by the midpoint rule.

    Returns:
        signed float32 [B, V, H, W, C]; up to the error of the rule a case's sum is its score less that of
        black images.
    """
    images_BVHWC = tf.cast(inputs["images"], tf.float32)
    total = tf.zeros_like(images_BVHWC)
    for step in range(steps):
        total += network.image_gradient(
            images_BVHWC * ((step + 0.5) / steps), to_other_inputs(inputs), class_index
        )
    attributions: np.ndarray = (images_BVHWC * total / steps).numpy()
    return attributions


def to_other_inputs(inputs: Inputs) -> dict[str, tf.Tensor]:
    """Returns the inputs beside the images."""
    return {name: tf.convert_to_tensor(values) for name, values in inputs.items() if name != "images"}


def mask_views(inputs: Inputs) -> np.ndarray:
    """Returns 1 for a view that is there, 0 for one that is not; [B, V, 1, 1]."""
    return np.asarray(inputs["view_present"], np.float32)[:, :, None, None]


METHODS: Mapping[str, Callable[..., np.ndarray]] = {
    GRAD_CAM: grad_cam,
    "integrated_gradients": integrated_gradients,
}
