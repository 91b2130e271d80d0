"""Training that leaves images as they are, so that what else changes them shows."""

from medimg.tasks.classification.settings import Augmentation

STILL = Augmentation(
    flip_vertical=False,
    flip_horizontal=False,
    rotate_degrees=0,
    shift_fraction=0,
    zoom_fraction=0,
    contrast_fraction=0,
)
