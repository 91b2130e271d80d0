"""Local features of images, and how many of them two images have in the same arrangement.

However an image is turned, flipped, cropped or zoomed.

SIFT (Lowe 2004, Distinctive image features from scale-invariant keypoints) and RANSAC. Grey only: stain and
illumination have no say.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from medimg.images.prepare import resize

LARGEST_SIDE = 224
MOST_KEYPOINTS = 100
LEAST_CONTRAST = 0.01
"""Of a keypoint; OpenCV's 0.04 finds none in the smooth skin of a dermoscopic image."""
DISTINCT = 0.8
"""Largest ratio of the distances to the best and to the second best match (Lowe 2004)."""
TOLERANCE_PIXELS = 4.0
LEAST_AGREEING = 10
"""Different photographs and radiographs reach 4 (benchmarks/duplicates_20261121.md)."""
LEAST_SPREAD_PIXELS = 10.0
"""Least median distance of agreeing keypoints from their middle.

A label that stands on many films is smaller, and is not a spot of the body.
"""

# A descriptor holds 4 x 4 places of 8 directions (Lowe 2004); in the mirror the rows of places and the
# directions run the other way.
MIRRORED = np.arange(128).reshape(4, 4, 8)[::-1][:, :, -np.arange(8) % 8].ravel()


@dataclass(frozen=True)
class Keypoints:
    """Local features of one image.

    Attributes:
        points_N2: (x, y) in pixels of the image of LARGEST_SIDE, float32.
        descriptors_NB: SIFT descriptors of 128 values, uint8.
    """

    points_N2: np.ndarray
    descriptors_NB: np.ndarray


def find_keypoints(grey_HW: np.ndarray) -> Keypoints:
    """Finds the MOST_KEYPOINTS strongest features of an image, uint8.

    The image is first resized to LARGEST_SIDE with its aspect ratio kept.
    """
    scale = LARGEST_SIDE / max(grey_HW.shape)
    height, width = (max(1, round(side * scale)) for side in grey_HW.shape)
    detector = cv2.SIFT.create(nfeatures=MOST_KEYPOINTS, contrastThreshold=LEAST_CONTRAST)
    resized_HW = resize(grey_HW, (height, width))
    found, descriptors = detector.detectAndCompute(resized_HW, None)  # type: ignore[call-overload]
    if descriptors is None:
        return Keypoints(np.zeros((0, 2), np.float32), np.zeros((0, 128), np.uint8))
    return Keypoints(np.array([point.pt for point in found], np.float32), descriptors.astype(np.uint8))


def take_roots(descriptors_NB: np.ndarray) -> np.ndarray:
    """Normalises descriptors to length 1 so that their product is the Hellinger kernel, float32.

    See Arandjelovic and Zisserman 2012.
    """
    values_NB = descriptors_NB.astype(np.float32)
    return np.sqrt(values_NB / np.maximum(values_NB.sum(axis=1, keepdims=True), 1))


def count_agreeing(first: Keypoints, second: Keypoints) -> int:
    """Counts the keypoints of two images that are in the same arrangement.

    Moved, turned, scaled, and perhaps mirrored, as a whole.
    """
    mirrored = Keypoints(second.points_N2 * np.array([-1, 1], np.float32), second.descriptors_NB[:, MIRRORED])
    return max(count_inliers(first, second), count_inliers(first, mirrored))


def count_inliers(first: Keypoints, second: Keypoints) -> int:
    """Keypoints whose mutual best matches fit one similarity transform within TOLERANCE_PIXELS.

    0 where they all lie in one small place.
    """
    if min(len(first.points_N2), len(second.points_N2)) < LEAST_AGREEING:
        return 0
    likeness = take_roots(first.descriptors_NB) @ take_roots(second.descriptors_NB).T
    best = likeness.argmax(axis=1)
    rows = np.arange(len(best))
    # The distance of vectors of length 1 is sqrt(2 - 2 * product).
    nearest, next_nearest = 2 - 2 * likeness[rows, best], 2 - 2 * np.partition(likeness, -2, axis=1)[:, -2]
    matched = (likeness.argmax(axis=0)[best] == rows) & (nearest < DISTINCT**2 * next_nearest)
    if matched.sum() < LEAST_AGREEING:
        return 0
    _, inliers = cv2.estimateAffinePartial2D(
        first.points_N2[matched],
        second.points_N2[best[matched]],
        ransacReprojThreshold=TOLERANCE_PIXELS,
        maxIters=500,
    )
    if inliers is None:
        return 0
    agreeing_N2 = first.points_N2[matched][inliers.ravel() > 0]
    spread = np.median(np.linalg.norm(agreeing_N2 - np.median(agreeing_N2, axis=0), axis=1))
    return len(agreeing_N2) if spread >= LEAST_SPREAD_PIXELS else 0
