"""Pairs of slices for the translator: one anatomy under two random contrasts.

They are drawn on the fly in two dimensions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch.nn import functional

from prism_mri.config import Modality, PreprocessingContract
from prism_mri.errors import InputError
from prism_mri.simulate.anatomy import Anatomy
from prism_mri.simulate.deform import convolve_axis, gaussian_kernel
from prism_mri.simulate.left_out import is_left_out
from prism_mri.simulate.physics import interpolate_tissue_properties
from prism_mri.simulate.sequences import Sequence as ScanSequence
from prism_mri.simulate.sequences import draw_sequence
from prism_mri.simulate.texture import FIELDS
from prism_mri.simulate.tissues import ROLES, TISSUE_INDEX, TISSUES, Role

_SLAB = 7
_MIN_BRAIN_PIXELS = 1500
_AROUND: Final = [
    TISSUE_INDEX[name] for name in ("muscle", "fat", "marrow", "mucosa", "blood", "eye_fluid")
]
_SHARES: Final[dict[Modality, float]] = {"T2w": 0.4, "T1w": 0.25, "FLAIR": 0.2, "PDw": 0.15}
_SAME_MODALITY = 0.75
_WEIGHT_BEYOND = 0.1
_CONTRACTS: Final = {name: PreprocessingContract.for_modality(name) for name in _SHARES}


@dataclass(frozen=True)
class PairBatch:
    """A batch of pairs; the first axis of length 2 holds the two contrasts.

    Attributes:
        images: ``(2, B, 1, H, W)`` as acquired, prepared scale, zero outside the mask.
        clean: ``(2, B, 1, H, W)`` the same without noise and bias field.
        fractions: ``(B, 3, H, W)`` true CSF, GM and WM; a third each beyond the brain.
        known: ``(B, 1, H, W)`` 1 where the three tissues are all there is (no lesion, no vessel) or
            none of them, within the mask.
        mask: ``(B, 1, H, W)`` brain, as well as a mask finds it.
        weight: ``(B, 1, H, W)`` how much it matters what is drawn: 1 in the brain, 0.1 in what the
            mask holds beyond it, whose contrast nothing in the other image tells, 0 elsewhere.
    """

    images: torch.Tensor
    clean: torch.Tensor
    fractions: torch.Tensor
    known: torch.Tensor
    mask: torch.Tensor
    weight: torch.Tensor

    def to(self, device: torch.device) -> "PairBatch":
        """Copy to a device."""
        return PairBatch(*(tensor.to(device) for tensor in vars(self).values()))


class PairSource:
    """Draws pairs from anatomies.

    Contrasts are T2w 40 %, T1w 25 %, FLAIR 20 %, PD 15 %, sequences as in
    :func:`prism_mri.simulate.sequences.draw_sequence`. Three quarters of the pairs are of one
    modality under two protocols, which is what harmonization asks for; in the others the second
    modality is drawn independently. What lies next to a named scanner is left out
    (:func:`prism_mri.simulate.left_out.is_left_out`). Other ranges: 1–3.2 T; relaxation and
    density ±8 % a person and ±5 % a scan (standard deviation); in-plane blur 0–2.2 mm FWHM over
    partial volume; sharpening 0–0.6 in a third; slice thickness 1–7 mm; γ 0.75–1.3; bias field
    0–0.3; noise 0–0.09 of white matter's signal; gain ±8 %; rotation ±20°, zoom ±15 %, elastic
    warps up to 4 pixels, lesions in a third; masks 1–3 pixels within the brain in a quarter, and in
    a half 1–5 pixels beyond it, over bone, fat, muscle and other tissues of the head.
    """

    def __init__(self, anatomies: Sequence[Anatomy], *, crop: int) -> None:
        """Keep anatomies (1 mm voxels assumed) and the slices of each that hold enough brain."""
        self._tissues = [anatomy.tissue.permute(2, 0, 1).contiguous() for anatomy in anatomies]
        self._slices = [_list_slices(tissue) for tissue in self._tissues]
        empty = [
            anatomy.person
            for anatomy, slices in zip(anatomies, self._slices, strict=True)
            if not len(slices)
        ]
        if empty or not anatomies:
            raise InputError(
                f"anatomies with no slice of {_MIN_BRAIN_PIXELS} mm² of grey and white matter: "
                f"{', '.join(empty) or 'none given'}; give whole brains at 1 mm"
            )
        self._histograms = [
            torch.bincount(t.flatten().long(), minlength=len(TISSUES)) for t in self._tissues
        ]
        self._crop = crop

    def draw(self, batch: int, generator: torch.Generator) -> PairBatch:
        """Draw ``batch`` pairs."""
        drawn = [self._draw_one(generator) for _ in range(batch)]
        return PairBatch(
            images=torch.stack([pair.images for pair in drawn], dim=1),
            clean=torch.stack([pair.clean for pair in drawn], dim=1),
            fractions=torch.stack([pair.fractions for pair in drawn]),
            known=torch.stack([pair.known for pair in drawn]),
            mask=torch.stack([pair.mask for pair in drawn]),
            weight=torch.stack([pair.weight for pair in drawn]),
        )

    def _draw_one(self, generator: torch.Generator) -> PairBatch:
        which = int(torch.randint(len(self._tissues), (1,), generator=generator))
        candidates = self._slices[which]
        centre = int(candidates[int(torch.randint(len(candidates), (1,), generator=generator))])
        slab = self._tissues[which][centre - _SLAB // 2 : centre + _SLAB // 2 + 1]
        slab = _place_lesions(_warp_labels(slab, self._crop, generator), generator)
        margin = _draw_margin(generator)
        if margin > 0:
            slab = _surround(slab, margin, generator)
        weights = _draw_slice_profile(generator)
        truth = _compute_truth(slab, weights, margin)
        person = _Person.draw(self._crop, generator)
        contrasts = [
            self._render(
                slab, weights, person, self._histograms[which], _CONTRACTS[modality], generator
            )
            for modality in _draw_modalities(generator)
        ]
        images, clean = (torch.stack(items) * truth.mask for items in zip(*contrasts, strict=True))
        return PairBatch(images, clean, **vars(truth))

    def _render(
        self,
        slab: torch.Tensor,
        weights: torch.Tensor,
        person: "_Person",
        histogram: torch.Tensor,
        contract: PreprocessingContract,
        generator: torch.Generator,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a contrast as acquired and clean, ``(1, H, W)`` each, whole."""
        u = torch.rand(4, generator=generator).tolist()
        noise_level, bias_level = torch.rand(2, generator=generator).tolist()
        field, sequence = _draw_scan(contract.modality, generator)
        signal = person.compute_signal(field, sequence, generator)
        response = person.response[torch.randperm(FIELDS, generator=generator)]
        response = response * torch.randn(FIELDS, 1, generator=generator)
        modulation = (response[:, slab.long()] * person.texture[:, None]).sum(0)
        image = (signal[slab.long()] * (1 + modulation) * weights[:, None, None]).sum(0)[None]
        # Magnitude after blurring: opposed signals cancel where they share a voxel.
        image = _blur(image, float((0.5**2 + (0.93 * u[0]) ** 2) ** 0.5)).abs()
        if u[1] < 1 / 3:
            image = (image + 0.6 * u[2] * (image - _blur(image, 1.0))).clamp(min=0)
        gamma = 0.75 + 0.55 * u[3]
        reference = _weighted_quantile(signal.abs(), histogram, contract.quantile)
        gain = contract.intensity_value * (
            1 + 0.08 * float(torch.randn(1, generator=generator).clamp(-2, 2))
        )
        clean = (image / reference).pow(gamma) * gain
        noise = torch.randn(2, *clean.shape, generator=generator) * (
            0.09 * noise_level**2 * contract.intensity_value
        )
        biased = clean * _draw_bias(self._crop, 0.3 * bias_level, generator)
        return torch.hypot(biased + noise[0], noise[1]), clean


@dataclass(frozen=True)
class _Truth:
    """What is known of a slice; see :class:`PairBatch`."""

    fractions: torch.Tensor
    known: torch.Tensor
    mask: torch.Tensor
    weight: torch.Tensor


@dataclass(frozen=True)
class _Person:
    """What two scans of one person share: texture, and how its tissues deviate from the table."""

    texture: torch.Tensor
    response: torch.Tensor
    deviation: torch.Tensor

    @staticmethod
    def draw(size: int, generator: torch.Generator) -> "_Person":
        fine = _blur(torch.randn(FIELDS, size, size, generator=generator), 0.8)
        coarse = _upsample(torch.randn(FIELDS, size // 4, size // 4, generator=generator), size)
        texture = 0.6 * fine / fine.std() + 0.8 * coarse / coarse.std()
        response = 0.04 * torch.rand(FIELDS, len(TISSUES), generator=generator)
        response[:, [TISSUE_INDEX["air"], TISSUE_INDEX["csf"]]] = 0
        deviation = 1 + 0.08 * torch.randn(3, len(TISSUES), generator=generator).clamp(-2, 2)
        lesion = TISSUE_INDEX["lesion"]
        deviation[:, lesion] += 0.25 * torch.randn(3, generator=generator).clamp(-1, 2)
        return _Person(texture, response, deviation)

    def compute_signal(
        self, field_tesla: float, sequence: ScanSequence, generator: torch.Generator
    ) -> torch.Tensor:
        """Return the signed signal of every tissue in one scan."""
        scan = 1 + 0.05 * torch.randn(3, len(TISSUES), generator=generator).clamp(-2, 2)
        properties = interpolate_tissue_properties(field_tesla) * self.deviation * scan
        return sequence.compute_signal(properties)


def _draw_scan(modality: Modality, generator: torch.Generator) -> tuple[float, ScanSequence]:
    """Draw a field strength and a sequence that no named scanner lies next to."""
    while True:
        field = 1.0 + 2.2 * float(torch.rand(1, generator=generator))
        sequence = draw_sequence(modality, field, generator)
        if not is_left_out(modality, field, sequence):
            return field, sequence


def _draw_modalities(generator: torch.Generator) -> tuple[Modality, Modality]:
    """Draw the modalities of a pair."""
    first, second, same = torch.rand(3, generator=generator).tolist()
    modality = _find_modality(first)
    return modality, modality if same < _SAME_MODALITY else _find_modality(second)


def _find_modality(uniform: float) -> Modality:
    """Turn a number in [0, 1) into a modality by its share."""
    for modality, share in _SHARES.items():
        if uniform < share:
            return modality
        uniform -= share
    return "PDw"


def _list_slices(tissue: torch.Tensor) -> torch.Tensor:
    roles = ROLES[tissue.long()]
    area = ((roles == Role.GM) | (roles == Role.WM)).sum(dim=(1, 2))
    inner = torch.arange(_SLAB // 2, len(area) - _SLAB // 2)
    return inner[area[inner] >= _MIN_BRAIN_PIXELS]


def _warp_labels(slab: torch.Tensor, size: int, generator: torch.Generator) -> torch.Tensor:
    """Cut a random, warped window of ``size`` pixels, centred in the brain, from ``(D, I, J)``."""
    u = torch.rand(8, generator=generator) * 2 - 1
    occupied = torch.nonzero(slab[_SLAB // 2])
    centre = occupied[int(torch.randint(len(occupied), (1,), generator=generator))].float()
    middle = (occupied.amin(0) + occupied.amax(0)) / 2
    centre = torch.lerp(middle, centre, 0.6)
    angle, zoom = u[0] * 0.35, torch.exp(u[1] * 0.15)
    turn = torch.stack(
        [torch.stack([angle.cos(), -angle.sin()]), torch.stack([angle.sin(), angle.cos()])]
    )
    stretch = torch.diag(torch.stack([torch.exp(u[2] * 0.08), torch.exp(u[3] * 0.08)]))
    linear = turn @ stretch * zoom
    if u[4] > 0:
        linear = linear @ torch.diag(torch.tensor([-1.0, 1.0]))
    axis = torch.arange(size, dtype=torch.float32) - (size - 1) / 2
    positions = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), dim=-1) @ linear.T + centre
    warp = _upsample(torch.randn(2, size // 16, size // 16, generator=generator), size)
    positions = positions + (2.0 * float(u[5].abs()) * warp).clamp(-4, 4).permute(1, 2, 0)
    limits = torch.tensor(slab.shape[1:], dtype=torch.float32)
    grid = (positions * (2 / (limits - 1)) - 1).flip(-1)[None]
    return functional.grid_sample(slab[None].float(), grid, mode="nearest", align_corners=True)[
        0
    ].to(torch.uint8)


def _place_lesions(slab: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """In a third of the slices turn a few blobs of white matter into lesions."""
    if float(torch.rand(1, generator=generator)) > 1 / 3:
        return slab
    size = slab.shape[-1]
    blobs = _upsample(torch.randn(1, size // 6, size // 6, generator=generator), size)[0]
    threshold = 1.0 + 0.7 * float(torch.rand(1, generator=generator))
    lesion = (blobs / blobs.std() > threshold) & (ROLES[slab.long()] == Role.WM)
    return torch.where(lesion, TISSUE_INDEX["lesion"], slab).to(torch.uint8)


def _draw_slice_profile(generator: torch.Generator) -> torch.Tensor:
    """Return weights of the slab's 1 mm slices for a random thickness of 1 to 7 mm."""
    thickness = 1 + 6 * float(torch.rand(1, generator=generator)) ** 1.5
    distance = (torch.arange(_SLAB) - _SLAB // 2).abs()
    weights: torch.Tensor = (thickness / 2 + 0.5 - distance).clamp(0, 1)
    return weights / weights.sum()


def _draw_margin(generator: torch.Generator) -> int:
    """Draw how far a mask reaches beyond the brain, in pixels; negative where it falls short."""
    kind, size = torch.rand(2, generator=generator).tolist()
    if kind < 1 / 4:
        return -1 - int(3 * size)
    return 1 + int(5 * size) if kind < 3 / 4 else 0


def _surround(slab: torch.Tensor, margin: int, generator: torch.Generator) -> torch.Tensor:
    """Put tissues of the head around the brain: bone, and patches of one other."""
    size = slab.shape[-1]
    ring = (_grow(ROLES[slab.long()] != Role.OUTSIDE, margin)) & (slab == TISSUE_INDEX["air"])
    patches = _upsample(torch.randn(2, size // 16, size // 16, generator=generator), size)
    other = _AROUND[int(torch.randint(len(_AROUND), (1,), generator=generator))]
    around = torch.where(patches[0] > 0.5, other, TISSUE_INDEX["cortical_bone"])
    return torch.where(ring & (patches[1] > -0.7), around, slab).to(torch.uint8)


def _grow(inside: torch.Tensor, pixels: int) -> torch.Tensor:
    """Grow ``(D, H, W)`` in plane, or shrink it where ``pixels`` is negative."""
    if not pixels:
        return inside
    reach = abs(pixels)
    part = inside if pixels > 0 else ~inside
    grown = functional.max_pool2d(part.float()[None], 2 * reach + 1, 1, reach)[0] > 0
    return grown if pixels > 0 else ~grown


def _compute_truth(slab: torch.Tensor, weights: torch.Tensor, margin: int) -> _Truth:
    """Return mask, fractions and where these are known; beyond the brain no tissue has more."""
    roles = ROLES[slab.long()]
    one_hot = torch.stack([(roles == role).float() for role in Role])
    present = _blur((one_hot * weights[None, :, None, None]).sum(1), 0.5)
    inside = present[Role.CSF :].sum(0, keepdim=True)
    mask = _grow(inside > 0.5, margin).float()
    three = present[Role.CSF : Role.WM + 1]
    total = three.sum(0, keepdim=True)
    beyond = inside < 0.1
    fractions = torch.where(beyond, 1 / len(three), three / total.clamp(min=1e-3))
    weight = mask * torch.where(beyond, _WEIGHT_BEYOND, 1.0)
    return _Truth(fractions, mask * ((total > 0.9) | beyond), mask, weight)


def _blur(images: torch.Tensor, sigma: float) -> torch.Tensor:
    kernel = gaussian_kernel(sigma)
    return convolve_axis(convolve_axis(images, kernel, 1), kernel, 2)


def _upsample(coarse: torch.Tensor, size: int) -> torch.Tensor:
    return functional.interpolate(
        coarse[None], size=(size, size), mode="bicubic", align_corners=False
    )[0]


def _draw_bias(size: int, std: float, generator: torch.Generator) -> torch.Tensor:
    knots = 2 + int(torch.randint(3, (1,), generator=generator))
    return (std * 0.7 * _upsample(torch.randn(1, knots, knots, generator=generator), size)).exp()


def _weighted_quantile(values: torch.Tensor, counts: torch.Tensor, quantile: float) -> torch.Tensor:
    inside = ROLES != Role.OUTSIDE
    order = values[inside].argsort()
    cumulative = counts[inside][order].cumsum(0).double()
    position = int(torch.searchsorted(cumulative, quantile * cumulative[-1]))
    return values[inside][order][position].clamp(min=1e-6)
