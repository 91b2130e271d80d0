"""Which cases count under a protocol, and what a patient's or a lesion's cases become together."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from medimg.errors import UsageError
from medimg.evaluation.protocols import (
    PROTOCOLS,
    Protocol,
    clusters_of,
    find_gap,
    find_protocols,
    list_views,
    roll_up,
)

CLASSES = ("Benign", "Malignant")
KINDS = ("a", "b", "c")


def make_table():
    """Three patients with three, two and one cases, in no order."""
    rows = [
        # case, patient, lesion, cluster, fold, images, source, site, age, label, probability
        ("A2", "A", "1", "x", 0, 2, "D1", "u", 40, "Malignant", 0.6),
        ("C1", "C", "4", "x", 2, 4, "D2", "u", 61, "Benign", 0.8),
        ("A1", "A", "1", "x", 0, 1, "D1", "v", 40, "Benign", 0.1),
        ("B2", "B", "3", "y", 1, 3, "D1", None, 40, "Benign", 0.5),
        ("A3", "A", "2", "x", 0, 1, "D1", "u", 40, "Benign", 0.2),
        ("B1", "B", "3", "y", 1, 2, "D1", "w", 41, None, 0.7),
    ]
    names = ["case_id", "group_id", "level_lesion", "cluster_id", "fold", "image_count"]
    names += ["clinical_source", "clinical_site", "clinical_age", "label_kind", "p_kind_Malignant"]
    table = pd.DataFrame(rows, columns=names)
    return table.assign(level_patient=table.group_id, split="test", p_kind_Benign=1 - table.p_kind_Malignant)


def roll(table, protocol, classes=CLASSES):
    if isinstance(protocol, str):
        (protocol,) = find_protocols([protocol])
    return roll_up(table, protocol=protocol, head="kind", classes=classes)


def test_a_patient_has_the_highest_probability_and_is_positive_if_any_case_is():
    rolled = roll(make_table(), "P4").set_index("case_id")
    assert list(rolled.index) == ["A", "B", "C"]
    assert rolled.label_kind.to_dict() == {"A": "Malignant", "B": "Benign", "C": "Benign"}
    assert rolled.p_kind_Malignant.to_dict() == pytest.approx({"A": 0.6, "B": 0.5, "C": 0.8})
    assert rolled.p_kind_Benign.to_dict() == pytest.approx({"A": 0.4, "B": 0.5, "C": 0.2})
    assert rolled.group_id.tolist() == rolled.level_patient.tolist() == ["A", "B", "C"]
    assert rolled.cluster_id.tolist() == ["x", "y", "x"]
    assert rolled.fold.tolist() == [0, 1, 2]
    assert rolled.split.tolist() == ["test"] * 3


@pytest.mark.parametrize(
    ("name", "probabilities", "positives"),
    [
        ("patient-mean", {"A": 0.3, "B": 0.5, "C": 0.8}, ["A"]),
        ("lesion", {"1": 0.35, "2": 0.2, "3": 0.5, "4": 0.8}, ["1"]),
    ],
)
def test_a_mean_is_over_the_labelled_cases_of_a_patient_or_a_lesion(name, probabilities, positives):
    rolled = roll(make_table(), name).set_index("case_id")
    assert rolled.p_kind_Malignant.to_dict() == pytest.approx(probabilities)
    assert (rolled.p_kind_Benign + rolled.p_kind_Malignant).tolist() == pytest.approx([1] * len(rolled))
    assert list(rolled.index[rolled.label_kind == "Malignant"]) == positives


def test_a_clinical_value_that_differs_within_a_patient_or_is_missing_for_a_case_is_null():
    table = make_table().assign(label_kind="Benign")
    rolled = roll(table, "P4").set_index("case_id")
    assert rolled.clinical_source.tolist() == ["D1", "D1", "D2"]
    assert rolled.clinical_site.isna().tolist() == [True, True, False]
    assert rolled.clinical_age.isna().tolist() == [False, True, False]


def test_cases_of_more_classes_are_averaged_where_they_agree():
    table = make_table().assign(label_kind=["a", "c", "b", "b", "a", "b"])
    for index, name in enumerate(KINDS):
        table[f"p_kind_{name}"] = np.arange(6) / 10 + index
    rolled = roll(table, "patient-mean", KINDS).set_index("case_id")
    assert rolled.label_kind.to_dict() == {"B": "b", "C": "c"}
    assert rolled.p_kind_c.to_dict() == pytest.approx({"B": 2.4, "C": 2.1})
    assert "takes the largest probability" in find_gap(
        table, protocol=PROTOCOLS["P4"], head="kind", classes=KINDS
    )


@pytest.mark.parametrize(
    ("protocol", "cases"),
    [
        ("cases", ["A1", "A2", "A3", "B2", "C1"]),
        ("P1", ["A1", "A2", "A3", "B2", "C1"]),
        ("P2", ["A1", "A2", "A3", "B2"]),
        ("P3", ["A1", "A2", "A3", "C1"]),
        (Protocol("X", "case", "none", "", unlabelled_as="Benign"), ["A1", "A2", "A3", "B1", "B2", "C1"]),
        (Protocol("X", "case", "none", "", images_per_group=5), ["B2"]),
        (Protocol("X", "case", "none", "", where={"age": "40"}), ["A1", "A2", "A3", "B2"]),
        (Protocol("X", "case", "none", "", where={"site": "u", "age": "61"}), ["C1"]),
        (Protocol("X", "case", "none", "", where={"age": "61", "site": "u"}), ["C1"]),
        (Protocol("X", "case", "none", "", where={"site": "u"}, images_per_group=4), ["A2", "A3", "C1"]),
    ],
)
def test_the_cases_that_count(protocol, cases):
    assert sorted(roll(make_table(), protocol).case_id) == cases


def test_an_unlabelled_case_counts_as_the_protocol_says():
    table = make_table().assign(image_count=2)
    rolled = roll(pd.concat([table, table.tail(1).assign(case_id="B3")]), "P3").set_index("case_id")
    assert rolled.label_kind.to_dict() == {}
    table = table[~table.case_id.isin(["A3", "C1"])]
    rolled = roll(table, "P3").set_index("case_id")
    assert rolled.label_kind.to_dict() == {
        "A2": "Malignant",
        "A1": "Benign",
        "B2": "Benign",
        "B1": "Benign",
    }
    assert rolled.p_kind_Malignant["B1"] == 0.7


def test_each_view_is_a_row_of_its_own_where_it_was_scored():
    table = make_table().assign(
        v_kind_Malignant_MLO=[0.6, None, 0.1, 0.5, 0.2, 0.7],
        v_kind_Benign_MLO=[0.4, None, 0.9, 0.5, 0.8, 0.3],
        v_kind_Malignant_CC=[0.65, 0.85, None, 0.55, 0.25, 0.75],
        v_kind_Benign_CC=[0.35, 0.15, None, 0.45, 0.75, 0.25],
    )
    assert list_views(table, head="kind", classes=CLASSES) == ["CC", "MLO"]
    rolled = roll(table, "image")
    assert list(rolled.case_id) == [
        "A1-MLO",
        "A2-CC",
        "A2-MLO",
        "A3-CC",
        "A3-MLO",
        "B2-CC",
        "B2-MLO",
        "C1-CC",
    ]
    assert rolled.p_kind_Malignant.tolist() == [0.1, 0.65, 0.6, 0.25, 0.2, 0.55, 0.5, 0.85]
    assert rolled.p_kind_Benign.tolist() == [0.9, 0.35, 0.4, 0.75, 0.8, 0.45, 0.5, 0.15]
    assert rolled.label_kind.tolist() == ["Benign", "Malignant", "Malignant", *["Benign"] * 5]


def test_what_shares_images_is_one_cluster_and_else_the_group():
    table = make_table()
    assert clusters_of(table).tolist() == ["x", "x", "x", "y", "x", "y"]
    assert clusters_of(table.drop(columns="cluster_id")).tolist() == ["A", "C", "A", "B", "A", "B"]


def test_the_named_protocols_are_those_of_the_literature():
    rules = {
        name: (one.level, one.aggregate, dict(one.where), one.unlabelled_as, one.images_per_group)
        for name, one in PROTOCOLS.items()
    }
    assert rules == {
        "cases": ("case", "none", {}, "", 0),
        "P1": ("breast", "none", {}, "", 0),
        "P2": ("breast", "none", {"source": "D1"}, "", 0),
        "P3": ("breast", "none", {}, "Benign", 4),
        "P4": ("patient", "max", {}, "", 0),
        "image": ("image", "views", {}, "", 0),
        "lesion": ("lesion", "mean", {}, "", 0),
        "isic2018": ("image", "none", {"collection": "ISIC2018_Task3_Test"}, "", 0),
        "patient-mean": ("patient", "mean", {}, "", 0),
    }
    assert [name for name, one in PROTOCOLS.items() if one.takes_every_case] == ["cases", "P1"]


@pytest.mark.parametrize(
    "rule",
    [{"where": {"source": "D1"}}, {"unlabelled_as": "Benign"}, {"images_per_group": 4}, {"aggregate": "max"}],
)
def test_a_protocol_with_any_rule_does_not_take_every_case(rule):
    assert PROTOCOLS["cases"].takes_every_case
    assert not dataclasses.replace(PROTOCOLS["cases"], **rule).takes_every_case


def test_protocols_are_found_in_the_order_that_is_asked_for():
    assert [one.name for one in find_protocols(["lesion", "P1", "P4"])] == ["lesion", "P1", "P4"]
    with pytest.raises(UsageError, match="protocol 'P0': no such protocol"):
        find_protocols(["P1", "P0"])


def test_a_label_that_is_no_class_and_a_missing_column_are_refused():
    table = make_table()
    with pytest.raises(UsageError, match="label_kind holds 'Malignent', expected one of Benign, Malignant"):
        roll(table.replace({"label_kind": {"Malignant": "Malignent"}}), "cases")
    for column, protocol in (("level_patient", "P4"), ("clinical_source", "P2"), ("image_count", "P3")):
        with pytest.raises(UsageError, match=f"no column '{column}', which protocol {protocol} needs"):
            roll(table.drop(columns=column), protocol)
    with pytest.raises(UsageError, match="head 'kind': image takes each view alone"):
        roll(table, "image")
