"""What the user reads is one line that a terminal only shows, and names what was meant."""

import pytest

from medimg.errors import DiskFull, MedimgError, UnreadableFile, UsageError, nearest, one_line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a plain name.dcm", "a plain name.dcm"),
        ("Röntgen Ω.dcm", "Röntgen Ω.dcm"),
        ("two\nlines", r"two\nlines"),
        ("\r\t", r"\r\t"),
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("right\u202eleft", r"right\u202eleft"),
        ("\x00", r"\x00"),
        ("", ""),
    ],
)
def test_what_could_steer_a_terminal_is_written_as_an_escape(text, expected):
    assert one_line(text) == expected


@pytest.mark.parametrize(
    ("name", "known", "expected"),
    [
        ("livr", ["lung", "liver"], "did you mean 'liver'?"),
        ("model.epochs", ["training.epochs", "data.root"], "did you mean 'training.epochs'?"),
        ("epoch", ["training.epochs", "data.root"], "did you mean 'training.epochs'?"),
        ("xyz", ["lung", "colon", "liver"], "known: colon, liver, lung"),
        ("xyz", [], "known: none"),
        ("xyz", iter(["b", "a"]), "known: a, b"),
    ],
)
def test_the_nearest_known_name_is_suggested_or_all_are_listed_in_order(name, known, expected):
    assert nearest(name, known) == expected


def test_every_error_of_ours_ends_a_command_in_one_line():
    assert all(issubclass(kind, MedimgError) for kind in (UsageError, DiskFull, UnreadableFile))
    # Wrong use has its own exit code, a full disk ends all work, an unreadable file none.
    assert not issubclass(DiskFull, UsageError)
    assert not issubclass(UnreadableFile, UsageError)
