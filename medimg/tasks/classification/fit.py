"""The training loop: one `keras.fit` call per epoch, exact figures on eval, early stopping.

Its state on disk survives a kill. An ensemble is this loop run for one seed after the other; its mean
prediction is calibrated as a whole.
"""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from medimg.errors import MedimgError
from medimg.evaluation.classification.temperature import apply_temperature, fit_temperature
from medimg.tasks.classification.augment import augment
from medimg.tasks.classification.inputs import case_bytes
from medimg.tasks.classification.losses import class_log_priors, make_losses
from medimg.tasks.classification.metrics import measure_epoch, measure_predictions
from medimg.tasks.classification.model import build_model
from medimg.tasks.classification.sampling import draw_copies, repeat_cases
from medimg.tasks.classification.settings import ModelSettings, TrainingSettings
from medimg.tasks.fitting import Data, Epoch, Fitted, Member, Report
from medimg.tasks.shared.checkpoints import State, load_weights, read_state, write_state
from medimg.tasks.shared.loop import evaluation_batches, make_strategy, precision, predict, seed_dropout

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
    members = tuple(
        fit_member(index, data, hyperparameters, folder=folder, report=report)
        for index in range(training.members)
    )
    outputs = [predict(member.network, evaluation_batches(data, training.batch_size)) for member in members]
    mean = {}
    for head in model.heads:
        mean[head.name] = np.mean([output[head.name] for output in outputs], axis=0)
    balanced = training.learns_balanced
    temperatures = {
        name: fit_temperature(data.eval_targets[name], values, balanced=balanced)
        if training.calibrate
        else 1.0
        for name, values in mean.items()
    }
    adjusted = model.heads if training.logit_adjustment == "post_hoc" else ()
    log_priors = {
        head.name: class_log_priors(data.train_targets[head.name], classes=len(head.classes))
        for head in adjusted
    }
    calibrated = {
        name: apply_temperature(values, temperatures[name], log_priors=log_priors.get(name, 0.0))
        for name, values in mean.items()
    }
    return Fitted(
        members,
        temperatures,
        measure_predictions(data.eval_targets, calibrated, model),
        log_priors=log_priors,
        prevalence=training.prevalence,
    )


def fit_member(
    index: int, data: Data, hyperparameters: Hyperparameters, *, folder: Path, report: Report
) -> Member:
    """Trains member `index` from its own seed until no epoch is left or patience is spent.

    Its checkpoints are in its own part of `folder`.
    """
    model = hyperparameters.model
    training = dataclasses.replace(hyperparameters.training, seed=hyperparameters.training.seed + index)
    folder = folder / f"member{index}"
    head = model.heads[0].name
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
            figures = measure_epoch(data.eval_targets, predict(network, evaluation), model)
            epoch = Epoch(
                number,
                time.monotonic() - start,
                {"train/loss": float(losses_of_epoch["loss"][-1]), **figures},
                index,
            )
            state = State((*state.history, epoch))
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
    return Member(to_float32(network, model, data.clinical_width), best, state.history)


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
