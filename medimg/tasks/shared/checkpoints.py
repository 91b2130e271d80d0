"""Training state on disk: after a kill at any moment, training goes on at the epoch that it had reached.

A folder holds `state.json` (the history and which files are valid), one weights file for the last and one for
the best epoch, and each epoch's answers to the eval split. These are written first and `state.json` replaces
its predecessor in one step, so it never names a half-written file.
"""

from __future__ import annotations

import json
import os
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import keras
import numpy as np

from medimg.errors import MedimgError
from medimg.tasks.classification.metrics import is_better
from medimg.tasks.fitting import Epoch

STATE_FILE = "state.json"


@dataclass(frozen=True)
class State:
    """How far training has come: everything that decides what happens next is a function of the history."""

    history: tuple[Epoch, ...] = field(default=())

    def best(self, head: str) -> Epoch | None:
        """The best epoch by the main head, the earlier of equals; None before the first."""
        best: Epoch | None = None
        for epoch in self.history:
            if is_better(epoch.figures, best.figures if best else None, head=head):
                best = epoch
        return best

    def is_finished(self, *, head: str, epochs: int, patience: int) -> bool:
        """Whether all epochs are done or the last `patience` ones were no better."""
        best = self.best(head)
        return len(self.history) >= epochs or (
            best is not None and len(self.history) - 1 - best.number >= patience
        )


def read_state(folder: Path) -> State:
    """The state in `folder`, a fresh one if there is none.

    MedimgError names a state file that cannot be read.
    """
    path = folder / STATE_FILE
    if not path.exists():
        return State()
    try:
        history = json.loads(path.read_text(encoding="utf-8"))["history"]
        return State(tuple(Epoch(**epoch) for epoch in history))
    except (ValueError, KeyError, TypeError) as error:
        raise MedimgError(
            f"{path}: not a training state ({error}); delete its folder to train from the start"
        ) from None


def write_state(folder: Path, state: State, *, model: keras.Model, head: str) -> None:
    """Saves weights and optimizer of the epoch just finished, then the state.

    Drops the weights that are neither last nor best.
    """
    folder.mkdir(parents=True, exist_ok=True)
    last = state.history[-1].number
    model.save_weights(weights_path(folder, last))
    temporary = folder / f"{STATE_FILE}.new"
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(asdict(state), file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(folder / STATE_FILE)
    best = state.best(head)
    keep = {weights_path(folder, number) for number in (last, best.number if best else last)}
    for path in set(folder.glob("epoch*.weights.h5")) - keep:
        path.unlink()


def load_weights(folder: Path, number: int, *, model: keras.Model) -> None:
    """Loads weights and optimizer of an epoch into a compiled model.

    MedimgError names a file that does not fit.
    """
    path = weights_path(folder, number)
    # A second build of a loss-scaling optimizer adds variables, and then Keras leaves its saved state aside
    # with no more than a warning.
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="Skipping variable loading")
            model.load_weights(path)
    except (OSError, ValueError, KeyError, UserWarning) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise MedimgError(
            f"{path}: weights of epoch {number + 1} cannot be loaded ({reason}); "
            "delete its folder to train from the start"
        ) from error


def write_answers(folder: Path, number: int, answers: Mapping[str, np.ndarray]) -> None:
    """Keeps what an epoch answers to the eval split: arrays over its cases, by name."""
    folder.mkdir(parents=True, exist_ok=True)
    with answers_path(folder, number).open("wb") as file:
        np.savez(file, **answers)
        file.flush()
        os.fsync(file.fileno())


def read_answers(folder: Path, number: int) -> dict[str, np.ndarray]:
    """The inverse of `write_answers`.

    MedimgError names a file that cannot be read.
    """
    path = answers_path(folder, number)
    try:
        with np.load(path) as arrays:
            return dict(arrays)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise MedimgError(
            f"{path}: answers of epoch {number + 1} cannot be read ({type(error).__name__}); "
            "delete its folder to train from the start"
        ) from None


def answers_path(folder: Path, number: int) -> Path:
    """Where the answers of an epoch are."""
    return folder / f"epoch{number:04d}.answers.npz"


def weights_path(folder: Path, number: int) -> Path:
    """Where the weights of an epoch are."""
    return folder / f"epoch{number:04d}.weights.h5"
