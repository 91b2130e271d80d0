"""What CaseExampleGen has written, and the checks that no stage has lost or doubled a part of it on the way.

Beam's engines differ, and one of them lost elements without an error (docs/decisions/0013): so each stage's
own count is compared with what was planned and written, on any engine.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from medimg.errors import MedimgError
from medimg.files import replace_file

WHOLE_FRAME = "whole frame"
"""What is kept of an image on which no breast was found: nothing is lost, and a person should look."""


class RejectRow(TypedDict, total=False):
    """A case, or with `kept` one of its images, that could not be written as it should.

    `images` counts those not used: none where the whole frame was kept because no breast was found on it.
    """

    case_id: str
    split: str
    reason: str
    images: int
    kept: str


@dataclass(frozen=True)
class WrittenExamples:
    """Counts by name of split (`unlabelled_` before those of unlabelled cases), and what was rejected.

    Attributes:
        written: cases.
        examples: records; more than cases where a study is parted into blocks.
    """

    written: Mapping[str, int]
    examples: Mapping[str, int]
    rejects: Sequence[RejectRow]


def gather_outcomes(shards: Sequence[str]) -> WrittenExamples:
    """Adds up what the shards report as JSON, in a fixed order."""
    written: dict[str, int] = {}
    examples: dict[str, int] = {}
    rejects: list[RejectRow] = []
    for shard in map(json.loads, sorted(shards)):
        split = shard["split"]
        written[split] = written.get(split, 0) + shard["written"]
        examples[split] = examples.get(split, 0) + shard["examples"]
        rejects += shard["rejects"]
    rejects.sort(key=lambda reject: (reject["case_id"], reject["reason"]))
    return WrittenExamples(dict(sorted(written.items())), dict(sorted(examples.items())), rejects)


def write_outcome(shards: Sequence[str], path: str) -> None:
    """Writes what all shards report into one file."""
    outcome = gather_outcomes(shards)
    text = json.dumps(
        {"written": outcome.written, "examples": outcome.examples, "rejects": outcome.rejects}, indent=1
    )
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    replace_file(Path(path), write=lambda temporary: temporary.write_text(text))


def read_outcome(path: Path) -> WrittenExamples:
    """Reads what `write_outcome` wrote; nothing was written and nothing rejected where there is no file."""
    return WrittenExamples(**json.loads(path.read_text())) if path.exists() else WrittenExamples({}, {}, ())


def expect_written(outcome: WrittenExamples, *, planned: Mapping[str, int]) -> None:
    """Raises MedimgError unless of each split as many cases as planned are written or rejected as a whole."""
    for split in sorted({*planned, *outcome.written}):
        rejected = sum(1 for reject in outcome.rejects if reject["split"] == split and "kept" not in reject)
        written = outcome.written.get(split, 0)
        if written + rejected != planned.get(split, 0):
            raise MedimgError(
                f"CaseExampleGen has written {written} and rejected {rejected} cases of split {split},"
                f" expected {planned.get(split, 0)} together; Beam has lost or doubled some, run again"
            )


def lost_examples(stage: str, found: Mapping[str, float], outcome: WrittenExamples) -> Iterator[str]:
    """Yields a line for each split whose count at the stage differs from the Examples that were written."""
    for split, count in found.items():
        written = outcome.examples.get(split, 0)
        if count != written:
            yield (
                f"{stage} has counted {count:.0f} Examples of split {split}, expected {written} as written by"
                " CaseExampleGen; Beam has lost or doubled some, run again"
            )


def expect_cases(stage: str, found: int, outcome: WrittenExamples, *, splits: Sequence[str]) -> None:
    """Raises MedimgError unless the stage has seen as many cases of the splits as were written of them."""
    written = sum(outcome.written.get(split, 0) for split in splits)
    if found != written:
        raise MedimgError(
            f"{stage} has counted {found} cases of split {splits[0]}, expected {written} as written by"
            " CaseExampleGen; run again"
        )
