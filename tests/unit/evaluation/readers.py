"""Ratings whose figures are published or were computed with the R package pROC 1.18.0 (R 4.2.2)."""

import numpy as np

# Hanley and McNeil 1982, table I: computed tomography of 58 normal and 51 abnormal patients, rated 1
# (definitely normal) to 5.
TOMOGRAPHY_LABELS = np.repeat([0, 1], [58, 51])
TOMOGRAPHY_RATINGS = np.r_[
    np.repeat(range(1, 6), [33, 6, 6, 11, 2]), np.repeat(range(1, 6), [3, 2, 2, 11, 33])
]

# Two readers of the same 40 drawn cases.
LABELS = np.array(
    [
        1,
        0,
        0,
        0,
        0,
        1,
        0,
        1,
        0,
        0,
        0,
        0,
        1,
        0,
        0,
        0,
        1,
        0,
        1,
        0,
        1,
        0,
        1,
        1,
        1,
        0,
        1,
        0,
        1,
        0,
        1,
        0,
        0,
        0,
        0,
        1,
        0,
        1,
        1,
        0,
    ]
)
FIRST = (
    np.array(
        [
            8,
            5,
            6,
            1,
            6,
            7,
            5,
            8,
            1,
            3,
            2,
            5,
            7,
            3,
            2,
            2,
            9,
            1,
            7,
            4,
            9,
            2,
            6,
            4,
            6,
            2,
            9,
            4,
            7,
            5,
            6,
            3,
            4,
            7,
            5,
            8,
            1,
            8,
            7,
            2,
        ]
    )
    / 10
)
SECOND = (
    np.array(
        [
            7,
            4,
            6,
            4,
            5,
            9,
            6,
            9,
            5,
            5,
            4,
            2,
            5,
            2,
            1,
            1,
            6,
            1,
            7,
            9,
            8,
            3,
            6,
            5,
            4,
            2,
            7,
            3,
            3,
            5,
            9,
            2,
            5,
            6,
            6,
            6,
            4,
            4,
            6,
            2,
        ]
    )
    / 10
)
