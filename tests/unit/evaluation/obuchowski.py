"""Obuchowski's (1997) covariance of clustered AUCs, case by case and cluster by cluster."""

import numpy as np


def estimate_by_loops(labels, scores_NK, groups):
    """AUCs [K] and their covariance [K, K] of K models on cases in groups."""
    positives, negatives = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
    models = range(scores_NK.shape[1])
    wins = np.array(
        [
            [
                [
                    (scores_NK[i, k] > scores_NK[j, k]) + 0.5 * (scores_NK[i, k] == scores_NK[j, k])
                    for k in models
                ]
                for j in negatives
            ]
            for i in positives
        ]
    )
    aucs_K = wins.mean(axis=(0, 1))
    names = sorted(set(groups))
    of_positives, of_negatives = wins.mean(axis=1), wins.mean(axis=0)
    positive_GK, negative_GK = (
        np.array([(components[groups[cases] == name] - aucs_K).sum(axis=0) for name in names])
        for components, cases in ((of_positives, positives), (of_negatives, negatives))
    )
    with_positives, with_negatives = len(set(groups[positives])), len(set(groups[negatives]))
    m, n = len(positives), len(negatives)
    s10 = with_positives / ((with_positives - 1) * m) * positive_GK.T @ positive_GK
    s01 = with_negatives / ((with_negatives - 1) * n) * negative_GK.T @ negative_GK
    s11 = len(names) / (len(names) - 1) * positive_GK.T @ negative_GK
    return aucs_K, s10 / m + s01 / n + (s11 + s11.T) / (m * n)


def draw_unequal_patients(*, patients=40, seed=3):
    """Labels, scores of two models and patients of one to four cases; some patients have one class only."""
    generator = np.random.default_rng(seed)
    groups = np.repeat(np.arange(patients), generator.integers(1, 5, patients))
    shared = generator.normal(0, 1, patients)[groups]
    labels = (shared + generator.normal(0, 1, len(groups)) > 0.5).astype(int)
    first = (labels + shared + generator.normal(0, 0.8, len(groups))).round(1)
    second = (0.5 * labels + shared + generator.normal(0, 1.2, len(groups))).round(1)
    return labels, np.stack([first, second], axis=1), groups
