"""The names that people give the parts of a split: "Train", "val_set", "fold0"."""

from __future__ import annotations

import re
import unicodedata

from medimg.errors import UsageError

WORDS = {
    "train": ("train", "training", "trainings", "trn"),
    "eval": (
        *("val", "vali", "valid", "validate", "validation", "validierung", "validierungs"),
        *("dev", "development", "eval", "evaluation", "tune", "tuning"),
    ),
    "test": ("test", "testing", "tst", "holdout"),
}
SPLIT_OF_WORD = {word: split for split, words in WORDS.items() for word in words}
ENDINGS = re.compile(r"(set|sets|data|dataset|images|image|imgs|img|split|part|folder|cases|patients|daten)$")
FOLD = re.compile(r"(k?fold|cv|split|partition)\d+(of\d+)?|\d+(st|nd|rd|th)?fold")


def parse_split(name: str) -> str | None:
    """The part of a split that is called so: "train", "eval" or "test"; None for any other name."""
    word = fold_name(name).strip("0123456789")
    while word not in SPLIT_OF_WORD and (shorter := ENDINGS.sub("", word)) != word:
        word = shorter
    return SPLIT_OF_WORD.get(word)


def expect_split(text: str, *, where: str) -> str:
    """The split that a cell names; UsageError for another word."""
    if split := parse_split(text):
        return split
    raise UsageError(f"{where}: split {text[:20]!r}, expected train, eval (or val) or test")


def is_fold(name: str) -> bool:
    """Whether a name is that of one fold of several."""
    return FOLD.fullmatch(fold_name(name)) is not None


def fold_name(name: str) -> str:
    """A name without case, blanks, dots, dashes and underscores."""
    return re.sub(r"[\s._\-]+", "", unicodedata.normalize("NFKC", name).casefold())
