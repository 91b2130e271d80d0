"""A search proposes the same settings in the same order each time, and ends with the best or an error."""

import dataclasses

import pytest

from medimg.errors import MedimgError, UsageError
from medimg.tasks.search_space import Choice, Range
from pipeline.cache_keys import CodeFingerprints, Fingerprints
from pipeline.config.overrides import load_config
from pipeline.experiments.search_space import to_values
from pipeline.experiments.trials import Objective, Trial
from pipeline.experiments.tuning import SearchSettings, conclude, make_oracle, plan_search, tell, trial_key

FINGERPRINTS = Fingerprints("data", "", "schema", "", CodeFingerprints(*"abcdefgh"))
OBJECTIVE = Objective("malignancy", "auc")
SPACE = {"training.learning_rate": Range(1e-4, 1e-2, scale="log"), "model.width": Choice((8, 16))}


def play(search, folder, *, failing=()):
    """What an oracle proposes when the narrow and slow are best and some trials fail."""
    oracle, proposed = make_oracle(search, OBJECTIVE, folder=str(folder)), []
    while (asked := oracle.create_trial("test")).status == "RUNNING":
        values = to_values(asked.hyperparameters.values, search.space)
        proposed.append(values)
        failed = len(proposed) in failing
        score = 1 / values["model.width"] - values["training.learning_rate"]
        tell(
            oracle,
            asked,
            Trial("key", values, failed="no memory")
            if failed
            else Trial("key", values, {str(OBJECTIVE): score}),
            OBJECTIVE,
        )
    return proposed


def make_search(*, space=SPACE, trials=7, **settings):
    search = plan_search("cmmd_demo", settings=SearchSettings(trials=trials, **settings))
    return dataclasses.replace(search, space=space)


@pytest.mark.parametrize("oracle", ["bayesian", "random"])
def test_a_search_that_starts_again_or_grows_proposes_the_same_first(tmp_path, oracle):
    first = play(make_search(oracle=oracle, trials=7), tmp_path / "first")
    longer = play(make_search(oracle=oracle, trials=8), tmp_path / "longer")
    assert len(first) == 7
    assert longer[:7] == first
    assert play(make_search(oracle=oracle, trials=7, seed=1), tmp_path / "other") != first


def test_a_search_goes_on_when_trials_fail_one_after_the_other(tmp_path):
    assert len(play(make_search(), tmp_path, failing=range(1, 7))) == 7


def test_the_bayesian_oracle_learns_what_is_good(tmp_path):
    proposed = play(make_search(trials=10), tmp_path)
    drawn, learnt = proposed[:6], proposed[6:]
    narrow_learnt = sum(values["model.width"] == 8 for values in learnt)
    narrow_drawn = sum(values["model.width"] == 8 for values in drawn)
    assert narrow_learnt / 4 > narrow_drawn / 6


def test_a_small_space_ends_the_search(tmp_path):
    search = make_search(
        space={"model.width": Choice((8, 16)), "training.learning_rate": Choice((0.1, 0.2))}, oracle="random"
    )
    proposed = play(search, tmp_path)
    assert sorted(tuple(values.values()) for values in proposed) == [(8, 0.1), (8, 0.2), (16, 0.1), (16, 0.2)]


def test_what_is_set_by_hand_is_given_and_not_searched():
    search = plan_search("cmmd_demo", ["training.epochs=2", "model.width=8"])
    assert search.given == {"training.epochs": 2, "model.width": 8}
    assert "model.width" not in search.space
    assert search.config.model.width == 8


def test_an_unknown_oracle_is_refused():
    with pytest.raises(UsageError, match="--oracle baysian: no such oracle; did you mean 'bayesian'"):
        plan_search("cmmd_demo", settings=SearchSettings(oracle="baysian"))


def test_settings_that_a_search_has_chosen_are_not_searched_again():
    tuning = (
        '{"chosen": {}, "objective": "m/auc", "score": 0.5, "trials": 3, "failed": 0, '
        '"oracle": "random", "seed": 0}'
    )
    with pytest.raises(UsageError, match="has chosen settings of this config already"):
        plan_search("cmmd_demo", [f"tuning={tuning}"])


def test_the_conclusion_counts_what_failed_and_an_undefined_figure_is_a_failure():
    scored = [
        Trial("a", {"model.width": 8}, {"malignancy/auc": 0.6}),
        Trial("b", {"model.width": 16}, {"malignancy/auc": 0.8}),
    ]
    failed = [
        Trial("c", {"model.width": 24}, failed="no memory"),
        Trial("d", {"model.width": 32}, {"malignancy/auc": None}),
    ]
    tuning = conclude([*scored, *failed], make_search(), objective=OBJECTIVE)
    assert (tuning.chosen, tuning.score, tuning.trials, tuning.failed) == ({"model.width": 16}, 0.8, 4, 2)
    with pytest.raises(MedimgError, match="no trial of 2 has a score; the first: no memory"):
        conclude(failed, make_search(), objective=OBJECTIVE)


def test_a_trial_is_known_by_its_config_not_by_what_comes_after_training():
    key = trial_key(load_config("cmmd_demo"), FINGERPRINTS)
    assert len(key) == 16
    for same in ("evaluation.resamples=7", "data_gate.drift=0.5", "deployment.default.cpu=4", "name=other"):
        assert key == trial_key(load_config("cmmd_demo", overrides=[same]), FINGERPRINTS), same


@pytest.mark.parametrize(
    "override",
    [
        "data_set=folder",
        "task=other",
        "labels.keep=none",
        "scan.follow_links=true",
        "ingest.bits=16",
        "split.seed=1",
        "examples.cases_per_shard=7",
        "model.width=24",
        "training.seed=1",
    ],
)
def test_a_trial_of_another_setting_is_another(override):
    config = load_config("cmmd_demo")
    assert trial_key(config, FINGERPRINTS) != trial_key(
        load_config("cmmd_demo", overrides=[override]), FINGERPRINTS
    )


@pytest.mark.parametrize(
    ("name", "decides"),
    [
        *((name, True) for name in ("data", "previous", "catalogue", "schema", "weights")),
        ("baseline", False),
    ],
)
def test_a_trial_on_other_content_is_another_but_for_the_model_pushed_last(name, decides):
    config, other = load_config("cmmd_demo"), dataclasses.replace(FINGERPRINTS, **{name: "other"})
    assert (trial_key(config, FINGERPRINTS) != trial_key(config, other)) == decides


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(CodeFingerprints)])
def test_a_trial_by_other_code_is_another_where_it_comes_before_the_export(name):
    config, code = load_config("cmmd_demo"), dataclasses.replace(FINGERPRINTS.code, **{name: "other"})
    changed = trial_key(config, dataclasses.replace(FINGERPRINTS, code=code))
    decides = name in ("catalogue", "examples", "transform", "trainer")
    assert (trial_key(config, FINGERPRINTS) != changed) == decides
