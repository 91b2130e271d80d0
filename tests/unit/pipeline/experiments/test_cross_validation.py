import re

import pytest

from medimg.errors import MedimgError, UsageError
from medimg.evaluation.gates import Gate
from pipeline.config.overrides import load_config
from pipeline.config.places import RunRequest
from pipeline.experiments.cross_validation import expect_cases, fold_config, run_fold, run_folds
from pipeline.local.run_directory import claim_directory, make_directory

CONFIG = load_config("cmmd_demo")


def test_a_folds_config_tests_that_fold_and_gates_nothing():
    config = fold_config(CONFIG, 2, folds=5)
    assert (config.split.folds, config.split.test_fold, config.evaluation.gates) == (5, 2, ())
    assert (config.training, config.model, config.split.seed) == (
        CONFIG.training,
        CONFIG.model,
        CONFIG.split.seed,
    )


@pytest.mark.parametrize(
    ("folds", "expected"), [(2, "--folds 2: expected 3 or more"), (10**23, "expected at most 1000")]
)
def test_a_number_of_folds_that_no_run_could_have_is_refused(tmp_path, folds, expected):
    with pytest.raises(UsageError, match=expected):
        run_folds(CONFIG, RunRequest(data_root=tmp_path, to=tmp_path / "run"), folds=folds)
    assert not (tmp_path / "run").exists()


def test_a_gate_that_no_run_could_meet_is_refused_before_any_work(tmp_path):
    config = load_config(
        "cmmd_demo",
        overrides=['evaluation.gates=[{"metric": "auk", "head": "malignancy", "lower_bound": 0.5}]'],
    )
    assert config.evaluation.gates == (Gate("auk", "malignancy", 0.5),)
    with pytest.raises(UsageError, match="did you mean 'auc'"):
        run_folds(config, RunRequest(data_root=tmp_path, to=tmp_path / "run"), folds=3)
    assert not (tmp_path / "run").exists()


def test_an_error_names_the_fold(tmp_path):
    request = RunRequest(data_root=tmp_path / "absent", to=tmp_path / "run")
    with pytest.raises(UsageError, match=r"fold 1: .*no such folder"):
        run_fold(CONFIG, 1, folds=3, request=request)


@pytest.mark.parametrize(
    ("first", "second", "words"), [(3, 0, "--folds 3"), (0, 3, "no --folds"), (3, 5, "--folds 3")]
)
def test_a_directory_keeps_its_number_of_folds(tmp_path, first, second, words):
    run = make_directory(tmp_path / "run")
    claim_directory(run, CONFIG, folds=["fold"] * first)
    with pytest.raises(UsageError, match=f"belongs to a run with {words};"):
        claim_directory(run, CONFIG, folds=["fold"] * second)


def test_the_store_of_a_fold_is_found_where_the_directory_is_moved_to(tmp_path):
    run = make_directory(tmp_path / "cv")
    fold = make_directory(run / "folds" / "0")
    assert claim_directory(fold, CONFIG, parent=run)["store"] == "../../metadata.sqlite"


@pytest.mark.parametrize(
    ("predicted", "words"),
    [
        ({"a"}, "usable but tested in no fold: 1 (such as b)"),
        ({"a", "b", "c"}, "tested but not usable: 1 (such as c)"),
    ],
)
def test_cases_that_no_fold_has_tested_or_that_none_should_have_end_the_run(predicted, words):
    expect_cases({"a", "b"}, expected={"a", "b"})
    with pytest.raises(MedimgError, match=re.escape(words)):
        expect_cases(predicted, expected={"a", "b"})
