"""Train the digits network so that each of its 32 nested subnets works on its own.

SortedNet's way: each micro-step trains one nested sub-network, and the gradients of several
micro-steps are added up before the optimiser takes a step. The sub-network of the first
micro-step is always the full one, those of the others are drawn at random: purely random
drawing leaves the full network slightly behind its own subnets.

Writes ``weights.safetensors`` and ``quality.csv`` (each subnet's accuracy on held-out images).
"""

from __future__ import annotations

import argparse
import csv
import math
import random
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from data import heldout, training
from model import supernet
from torch import Tensor

from hwnas.errors import HwnasError
from hwnas.files import atomic_file, disk_errors
from hwnas.supernets.protocol import SubnetModule
from hwnas.supernets.sorted_vit import SortedViT
from hwnas.weights import write_weights

__all__ = ["accuracies", "train"]

MICRO_STEPS = 4
BATCH = 32
PEAK_RATE = 2e-3
WARM_UP = 0.05
MOVED = 0.3


def _moved(images: Tensor, generator: torch.Generator) -> Tensor:
    """Images (n, 1, 8, 8), a part of them moved by up to one pixel each way."""
    count, _, size, _ = images.shape
    padded = F.pad(images, (1, 1, 1, 1), value=float(images.min()))[:, 0]
    offset = torch.randint(0, 3, (count, 2), generator=generator)
    offset[torch.rand(count, generator=generator) >= MOVED] = 1
    rows, columns = (offset[:, axis, None] + torch.arange(size) for axis in (0, 1))
    return padded[torch.arange(count)[:, None, None], rows[:, :, None], columns[:, None]][:, None]


def _groups(net: SortedViT, count: int, draw: random.Random) -> Iterator[list[tuple[int, int]]]:
    """Depth and feed-forward width of each micro-step, group by group, for one epoch."""
    depths, ffns = net.config.depths, net.config.ffns
    for _ in range(count // (MICRO_STEPS * BATCH)):
        others = [(draw.choice(depths), draw.choice(ffns)) for _ in range(MICRO_STEPS - 1)]
        yield [(depths[-1], ffns[-1]), *others]


def train(epochs: int, seed: int = 0) -> tuple[SortedViT, list[float]]:
    """Return the trained network and the mean loss of each epoch."""
    # A second thread saves a third of the time on an idle machine; on a busy one, where the two
    # wait for each other at every small step, it was measured to take seven times as long.
    torch.set_num_threads(1)
    net, draw, generator = supernet(), random.Random(seed), torch.Generator().manual_seed(seed)
    images, labels = (torch.from_numpy(array) for array in training())
    steps = epochs * (len(images) // (MICRO_STEPS * BATCH))
    optimiser = torch.optim.AdamW(net.parameters(), lr=PEAK_RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser,
        lambda step: min(1.0, (step + 1) / (WARM_UP * steps)) * _cosine(step / steps),
    )
    losses, start = [], time.monotonic()
    for epoch in range(epochs):
        batches = iter(torch.randperm(len(images), generator=generator).split(BATCH))
        summed = []
        for group in _groups(net, len(images), draw):
            optimiser.zero_grad()
            for depth, ffn in group:
                picked = next(batches)
                logits = net(_moved(images[picked], generator), depth, ffn)
                loss = F.cross_entropy(logits, labels[picked], label_smoothing=0.1)
                (loss / len(group)).backward()
                summed.append(loss.item())
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimiser.step()
            schedule.step()
        losses.append(sum(summed) / len(summed))
        _progress(epoch + 1, epochs, losses[-1], time.monotonic() - start)
    return net.eval(), losses


def _cosine(part: float) -> float:
    return 0.5 + 0.5 * math.cos(math.pi * min(1.0, part))


def _progress(done: int, epochs: int, loss: float, seconds: float) -> None:
    if sys.stderr.isatty():
        left = seconds / done * (epochs - done)
        end = "\n" if done == epochs else ""
        line = f"\repoch {done}/{epochs}, loss {loss:.3f}, {left:.0f} s left \033[K"
        print(line, end=end, file=sys.stderr, flush=True)


@torch.inference_mode()
def accuracies(net: SortedViT) -> dict[str, float]:
    """Accuracy of every subnet on the held-out images, by the subnet's name."""
    images, labels = (torch.from_numpy(array) for array in heldout())
    found = {}
    for subnet in net.space.subnets():
        logits = SubnetModule(net, subnet)(images)
        found[subnet.name] = (logits.argmax(dim=1) == labels).float().mean().item()
    return found


def _write(out: Path, net: SortedViT, quality: Mapping[str, float]) -> None:
    state = {name: tensor.numpy() for name, tensor in net.state_dict().items()}
    with atomic_file(out / "weights.safetensors") as path:
        write_weights(path, state)
    with atomic_file(out / "quality.csv") as path, path.open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["subnet", "quality"])
        writer.writerows((name, f"{value:.6f}") for name, value in quality.items())


def _print_table(net: SortedViT, quality: Mapping[str, float]) -> None:
    print("accuracy on held-out images, %")
    print("depth", *(f"ffn{ffn:>4}" for ffn in net.config.ffns), sep="  ")
    for depth in net.config.depths:
        row = (100 * quality[f"d{depth}-ffn{ffn}"] for ffn in net.config.ffns)
        print(f"{depth:>5}", *(f"{value:>7.2f}" for value in row), sep="  ")


def main() -> None:
    """Train, print the accuracy of all subnets, write the weights and the qualities."""
    parser = argparse.ArgumentParser(description="Train the digits network the SortedNet way.")
    parser.add_argument("--out", type=Path, default=Path("build/digits"), help="folder to write to")
    parser.add_argument("--epochs", type=int, default=28, help="passes over the training images")
    parser.add_argument("--seed", type=int, default=0, help="of batches and of drawn subnets")
    arguments = parser.parse_args()
    if arguments.epochs < 1:
        parser.error(f"--epochs is {arguments.epochs}; train for at least 1")
    try:
        with disk_errors(arguments.out):
            arguments.out.mkdir(parents=True, exist_ok=True)
        start = time.monotonic()
        net, losses = train(arguments.epochs, arguments.seed)
        seconds = time.monotonic() - start
        quality = accuracies(net)
        _write(arguments.out, net, quality)
    except HwnasError as error:
        sys.exit(f"error: {error}")
    _print_table(net, quality)
    print(f"loss {losses[0]:.3f} -> {losses[-1]:.3f} in {len(losses)} epochs, {seconds:.0f} s")
    print(f"full network {100 * quality[net.space.largest().name]:.2f}%; wrote {arguments.out}")


if __name__ == "__main__":
    main()
