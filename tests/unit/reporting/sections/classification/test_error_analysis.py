"""What the report says of wrong answers: each number is of the tables, and what does not hold is not said."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import fisher_exact

from medimg.reporting.sections.classification.error_analysis import (
    Errors,
    Tables,
    find_excess,
    observe_all,
    observe_pair,
)

CLASSES = ("nv", "mel", "bcc")


def make_answers(*rows, **columns):
    """One answer per row of (label, predicted, count), each of a group of its own."""
    pairs = [(label, predicted) for label, predicted, count in rows for _ in range(count)]
    table = pd.DataFrame(pairs, columns=["label", "predicted"])
    return table.assign(
        case_id=[f"c{number}" for number in range(len(table))],
        group_id=[f"g{number}" for number in range(len(table))],
        **columns,
    )


def make_train(**counts):
    return pd.DataFrame({"label": [name for name, count in counts.items() for _ in range(count)]})


NO_TRAIN = pd.DataFrame(columns=["label"])


def test_answers_that_are_all_right_give_nothing_to_say():
    tables = Tables(make_answers(("nv", "nv", 5)), make_train(nv=5, mel=1, bcc=5), CLASSES)
    assert observe_all(tables) == observe_pair(tables, "nv", "mel") == []


def test_errors_within_a_declared_merge_are_counted_and_their_classes_named():
    unions = {"skin": {"nv": "pigmented", "mel": "pigmented"}}
    answers = make_answers(("nv", "mel", 3), ("nv", "bcc", 2), ("mel", "mel", 4))
    tables = Tables(answers, NO_TRAIN, CLASSES, unions=unions)
    assert observe_pair(tables, "nv", "mel") == [
        "3 of 3 are within a merged class of skin, where nv and mel are pigmented."
    ]
    assert observe_pair(tables, "nv", "bcc") == []
    assert observe_all(tables) == [
        "3 of 5 are within a merged class of skin, where nv and mel are pigmented."
    ]


def test_a_class_with_less_than_half_the_training_cases_of_the_median_is_told_with_its_count():
    answers = make_answers(("mel", "nv", 2), ("mel", "mel", 1), ("nv", "mel", 2), ("nv", "nv", 15))
    few = Tables(answers, make_train(nv=100, mel=9, bcc=20), CLASSES)
    assert observe_pair(few, "mel", "nv") == [
        "2 of 2 are of a class with less than half the 20 training cases of the median class: mel has 9."
    ]
    assert observe_pair(few, "nv", "mel") == []
    assert observe_all(few)[0].endswith("mel has 9; so are 3 of 20 cases.")
    assert observe_all(Tables(answers, make_train(nv=100, mel=10, bcc=20), CLASSES)) == []


def with_neighbours(answers, nearest, distances):
    return answers.assign(nearest=nearest, distance=distances)


def test_the_class_that_most_errors_lie_nearest_to_is_told_beside_the_right_answers():
    answers = make_answers(("nv", "mel", 3), ("nv", "nv", 4))
    near = with_neighbours(answers, ["mel", "mel", "nv", "nv", "mel", "nv", "bcc"], np.linspace(0.5, 0.1, 7))
    (sentence, *_) = observe_pair(Tables(near, NO_TRAIN, CLASSES), "nv", "mel")
    assert sentence == (
        "For 2 of 3 the nearest training case is of the class that they were called; "
        "for 2 of 4 right answers it is of another class."
    )
    half = with_neighbours(answers, ["mel", "mel", None, "nv", "mel", "nv", None], np.linspace(0.5, 0.1, 7))
    (sentence, *_) = observe_pair(Tables(half, NO_TRAIN, CLASSES), "nv", "mel")
    assert sentence.startswith("For 2 of 2 that were embedded the nearest training case is ")
    assert sentence.endswith("; for 1 of 3 right answers it is of another class.")
    own = with_neighbours(answers, ["nv", "mel", "nv", "nv", "mel", "nv", "bcc"], np.linspace(0.5, 0.1, 7))
    assert observe_pair(Tables(own, NO_TRAIN, CLASSES), "nv", "mel") == [
        "For 2 of 3 the nearest training case is of their own class all the same; "
        "for 2 of 4 right answers it is of another class."
    ]
    neither = with_neighbours(
        answers, ["nv", "mel", "bcc", "nv", "mel", "nv", "bcc"], np.linspace(0.5, 0.1, 7)
    )
    assert observe_pair(Tables(neither, NO_TRAIN, CLASSES), "nv", "mel") == []


def test_an_error_that_lies_as_close_to_the_called_class_as_hardly_a_case_lies_to_any_is_told():
    answers = make_answers(("nv", "mel", 2), ("nv", "nv", 38))
    nearest = ["nv", "mel", *["nv"] * 38]
    distances = np.concatenate([[0.2, 0.001], np.linspace(0.1, 0.4, 38)])
    (sentence,) = observe_pair(
        Tables(with_neighbours(answers, nearest, distances), NO_TRAIN, CLASSES), "nv", "mel"
    )
    assert sentence.startswith("For 1 of 2 a training case of the class that they were called lies within ")
    assert sentence.endswith(", as close as the closest 5 % of all cases lie to any.")
    other = with_neighbours(answers, ["nv", "bcc", *["nv"] * 38], distances)
    assert observe_pair(Tables(other, NO_TRAIN, CLASSES), "nv", "mel") == []


def colour(lightness):
    return {"colour_lightness": lightness, "colour_green_red": 0.0, "colour_blue_yellow": 0.0}


def observe_colours(of_errors):
    """Sentences on errors of these lightnesses, called mel (78 on average) instead of nv (42 on average)."""
    train = make_train(nv=2, mel=2).assign(**colour([40.0, 44.0, 76.0, 80.0]))
    answers = make_answers(("nv", "mel", len(of_errors)), ("nv", "nv", 1))
    return observe_pair(
        Tables(answers.assign(**colour([*of_errors, 42.0])), train, ("nv", "mel")), "nv", "mel"
    )


def test_the_colour_of_most_errors_is_told_if_it_is_nearer_to_that_of_the_called_class():
    # They are 36, 32 and 2 from the own class, 0, 4 and 38 from the called one.
    assert observe_colours([78.0, 74.0, 40.0]) == [
        "The mean colour of 2 of 3 is nearer to the training mean of the class that they were called than to "
        "that of their own (14.0 against 23.3 on average, in CIELAB)."
    ]


@pytest.mark.parametrize(
    "of_errors", [[78.0, 44.0, 40.0], [78.0, 78.0, 44.0, 40.0], [78.0], [60.0, 60.0, 60.0]]
)
def test_the_colour_of_half_the_errors_of_one_or_of_neither_class_is_not_told(of_errors):
    assert observe_colours(of_errors) == []


def test_colours_of_classes_that_train_lacks_are_not_compared_and_count_for_no_majority():
    train = make_train(nv=2, mel=2).assign(**colour([40.0, 44.0, 76.0, 80.0]))
    pairs = [("nv", "mel", 2), ("nv", "bcc", 2), ("bcc", "mel", 1), ("nv", "nv", 1)]
    answers = make_answers(*pairs).assign(**colour([78.0, 74.0, 78.0, 78.0, 78.0, 42.0]))
    assert not any("colour" in one for one in observe_all(Tables(answers, train, CLASSES)))
    more = make_answers(*pairs, ("nv", "mel", 2)).assign(
        **colour([78.0, 74.0, 78.0, 78.0, 78.0, 42.0, 78.0, 78.0])
    )
    (sentence,) = [one for one in observe_all(Tables(more, train, CLASSES)) if "colour" in one]
    assert sentence.startswith("The mean colour of 4 of 7 is nearer")
    assert "(1.0 against 35.0 on average" in sentence


def test_grey_images_have_no_colour_to_speak_of():
    answers = make_answers(("nv", "mel", 3))
    assert observe_pair(Tables(answers, make_train(nv=5, mel=5), ("nv", "mel")), "nv", "mel") == []


@pytest.mark.parametrize(("near", "told"), [(2, False), (3, True)], ids=["half", "more than half"])
def test_most_is_more_than_half(near, told):
    answers = make_answers(("nv", "mel", 4), ("nv", "nv", 1))
    nearest = ["mel"] * near + ["bcc"] * (4 - near) + ["nv"]
    tables = Tables(with_neighbours(answers, nearest, np.linspace(0.5, 0.1, 5)), NO_TRAIN, CLASSES)
    assert bool(observe_pair(tables, "nv", "mel")) == told


def test_a_single_error_is_no_majority():
    answers = with_neighbours(make_answers(("nv", "mel", 1), ("nv", "nv", 3)), ["mel", "nv", "nv", "nv"], 0.3)
    answers.loc[0, "distance"] = 0.9
    assert observe_pair(Tables(answers, NO_TRAIN, CLASSES), "nv", "mel") == []


def test_a_p_value_is_fisher_s_for_the_number_of_tests_and_at_most_1():
    cases = make_answers(("nv", "mel", 6), ("nv", "nv", 14))
    errors = Errors(cases, cases["predicted"] == "mel", called="called mel")
    inside = pd.Series(np.isin(np.arange(20), [0, 1, 2, 3, 10, 11]))
    expected = fisher_exact([[4, 2], [2, 12]], alternative="greater").pvalue
    assert find_excess(errors, inside, tested=3) == pytest.approx(3 * expected)
    assert find_excess(errors, inside, tested=100) == 1.0
    assert find_excess(errors, ~inside, tested=1) == pytest.approx(
        fisher_exact([[2, 12], [4, 2]], alternative="greater").pvalue
    )


def test_slices_are_told_by_column_and_value_with_numbers_as_they_are_written():
    answers = make_answers(("nv", "mel", 12), ("nv", "nv", 88))
    number = answers.index.to_numpy()
    tables = Tables(
        answers.assign(
            clinical_site=np.where(number < 6, "b", np.where(number < 12, "a", "c")),
            clinical_age=np.where(number < 12, 40.0, 62.5),
        ),
        NO_TRAIN,
        CLASSES,
        slices=["site", "age"],
    )
    told = observe_pair(tables, "nv", "mel")
    assert [sentence.split(",")[0] for sentence in told] == [
        "Of the 6 cases with site a",
        "Of the 6 cases with site b",
        "Of the 12 cases with age 40",
    ]
    assert all(sentence.endswith("for 5 values looked at).") for sentence in told)


def test_errors_that_are_mostly_of_one_group_name_it_by_what_the_data_set_calls_it():
    answers = make_answers(("nv", "mel", 6), ("nv", "nv", 34))
    answers.loc[[*range(5), 9], "group_id"] = "HAM_7"
    # 5 of 6 errors in 6 of 40 cases: (6 * 34 + 1) / 3838380 by chance, and 35 lesions are looked at.
    told = [
        "5 of 6 are of one lesion, HAM_7, which has 6 of 40 cases "
        "(Fisher's exact test, p = 0.0019 for 35 lesions)."
    ]
    assert observe_pair(Tables(answers, NO_TRAIN, CLASSES, group_noun="lesion"), "nv", "mel") == told
    large = answers.assign(group_id=answers["group_id"].where(answers.index > 19, "HAM_7"))
    assert observe_pair(Tables(large, NO_TRAIN, CLASSES, group_noun="lesion"), "nv", "mel") == []
    single = Tables(answers[answers["case_id"] == "c0"], NO_TRAIN, CLASSES, group_noun="lesion")
    assert observe_pair(single, "nv", "mel") == []


def test_a_slice_with_more_errors_than_chance_would_give_is_told_with_the_rest_beside_it():
    answers = make_answers(("nv", "mel", 10), ("nv", "nv", 90))
    source = np.where(answers.index < 8, "consensus", np.where(answers.index < 20, None, "histo"))
    tables = Tables(answers.assign(clinical_dx_type=source), NO_TRAIN, CLASSES, slices=["dx_type"])
    (sentence,) = observe_pair(tables, "nv", "mel")
    assert sentence.startswith(
        "Of the 8 cases with dx_type consensus, 8 are called mel, of the other 92, 2 "
        "(Fisher's exact test, p = "
    )
    assert sentence.endswith("for 2 values looked at).")
    (wrong,) = observe_all(tables)
    assert "8 are called wrongly" in wrong


def test_a_slice_is_held_to_a_stricter_bound_the_more_values_are_looked_at():
    answers = make_answers(("nv", "mel", 10), ("nv", "nv", 90))
    # 3 of 6 against 7 of 94: p = 0.0156 by Fisher's test, one-sided.
    columns = {"clinical_sex": np.where((answers.index < 3) | (answers.index >= 97), "female", None)}
    alone = Tables(answers.assign(**columns), NO_TRAIN, CLASSES, slices=["sex"])
    assert len(observe_pair(alone, "nv", "mel")) == 1
    columns["clinical_site"] = [f"site {number % 10}" for number in range(100)]
    assert (
        observe_pair(
            Tables(answers.assign(**columns), NO_TRAIN, CLASSES, slices=["sex", "site"]), "nv", "mel"
        )
        == []
    )
