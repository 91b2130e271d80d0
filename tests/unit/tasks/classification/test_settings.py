"""Settings of the task: what is refused, with its limits, and what follows from them."""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext

import pytest

from medimg.errors import UsageError
from medimg.tasks.classification.search_space import get_search_space
from medimg.tasks.classification.settings import (
    APPLICATIONS,
    Augmentation,
    Head,
    ModelSettings,
    TrainingSettings,
    check_settings,
    check_training,
    describe,
)
from medimg.tasks.search_space import Choice, Range

SETTINGS = ModelSettings(
    heads=(
        Head("malignancy", ("Benign", "Malignant")),
        Head("abnormality", ("calcification", "mass", "both")),
    ),
    roles=("CC", "MLO"),
    image_size=(64, 52),
)
ONE_HEAD = dataclasses.replace(SETTINGS, heads=SETTINGS.heads[:1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, None),
        ({"heads": ()}, "expected at least one of each"),
        ({"roles": ()}, "expected at least one of each"),
        ({"heads": (Head("malignancy"),)}, "malignancy: classes .*, expected two or more, each once"),
        ({"heads": (Head("malignancy", ("Benign",)),)}, "expected two or more"),
        ({"heads": (Head("malignancy", ("a", "b", "a")),)}, "expected two or more, each once"),
        ({"heads": (SETTINGS.heads[0], Head("other", ("a", "a")))}, "model.heads other: classes"),
        ({"heads": SETTINGS.heads[:1] * 2}, "'malignancy' is named 2 times among heads and roles"),
        ({"roles": ("CC", "CC")}, "'CC' is named 2 times"),
        ({"roles": ("CC", "malignancy")}, "'malignancy' is named 2 times"),
        ({"image_size": (64, 31)}, "at least 32 pixels each way"),
        ({"image_size": (31, 64)}, "at least 32 pixels each way"),
        ({"image_size": (32, 32)}, None),
        ({"backbone": "smal_cnn"}, "did you mean 'small_cnn'"),
        ({"weights": "imagenet"}, "found 'imagenet', expected none: small_cnn is trained from scratch"),
        ({"weights": "imagenet", "backbone": "ResNet50"}, None),
    ],
)
def test_settings_that_make_no_network_are_refused(change: dict[str, object], message: str | None) -> None:
    with pytest.raises(UsageError, match=message) if message else nullcontext():
        check_settings(dataclasses.replace(SETTINGS, **change))


@pytest.mark.parametrize(
    ("dropout", "samples", "refused"), [(0.2, 0, 0), (0.2, 1, 1), (0.2, 2, 0), (0, 0, 0), (0, 2, 1)]
)
def test_samples_of_dropout_are_none_or_several_of_a_network_that_drops(
    dropout: float, samples: int, refused: int
) -> None:
    model = dataclasses.replace(SETTINGS, dropout=dropout)
    with pytest.raises(UsageError, match=f"dropout_samples: found {samples}") if refused else nullcontext():
        check_training(model, TrainingSettings(dropout_samples=samples))


NOTHING = TrainingSettings(class_weights=False)
MEANS: dict[str, dict[str, object]] = {
    "weights": {"class_weights": True},
    "sampling": {"sampling": "balanced"},
    "loss": {"logit_adjustment": "loss"},
}
POST_HOC: dict[str, object] = {"logit_adjustment": "post_hoc"}


@pytest.mark.parametrize("name", MEANS)
@pytest.mark.parametrize("other", MEANS)
def test_one_means_against_imbalance_is_taken_and_two_are_refused(name: str, other: str) -> None:
    training = dataclasses.replace(NOTHING, **MEANS[name] | MEANS[other])
    both = len(MEANS[name] | MEANS[other]) > 1
    with pytest.raises(UsageError, match=r" and .*, expected one of them at most") if both else nullcontext():
        check_training(ONE_HEAD, training)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"logit_adjustment": "loss"}, "found 2 with logit_adjustment=loss, expected 0"),
        (POST_HOC, None),
        ({"class_weights": True}, None),
        ({"sampling": "balanced"}, None),
        ({}, None),
    ],
)
def test_a_focal_loss_is_not_adjusted(changes: dict[str, object], message: str | None) -> None:
    with pytest.raises(UsageError, match=message) if message else nullcontext():
        check_training(ONE_HEAD, dataclasses.replace(NOTHING, focal_gamma=2.0, **changes))


@pytest.mark.parametrize("means", ["weights", "loss"])
def test_all_means_but_sampling_are_for_several_heads(means: str) -> None:
    check_training(SETTINGS, dataclasses.replace(NOTHING, **MEANS[means]))
    with pytest.raises(UsageError, match="found balanced with heads malignancy, abnormality, expected one"):
        check_training(SETTINGS, dataclasses.replace(NOTHING, **MEANS["sampling"]))


@pytest.mark.parametrize("name", ["weights", "sampling"])
def test_answers_can_be_adjusted_after_any_other_means(name: str) -> None:
    check_training(ONE_HEAD, dataclasses.replace(NOTHING, **MEANS[name] | POST_HOC))


@pytest.mark.parametrize(
    ("changes", "balanced", "prevalence"),
    [
        ({}, (False, False), "train"),
        ({"class_weights": None}, (False, True), "train"),
        ({"focal_gamma": 2.0}, (False, False), "train"),
        (MEANS["weights"], (True, True), "train"),
        (MEANS["sampling"], (True, True), "train"),
        (MEANS["loss"], (True, True), "train"),
        (POST_HOC, (False, False), "balanced"),
        (POST_HOC | {"class_weights": None}, (False, True), "balanced"),
    ],
)
def test_the_frequencies_that_are_learnt_and_that_are_answered_follow_from_the_means(
    changes: dict[str, object], balanced: tuple[bool, bool], prevalence: str
) -> None:
    training = dataclasses.replace(NOTHING, **changes)
    assert (training.learns_balanced(2), training.learns_balanced(3)) == balanced
    assert training.prevalence == prevalence


@pytest.mark.parametrize("changes", [MEANS["sampling"], MEANS["loss"]])
def test_classes_are_not_weighed_beside_another_means_unless_that_is_asked_for(
    changes: dict[str, object],
) -> None:
    assert not TrainingSettings(**changes).weighs_classes(3)


def test_a_reader_of_the_model_is_given_its_outputs_and_inputs() -> None:
    settings = dataclasses.replace(SETTINGS, clinical_inputs=("age_years",), channels=3)
    assert describe(settings) == {
        "heads": {"malignancy": ["Benign", "Malignant"], "abnormality": ["calcification", "mass", "both"]},
        "roles": ["CC", "MLO"],
        "image_size": [64, 52],
        "channels": 3,
        "backbone": "small_cnn",
        "clinical_inputs": ["age_years"],
    }


def test_a_search_has_a_learning_rate_by_factors_and_choices_of_settings() -> None:
    space = get_search_space(SETTINGS)
    assert space["training.learning_rate"] == Range(1e-4, 1e-2, scale="log")
    assert space["model.dropout"] == Range(0.0, 0.5)
    assert space["training.batch_size"] == Choice((8, 16, 32))
    assert space["model.width"] == Choice((8, 16, 24, 32))
    assert len(space) == 4
    assert "model.width" not in get_search_space(dataclasses.replace(SETTINGS, backbone="ResNet50"))


def test_what_a_config_does_not_name_is_as_the_documentation_says() -> None:
    assert dataclasses.asdict(Augmentation()) == {
        "flip_vertical": True,
        "flip_horizontal": False,
        "rotate_degrees": 10.0,
        "shift_fraction": 0.05,
        "zoom_fraction": 0.1,
        "contrast_fraction": 0.1,
    }
    training = TrainingSettings()
    assert training == TrainingSettings(
        epochs=30,
        batch_size=16,
        learning_rate=1e-3,
        patience=8,
        class_weights=None,
        focal_gamma=0.0,
        sampling="shuffled",
        logit_adjustment=None,
        augmentation=Augmentation(),
        mixed_precision="auto",
        cache_bytes=20_000_000_000,
        seed=0,
        calibrate=True,
        members=1,
        dropout_samples=0,
    )
    model = ModelSettings(heads=(Head("malignancy"),), roles=("CC",))
    assert (model.image_size, model.channels, model.width, model.dropout) == ((256, 208), 1, 16, 0.2)
    assert (model.heads[0].classes, model.heads[0].weight, model.clinical_inputs) == ((), 1.0, ())


def test_the_backbones_by_name_are_those_that_keras_has() -> None:
    from keras import applications

    assert set(APPLICATIONS) == {name for name in vars(applications) if name[:1].isupper()}
