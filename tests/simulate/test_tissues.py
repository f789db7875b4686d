"""Label numbers → tissues → roles."""

from collections import Counter

import numpy as np
import pytest

from prism_mri.simulate.tissues import ROLES, TISSUE_INDEX, TISSUES, Role, compute_tissue_indices

ROLE_OF_LABEL = [
    (0, "air", Role.OUTSIDE),
    (2, "wm", Role.WM),
    (41, "wm", Role.WM),
    (3, "cortex", Role.GM),
    (42, "cortex", Role.GM),
    (4, "csf", Role.CSF),
    (24, "csf", Role.CSF),
    (10, "thalamus", Role.GM),
    (12, "striatum", Role.GM),
    (52, "pallidum", Role.GM),
    (53, "hippocampus", Role.GM),
    (16, "brain_stem", Role.WM),
    (46, "cerebellar_wm", Role.WM),
    (77, "lesion", Role.OTHER),
    (31, "choroid_plexus", Role.OTHER),
    (511, "fat", Role.OUTSIDE),
    (515, "cortical_bone", Role.OUTSIDE),
]


@pytest.mark.parametrize(("label", "name", "role"), ROLE_OF_LABEL)
def test_label_means_tissue_and_role(label: int, name: str, role: Role) -> None:
    indices, unknown = compute_tissue_indices(np.array([[label]]))
    assert TISSUES[indices[0, 0]].name == name
    assert ROLES[int(indices[0, 0])] == role
    assert unknown == ()


def test_deep_grey_is_not_cortex() -> None:
    """More iron, shorter T2: it must be darker than cortex on T2w."""
    cortex = TISSUES[TISSUE_INDEX["cortex"]]
    for label in (10, 11, 12, 13, 26, 49, 50, 51, 52, 58):
        tissue = TISSUES[int(compute_tissue_indices(np.array([label]))[0][0])]
        assert tissue.name != "cortex"
        assert tissue.role == Role.GM
        assert tissue.at_1_5_tesla.t2_ms < cortex.at_1_5_tesla.t2_ms
        assert tissue.at_3_tesla.t2_ms < cortex.at_3_tesla.t2_ms


def test_unknown_labels_are_grey_inside_the_brains_range_and_air_beyond_and_are_told() -> None:
    indices, unknown = compute_tissue_indices(np.array([2, 99, 499, 500, 520, 700, 99]))
    names = [TISSUES[index].name for index in indices]
    assert names == ["wm", "cortex", "cortex", "air", "air", "air", "cortex"]
    assert unknown == (99, 499, 500, 520, 700)


def test_shape_is_kept() -> None:
    labels = np.array([[[2, 3], [4, 0], [17, 8]]])
    indices, _ = compute_tissue_indices(labels)
    assert indices.dtype == np.uint8
    assert indices.shape == (1, 3, 2)
    assert [[TISSUES[i].name for i in row] for row in indices[0]] == [
        ["wm", "cortex"],
        ["csf", "air"],
        ["hippocampus", "cerebellar_cortex"],
    ]


def test_no_label_means_two_tissues_and_no_name_stands_twice() -> None:
    labels = Counter(label for tissue in TISSUES for label in tissue.labels)
    assert [label for label, count in labels.items() if count > 1] == []
    assert len(TISSUE_INDEX) == len(TISSUES)


def test_t2_is_shorter_than_t1_and_at_3_tesla_t1_is_not_shorter_and_t2_not_longer() -> None:
    for tissue in TISSUES:
        low, high = tissue.at_1_5_tesla, tissue.at_3_tesla
        assert low.t2_ms < low.t1_ms, tissue.name
        assert high.t1_ms >= low.t1_ms, tissue.name
        assert high.t2_ms <= low.t2_ms, tissue.name
