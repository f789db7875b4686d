"""What all tests share: shapes and types checked at run time, one thread, where real data is."""

import os
from collections.abc import Callable
from pathlib import Path

import jaxtyping
import numpy as np
import pytest

# Before anything imports the package: shapes and types of every annotated call are checked.
# The numeric tower lets an int stand for a float, as type checkers do.
jaxtyping.install_import_hook(
    "prism_mri", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"
)

import torch  # noqa: E402

# Sums in the same order on any machine: values asserted here do not depend on the number of cores.
torch.set_num_threads(1)

REPOSITORY = Path(__file__).resolve().parent.parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--shared-data",
        type=Path,
        default=Path(os.environ.get("PRISM_SHARED_DATA", REPOSITORY.parent / "shared" / "data")),
        help="folder with the real data that some tests read (default: $PRISM_SHARED_DATA or "
        "../shared/data); they are skipped where it is absent",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what uses the fixture, so that ``-m 'not shared_data'`` always leaves it out."""
    for item in items:
        if "shared_data" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.shared_data)


@pytest.fixture(scope="session")
def shared_data(pytestconfig: pytest.Config) -> Path:
    """Folder with label maps and real scans; the test is skipped where there is none."""
    folder: Path = pytestconfig.getoption("--shared-data")
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}: give --shared-data or PRISM_SHARED_DATA")
    return folder.resolve()


# --- the paper's public datasets, simulated -------------------------------------------------------


@pytest.fixture(scope="session")
def simulated_sites(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of BIDS datasets guys, hh and adni: stripped T2w of two people each."""
    from prism_mri.simulate.cohort import CohortPlan, simulate_cohort

    out = tmp_path_factory.mktemp("simulated") / "sites"
    simulate_cohort(CohortPlan(subjects=2, travelling=0, slice_spacing_mm=12.0), out)
    return out


@pytest.fixture
def write_ixi_tree(simulated_sites: Path) -> Callable[..., Path]:
    """Write simulated scans as IXI's archives unpack them, all hospitals in one folder."""
    hospitals = {"guys": "Guys", "hh": "HH"}

    def write(folder: Path, *, heads: bool = False) -> Path:
        people = [
            (site, image) for site in hospitals for image in list_scans(simulated_sites, site)
        ]
        for number, (site, image) in enumerate(people, start=12):
            name = f"IXI{number:03d}-{hospitals[site]}-{700 + number:04d}-T2.nii.gz"
            write_raw(image, folder / name, heads=heads)
        return folder

    return write


@pytest.fixture
def write_adni_tree(simulated_sites: Path) -> Callable[..., Path]:
    """Write simulated scans as the LONI archive unpacks ADNI, the second person scanned twice."""

    def write(folder: Path, *, heads: bool = False) -> Path:
        images = list_scans(simulated_sites, "adni")
        visits = [(images[0], 2012), (images[1], 2011), (images[1], 2014)]
        for number, (image, year) in enumerate(visits, start=303066):
            subject = f"002_S_{295 + images.index(image):04d}"
            description = "Axial_PD_T2_FSE"
            place = Path(subject, description, f"{year}-05-10_08_51_45.0", f"I{number}")
            name = f"ADNI_{subject}_MR_{description}__br_raw_{year}0510_1_S1_I{number}.nii"
            write_raw(image, folder / "ADNI" / place / name, heads=heads)
        return folder

    return write


def list_scans(sites: Path, site: str) -> list[Path]:
    """Return the scans of a simulated site."""
    return sorted((sites / site).glob("sub-*/anat/*_T2w.nii.gz"))


def write_raw(image: Path, path: Path, *, heads: bool) -> None:
    """Copy a stripped scan; as a head, with air that is not zero and a brain mask beside it."""
    from prism_mri.volume import read_volume, strip_nifti_suffix, write_volume

    volume = read_volume(image)
    brain = volume.data > 0
    data = np.where(brain, volume.data, np.float32(0.05 * volume.data.max()))
    write_volume(path, data if heads else volume.data, volume)
    if heads:
        mask = path.with_name(f"{strip_nifti_suffix(path)}_mask.nii.gz")
        write_volume(mask, brain, volume, dtype=np.uint8)
