"""The reasons of quarantined images in few words: most frequent first, each with a file."""

from __future__ import annotations

import pandas as pd

from medimg.catalogue.quarantine import describe_reasons, list_quarantined
from medimg.catalogue.tables import Catalogue


def test_reasons_are_counted_without_the_names_of_their_files():
    found = [
        ("b/2.dcm", "b/2.dcm: is cut short"),
        ("b/1.dcm", "b/1.dcm: is cut short"),
        ("3.png", "3.png: has 7 pixels"),
        ("", "4.dcm: is cut short"),
        ("5.dcm", "changed: since it was fetched"),
        ("6.gif", "6.gif: is a GIF"),
        ("7.gif", "7.gif: is a GIF"),
        ("8.bin", "8.bin: is odd"),
    ]
    assert describe_reasons(found) == (
        "3 x is cut short (4.dcm); 2 x is a GIF (6.gif); 1 x changed: since it was fetched (5.dcm); "
        "2 x other reasons"
    )


def test_three_reasons_are_all_and_none_is_nothing():
    found = [(f"{name}.png", f"{name}.png: is {name}") for name in "abc"]
    assert describe_reasons(found) == "1 x is a (a.png); 1 x is b (b.png); 1 x is c (c.png)"
    assert describe_reasons([]) == ""


def test_a_case_counts_where_no_quarantined_file_stands_for_it():
    images = pd.DataFrame(
        {"case_id": [None, "c"], "path": ["a.png", "c.png"], "status": ["quarantined", "used"],
         "reason": ["a.png: is cut short", ""]}
    )  # fmt: skip
    cases = pd.DataFrame(
        {"case_id": ["a.png", "b.png", "c", "d.png"], "status": [*["quarantined"] * 2, "used", "quarantined"],
         "reason": ["a.png: is cut short", "labels.csv names it and it is absent", "", "d.png: no image"]}
    )  # fmt: skip
    found = list(list_quarantined(Catalogue(cases, images, pd.DataFrame(), {})))
    assert found == [
        ("a.png", "a.png: is cut short"),
        ("b.png", "labels.csv names it and it is absent"),
        ("", "d.png: no image"),
    ]
