"""What the user reads when input is bad: one line that names file, tag or row, found and expected."""

import difflib
import re
from collections.abc import Iterable


def one_line(text: str) -> str:
    """Writes a text with names from files on one line.

    Line breaks and other control characters, which could steer a terminal, are written as escapes.
    """
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii") for letter in text
    )


def show_code(value: object) -> str:
    """Shows a coded value (DICOM's CS and UI, a number), and of any other text only how long it is.

    Free text in the place of a code may be a patient's name. PS3.5 section 6.2 says what codes consist of.
    """
    text = str(value)
    coded = re.fullmatch(r"[A-Z0-9_. -]{0,16}|[A-Za-z]{1,2}|[0-9.]{1,64}", text)
    return text if coded else f"a text of {len(text)} characters"


def quote_code(value: object) -> str:
    """Quotes a coded value as `show_code` shows it."""
    shown = show_code(value)
    return repr(shown) if shown == str(value) else shown


def name_speaker(speaker: str, text: str) -> str:
    """Begins a text with who says it, unless it begins so."""
    return text if text.startswith((f"{speaker}: ", f"{speaker} ")) else f"{speaker}: {text}"


class MedimgError(Exception):
    """Ends a command with exit code 1 and its message as the one line printed."""


class UsageError(MedimgError):
    """The command was asked for something it cannot do (a wrong path, key or option); exit code 2."""


class DiskFull(MedimgError):
    """There is no room left; nothing else can go on either."""


class BadImage(ValueError):
    """What a reader found wrong with a file, in words of ours, which may be shown.

    The words of any other exception may quote the file, and with it a patient's name.
    """


class UnreadableFile(MedimgError):
    """One file cannot be used: it is quarantined with this reason and the work goes on."""


class OutOfMeans(UnreadableFile):
    """Reading a file took more time or memory than one file may, or ended its process.

    That may lie with the machine: it is no verdict on the file to be remembered.
    """


def nearest(name: str, known: Iterable[str]) -> str:
    """Suggests the nearest known name for an error about an unknown one, or lists all where none is near.

    Dotted keys are also compared by their last part alone.
    """
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    last = name.rsplit(".", 1)[-1]
    close = close or [
        key for key in known if difflib.SequenceMatcher(None, key.rsplit(".", 1)[-1], last).ratio() > 0.7
    ]
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known) or 'none'}"
