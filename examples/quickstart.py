"""Train a classifier of handwritten digits with three learning rates, and find the best run.

    python examples/quickstart.py

The network has one hidden layer and is trained with plain stochastic gradient descent in NumPy, so you can see how
every logged number (loss, accuracy, gradient norm) is computed. The digits come with scikit-learn: nothing is
downloaded. Takes a few seconds.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

import tracker
from tracker.terminal.sparkline import sparkline

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

PROJECT = "digits"
LEARNING_RATES = (0.003, 0.03, 0.3)
STEPS = 400
BATCH = 64
HIDDEN = 48
CLASSES = 10
SEED = 0


class Network:
    """A network: pixels -> hidden layer with ReLU -> softmax over the ten digits."""

    def __init__(self, inputs: int, random: np.random.Generator) -> None:
        self.weights: list[Floats] = [
            random.normal(0.0, np.sqrt(2 / inputs), (inputs, HIDDEN)),
            np.zeros(HIDDEN),
            random.normal(0.0, np.sqrt(1 / HIDDEN), (HIDDEN, CLASSES)),
            np.zeros(CLASSES),
        ]

    def forward(self, images: Floats) -> tuple[Floats, Floats]:
        """Return the hidden layer (images, HIDDEN) and the probabilities (images, CLASSES)."""
        w1, b1, w2, b2 = self.weights
        hidden = np.maximum(images @ w1 + b1, 0.0)
        scores = hidden @ w2 + b2
        exponentials = np.exp(scores - scores.max(axis=1, keepdims=True))
        return hidden, exponentials / exponentials.sum(axis=1, keepdims=True)

    def evaluate(self, images: Floats, labels: Labels) -> tuple[float, float]:
        """Return the mean cross-entropy and the accuracy."""
        _, probabilities = self.forward(images)
        return cross_entropy(probabilities, labels), accuracy(probabilities, labels)

    def train_step(self, images: Floats, labels: Labels, learning_rate: float) -> tuple[float, float, float]:
        """Take one gradient step; return the batch's loss, its accuracy, and the norm of the gradient."""
        hidden, probabilities = self.forward(images)
        at_scores = probabilities.copy()
        at_scores[np.arange(len(labels)), labels] -= 1.0
        at_scores /= len(labels)
        at_hidden = (at_scores @ self.weights[2].T) * (hidden > 0)
        gradients = [images.T @ at_hidden, at_hidden.sum(axis=0), hidden.T @ at_scores, at_scores.sum(axis=0)]
        for weight, gradient in zip(self.weights, gradients, strict=True):
            weight -= learning_rate * gradient
        norm = float(np.sqrt(sum(float((gradient**2).sum()) for gradient in gradients)))
        return cross_entropy(probabilities, labels), accuracy(probabilities, labels), norm


def cross_entropy(probabilities: Floats, labels: Labels) -> float:
    return float(-np.log(probabilities[np.arange(len(labels)), labels] + 1e-12).mean())


def accuracy(probabilities: Floats, labels: Labels) -> float:
    return float((probabilities.argmax(axis=1) == labels).mean())


def batches(images: Floats, labels: Labels, random: np.random.Generator) -> Iterator[tuple[Floats, Labels]]:
    """Yield batches without end, in a new order in each epoch."""
    while True:
        order = random.permutation(len(labels))
        for start in range(0, len(order) - BATCH + 1, BATCH):
            chosen = order[start : start + BATCH]
            yield images[chosen], labels[chosen]


def train(learning_rate: float, digits: dict[str, Any]) -> tuple[str, Path]:
    """Train one network as one run; return the run's id and directory."""
    config = {"learning_rate": learning_rate, "steps": STEPS, "batch_size": BATCH, "hidden": HIDDEN, "seed": SEED}
    with tracker.init(project=PROJECT, name=f"lr={learning_rate}", group="learning rates", config=config) as run:
        run.define_metric("test.accuracy", summary="max", goal="maximize")
        random = np.random.default_rng(SEED)
        network = Network(digits["train_images"].shape[1], random)
        stream = batches(digits["train_images"], digits["train_labels"], random)
        for step, (images, labels) in zip(range(STEPS), stream, strict=False):
            loss, correct, norm = network.train_step(images, labels, learning_rate)
            metrics: dict[str, Any] = {"loss": loss, "accuracy": correct, "gradient_norm": norm}
            if step % 20 == 19:
                test_loss, test_correct = network.evaluate(digits["test_images"], digits["test_labels"])
                metrics["test"] = {"loss": test_loss, "accuracy": test_correct}
            run.log(metrics)
        return run.id, Path(run.dir)


def load() -> dict[str, Any]:
    """Return 1,797 images of 8 x 8 pixels, scaled to 0..1: three quarters for training, the rest for testing."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(SEED).permutation(len(labels))
    images, labels = images[order] / 16.0, labels[order]
    cut = len(labels) * 3 // 4
    return {
        "train_images": images[:cut],
        "train_labels": labels[:cut],
        "test_images": images[cut:],
        "test_labels": labels[cut:],
    }


def main() -> None:
    digits = load()
    print(f"Training {len(LEARNING_RATES)} networks for {STEPS} steps each, on {len(digits['train_labels'])} digits.\n")
    trained = dict(train(learning_rate, digits) for learning_rate in LEARNING_RATES)

    # From here on everything is read back from disk, as any other program could do, now or in a year.
    api = tracker.Api()
    runs = [api.run(run_id) for run_id in trained]
    print(f"\n{'run':10} {'learning rate':>13}  {'loss':>6}  {'test accuracy':>13}  loss over the steps")
    for run in runs:
        curve = sparkline(run.history(keys=["loss"])["loss"], 32)
        rate, loss, correct = run.config["learning_rate"], run.summary["loss"], run.summary["test.accuracy"]
        print(f"{run.id:10} {rate:13}  {loss:6.3f}  {correct:13.1%}  {curve}")

    best = max(runs, key=lambda run: float(run.summary["test.accuracy"]))
    directory = trained[best.id]
    program = Path(sys.executable).with_name("tracker")
    command = os.path.relpath(program) if program.exists() else "tracker"
    print(f"\nBest: {best.name}, with a test accuracy of {best.summary['test.accuracy']:.1%}.")
    print(f"Its data is in   {directory}")
    print(f"All runs are in  {directory.parent}")
    print(f"\nLook at it:      {command} show {best.id}")
    print(f"Export it:       {command} export {best.id} --format csv")
    print(f"See the charts:  {command} ui")


if __name__ == "__main__":
    main()
