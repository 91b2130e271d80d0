"""The nouns of the pipeline start out empty and say what they are."""

from medimg.cases import Case, DataSet, Listing, Record, Stack


def test_a_group_is_called_by_the_coarsest_level():
    data_set = DataSet(
        name="skin",
        title="Skin",
        task="classification",
        licence="",
        doi="",
        levels=("image", "lesion", "patient"),
        roles=("image",),
        targets={},
        list_cases=lambda root, headers: Listing(()),
        list_tables=lambda root: (),
        write_phantom=lambda to: None,
    )
    assert data_set.group_noun == "patient"


def test_what_is_not_stated_of_a_case_is_nothing():
    case, other = Case("c", "g", ()), Case("d", "g", ())
    assert (case.status, case.reason, case.official_split) == ("used", "", None)
    assert (case.labels, case.annotations, case.masks) == ({}, (), ())
    assert case.labels is not other.labels
    assert Record(case, {}).masks == {}
    stack = Stack((), 0)
    assert (stack.affine, stack.slope, stack.intercept) == (None, 1, 0)
    assert Listing(()).is_published
