"""Data-parallel training with torch.distributed: all ranks write to one run, each with its rank as label.

    python examples/distributed.py                                  two ranks on this machine
    torchrun --nproc-per-node 2 examples/distributed.py             the same, started by torchrun

Rank 0 starts the run and sends its id to the other ranks, which attach to the same sidecar. On several machines, set
the same TRACKER_SIDECAR=tcp://host:5757 for every rank (see `sidecar serve --help`). The model is a small network for
the handwritten digits of scikit-learn; its gradients are averaged with gloo, on the CPU.

Needs NumPy, scikit-learn and PyTorch (`pip install torch`). Without PyTorch it prints a note and runs multiprocess.py
instead, which does the same with the standard library alone. Takes a few seconds, most of them to import PyTorch.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import tracker

try:
    import torch  # type: ignore[import-not-found, unused-ignore]
except ModuleNotFoundError:
    torch = None  # type: ignore[assignment, unused-ignore]

RANKS = 2
EPOCHS = 8
BATCH = 32
LEARNING_RATE = 0.5
HIDDEN = 48


def digits_of(rank: int, ranks: int) -> dict[str, Any]:
    """Return one rank's digits for training, and those held out for testing, as tensors."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0)).numpy()
    images = torch.tensor(images[order] / 16.0, dtype=torch.float32)
    labels = torch.tensor(labels[order])
    test = len(labels) // 4
    end = test + (len(labels) - test) // ranks * ranks  # the same number for each rank, since all take the same steps
    return {
        "images": images[test + rank : end : ranks],
        "labels": labels[test + rank : end : ranks],
        "test_images": images[:test],
        "test_labels": labels[:test],
    }


def begin(rank: int, ranks: int) -> tracker.Run:
    """Start the run as rank 0, or attach to it as another rank."""
    run_ids: list[str | None] = [None]
    run = None
    if rank == 0:
        config = {"ranks": ranks, "epochs": EPOCHS, "batch_size": BATCH, "learning_rate": LEARNING_RATE}
        run = tracker.init(project="digits", name="distributed", config=config, label="rank 0")
        run_ids = [run.id]
    torch.distributed.broadcast_object_list(run_ids, src=0)
    return run or tracker.init(id=run_ids[0], label=f"rank {rank}")


def train(rank: int, ranks: int) -> None:
    """Train as one rank of an initialized process group."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    data = digits_of(rank, ranks)
    network = torch.nn.Sequential(torch.nn.Linear(64, HIDDEN), torch.nn.ReLU(), torch.nn.Linear(HIDDEN, 10))
    model = torch.nn.parallel.DistributedDataParallel(network)
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    with begin(rank, ranks) as run:
        for epoch in range(EPOCHS):
            order = torch.randperm(len(data["labels"]))
            for start in range(0, len(order) - BATCH + 1, BATCH):
                batch = order[start : start + BATCH]
                loss = torch.nn.functional.cross_entropy(model(data["images"][batch]), data["labels"][batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                run.log({"loss": loss.detach()})
            if rank == 0:
                with torch.no_grad():
                    correct = network(data["test_images"]).argmax(dim=1) == data["test_labels"]
                run.log({"epoch": epoch, "test": {"accuracy": correct.float().mean()}})
    torch.distributed.barrier()  # all ranks have finished, and so has the run
    if rank == 0:
        report(run.id, Path(run.dir))


def report(run_id: str, directory: Path) -> None:
    """Print what the run contains, read back from disk. A run kept on another machine is read there."""
    if not (directory / "transactions.log").exists():
        print(f"\nRun {run_id} is kept by {os.environ.get('TRACKER_SIDECAR')}.")
        return
    run = tracker.Api(directory.parent.parent).run(run_id)
    print(f"\nRun {run.id} ({run.name}) is {run.state}; {len(run.writers)} ranks wrote to it.\n")
    rows = list(run.scan_history(keys=["loss"]))
    for label in sorted({row["_label"] for row in rows}):
        losses = [row["loss"] for row in rows if row["_label"] == label]
        print(f"{label}: {len(losses)} losses, from {losses[0]:.3f} to {losses[-1]:.3f}")
    print(f"\nTest accuracy: {run.summary['test.accuracy']:.1%}")


def one_rank(rank: int, ranks: int, init_method: str) -> None:
    """Run one rank, started by `main` or by torchrun."""
    torch.distributed.init_process_group("gloo", init_method=init_method, rank=rank, world_size=ranks)
    try:
        train(rank, ranks)
    finally:
        torch.distributed.destroy_process_group()


def main() -> None:
    if torch is None:
        print("PyTorch is not installed (pip install torch): running multiprocess.py instead.", file=sys.stderr)
        import multiprocess

        multiprocess.main()
    elif "RANK" in os.environ and "WORLD_SIZE" in os.environ:
        one_rank(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), "env://")
    else:
        with tempfile.TemporaryDirectory() as directory:
            torch.multiprocessing.spawn(one_rank, args=(RANKS, f"file://{directory}/store"), nprocs=RANKS)


if __name__ == "__main__":
    main()
