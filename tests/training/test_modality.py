"""Data that looks like another modality than it was prepared as."""

import logging

import pytest

from prism_mri.data.prepared import read_prepared
from prism_mri.errors import InputError
from prism_mri.models import tissue_order
from prism_mri.models.tissue_order import TissueMeans
from prism_mri.training import modality
from prism_mri.training.modality import check_training_modality

SHARES = (0.2, 0.4, 0.4)
T2W = TissueMeans(csf=0.8, gm=0.4, wm=0.25, shares=SHARES)
T1W = TissueMeans(csf=0.1, gm=0.4, wm=0.6, shares=SHARES)


@pytest.fixture
def dataset(prepared):
    return read_prepared(prepared)


@pytest.fixture
def look(monkeypatch, dataset):
    """Let the images of the dataset look like what is given, in turn; return what was measured."""
    measured = []

    def arrange(*looks):
        def measure(slices, mask, fractions):
            assert slices.shape == mask.shape
            assert fractions.shape[0] == len(slices)
            measured.append(slices)
            return looks[(len(measured) - 1) % len(looks)]

        monkeypatch.setattr(modality, "measure_tissues", measure)
        return measured

    return arrange


def test_the_right_order_passes_in_silence(dataset, translator, look, caplog):
    measured = look(T2W)
    check_training_modality(dataset, translator)
    assert len(measured) == len(dataset.split("train"))
    assert caplog.records == []


def test_another_modality_is_refused_in_one_line(dataset, translator, look):
    count = len(look(T1W)) + len(dataset.split("train"))
    with pytest.raises(InputError, match=rf"prepared as T2w, but in {count} of {count} .* T1w"):
        check_training_modality(dataset, translator)


def test_another_modality_can_be_forced_with_a_warning(dataset, translator, look, caplog):
    look(T1W)
    with caplog.at_level(logging.WARNING):
        check_training_modality(dataset, translator, any_modality=True)
    assert ["T1w" in record.message for record in caplog.records] == [True]


def test_one_odd_image_stops_nobody(dataset, translator, look):
    assert len(dataset.split("train")) >= 2
    look(T1W, *[T2W] * (len(dataset.split("train")) - 1))
    check_training_modality(dataset, translator)


def test_many_images_are_sampled(dataset, translator, look, monkeypatch):
    measured = look(T2W)
    monkeypatch.setattr(modality, "MAX_IMAGES", 2)
    check_training_modality(dataset, translator)
    assert len(measured) == 2


def test_slices_too_thick_to_tell_are_left_out(dataset, translator, look, monkeypatch):
    measured = look(T1W)
    monkeypatch.setattr(tissue_order, "RELIABLE_SLICE_MM", 1.0)
    check_training_modality(dataset, translator)
    assert measured == []
