"""PNG as the payload of Examples."""

from __future__ import annotations

import cv2
import numpy as np


def encode_png(pixels: np.ndarray) -> bytes:
    """Encodes HW or RGB HWC, uint8 or uint16, as PNG.

    OpenCV without parameters is 16 to 40 times faster than Pillow or TensorFlow at their defaults, and no larger; passing a level is worse in both.
    """
    image = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    done, encoded = cv2.imencode(".png", image)
    if not done:
        raise ValueError(f"an image of shape {pixels.shape} and type {pixels.dtype} cannot be encoded as PNG")
    return encoded.tobytes()
