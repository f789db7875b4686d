"""The aliases are checked while the tests run: without this, a wrong shape would pass unseen."""

import jaxtyping
import numpy as np
import pytest

from prism_mri.assets import TissueMap


def test_wrong_shapes_and_dtypes_are_refused_in_tests() -> None:
    fractions, affine = np.zeros((3, 4, 5, 6), np.float32), np.eye(4)
    assert TissueMap(fractions, affine).fractions.shape == (3, 4, 5, 6)
    with pytest.raises(jaxtyping.TypeCheckError, match="fractions"):
        TissueMap(fractions[:2], affine)
    with pytest.raises(jaxtyping.TypeCheckError, match="affine"):
        TissueMap(fractions, affine.astype(np.float32))
