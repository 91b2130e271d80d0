"""The report says which images are flagged and what beside the images is none."""

from medimg.reporting.sections.shared.data import describe_flow
from tests.unit.reporting.report_data import SUMMARY, render

FOUND = {
    "quality_flags": {"burned-in text": 3, "window": 1},
    "not_images": [{"kind": "left behind by macOS", "files": {"total": 5, "names": list("abcde")}}],
}
LINES = [
    "excluded, not images: 5 left behind by macOS: a, b, c and 2 more",
    "images flagged: 3 burned-in text, 1 window; see flags in the table `images`",
]


def test_flags_and_files_that_are_no_images_are_on_the_page():
    page = render(summary={**SUMMARY, **FOUND})
    for line in LINES:
        assert line in page
    assert describe_flow({**SUMMARY, **FOUND}).remarks == LINES


def test_without_flags_nothing_is_said_of_them():
    assert describe_flow(SUMMARY).remarks == []
    assert "images flagged" not in render()
