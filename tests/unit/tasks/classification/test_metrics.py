"""Figures on eval after every epoch, and which epoch is the better one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from medimg.tasks.classification.metrics import is_better, measure_epoch, measure_predictions
from medimg.tasks.classification.settings import Head, ModelSettings

SETTINGS = ModelSettings(
    heads=(Head("malignancy", ("Benign", "Malignant")), Head("kind", ("a", "b", "c"))), roles=("image",)
)
NAN = math.nan


def draw_answers(*, seed: int = 0) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Labels, some missing, and probabilities of both heads over 40 cases."""
    generator = np.random.default_rng(seed)
    labels, probabilities = {}, {}
    for head in SETTINGS.heads:
        labels[head.name] = generator.integers(-1, len(head.classes), 40)
        probabilities[head.name] = generator.dirichlet(np.ones(len(head.classes)), 40)
    return labels, probabilities


def test_auc_and_loss_are_those_of_scikit_learn_over_the_labelled_cases() -> None:
    labels, probabilities = draw_answers()
    figures = measure_epoch(labels, probabilities, SETTINGS)
    truth, scores = labels["malignancy"], probabilities["malignancy"]
    known = truth >= 0
    assert figures["malignancy/auc"] == pytest.approx(roc_auc_score(truth[known], scores[known, 1]))
    assert figures["malignancy/loss"] == pytest.approx(log_loss(truth[known], scores[known]))
    truth, scores = labels["kind"], probabilities["kind"]
    known = truth >= 0
    assert figures["kind/auc"] == pytest.approx(roc_auc_score(truth[known], scores[known], multi_class="ovr"))
    assert figures["kind/loss"] == pytest.approx(log_loss(truth[known], scores[known]))


def test_a_class_that_does_not_occur_is_left_out_of_the_mean_of_aucs() -> None:
    labels, probabilities = draw_answers()
    truth, scores = np.where(labels["kind"] == 0, -1, labels["kind"]), probabilities["kind"]
    known = truth >= 0
    areas = [roc_auc_score(truth[known] == index, scores[known, index]) for index in (1, 2)]
    figures = measure_epoch({**labels, "kind": truth}, probabilities, SETTINGS)
    assert figures["kind/auc"] == pytest.approx(np.mean(areas))


def test_a_label_that_was_given_no_chance_costs_as_much_as_one_in_ten_million() -> None:
    labels = {"malignancy": np.array([0, 1]), "kind": np.array([0, 1])}
    certain = {"malignancy": np.array([[1.0, 0], [1, 0]]), "kind": np.eye(3)[:2]}
    assert measure_epoch(labels, certain, SETTINGS)["malignancy/loss"] == pytest.approx(np.log(1e7) / 2)


def test_figures_leave_out_missing_labels_and_are_undefined_on_one_class() -> None:
    labels = {"malignancy": np.array([0, 1, -1, 1]), "kind": np.array([-1, 1, 1, -1])}
    probabilities = {
        "malignancy": np.array([[0.9, 0.1], [0.2, 0.8], [0.0, 1.0], [0.95, 0.05]]),
        "kind": np.full((4, 3), 1 / 3),
    }
    figures = measure_epoch(labels, probabilities, SETTINGS)
    assert figures["malignancy/auc"] == 0.5
    assert figures["malignancy/loss"] == pytest.approx(-np.log([0.9, 0.8, 0.05]).mean())
    assert np.isnan(figures["kind/auc"])
    assert figures["kind/loss"] == pytest.approx(np.log(3))


def test_nothing_is_measured_where_no_case_is_labelled() -> None:
    labels, probabilities = draw_answers()
    figures = measure_epoch({**labels, "kind": np.full(40, -1)}, probabilities, SETTINGS)
    assert np.isnan(figures["kind/auc"])
    assert np.isnan(figures["kind/loss"])


@pytest.mark.parametrize("head", ["malignancy", "kind"])
def test_what_has_diverged_ranks_nothing(head: str) -> None:
    labels, probabilities = draw_answers()
    probabilities[head][labels[head].argmax()] = NAN
    figures = measure_epoch(labels, probabilities, SETTINGS)
    assert np.isnan([figures[f"{head}/auc"], figures[f"{head}/loss"]]).all()


def test_the_answer_has_the_figures_of_the_report_and_none_where_nothing_is_labelled() -> None:
    labels = {"malignancy": np.array([0, 1, -1, 1]), "kind": np.full(4, -1)}
    probabilities = {
        "malignancy": np.array([[0.9, 0.1], [0.2, 0.8], [0.0, 1.0], [0.95, 0.05]]),
        "kind": np.full((4, 3), 1 / 3),
    }
    figures = measure_predictions(labels, probabilities, SETTINGS)
    assert figures["malignancy/accuracy"] == pytest.approx(2 / 3)
    assert figures["malignancy/brier"] == pytest.approx((0.1**2 + 0.2**2 + 0.95**2) / 3)
    assert np.isnan(figures["kind/balanced_accuracy"])
    assert (
        figures.items()
        >= measure_epoch(
            {"malignancy": labels["malignancy"]}, probabilities, ModelSettings(SETTINGS.heads[:1], ("image",))
        ).items()
    )


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ((0.9, 5.0), (0.8, 0.1)),
        ((0.9, 0.1), (0.9, 0.2)),
        ((0.9, 0.1), (0.9, NAN)),
        ((0.1, 9.0), (NAN, 0.1)),
        ((0.0, 9.0), (NAN, 0.1)),
        ((NAN, 0.1), (NAN, 0.2)),
        ((NAN, 0.1), (NAN, NAN)),
        ((0.0, NAN), (NAN, NAN)),
    ],
)
def test_auc_ranks_epochs_loss_decides_between_equals_and_an_undefined_figure_is_lowest(
    better: tuple[float, float], worse: tuple[float, float]
) -> None:
    # The other head is the other way about: it has no say.
    one, other = (
        {"m/auc": area, "m/loss": loss, "k/auc": loss, "k/loss": area} for area, loss in (better, worse)
    )
    assert is_better(one, other, head="m")
    assert not is_better(other, one, head="m")


@pytest.mark.parametrize("figures", [(0.9, 0.2), (NAN, 0.2), (NAN, NAN)])
def test_any_epoch_is_better_than_none_and_an_equal_one_is_not(figures: tuple[float, float]) -> None:
    epoch = dict(zip(("m/auc", "m/loss"), figures, strict=True))
    assert is_better(epoch, None, head="m")
    assert not is_better(epoch, dict(epoch), head="m")
