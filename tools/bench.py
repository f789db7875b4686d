"""What the networks cost on this machine: parameters, multiply-adds and time, as a table.

    make bench
    python tools/bench.py --size 256 --threads 2

Every figure is of one 256 x 256 slice, unless --size says otherwise; CPU times are medians. The
weights are fresh ones: the cost does not depend on them. The networks of the paper at their
published sizes run in the same table, so that the ratio holds whatever the machine is doing. *Of
the rate*: the multiply-adds a second, over those of one large convolution here (below the table,
with the rate at which memory is copied).
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
    PAPER_SIZES,
    AnatomyEncoderSpec,
    DecoderSpec,
    StyleEncoderSpec,
    build_anatomy_encoder,
    build_decoder,
    build_style_encoder,
    freeze,
)

_OURS, _PAPERS = "harmonize (A, D)", "harmonize, published sizes (A, D)"
_BOX = (208, 160)
_AS_USED = f"as harmonize runs: A, S, D twice, the brain's box of {_BOX[0]} x {_BOX[1]}"
_STEP = "training step (S, D, L1, VGG16)"
_PAPERS_STEP = "training step, published sizes (A, S, D, L1)"


@dataclass(frozen=True)
class Cost:
    """One row: a name, its parameters, multiply-adds and CPU seconds."""

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
    """Run once to warm up and count, then ``repeats`` times by the CPU clock; all per slice."""
    with FlopCounterMode(display=False) as counter:
        run()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    multiply_adds = counter.get_total_flops() / 2 / slices
    return Cost(name, parameters, multiply_adds, statistics.median(times) / slices)


def measure_all(size: int, slices: int, repeats: int) -> Iterator[Cost]:
    """Measure each network, the way of a slice through all of them, and one training step."""
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(slices, 1, size, size, generator=generator)
    mask = torch.ones_like(image)
    anatomy_encoder = build_anatomy_encoder(AnatomyEncoderSpec())
    style_encoder = build_style_encoder(StyleEncoderSpec())
    decoder = build_decoder(DecoderSpec())
    for network in (anatomy_encoder, style_encoder, decoder):
        freeze(network)
    with torch.no_grad():
        anatomy = anatomy_encoder(image)
        style = style_encoder(image, anatomy, mask).mean[:1]
    networks: list[tuple[str, Callable[[], object], tuple[nn.Module, ...]]] = [
        ("anatomy encoder", lambda: anatomy_encoder(image), (anatomy_encoder,)),
        ("style encoder", lambda: style_encoder(image, anatomy, mask), (style_encoder,)),
        ("decoder", lambda: decoder(anatomy, style), (decoder,)),
        (_OURS, lambda: decoder(anatomy_encoder(image), style), (anatomy_encoder, decoder)),
    ]
    for name, run, modules in networks:
        parameters = count_parameters(*modules)
        with torch.no_grad():
            yield measure(name, run, parameters=parameters, slices=slices, repeats=repeats)
    box = image[..., : _BOX[0], : _BOX[1]].contiguous()
    inside = torch.ones_like(box)

    def use() -> None:
        found = anatomy_encoder(box)
        style_encoder(box, found, inside)
        decoder(found, style)
        decoder(found, style)

    with torch.no_grad():
        yield measure(
            _AS_USED,
            use,
            parameters=count_parameters(anatomy_encoder, style_encoder, decoder),
            slices=slices,
            repeats=repeats,
        )
    yield measure_published(image, repeats)
    perceptual = PerceptualLoss()

    def train() -> None:
        encoded = style_encoder(image, anatomy, mask).mean
        decoded = decoder(anatomy, encoded)
        ((decoded - image).abs().mean() + perceptual(decoded, image)).backward()

    for network in (style_encoder, decoder):
        network.requires_grad_(requires_grad=True)
    parameters = count_parameters(style_encoder, decoder)
    yield measure(_STEP, train, parameters=parameters, slices=slices, repeats=repeats)
    yield measure_published_step(image, repeats)


def measure_published(image: torch.Tensor, repeats: int) -> Cost:
    """Measure a slice's way through the paper's networks."""
    published = PAPER_SIZES["published"]
    encoder, decoder = (
        build_anatomy_encoder(published.anatomy_encoder),
        build_decoder(published.decoder),
    )
    freeze(encoder)
    freeze(decoder)
    style = torch.zeros(1, published.decoder.style_dim)
    with torch.no_grad():
        return measure(
            _PAPERS,
            lambda: decoder(encoder(image), style),
            parameters=count_parameters(encoder, decoder),
            slices=len(image),
            repeats=repeats,
        )


def measure_published_step(image: torch.Tensor, repeats: int) -> Cost:
    """Measure one training step of the paper's networks by reconstruction alone."""
    published = PAPER_SIZES["published"]
    encoder = build_anatomy_encoder(published.anatomy_encoder)
    style_encoder = build_style_encoder(published.style_encoder)
    decoder = build_decoder(published.decoder)
    mask = torch.ones_like(image)

    def train() -> None:
        anatomy = encoder(image)
        style = style_encoder(image, anatomy, mask).mean
        (decoder(anatomy, style) - image).abs().mean().backward()

    return measure(
        _PAPERS_STEP,
        train,
        parameters=count_parameters(encoder, style_encoder, decoder),
        slices=len(image),
        repeats=max(1, repeats // 2),
    )


def measure_machine(repeats: int) -> tuple[float, float]:
    """Return multiply-adds a second of a large convolution, and bytes a second of a copy."""
    conv = nn.Conv2d(64, 64, 3, padding=1, bias=False)
    freeze(conv)
    features = torch.rand(4, 64, 128, 128).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        cost = measure("", lambda: conv(features), parameters=0, slices=1, repeats=4 * repeats)
    block = torch.rand(2**25)
    copied = measure("", block.clone, parameters=0, slices=1, repeats=4 * repeats)
    return cost.multiply_adds / cost.seconds, 2 * block.nbytes / copied.seconds


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--size", type=int, default=256, help="height and width in pixels")
    parser.add_argument("--slices", type=int, default=4, help="slices in a batch")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1, help="more than one wait for each other")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    out = sys.stdout
    out.write(f"torch {torch.__version__}, {torch.get_num_threads()} thread(s), CPU, float32, ")
    out.write(f"{arguments.slices} slices of {arguments.size} x {arguments.size}\n\n")
    rate, bandwidth = measure_machine(arguments.repeats)
    out.write("| per slice | parameters | GMAC | CPU ms | of the rate |\n|---|---|---|---|---|\n")
    costs: dict[str, Cost] = {}
    for cost in measure_all(arguments.size, arguments.slices, arguments.repeats):
        costs[cost.name] = cost
        giga, share = cost.multiply_adds / 1e9, cost.multiply_adds / cost.seconds / rate
        out.write(
            f"| {cost.name} | {cost.parameters:,} | {giga:.2f} | {cost.seconds * 1e3:.0f} | "
            f"{share:.0%} |\n"
        )
        out.flush()
    out.write(f"\nConvolution {rate / 1e9:.0f} GMAC/s, copying {bandwidth / 1e9:.1f} GB/s.\n")
    for title, papers, ours in (
        ("A and D on whole slices", _PAPERS, _OURS),
        ("harmonizing", _PAPERS, _AS_USED),
        ("a training step", _PAPERS_STEP, _STEP),
    ):
        ratio = costs[papers].seconds / costs[ours].seconds
        out.write(f"Published sizes over these, {title}: {ratio:.1f} times the CPU time.\n")


if __name__ == "__main__":
    main()
