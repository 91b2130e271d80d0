import pytest

from medimg.console.plurals import count, make_plural


@pytest.mark.parametrize(
    ("noun", "plural"),
    [
        ("study", "studies"),
        ("biopsy", "biopsies"),
        ("case", "cases"),
        ("patient", "patients"),
        ("breast", "breasts"),
        ("lesion", "lesions"),
        ("class", "classes"),
        ("box", "boxes"),
        ("patch", "patches"),
        ("mesh", "meshes"),
        ("day", "days"),
        ("assay", "assays"),
        ("series", "series"),
        ("metastasis", "metastases"),
        ("mouse", "mice"),
        ("published figure", "published figures"),
        ("brain study", "brain studies"),
        ("CT series", "CT series"),
    ],
)
def test_a_noun_has_its_english_plural(noun, plural):
    assert make_plural(noun) == plural


@pytest.mark.parametrize(
    ("number", "words"), [(0, "0 studies"), (1, "1 study"), (2, "2 studies"), (25, "25 studies")]
)
def test_one_alone_is_no_plural(number, words):
    assert count(number, "study") == words
