"""A search space is checked like `--set`, leaves the cases alone, and survives the way through KerasTuner."""

import pytest

from medimg.errors import UsageError
from medimg.tasks.search_space import Choice, Range
from pipeline.config.overrides import list_configs, load_config
from pipeline.experiments.search_space import (
    apply_values,
    check_space,
    load_space,
    to_hyperparameters,
    to_values,
)

CONFIG = load_config("cmmd_demo")


@pytest.mark.parametrize("name", list_configs())
def test_every_config_has_a_space_that_it_takes(name):
    assert load_space(name, load_config(name))


def test_a_width_is_searched_only_where_the_backbone_has_one():
    assert "model.width" in load_space("cmmd_demo", CONFIG)
    assert "model.width" not in load_space("ham10000_mobilenet", load_config("ham10000_mobilenet"))


def test_a_config_may_have_a_space_of_its_own():
    assert "training.focal_gamma" in load_space("ham10000_small_cnn", load_config("ham10000_small_cnn"))


@pytest.mark.parametrize("fixed", ["training.batch_size", "training"])
def test_what_is_set_by_hand_is_not_searched(fixed):
    left = load_space("cmmd_demo", CONFIG, fixed=[fixed])
    assert "training.batch_size" not in left
    assert "model.width" in left


def test_with_all_settings_set_there_is_nothing_to_search():
    with pytest.raises(UsageError, match="nothing to search"):
        load_space("cmmd_demo", CONFIG, fixed=["model", "training"])


@pytest.mark.parametrize(
    ("key", "parameter", "words"),
    [
        ("training.learning_rat", Choice((0.1, 0.2)), "did you mean 'training.learning_rate'?"),
        ("split.seed", Choice((0, 1)), "split.seed changes the cases or how they are judged"),
        ("ingest.bits", Choice((8, 16)), "ingest.bits changes the cases"),
        ("evaluation.resamples", Choice((1, 2)), "evaluation.resamples changes the cases"),
        ("model.heads.0.weight", Choice((1.0, 2.0)), "model.heads.0.weight changes the cases"),
        ("model.roles", Choice((["cc"], ["mlo"])), "model.roles changes the cases"),
        ("model.clinical_inputs", Choice(([], ["age_years"])), "model.clinical_inputs changes the cases"),
        ("deployment.extra", Choice(("", "idc")), "deployment.extra changes the cases"),
        ("model.dropout", Range(0.5, 0.4), "ranges from 0.5 to 0.4, expected a lower end below"),
        ("training.learning_rate", Range(-0.1, 0.5, scale="log"), "expected more than 0"),
        ("model.dropout", Range(-0.1, 0.5), "config key model.dropout"),
        ("model.width", Choice((8, 16, 0)), "config key model.width"),
        ("model.dropout", Range(0.0, 1.0), "config key model.dropout"),
        ("model.fusion", Choice(("mean", "sum")), "config key model.fusion"),
        ("model.width", Choice((8,)), "expected two values or more"),
        ("model.width", Choice((8, 8, 16)), "each once"),
        ("model.dropout", Range(0.5, 0.5), "expected a lower end below the upper one"),
        ("model.dropout", Range(0.0, 0.5, scale="log"), "expected more than 0"),
    ],
)
def test_a_wrong_parameter_is_refused_in_one_line_that_names_it(key, parameter, words):
    with pytest.raises(UsageError) as caught:
        check_space({"training.epochs": Range(1, 3), key: parameter}, CONFIG)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_any_value_of_a_config_can_be_a_choice():
    space = {
        "model.weights": Choice((None, "imagenet")),
        "model.image_size": Choice(((64, 52), (128, 104))),
        "training.class_weights": Choice((True, False)),
    }
    check_space(space, CONFIG)
    values = to_values(to_hyperparameters(space).values, space)
    assert values == {"model.weights": None, "model.image_size": [64, 52], "training.class_weights": True}
    assert apply_values(CONFIG, values).model.image_size == (64, 52)


def test_a_range_with_whole_ends_gives_whole_numbers_within_them():
    space = {"training.epochs": Range(2, 4), "model.dropout": Range(0.1, 0.3)}
    epochs, dropout = to_hyperparameters(space).space
    assert {epochs.random_sample(seed) for seed in range(50)} == {2, 3, 4}
    assert all(0.1 <= dropout.random_sample(seed) <= 0.3 for seed in range(50))
