"""The loss against its published formulas, and what of it follows the classes' frequencies in train."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.utils.class_weight import compute_class_weight

from medimg.tasks.classification.losses import (
    MaskedCrossEntropy,
    class_log_priors,
    class_weights,
    make_losses,
)
from medimg.tasks.classification.settings import Head, ModelSettings, TrainingSettings

SETTINGS = ModelSettings(
    heads=(
        Head("malignancy", ("Benign", "Malignant"), weight=2.0),
        Head("kind", ("a", "b", "c"), weight=0.3),
    ),
    roles=("image",),
)
PLAIN = TrainingSettings(class_weights=False)
WEIGHTS, PRIORS = (1.0, 3.0, 0.5), (-0.2, -2.0, -3.5)
FORMS: dict[str, dict[str, object]] = {
    "cross-entropy": {},
    "class weights": {"class_weights": WEIGHTS},
    "focal, gamma 2": {"focal_gamma": 2.0},
    "focal, gamma 0.5, class weights": {"focal_gamma": 0.5, "class_weights": WEIGHTS},
    "logit-adjusted": {"log_priors": PRIORS},
    "logit-adjusted, class weights": {"log_priors": PRIORS, "class_weights": WEIGHTS},
}


def draw_answers(count: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """Labels, every fifth missing, and probabilities of three classes."""
    generator = np.random.default_rng(0)
    labels_N = np.where(np.arange(count) % 5 == 4, -1, generator.integers(0, 3, count))
    return labels_N, generator.dirichlet(np.ones(3), count).astype(np.float32)


def expected_loss(
    labels_N: np.ndarray,
    probabilities_NC: np.ndarray,
    *,
    class_weights: tuple[float, ...] = (1.0, 1.0, 1.0),
    focal_gamma: float = 0.0,
    log_priors: tuple[float, ...] = (0.0, 0.0, 0.0),
) -> float:
    """Formula 5 of Lin et al. 2017 of the softmax of formula 10 of Menon et al. 2021."""
    adjusted_NC = probabilities_NC.astype(np.float64) * np.exp(log_priors)
    total = 0.0
    for label, adjusted_C in zip(labels_N, adjusted_NC, strict=True):
        if label != -1:
            share = adjusted_C[label] / adjusted_C.sum()
            total -= class_weights[label] * (1 - share) ** focal_gamma * np.log(share)
    return total / len(labels_N)


@pytest.mark.parametrize("form", FORMS)
def test_the_loss_is_that_of_the_formula_over_all_cases_of_the_batch(form: str) -> None:
    labels_N, probabilities_NC = draw_answers()
    loss = MaskedCrossEntropy(**{"class_weights": (1.0, 1.0, 1.0), **FORMS[form]})
    expected = expected_loss(labels_N, probabilities_NC, **FORMS[form])
    assert float(loss(labels_N, tf.constant(probabilities_NC))) == pytest.approx(expected, rel=1e-5)
    column_N1 = labels_N[:, None]
    assert float(loss(column_N1, tf.constant(probabilities_NC))) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_a_saved_loss_is_the_same_loss(form: str) -> None:
    labels_N, probabilities_NC = draw_answers()
    loss = MaskedCrossEntropy(**{"class_weights": (1.0, 1.0, 1.0), **FORMS[form]})
    loaded = keras.losses.deserialize(keras.losses.serialize(loss))
    assert float(loaded(labels_N, tf.constant(probabilities_NC))) == float(
        loss(labels_N, tf.constant(probabilities_NC))
    )


@pytest.mark.parametrize("form", FORMS)
def test_a_missing_label_changes_neither_loss_nor_gradient(form: str) -> None:
    labels_N, probabilities_NC = draw_answers()
    loss = MaskedCrossEntropy(**{"class_weights": (1.0, 1.0, 1.0), **FORMS[form]})
    probabilities = tf.Variable(probabilities_NC)
    with tf.GradientTape() as tape:
        value = loss(tf.constant(labels_N), probabilities)
    gradient_NC = tape.gradient(value, probabilities).numpy()
    np.testing.assert_array_equal(gradient_NC[labels_N == -1], 0)
    assert (np.abs(gradient_NC[labels_N >= 0]).max(axis=1) > 0).all()


def test_a_label_that_was_given_no_chance_has_a_finite_loss() -> None:
    certain = tf.constant([[1.0, 0.0, 0.0]])
    for form in FORMS.values():
        loss = MaskedCrossEntropy(**{"class_weights": (1.0, 1.0, 1.0), **form})
        assert 1 < float(loss(tf.constant([1]), certain)) < 1000


def test_class_weights_are_those_of_scikit_learn_over_the_classes_that_occur() -> None:
    labels_N = np.array([0, 0, 0, 0, 0, 2, 3, 3, -1, -1])
    known_N = labels_N[labels_N >= 0]
    balanced = compute_class_weight("balanced", classes=np.array([0, 2, 3]), y=known_N)
    weights_C = np.array(class_weights(labels_N, classes=5, balanced=True))
    np.testing.assert_allclose(weights_C[[0, 2, 3]], balanced)
    np.testing.assert_array_equal(weights_C[[1, 4]], 1)
    assert weights_C[known_N].mean() == pytest.approx(1)
    assert class_weights(labels_N, classes=5, balanced=False) == (1, 1, 1, 1, 1)


def test_the_log_priors_are_logarithms_of_the_labelled_cases_shares() -> None:
    labels_N = np.repeat([0, 2, -1], [30, 10, 5])
    assert class_log_priors(labels_N, classes=4) == pytest.approx((np.log(0.75), 0, np.log(0.25), 0))


@pytest.mark.parametrize(
    ("changes", "weighted", "gamma", "adjusted"),
    [
        ({}, False, 0.0, False),
        ({"class_weights": True}, True, 0.0, False),
        ({"class_weights": True, "focal_gamma": 1.5}, True, 1.5, False),
        ({"logit_adjustment": "loss"}, False, 0.0, True),
        ({"logit_adjustment": "post_hoc"}, False, 0.0, False),
        ({"sampling": "balanced"}, False, 0.0, False),
    ],
)
def test_each_head_has_the_loss_of_the_settings_with_the_frequencies_of_its_own_labels(
    changes: dict[str, object], weighted: bool, gamma: float, adjusted: bool
) -> None:
    labels = {"malignancy": np.array([0, 0, 0, 1, -1]), "kind": np.array([2, 2, 1, -1, -1])}
    losses, weights = make_losses(SETTINGS, dataclasses.replace(PLAIN, **changes), labels=labels)
    assert weights == {"malignancy": 2.0, "kind": 0.3}
    assert losses["malignancy"].class_weights == pytest.approx((2 / 3, 2.0) if weighted else (1, 1))
    assert losses["kind"].class_weights == pytest.approx((1, 1.5, 0.75) if weighted else (1, 1, 1))
    assert losses["malignancy"].log_priors == pytest.approx(np.log([0.75, 0.25]) if adjusted else ())
    assert losses["kind"].log_priors == pytest.approx((0, *np.log([1 / 3, 2 / 3])) if adjusted else ())
    assert {loss.focal_gamma for loss in losses.values()} == {gamma}
