"""A prepared dataset made of people of others."""

import numpy as np

from prism_mri.data.prepared import read_prepared
from prism_mri.data.subset import write_subset


def test_chosen_people_read_as_they_were(site, tmp_path):
    dataset = read_prepared(site)
    first, second = dataset.items[:2]
    (tmp_path / "subset").mkdir()
    folder = write_subset(
        tmp_path / "subset", dataset.manifest, train={7: [first]}, validation={3: [second]}
    )
    subset = read_prepared(folder)
    assert (subset.manifest.people, subset.manifest.held_out) == (2, "people")
    assert subset.manifest.contract == dataset.manifest.contract
    for split, original, name in (("train", first, "7"), ("validation", second, "3")):
        (image,) = subset.split(split)
        assert image.subject == name
        for part, wanted in zip(image.load(), original.load(), strict=True):
            assert np.array_equal(part, wanted)
    text = (folder / "prepared.json").read_text()
    assert "sub-" not in text
