"""The training loop: one `keras.fit` call per epoch, exact figures on eval, early stopping.

Its state on disk survives a kill. An ensemble is this loop run for one seed after the other; its mean
prediction is calibrated as a whole.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from medimg.errors import MedimgError
from medimg.evaluation.classification.recalibration import Recalibration, fit_recalibration, recalibrate
from medimg.tasks.classification.augment import augment
from medimg.tasks.classification.inputs import case_bytes
from medimg.tasks.classification.losses import class_log_priors, class_shares, make_losses
from medimg.tasks.classification.metrics import measure_epoch, measure_predictions
from medimg.tasks.classification.model import build_model
from medimg.tasks.classification.sampling import draw_copies, repeat_cases
from medimg.tasks.classification.settings import Head, ModelSettings, TrainingSettings
from medimg.tasks.fitting import Data, Epoch, Fitted, Member, Report
from medimg.tasks.shared.checkpoints import (
    State,
    load_weights,
    read_answers,
    read_state,
    write_answers,
    write_state,
)
from medimg.tasks.shared.eval_parts import EvalParts, part_eval
from medimg.tasks.shared.loop import evaluation_batches, make_strategy, precision, predict, seed_dropout

MISSING = -1
"""The class index of a case without a label."""
SHUFFLE_BYTES = 512 * 2**20
"""Of decoded cases held in memory for shuffling."""


@dataclass(frozen=True)
class Hyperparameters:
    """Settings of the network and of its training."""

    model: ModelSettings
    training: TrainingSettings


def fit(
    data: Data, *, model: ModelSettings, training: TrainingSettings, folder: Path, report: Report
) -> Fitted:
    """Trains all members; goes on where an earlier call with the same `folder` was killed.

    Args:
        folder: for checkpoints; the caller names it so that it is another one for other data or settings, and
            removes it.
        report: called with each finished epoch, once.

    Raises:
        MedimgError: no training or eval case, only one class in train for a head, or a training that
            diverged.
    """
    check_labels(data, model)
    hyperparameters = Hyperparameters(model, training)
    parts = part_by_main_head(data, model)
    members = tuple(
        fit_member(index, data, hyperparameters, folder=folder, report=report)
        for index in range(training.members)
    )
    adjusted = model.heads if training.logit_adjustment == "post_hoc" else ()
    log_priors = {
        head.name: class_log_priors(data.train_targets[head.name], classes=len(head.classes))
        for head in adjusted
    }
    recalibrations, answers, labels = {}, {}, {}
    for head in model.heads:
        name = head.name
        held_out_NC = np.mean([member.held_out[name] for member in members], axis=0)
        labels[name] = np.where(parts.calibrate, data.eval_targets[name], MISSING)
        recalibrations[name] = fit_head(head, data, training, labels=labels[name], answers=held_out_NC)
        answers[name] = recalibrate(held_out_NC, recalibrations[name], log_priors=log_priors.get(name, 0.0))
    return Fitted(
        members,
        recalibrations,
        measure_predictions(labels, answers, model),
        held_out=answers,
        parts=parts.names,
        log_priors=log_priors,
        prevalence=training.prevalence,
    )


def fit_head(
    head: Head, data: Data, training: TrainingSettings, *, labels: np.ndarray, answers: np.ndarray
) -> Recalibration:
    """What brings the answers of a head to the class frequencies of train.

    Args:
        labels: class index, [N], -1 for cases that are not calibrated on.
        answers: probabilities [N, C] as the network learnt them.
    """
    log_priors_C = class_log_priors(data.train_targets[head.name], classes=len(head.classes))
    offset_C = log_priors_C if training.learns_balanced(len(head.classes)) else (0.0,) * len(head.classes)
    if not training.calibrate:
        return Recalibration(1.0, offset_C)
    shares_C = class_shares(data.train_targets[head.name], classes=len(head.classes))
    return fit_recalibration(labels, answers, shares=shares_C, offset=offset_C)


def fit_member(
    index: int,
    data: Data,
    hyperparameters: Hyperparameters,
    *,
    folder: Path,
    report: Report,
) -> Member:
    """Trains member `index` from its own seed until no epoch is left or patience is spent.

    Its checkpoints are in its own part of `folder`.
    """
    model = hyperparameters.model
    training = dataclasses.replace(hyperparameters.training, seed=hyperparameters.training.seed + index)
    folder = folder / f"member{index}"
    head, parts = model.heads[0].name, part_by_main_head(data, model)
    keras.utils.set_random_seed(training.seed)
    strategy = make_strategy()
    with precision(training), strategy.scope():
        network = build_model(model, clinical_width=data.clinical_width)
        losses, weights = make_losses(model, training, labels=data.train_targets)
        network.compile(
            optimizer=keras.optimizers.Adam(training.learning_rate), loss=losses, loss_weights=weights
        )
        replicas = strategy.num_replicas_in_sync
        state = read_state(folder)
        if state.history:
            load_weights(folder, state.history[-1].number, model=network)
        evaluation = evaluation_batches(data, training.batch_size * replicas)
        while not state.is_finished(head=head, epochs=training.epochs, patience=training.patience):
            number, start = len(state.history), time.monotonic()
            seed_dropout(network, seed=training.seed, epoch=number)
            batches = make_batches(data, model=model, training=training, epoch=number, replicas=replicas)
            losses_of_epoch = network.fit(batches, epochs=number + 1, initial_epoch=number, verbose=0).history
            answers = predict(network, evaluation)
            figures = measure_part(data, answers, model, cases=parts.choose)
            epoch = Epoch(
                number,
                time.monotonic() - start,
                {"train/loss": float(losses_of_epoch["loss"][-1]), **figures},
                index,
            )
            state = State((*state.history, epoch))
            write_answers(folder, number, answers)
            write_state(folder, state, model=network, head=head)
            report(epoch)
        best = state.best(head)
        if best is None:
            raise MedimgError(f"training.epochs is {training.epochs}, expected 1 or more")
        if not np.isfinite(best.figures[f"{head}/loss"]):
            raise MedimgError(
                "training diverged: the loss is not a number in any epoch; "
                "a smaller training.learning_rate may help"
            )
        load_weights(folder, best.number, model=network)
    answers_of = [read_answers(folder, epoch.number) for epoch in state.history]
    held_out = hold_out(answers_of, data, model, parts=parts)
    return Member(to_float32(network, model, data.clinical_width), best, state.history, held_out)


def part_by_main_head(data: Data, model: ModelSettings) -> EvalParts:
    """The parts of eval: a case can choose an epoch that has a label of the main head."""
    return part_eval(data.eval_groups, labelled=data.eval_targets[model.heads[0].name] >= 0)


def measure_part(
    data: Data, answers: Mapping[str, np.ndarray], model: ModelSettings, *, cases: np.ndarray
) -> dict[str, float]:
    """What `measure_epoch` returns, of some cases of eval, bool [N], alone."""
    labels = {name: np.where(cases, values_N, MISSING) for name, values_N in data.eval_targets.items()}
    return measure_epoch(labels, answers, model)


def choose_epoch(
    answers: Sequence[Mapping[str, np.ndarray]], data: Data, model: ModelSettings, *, cases: np.ndarray
) -> int:
    """The number of the epoch that some cases of eval, bool [N], choose; `answers` as for `hold_out`."""
    epochs = [
        Epoch(number, 0.0, measure_part(data, one, model, cases=cases)) for number, one in enumerate(answers)
    ]
    best = State(tuple(epochs)).best(model.heads[0].name)
    assert best is not None
    return best.number


def hold_out(
    answers: Sequence[Mapping[str, np.ndarray]], data: Data, model: ModelSettings, *, parts: EvalParts
) -> dict[str, np.ndarray]:
    """The answers to eval by epochs that were chosen by others; see Member.

    Args:
        answers: of each epoch to all of eval, head to probabilities [N, C].
    """
    found = {name: np.full_like(values_NC, np.nan) for name, values_NC in answers[0].items()}
    for part in parts.held_out:
        chosen = answers[choose_epoch(answers, data, model, cases=part.chosen_by)]
        for name, values_NC in chosen.items():
            found[name][part.cases] = values_NC[part.cases]
    return found


def check_labels(data: Data, settings: ModelSettings) -> None:
    """Refuses data that nothing can be learnt from, in one line."""
    for index, head in enumerate(settings.heads):
        train = data.train_targets[head.name]
        counts = {name: int((train == position).sum()) for position, name in enumerate(head.classes)}
        found = ", ".join(f"{count} {name}" for name, count in counts.items())
        if not sum(counts.values()):
            raise MedimgError(
                f"head {head.name}: no labelled case in train, expected cases of two classes or more"
            )
        if index == 0 and sum(count > 0 for count in counts.values()) < 2:
            raise MedimgError(f"head {head.name}: one class only in train ({found}), expected two or more")
        if index == 0 and not (data.eval_targets[head.name] >= 0).any():
            raise MedimgError(
                f"head {head.name}: no labelled case in eval, expected some to stop training by"
            )


def choose_cases(
    data: Data, *, model: ModelSettings, training: TrainingSettings, epoch: int
) -> tf.data.Dataset:
    """Returns the training cases of one epoch in a fixed order.

    Each is there once, or as often as makes the classes equally frequent.
    """
    if training.sampling == "shuffled":
        return data.train
    return repeat_cases(
        data.train, draw_copies(data.train_targets[model.heads[0].name], seed=(training.seed, epoch))
    )


def make_batches(
    data: Data, *, model: ModelSettings, training: TrainingSettings, epoch: int, replicas: int
) -> tf.data.Dataset:
    """One epoch of shuffled, augmented batches.

    Cases, order and augmentation depend on seed and epoch only, so a resumed epoch sees the same.
    """
    cases = choose_cases(data, model=model, training=training, epoch=epoch)
    buffer = max(training.batch_size, SHUFFLE_BYTES // case_bytes(model))

    def change(
        step: tf.Tensor, batch: tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]
    ) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        inputs, targets = batch
        return augment(
            inputs,
            training.augmentation,
            tf.stack([tf.constant(training.seed * 1_000_003 + epoch, tf.int64), step]),
        ), targets

    shuffled = cases.shuffle(buffer, seed=training.seed * 1_000_003 + epoch, reshuffle_each_iteration=False)
    return (
        shuffled.batch(training.batch_size * replicas)
        .enumerate()
        .map(change, num_parallel_calls=tf.data.AUTOTUNE)
        .prefetch(tf.data.AUTOTUNE)
    )


def to_float32(network: keras.Model, settings: ModelSettings, clinical_width: int) -> keras.Model:
    """The same network in float32, outside any distribution: what is exported must run well on a CPU."""
    plain = build_model(dataclasses.replace(settings, weights=None), clinical_width=clinical_width)
    plain.set_weights(network.get_weights())
    return plain
