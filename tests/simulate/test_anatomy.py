"""Anatomies from the template and from label maps."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from prism_mri.assets import TissueMap
from prism_mri.errors import InputError
from prism_mri.simulate import anatomy
from prism_mri.simulate.anatomy import (
    Anatomy,
    Population,
    deform_anatomy,
    draw_template_person,
    list_label_maps,
    read_anatomy,
    read_label_map,
)
from prism_mri.simulate.tissues import TISSUE_INDEX, Role
from prism_mri.volume import read_volume, write_volume

LabelMapWriter = Callable[..., Path]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def count_ml(person: Anatomy, chosen: torch.Tensor) -> float:
    return float(chosen.sum()) * abs(float(np.linalg.det(person.affine[:3, :3]))) / 1000


def central_csf_ml(person: Anatomy) -> float:
    """CSF in the middle two fifths of the head: the ventricles and little else."""
    axes = [torch.linspace(-1, 1, size) for size in person.shape]
    grids = torch.meshgrid(*axes, indexing="ij")
    central = torch.stack(grids).square().sum(0) < 0.16
    return count_ml(person, central & (person.compute_roles() == Role.CSF))


@pytest.fixture(scope="module")
def someone() -> Anatomy:
    """A person of the embedded template at its full resolution."""
    return draw_template_person("someone", seeded(3), Population(ventricle_spread_mm=0))


@pytest.fixture(scope="module")
def ageing(half_template: TissueMap) -> list[Anatomy]:
    """One person with the ventricles' walls moved outwards by ever more, at half resolution."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(anatomy, "read_tissue_map", lambda: half_template)
        return [
            draw_template_person(
                "someone", seeded(3), Population(ventricle_mm=growth, ventricle_spread_mm=0)
            )
            for growth in (-1.0, 0.0, 1.0, 2.0)
        ]


def test_template_person_has_a_brain_of_human_size(someone: Anatomy) -> None:
    """The intracranial part, CSF included; ICBM152's is 1.9 l, larger than its people's 1.5 l."""
    roles = someone.compute_roles()
    assert 1500 < count_ml(someone, roles != Role.OUTSIDE) < 2300
    grey, white = (count_ml(someone, roles == role) for role in (Role.GM, Role.WM))
    assert 1.2 < grey / white < 2.2
    assert 50 < count_ml(someone, roles == Role.CSF) < 300
    assert 10 < central_csf_ml(someone) < 60


def test_template_person_is_cropped_to_the_brain_with_a_margin(someone: Anatomy) -> None:
    occupied = torch.nonzero(someone.tissue)
    assert occupied.amin(0).tolist() == [3, 3, 3]
    margin = torch.tensor(someone.shape) - 1 - occupied.amax(0)
    assert margin.tolist() == [3, 3, 3]
    assert someone.texture.shape == (2, *someone.shape)
    names = ("air", "csf", "cortex", "wm")
    assert someone.tissue.unique().tolist() == sorted(TISSUE_INDEX[name] for name in names)


def test_template_person_lies_about_the_worlds_origin(someone: Anatomy) -> None:
    """MNI space has the anterior commissure at 0 mm, a little in front of the brain's middle."""
    occupied = torch.nonzero(someone.tissue).double().mean(0).numpy()
    centre = someone.affine[:3, :3] @ occupied + someone.affine[:3, 3]
    assert np.abs(centre - [0, -18, 5]).max() < 15


def test_ventricle_mm_enlarges_the_ventricles(ageing: list[Anatomy]) -> None:
    volumes = [central_csf_ml(person) for person in ageing]
    assert all(later > 1.08 * earlier for earlier, later in pairwise(volumes))


def test_ventricles_grow_inside_the_same_brain(ageing: list[Anatomy]) -> None:
    brains = [count_ml(p, p.compute_roles() != Role.OUTSIDE) for p in ageing]
    assert brains[1:] == pytest.approx([brains[0]] * 3, rel=0.015)


def test_size_scales_the_affine(ball: Anatomy) -> None:
    small, large = (
        deform_anatomy(ball, seeded(4), Population(size=size)).affine for size in (1.0, 1.2)
    )
    assert large[:3, :3] == pytest.approx(1.2 * small[:3, :3])
    assert np.abs(np.diag(small)[:3] - 1).max() <= 0.06
    assert len(set(np.diag(small)[:3])) == 3


def test_deformed_copy_is_the_same_person_of_another_shape_and_texture(ball: Anatomy) -> None:
    copy = deform_anatomy(ball, seeded(1), Population())
    assert copy.person == "ball"
    assert copy.shape == ball.shape
    assert not torch.equal(copy.texture, ball.texture)
    changed = (copy.tissue != ball.tissue).float().mean()
    assert 0.01 < changed < 0.5
    assert set(copy.tissue.unique().tolist()) == set(ball.tissue.unique().tolist())


def test_deforming_mixes_no_labels(ball: Anatomy) -> None:
    """Between fluid and fat, far apart in the table, no third tissue may appear."""
    fat = torch.tensor(TISSUE_INDEX["fat"], dtype=torch.uint8)
    two = replace(ball, tissue=torch.where(ball.tissue > 1, fat, ball.tissue))
    copy = deform_anatomy(two, seeded(1), Population())
    assert copy.tissue.unique().tolist() == two.tissue.unique().tolist() == [0, 1, int(fat)]


def test_same_seed_same_copy(ball: Anatomy) -> None:
    first, again = (deform_anatomy(ball, seeded(2), Population()) for _ in range(2))
    assert torch.equal(first.tissue, again.tissue)
    assert torch.equal(first.texture, again.texture)
    assert np.array_equal(first.affine, again.affine)


def test_label_map_becomes_a_person_cropped_to_the_brain(
    write_label_map: LabelMapWriter, ball: Anatomy
) -> None:
    person = read_anatomy(write_label_map("head-07_labels.nii.gz"), seeded(1))
    assert person.person == "head-07_labels"
    roles, expected = person.compute_roles(), ball.compute_roles()
    for role in (Role.CSF, Role.GM, Role.WM):
        assert int((roles == role).sum()) == int((expected == role).sum())
    assert TISSUE_INDEX["fat"] not in person.tissue.unique().tolist()
    assert torch.nonzero(person.tissue).amin(0).tolist() == [3, 3, 3]
    # Cropping shifts the affine along: the brain's middle stays at 0 mm.
    middle = torch.nonzero(person.tissue).double().mean(0).numpy()
    assert person.affine[:3, :3] @ middle + person.affine[:3, 3] == pytest.approx([0] * 3, abs=0.01)


def test_whole_head_keeps_fat_and_grid(write_label_map: LabelMapWriter, ball: Anatomy) -> None:
    head = read_anatomy(write_label_map("head.nii.gz"), seeded(1), whole_head=True)
    assert head.shape == ball.shape
    assert np.array_equal(head.affine, ball.affine)
    inside = ball.tissue != 0
    assert torch.equal(head.tissue[inside], ball.tissue[inside])
    assert int((head.tissue == TISSUE_INDEX["fat"]).sum()) > 1000


def test_label_maps_of_other_voxel_sizes_are_refused(write_label_map: LabelMapWriter) -> None:
    path = write_label_map("coarse.nii.gz", spacing_mm=2.0)
    with pytest.raises(InputError, match=r"coarse.nii.gz has voxels of .*resample it to 1 mm"):
        read_label_map(path)


def test_label_maps_without_white_matter_are_refused(write_label_map: LabelMapWriter) -> None:
    path = write_label_map("gray.nii.gz", white_matter=42)
    with pytest.raises(InputError, match=r"gray.nii.gz holds no white matter"):
        read_label_map(path)


def test_label_maps_are_listed_by_name(write_label_map: LabelMapWriter) -> None:
    paths = [write_label_map(name) for name in ("c.nii", "a.nii.gz", "b.nii.gz")]
    assert list_label_maps(paths[0].parent) == sorted(paths)


def test_folder_without_label_maps_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"no NIfTI label maps in {tmp_path}"):
        list_label_maps(tmp_path)


@pytest.mark.parametrize("value", [-5, -2000, 2.5, 40000])
def test_label_maps_with_values_that_are_no_labels_are_refused(
    write_label_map: LabelMapWriter, value: float
) -> None:
    path = write_label_map("odd.nii.gz")
    volume = read_volume(path)
    data = volume.data.copy()
    data[0, 0, 0] = value
    write_volume(path, data, volume, overwrite=True)
    with pytest.raises(InputError, match=r"odd.nii.gz holds values that are no labels"):
        read_label_map(path)


def test_unknown_labels_are_named(
    write_label_map: LabelMapWriter, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_label_map("known.nii.gz")
    volume = read_volume(path)
    data = volume.data.copy()
    data[data == 2] = np.where(np.arange((data == 2).sum()) < 9, 333, 2)
    write_volume(path, data, volume, overwrite=True)
    read_label_map(path)
    assert "333" in caplog.text
