import math

import numpy as np
import pandas as pd
import pytest

from medimg.evaluation.intervals import Bootstrap
from medimg.explain.measured_checks import measure_checks


def make_checks(*, patients=20, randomised=2):
    """Two views per patient.

    Trained hits 3 of 4 images, randomised 0 none, randomised 1 half of them; chance is 0.1.
    """
    rows = []
    for number in range(patients):
        for place, role in enumerate(("CC", "MLO")):
            image = 2 * number + place
            view = {
                "case_id": f"P{number}-L",
                "group_id": f"P{number}",
                "role": role,
                "head": "malignancy",
                "split": "test",
            }
            rows.append({**view, "method": "", "subject": "chance", "pointing": 0.1, "energy": 0.05})
            hits = {"trained": image % 4 > 0, "randomised-0": False, "randomised-1": image % 2 > 0}
            for subject, hit in list(hits.items())[: 1 + randomised]:
                likeness = math.nan if subject == "trained" else 0.2 + 0.1 * (subject == "randomised-1")
                rows.append(
                    {
                        **view,
                        "method": "grad_cam",
                        "subject": subject,
                        "pointing": hit,
                        "energy": hit / 2,
                        "rank_correlation": likeness,
                        "ssim": likeness / 2,
                    }
                )
    return pd.DataFrame(rows).assign(pointing=lambda table: table["pointing"].astype(float))


def measured(checks):
    return {figure.name: figure for figure in measure_checks(checks, Bootstrap(resamples=500))}


def test_every_figure_is_the_mean_over_images():
    figures = measured(make_checks())
    assert {name: round(figure.value, 6) for name, figure in figures.items()} == {
        "pointing_chance": 0.1,
        "energy_chance": 0.05,
        "pointing_grad_cam": 0.75,
        "pointing_grad_cam_randomised": 0.25,
        "pointing_grad_cam_minus_randomised": 0.5,
        "pointing_grad_cam_minus_chance": 0.65,
        "energy_grad_cam": 0.375,
        "energy_grad_cam_randomised": 0.125,
        "energy_grad_cam_minus_randomised": 0.25,
        "energy_grad_cam_minus_chance": 0.325,
        "rank_correlation_grad_cam": 0.25,
        "ssim_grad_cam": 0.125,
    }


def test_figures_say_what_they_are_of():
    figure = measured(make_checks())["pointing_grad_cam"]
    assert (figure.head, figure.protocol, figure.level, figure.split) == (
        "malignancy",
        "outlined-positives",
        "image",
        "test",
    )
    assert (figure.n, figure.positives, figure.groups) == (40, 40, 20)
    assert (figure.slice, figure.note) == ("overall", "")


def test_each_head_and_split_has_its_own_figures_and_each_method_its_own_names():
    checks = make_checks(patients=12, randomised=1)
    other = checks[checks["method"] != ""].assign(method="integrated_gradients", energy=0.25)
    eval_ = checks.assign(split="eval", pointing=1.0, group_id="one")
    density = checks.assign(head="density")
    figures = measure_checks(pd.concat([checks, other, eval_, density]), Bootstrap(resamples=20))
    parts = [(one.head, one.split) for one in figures if one.name == "pointing_grad_cam"]
    assert parts == [("density", "test"), ("malignancy", "eval"), ("malignancy", "test")]
    of_test = {one.name: one for one in figures if (one.head, one.split) == ("malignancy", "test")}
    assert of_test["pointing_grad_cam"].value == pytest.approx(0.75)
    assert of_test["energy_integrated_gradients"].value == pytest.approx(0.25)
    assert of_test["energy_integrated_gradients_minus_chance"].value == pytest.approx(0.2)
    assert of_test["energy_integrated_gradients_minus_randomised"].value == 0
    assert next(name for name in of_test if "energy" in name and "grad_cam" in name) == "energy_grad_cam"
    assert len(of_test) == 2 + 2 * 10
    (in_eval,) = [one for one in figures if (one.split, one.name) == ("eval", "pointing_grad_cam")]
    assert (in_eval.groups, in_eval.n, in_eval.value) == (1, 24, 1)


def test_intervals_hold_the_value_and_patients_are_drawn_with_both_views():
    checks = make_checks()
    figure = measured(checks)["pointing_grad_cam"]
    assert figure.low < figure.value < figure.high
    # Every view a patient of its own, the interval that takes views for independent: here it is narrower,
    # since views of a patient agree.
    same_views = checks.assign(pointing=checks.groupby(["case_id", "subject"])["pointing"].transform("min"))
    alone = same_views.assign(group_id=same_views["case_id"] + same_views["role"])
    wide, narrow = measured(same_views)["pointing_grad_cam"], measured(alone)["pointing_grad_cam"]
    assert wide.high - wide.low > 1.2 * (narrow.high - narrow.low)


def test_the_difference_is_paired_so_that_what_both_hit_cancels():
    checks = make_checks()
    checks.loc[checks["subject"].str.startswith("randomised"), "pointing"] = np.repeat(
        checks.loc[checks["subject"] == "trained", "pointing"].to_numpy() - 0.3, 2
    )
    figure = measured(checks)["pointing_grad_cam_minus_randomised"]
    assert figure.value == pytest.approx(0.3)
    assert figure.high - figure.low < 1e-9


def test_few_patients_have_no_interval_and_the_note_says_so():
    figure = measured(make_checks(patients=4))["energy_grad_cam"]
    assert math.isnan(figure.low)
    assert "4 groups, needs 10" in figure.note


def test_images_without_a_likeness_are_left_out_and_counted():
    checks = make_checks(randomised=1)
    checks.loc[(checks["subject"] == "randomised-0") & (checks["case_id"] == "P3-L"), "ssim"] = math.nan
    figure = measured(checks)["ssim_grad_cam"]
    assert (figure.n, figure.value) == (38, pytest.approx(0.1))
    assert figure.note == "2 of 40 images left out: a map without evidence has no likeness to another"
    few = measured(checks[checks["group_id"].isin([f"P{number}" for number in range(5)])])["ssim_grad_cam"]
    assert few.note.startswith("2 of 10 images left out: ")
    assert few.note.endswith("; no interval: 4 groups, needs 10")


def test_a_likeness_that_no_image_has_is_undefined():
    figure = measured(make_checks().assign(ssim=math.nan))["ssim_grad_cam"]
    assert (figure.n, math.isnan(figure.value), math.isnan(figure.low)) == (0, True, True)
    assert figure.note.startswith("40 of 40 images left out")


def test_figures_and_intervals_do_not_depend_on_the_order_of_the_rows():
    checks = make_checks()
    shuffled = checks.sample(frac=1.0, random_state=3, ignore_index=True)
    one, other = measured(checks), measured(shuffled)
    for name, figure in one.items():
        found = (other[name].value, other[name].low, other[name].high)
        np.testing.assert_allclose(found, (figure.value, figure.low, figure.high), rtol=1e-12, err_msg=name)
