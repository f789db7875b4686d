"""Train the translator that ships with the package.

    python tools/train_translator.py --anatomies FOLDER --out
    src/prism_mri/assets/translator.safetensors

FOLDER holds the SynthSeg training label maps as ``head-NN_labels.nii.gz``. Only the translator's
own people are read (01 03 05 07 08 10 11 13, validation 15 20), beside deformed copies of the
embedded template.
"""

import argparse
import hashlib
import logging
from pathlib import Path

import safetensors.torch
import torch

from prism_mri.models.translator import TranslatorDescription
from prism_mri.networks.registry import AnatomyEncoderSpec, DecoderSpec
from prism_mri.simulate.anatomy import (
    Anatomy,
    Population,
    deform_anatomy,
    draw_template_person,
    read_anatomy,
)
from prism_mri.training.loop import LoopSettings
from prism_mri.training.translator import TranslatorSettings, train_translator

_PEOPLE = ("01", "03", "05", "07", "08", "10", "11", "13")
_VALIDATION = ("15", "20")


def main() -> None:
    """Parse arguments, draw anatomies, train."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--anatomies", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("translator-run"))
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--steps-per-epoch", type=int, default=100)
    parser.add_argument("--batch-pairs", type=int, default=8)
    parser.add_argument("--crop", type=int, default=128, help="pixels, a multiple of 16")
    parser.add_argument("--free-channels", type=int, default=4, help="beside three tissues")
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--copies", type=int, default=3, help="deformed copies of each person")
    parser.add_argument("--template-people", type=int, default=8)
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--start", type=Path, help="translator file to begin with")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    generator = torch.Generator().manual_seed(arguments.seed)
    anatomies = draw_anatomies(arguments, generator)
    validation = [
        read_anatomy(_label_map(arguments.anatomies, name), generator) for name in _VALIDATION
    ]
    settings = TranslatorSettings(
        loop=LoopSettings(
            epochs=arguments.epochs,
            steps_per_epoch=arguments.steps_per_epoch,
            learning_rate=arguments.learning_rate,
            patience=arguments.epochs,
            seed=arguments.seed,
            weight_averaging=0.995,
            device=arguments.device,
        ),
        batch_pairs=arguments.batch_pairs,
        crop=arguments.crop,
    )
    notes = {
        "people": list(_PEOPLE),
        "template_people": arguments.template_people,
        "copies": arguments.copies,
        "seed": arguments.seed,
        "epochs": arguments.epochs,
        "steps": arguments.epochs * arguments.steps_per_epoch,
        "batch_pairs": arguments.batch_pairs,
        "crop": arguments.crop,
        "start_sha256": hashlib.sha256(arguments.start.read_bytes()).hexdigest()
        if arguments.start
        else None,
    }
    train_translator(
        anatomies,
        validation,
        arguments.out,
        arguments.work,
        settings,
        description=TranslatorDescription(
            anatomy_encoder=AnatomyEncoderSpec(free_channels=arguments.free_channels),
            decoder=DecoderSpec(free_channels=arguments.free_channels),
            training=notes,
        ),
        start=safetensors.torch.load_file(arguments.start) if arguments.start else None,
        resume=arguments.resume,
        report=logging.getLogger("translator").info,
    )


def draw_anatomies(arguments: argparse.Namespace, generator: torch.Generator) -> list[Anatomy]:
    """Return the translator's people, deformed copies of them, and deformed templates."""
    anatomies: list[Anatomy] = []
    for name in _PEOPLE:
        person = read_anatomy(_label_map(arguments.anatomies, name), generator)
        anatomies.append(person)
        anatomies.extend(
            deform_anatomy(person, generator, Population(ventricle_mm=0.5 * copy))
            for copy in range(arguments.copies)
        )
    for index in range(arguments.template_people):
        population = Population(ventricle_mm=0.5 * (index % 5))
        anatomies.append(draw_template_person(f"template-{index}", generator, population))
    return anatomies


def _label_map(folder: Path, name: str) -> Path:
    return folder / f"head-{name}_labels.nii.gz"


if __name__ == "__main__":
    main()
