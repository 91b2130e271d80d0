"""What the user reads is one line that a terminal only shows, and names what was meant."""

import pytest

from medimg.errors import (
    DiskFull,
    MedimgError,
    UnreadableFile,
    UsageError,
    nearest,
    one_line,
    quote_code,
    show_code,
)


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


@pytest.mark.parametrize(
    "code",
    [
        *("MONOCHROME2", "MONOCHROME3", "PALETTE COLOR", "LINEAR_EXACT", "RTSTRUCT", "MG", "us", "yes", "FR"),
        *("1.2.840.10008.1.2.1", "044Y", "45", "12", "-1", "0.05", "R-10242", "MLO", "SCT", ""),
    ],
)
def test_codes_of_the_standard_and_short_numbers_are_shown(code):
    assert show_code(code) == code
    assert quote_code(code) == repr(code)


@pytest.mark.parametrize(
    "text",
    [
        *("DOE JANE", "DOE^JANE", "Jane", "MRN4711", "4711471", "19550312", "MONOCHROME2 DOE", "MG DOE"),
        *("REAL-HOSPITAL-ID-4711", "1.2.DOE", "12 DOE", "LINDA", "+49 551 4711"),
    ],
)
def test_of_any_other_text_only_the_length_is_said_however_often_it_is_shown(text):
    hidden = f"a text of {len(text)} characters"
    assert show_code(text) == quote_code(text) == hidden
    assert show_code(hidden) == quote_code(hidden) == hidden
