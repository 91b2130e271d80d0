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
                likeness = math.nan if subject == "trained" else 0.2
                rows.append(
                    {
                        **view,
                        "method": "grad_cam",
                        "subject": subject,
                        "pointing": hit,
                        "energy": hit / 2,
                        "rank_correlation": likeness,
                        "ssim": likeness,
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
        "rank_correlation_grad_cam": 0.2,
        "ssim_grad_cam": 0.2,
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
    assert (figure.n, figure.value) == (38, pytest.approx(0.2))
    assert "2 of 40 images left out" in figure.note
