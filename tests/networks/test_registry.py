"""Specifications: bounded, and their tensors known without making them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from prism_mri.networks import (
    AnatomyEncoderSpec,
    DecoderSpec,
    StyleEncoderSpec,
    build_anatomy_encoder,
    build_decoder,
    build_style_encoder,
    expected_tensors,
)

Spec = AnatomyEncoderSpec | StyleEncoderSpec | DecoderSpec
CASES: list[tuple[Spec, Callable[[Any], nn.Module]]] = [
    (AnatomyEncoderSpec(), build_anatomy_encoder),
    (AnatomyEncoderSpec(width=4, free_channels=0), build_anatomy_encoder),
    (StyleEncoderSpec(), build_style_encoder),
    (StyleEncoderSpec(width=5, style_dim=3), build_style_encoder),
    (DecoderSpec(), build_decoder),
    (DecoderSpec(width=7, free_channels=4, style_dim=1), build_decoder),
]


class RealTensors(TorchDispatchMode):
    """Counts the numbers of all tensors that are not on the meta device."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[Any],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        self.numbers += sum(
            leaf.numel()
            for leaf in tree_leaves(result)
            if isinstance(leaf, torch.Tensor) and leaf.device.type != "meta"
        )
        return result


@pytest.mark.parametrize(("spec", "build"), CASES)
def test_expected_tensors_are_the_built_networks(
    spec: Spec, build: Callable[[Any], nn.Module]
) -> None:
    state = build(spec).state_dict()
    expected = expected_tensors(spec)
    assert list(expected) == list(state)
    assert expected == {name: (t.dtype, tuple(t.shape)) for name, t in state.items()}
    assert {dtype for dtype, _ in expected.values()} == {torch.float32}


def test_expected_tensors_by_hand() -> None:
    tensors = expected_tensors(DecoderSpec(width=8, free_channels=1, style_dim=6))
    assert tensors["encode.0.conv.weight"] == (torch.float32, (8, 4, 3, 3))
    assert tensors["encode.2.film.weight"] == (torch.float32, (64, 6))
    assert tensors["lift.1.weight"] == (torch.float32, (16, 32, 1, 1))
    assert tensors["head.bias"] == (torch.float32, (1,))
    style = expected_tensors(StyleEncoderSpec(width=4, style_dim=2))
    assert style["head.0.weight"] == (torch.float32, (64, 3 * (3 + 7 * 4)))
    assert style["head.2.bias"] == (torch.float32, (4,))
    anatomy = expected_tensors(AnatomyEncoderSpec(width=4, free_channels=3))
    assert anatomy["head.weight"] == (torch.float32, (6, 4, 1, 1))
    assert anatomy["encode.3.0.0.weight"] == (torch.float32, (24, 16, 3, 3))


@pytest.mark.parametrize(
    "spec", [AnatomyEncoderSpec(width=64), StyleEncoderSpec(width=64), DecoderSpec(width=64)]
)
def test_expecting_allocates_nothing_and_draws_nothing(spec: Spec) -> None:
    before = torch.get_rng_state()
    with RealTensors() as real:
        expected_tensors(spec)
    assert real.numbers == 0
    assert torch.equal(torch.get_rng_state(), before)
    with RealTensors() as real:
        build_style_encoder(StyleEncoderSpec())
    assert real.numbers > 10_000


@pytest.mark.parametrize(("spec", "build"), CASES)
def test_state_travels_from_network_to_network_without_counters(
    spec: Spec, build: Callable[[Any], nn.Module]
) -> None:
    first, second = build(spec), build(spec)
    state = first.state_dict()
    assert not any(name.endswith("num_batches_tracked") for name in state)
    second.load_state_dict(state)
    assert all(torch.equal(tensor, state[name]) for name, tensor in second.state_dict().items())
    name = next(name for name in state if name.endswith("running_mean"))
    del state[name]
    with pytest.raises(RuntimeError, match=f'Missing key.*"{name}"'):
        second.load_state_dict(state)


@pytest.mark.parametrize(
    ("spec", "arguments"),
    [
        (AnatomyEncoderSpec, {"width": 3}),
        (AnatomyEncoderSpec, {"width": 65}),
        (AnatomyEncoderSpec, {"free_channels": 17}),
        (AnatomyEncoderSpec, {"free_channels": -1}),
        (AnatomyEncoderSpec, {"name": "style-tissue-1"}),
        (StyleEncoderSpec, {"style_dim": 0}),
        (StyleEncoderSpec, {"style_dim": 65}),
        (StyleEncoderSpec, {"name": "os.system"}),
        (DecoderSpec, {"width": 1_000_000}),
        (DecoderSpec, {"width": 8.5}),
        (DecoderSpec, {"depth": 4}),
    ],
)
def test_arguments_out_of_bounds_are_refused(spec: type[Spec], arguments: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(arguments))):
        spec.model_validate(arguments)
