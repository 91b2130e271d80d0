"""LICENSE.txt and CITATION.bib say on which terms the series stand that were fetched."""

import pytest

from medimg.archive.collections import Collection
from medimg.archive.licences import CITATION_FILE, LICENCE_FILE, write_terms
from medimg.archive.source import Series

PUBLISHED = Collection(
    "x",
    "X: a collection",
    licence="CC BY 4.0",
    licence_url="https://cc/by",
    doi="10.1/x",
    citations=("@a", "@b "),
)


@pytest.mark.parametrize(
    ("series", "licences", "dois"),
    [
        ([Series("1")], ["CC BY 4.0"], ["10.1/x"]),
        ([Series("1", licence="CC BY 3.0", doi="10.1/y")], ["CC BY 3.0"], ["10.1/y"]),
        (
            [
                Series("1", licence="CC BY 4.0", doi="10.1/z"),
                Series("2", licence="CC BY-NC 4.0", doi="10.1/y"),
            ],
            ["CC BY 4.0", "CC BY-NC 4.0"],
            ["10.1/y", "10.1/z"],
        ),
        ([Series("1", licence="CC BY 3.0"), Series("2")], ["CC BY 3.0"], ["10.1/x"]),
    ],
)
def test_the_licences_and_sources_are_those_of_the_series_else_of_the_collection(
    tmp_path, series, licences, dois
):
    write_terms(PUBLISHED, series, root=tmp_path)
    lines = (tmp_path / LICENCE_FILE).read_text().splitlines()
    assert lines[:-2] == [
        "X: a collection",
        *(f"Licence: {licence}" for licence in licences),
        "Its text: https://cc/by",
        *(f"Source: https://doi.org/{doi}" for doi in dois),
    ]
    assert (tmp_path / CITATION_FILE).read_text() == "@a\n\n@b\n"


def test_of_a_users_own_data_nothing_is_claimed(tmp_path):
    write_terms(Collection("folder", "your own data"), [Series("1")], root=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_licence_without_a_text_or_a_citation_is_written_alone(tmp_path):
    write_terms(Collection("x", "X", licence="CC0"), [Series("1")], root=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [LICENCE_FILE]
    assert "text" not in (tmp_path / LICENCE_FILE).read_text()


def test_terms_that_changed_are_written_again_and_others_left_alone(tmp_path):
    write_terms(PUBLISHED, [Series("1", licence="CC BY 3.0")], root=tmp_path)
    before = (tmp_path / CITATION_FILE).stat().st_mtime_ns
    write_terms(PUBLISHED, [Series("1")], root=tmp_path)
    assert "CC BY 4.0" in (tmp_path / LICENCE_FILE).read_text()
    assert "CC BY 3.0" not in (tmp_path / LICENCE_FILE).read_text()
    assert (tmp_path / CITATION_FILE).stat().st_mtime_ns == before
