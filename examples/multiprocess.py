"""Four processes train one classifier together and write to one run, each under its own label.

    python examples/multiprocess.py

The parent starts the run and so launches the sidecar. The workers are spawned and share nothing with it; they attach
to the same sidecar by the run's id. Each worker trains a softmax regression on its own quarter of the handwritten
digits and logs its loss at every step. After each round the parent averages the four models and logs the accuracy of
the average. Each writer counts its own steps. The run is `finished` when the last writer has finished, and `failed` if
one of them failed. It works the same on several machines with one more setting: TRACKER_SIDECAR, the address of a
`sidecar serve`.

Needs NumPy and scikit-learn (the digits come with it: nothing is downloaded). Takes a few seconds.
"""

from __future__ import annotations

import multiprocessing
import os
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import tracker

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

WORKERS = 4
ROUNDS = 12
STEPS = 20
"""Number of steps that each worker takes between two averages."""

BATCH = 32
LEARNING_RATE = 0.5
CLASSES = 10


def probabilities(weights: Floats, images: Floats) -> Floats:
    """Return the softmax of a linear map, shape (images, CLASSES). The last row of `weights` is the bias."""
    scores = images @ weights[:-1] + weights[-1]
    exponentials = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


def train_step(weights: Floats, images: Floats, labels: Labels) -> float:
    """Take one gradient step in place; return the cross-entropy before it."""
    predicted = probabilities(weights, images)
    correct = np.arange(len(labels)), labels
    loss = float(-np.log(predicted[correct] + 1e-12).mean())
    predicted[correct] -= 1.0
    weights[:-1] -= LEARNING_RATE * images.T @ predicted / len(labels)
    weights[-1] -= LEARNING_RATE * predicted.mean(axis=0)
    return loss


def load() -> tuple[Floats, Labels]:
    """Return the digits in a fixed random order: images of shape (1797, 64) scaled to 0..1, and their labels."""
    from sklearn.datasets import load_digits  # imported here so that the workers do not import it

    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    return images[order] / 16.0, labels[order]


def work(rank: int, run_id: str, images: Floats, labels: Labels, parent: Connection) -> None:
    """Run one worker: train on its digits whenever weights arrive, and send them back, until None arrives."""
    random = np.random.default_rng(rank)
    with tracker.init(id=run_id, label=f"worker {rank}") as run:
        while (weights := parent.recv()) is not None:
            for _ in range(STEPS):
                batch = random.integers(len(labels), size=BATCH)
                run.log({"loss": train_step(weights, images[batch], labels[batch])})
            parent.send(weights)


def train() -> tuple[str, Path]:
    """Train, and return the run's id and its directory."""
    images, labels = load()
    test = len(labels) // 4  # held out for testing
    config = {"workers": WORKERS, "rounds": ROUNDS, "steps": STEPS, "batch_size": BATCH, "learning_rate": LEARNING_RATE}
    context = multiprocessing.get_context("spawn")
    with tracker.init(project="digits", name="four workers", config=config, label="parent") as run:
        pipes: list[Connection] = []
        workers = []
        for rank in range(WORKERS):
            ours, theirs = context.Pipe()
            pipes.append(ours)
            share = slice(test + rank, None, WORKERS)
            workers.append(context.Process(target=work, args=(rank, run.id, images[share], labels[share], theirs)))
            workers[-1].start()
            theirs.close()  # so that the death of a worker shows as EOFError
        weights = np.zeros((images.shape[1] + 1, CLASSES))
        try:
            for number in range(ROUNDS):
                for pipe in pipes:
                    pipe.send(weights)
                weights = np.mean([pipe.recv() for pipe in pipes], axis=0)
                predicted = probabilities(weights, images[:test]).argmax(axis=1)
                accuracy = float((predicted == labels[:test]).mean())
                run.log({"round": number, "test": {"accuracy": accuracy}})
            for pipe in pipes:
                pipe.send(None)
        finally:
            for pipe in pipes:
                pipe.close()  # if one has died, the others must not wait for weights
        for worker in workers:
            worker.join()
        return run.id, Path(run.dir)


def main() -> None:
    run_id, directory = train()
    if not (directory / "transactions.log").exists():
        print(f"\nRun {run_id} is kept by {os.environ.get('TRACKER_SIDECAR')}.")
        return
    run = tracker.Api(directory.parent.parent).run(run_id)
    print(f"\nRun {run.id} ({run.name}) is {run.state}; {len(run.writers)} processes wrote to it.\n")
    print(f"{'writer':10} {'rows':>5} {'first loss':>11} {'last loss':>10}")
    rows = list(run.scan_history(keys=["loss"]))
    for label in sorted({row["_label"] for row in rows}):
        losses = [row["loss"] for row in rows if row["_label"] == label]
        print(f"{label:10} {len(losses):5} {losses[0]:11.3f} {np.mean(losses[-STEPS:]):10.3f}")
    print(f"\nTest accuracy of the averaged model: {run.summary['test.accuracy']:.1%}")
    print(f"The run's data is in {directory}")


if __name__ == "__main__":
    main()
