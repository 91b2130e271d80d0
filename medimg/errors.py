"""What the user reads when input is bad: one line that names file, tag or row, found and expected."""

import difflib
import re
from collections.abc import Iterable

from medimg.defined_terms import TERMS

CODED = re.compile(
    r"[A-Za-z]{1,2}|[APRLFH]{3}|-?[0-9.]{1,5}|[0-9.]{1,5} ?([A-Za-z]{1,2}|(?i:years?|months?|weeks?|days?))"
    r"|(?=.{1,64}$)[0-9]+(\.[0-9]+){2,}|[A-Z]{1,2}-[0-9A-F]{4,6}"
)
"""Two letters, a direction, a short number, an age or a number with its unit, a UID, a code of SNOMED RT."""
HIDDEN = re.compile(r"a text of \d+ characters")


def one_line(text: str) -> str:
    """Writes a text with names from files on one line.

    Line breaks and other control characters, which could steer a terminal, are written as escapes.
    """
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii") for letter in text
    )


def show_code(value: object) -> str:
    """Shows a term that DICOM defines, one nearly so, a UID or a short number; of any other text its length.

    Other text in the place of a code may be a patient's name or id, in the letters of a code too.
    """
    text = str(value)
    coded = not text or text.upper() in TERMS or CODED.fullmatch(text) or HIDDEN.fullmatch(text)
    return text if coded or close_to(text, TERMS, at_least=0.9) else f"a text of {len(text)} characters"


def show_concept(value: object) -> str:
    """Shows a code of a terminology as `show_code` does; SNOMED CT's are numbers of up to 18 digits."""
    text = str(value)
    return text if re.fullmatch(r"[0-9]{6,18}", text) else show_code(text)


def quote_code(value: object) -> str:
    """Quotes a coded value as `show_code` shows it; "missing" for None."""
    if value is None:
        return "missing"
    shown = show_code(value)
    return shown if HIDDEN.fullmatch(shown) else repr(shown)


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


def close_to(text: str, known: Iterable[str], *, at_least: float) -> bool:
    """Whether a text is one of the known ones but for a letter or two."""
    return bool(difflib.get_close_matches(text, known, n=1, cutoff=at_least))


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
