"""Pairs of slices for the translator."""

import statistics
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from prism_mri.config import MODALITIES, Modality, PreprocessingContract
from prism_mri.errors import InputError
from prism_mri.simulate import pairs
from prism_mri.simulate.anatomy import Anatomy
from prism_mri.simulate.pairs import PairBatch, PairSource
from prism_mri.simulate.protocols import get_protocol
from prism_mri.simulate.tissues import TISSUE_INDEX

CROP = 64


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def source(ball: Anatomy) -> PairSource:
    return PairSource([ball], crop=CROP)


@pytest.fixture(scope="module")
def batch(source: PairSource) -> PairBatch:
    return source.draw(24, seeded(1))


def test_shapes(batch: PairBatch) -> None:
    assert batch.images.shape == batch.clean.shape == (2, 24, 1, CROP, CROP)
    assert batch.fractions.shape == (24, 3, CROP, CROP)
    assert batch.known.shape == batch.mask.shape == batch.weight.shape == (24, 1, CROP, CROP)
    assert all(tensor.dtype == torch.float32 for tensor in vars(batch).values())


def test_images_are_finite_not_negative_and_zero_outside_the_mask(batch: PairBatch) -> None:
    for image in (*batch.images, *batch.clean):
        assert torch.isfinite(image).all()
        assert float(image.min()) == 0
        assert float((image * (1 - batch.mask)).abs().max()) == 0


def test_mask_holds_brain_in_every_pair(batch: PairBatch) -> None:
    assert set(batch.mask.unique().tolist()) == {0.0, 1.0}
    assert float(batch.mask.mean(dim=(1, 2, 3)).min()) > 0.1


def test_known_lies_within_the_mask_and_covers_most_of_it(batch: PairBatch) -> None:
    assert set(batch.known.unique().tolist()) == {0.0, 1.0}
    assert bool((batch.known <= batch.mask).all())
    assert float(batch.known.sum() / batch.mask.sum()) > 0.9


def test_fractions_sum_to_one_where_known(batch: PairBatch) -> None:
    total = batch.fractions.sum(1, keepdim=True)
    assert torch.allclose(total[batch.known > 0], torch.tensor(1.0), atol=1e-5)
    assert float(batch.fractions.min()) >= 0
    assert float(batch.fractions.amax()) == pytest.approx(1, abs=1e-5)


def test_lesions_are_in_the_mask_but_not_known(
    ball: Anatomy, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Slices are chosen by grey and white matter: let both heads offer the same ones.
    monkeypatch.setattr(pairs, "_MIN_BRAIN_PIXELS", 1)
    tissue = ball.tissue.clone()
    quarter = tissue[31:, 33:]
    quarter[quarter == TISSUE_INDEX["wm"]] = TISSUE_INDEX["lesion"]
    ill, well = (
        PairSource([anatomy], crop=CROP).draw(6, seeded(2))
        for anatomy in (replace(ball, tissue=tissue), ball)
    )
    assert torch.equal(ill.mask, well.mask)
    assert bool((ill.known <= well.known).all())
    assert float(ill.known.sum()) < 0.95 * float(well.known.sum())


def test_both_contrasts_show_one_anatomy(batch: PairBatch) -> None:
    """Two modalities differ, yet the borders of tissues lie alike in both.

    Gradients have no sign, and ranks leave out how high a border is, which modalities differ in.
    Heads that are turned otherwise agree by chance only; where a contrast loses one of the borders
    and noise-free texture ranks instead, much more than that must remain.
    """
    differences = (batch.clean[0] - batch.clean[1]).abs().sum(dim=(1, 2, 3))
    assert float(differences.min()) > 0
    same = [correlate_borders(batch, index, index) for index in range(24)]
    other = [correlate_borders(batch, index, (index + 1) % 24) for index in range(24)]
    assert abs(statistics.median(other)) < 0.2
    assert statistics.median(same) > 0.7
    assert min(same) > 0.3


def correlate_borders(batch: PairBatch, first: int, second: int) -> float:
    """Correlate the ranks of gradient magnitudes where both contrasts hold brain."""
    inside = (batch.mask[first] * batch.mask[second])[0] > 0
    ranks = []
    for clean in (batch.clean[0, first], batch.clean[1, second]):
        blurred = torch.nn.functional.avg_pool2d(clean, 3, 1, 1)[0]
        slope = torch.stack(torch.gradient(blurred)).square().sum(0).sqrt()[inside]
        ranks.append(slope.argsort().argsort().float())
    return float(torch.corrcoef(torch.stack(ranks))[0, 1])


@pytest.mark.parametrize("modality", MODALITIES)
def test_white_matter_is_about_the_contracts_value(
    source: PairSource, modality: Modality, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The quartile that lies in white matter, for nearly every protocol, is mapped to it."""
    monkeypatch.setattr(pairs, "_draw_modalities", lambda _generator: (modality, modality))
    batch = source.draw(16, seeded(7))
    inner = (batch.fractions[:, 2:] > 0.99) & (batch.mask > 0)
    levels = torch.stack(
        [image[index][inner[index]].median() for image in batch.clean for index in range(16)]
    )
    value = PreprocessingContract.for_modality(modality).intensity_value
    assert float(levels.median()) == pytest.approx(value, rel=0.15)
    assert float(levels.std()) > 0.01


def test_modalities_are_drawn_by_their_shares() -> None:
    drawn = Counter(pairs._find_modality((step + 0.5) / 1000) for step in range(1000))
    assert drawn == {"T2w": 400, "T1w": 250, "FLAIR": 200, "PDw": 150}


def test_most_pairs_are_of_one_modality_and_the_rest_are_independent() -> None:
    """By chance two agree in 0.4² + 0.25² + 0.2² + 0.15² = 28.5 % of the independent quarter."""
    generator = seeded(8)
    drawn = [pairs._draw_modalities(generator) for _ in range(4000)]
    alike = [first for first, second in drawn if first == second]
    assert len(alike) / 4000 == pytest.approx(0.75 + 0.25 * 0.285, abs=0.02)
    assert Counter(alike)["T2w"] / 4000 == pytest.approx(0.75 * 0.4 + 0.25 * 0.16, abs=0.03)
    assert len({pair for pair in drawn if pair[0] != pair[1]}) == 12


def test_errors_beyond_the_brain_weigh_a_tenth(batch: PairBatch) -> None:
    third = (batch.fractions - 1 / 3).abs().amax(1, keepdim=True) < 1e-6
    beyond = third & (batch.mask > 0)
    assert batch.weight.unique().tolist() == pytest.approx([0, 0.1, 1])
    assert torch.equal(batch.weight > 0, batch.mask > 0)
    assert 0.01 < float(beyond.sum() / batch.mask.sum()) < 0.3
    assert float(batch.weight[beyond].mean()) == pytest.approx(0.1, abs=0.01)


def test_clean_is_the_image_where_noise_and_bias_are_zero(
    source: PairSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = torch.rand
    silenced = []

    def quiet(*size: Any, **settings: Any) -> torch.Tensor:
        """Of all draws only those of noise and bias field come in twos."""
        values = usual(*size, **settings)
        if size == (2,):
            values[:] = 0
            silenced.append(size)
        return values

    loud = source.draw(3, seeded(3))
    monkeypatch.setattr(pairs.PairSource, "_render", silence(pairs.PairSource._render, quiet))
    drawn = source.draw(3, seeded(3))
    assert len(silenced) == 6
    assert torch.allclose(drawn.images, drawn.clean, atol=1e-6)
    assert torch.equal(drawn.clean, loud.clean)
    assert float((loud.images - loud.clean).abs().max()) > 0.01


def silence(render: Callable[..., Any], quiet: Callable[..., torch.Tensor]) -> Callable[..., Any]:
    """Let ``render`` see other random numbers than everything else."""

    def rendered(*arguments: Any) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pairs.torch, "rand", quiet)
            return render(*arguments)

    return rendered


def test_same_seed_same_pairs(source: PairSource) -> None:
    first, again, other = (source.draw(2, seeded(seed)) for seed in (4, 4, 5))
    for name, tensor in vars(first).items():
        assert torch.equal(tensor, vars(again)[name]), name
    assert not torch.equal(first.images, other.images)


def test_all_anatomies_are_drawn_from(ball: Anatomy) -> None:
    """One head holds fluid and the other none."""
    solid = torch.where(ball.tissue == TISSUE_INDEX["csf"], TISSUE_INDEX["wm"], ball.tissue)
    both = PairSource([ball, replace(ball, tissue=solid.to(torch.uint8))], crop=CROP)
    fluid = both.draw(24, seeded(6)).fractions[:, 0].amax(dim=(1, 2)) > 0.5
    assert 3 < int(fluid.sum()) < 21


def test_refuses_anatomies_without_a_usable_slice(ball: Anatomy) -> None:
    empty = replace(ball, tissue=torch.zeros_like(ball.tissue), person="nobody")
    with pytest.raises(InputError, match="nobody"):
        PairSource([ball, empty], crop=CROP)
    with pytest.raises(InputError, match="none given"):
        PairSource([], crop=CROP)


def test_no_scan_lies_next_to_a_named_scanner() -> None:
    generator = seeded(7)
    drawn = [pairs._draw_scan("T2w", generator) for _ in range(300)]
    guys = get_protocol("guys", "T2w")
    near = [
        abs(field - guys.field_tesla) <= 0.25
        and abs(sequence.repetition_ms / guys.sequence.repetition_ms - 1) <= 0.2
        and abs(sequence.echo_ms / guys.sequence.echo_ms - 1) <= 0.1
        for field, sequence in drawn
    ]
    assert not any(near)
    assert any(abs(field - guys.field_tesla) <= 0.25 for field, _ in drawn)
