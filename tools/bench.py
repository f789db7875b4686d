"""What the networks cost on this machine: parameters, multiply-adds and time, as a table.

    make bench
    python tools/bench.py --size 256 --threads 1

Every figure is of one 256 x 256 slice, unless --size says otherwise; times are medians. The weights
are fresh ones: the cost does not depend on them.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from prism_mri.losses.perceptual import PerceptualLoss
from prism_mri.networks.registry import (
    AnatomyEncoderSpec,
    DecoderSpec,
    StyleEncoderSpec,
    build_anatomy_encoder,
    build_decoder,
    build_style_encoder,
)


@dataclass(frozen=True)
class Cost:
    """One row: a name, its parameters, multiply-adds and seconds."""

    name: str
    parameters: int
    multiply_adds: float
    seconds: float


def count_parameters(*modules: nn.Module) -> int:
    """Return the number of trainable numbers."""
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def measure(
    name: str, run: Callable[[], object], *, parameters: int, slices: int, repeats: int
) -> Cost:
    """Run once to warm up and count, then ``repeats`` times against the clock; all per slice."""
    with FlopCounterMode(display=False) as counter:
        run()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    multiply_adds = counter.get_total_flops() / 2 / slices
    return Cost(name, parameters, multiply_adds, statistics.median(times) / slices)


def measure_all(size: int, slices: int, repeats: int) -> Iterator[Cost]:
    """Measure each network, the way of a slice through all of them, and one training step."""
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(slices, 1, size, size, generator=generator)
    mask = torch.ones_like(image)
    anatomy_encoder = build_anatomy_encoder(AnatomyEncoderSpec()).eval()
    style_encoder = build_style_encoder(StyleEncoderSpec()).eval()
    decoder = build_decoder(DecoderSpec()).eval()
    perceptual = PerceptualLoss()
    with torch.no_grad():
        anatomy = anatomy_encoder(image)
        style = style_encoder(image, anatomy, mask).mean

    def harmonize() -> None:
        with torch.no_grad():
            decoder(anatomy_encoder(image), style)

    def train() -> None:
        encoded = style_encoder(image, anatomy, mask).mean
        decoded = decoder(anatomy, encoded)
        ((decoded - image).abs().mean() + perceptual(decoded, image)).backward()

    @torch.no_grad()
    def perceive() -> None:
        perceptual.features(image)

    networks: list[tuple[str, Callable[[], object], tuple[nn.Module, ...]]] = [
        ("anatomy encoder", torch.no_grad()(lambda: anatomy_encoder(image)), (anatomy_encoder,)),
        (
            "style encoder",
            torch.no_grad()(lambda: style_encoder(image, anatomy, mask)),
            (style_encoder,),
        ),
        ("decoder", torch.no_grad()(lambda: decoder(anatomy, style)), (decoder,)),
        ("harmonize (A, D)", harmonize, (anatomy_encoder, decoder)),
        ("VGG16 to conv3_2", perceive, ()),
        ("training step (S, D, L1, VGG16)", train, (style_encoder, decoder)),
    ]
    for name, run, modules in networks:
        yield measure(
            name, run, parameters=count_parameters(*modules), slices=slices, repeats=repeats
        )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--size", type=int, default=256, help="height and width in pixels")
    parser.add_argument("--slices", type=int, default=4, help="slices in a batch")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, help="default: what torch takes on this machine")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    out = sys.stdout
    out.write(f"torch {torch.__version__}, {torch.get_num_threads()} thread(s), CPU, float32, ")
    out.write(f"{arguments.slices} slices of {arguments.size} x {arguments.size}\n\n")
    out.write("| per slice | parameters | GMAC | ms |\n|---|---|---|---|\n")
    for cost in measure_all(arguments.size, arguments.slices, arguments.repeats):
        giga = cost.multiply_adds / 1e9
        out.write(
            f"| {cost.name} | {cost.parameters:,} | {giga:.2f} | {cost.seconds * 1e3:.0f} |\n"
        )
        out.flush()


if __name__ == "__main__":
    main()
