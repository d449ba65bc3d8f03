# SPDX-License-Identifier: Apache-2.0
"""What reading and augmenting costs: the training loader against a plain one, in one run.

The plain loader is what a first script has: Pillow, one process, every picture decoded at its full
size. Both draw batches of the same places from the same JPEG files. The strong augmentation is the
same function in both; RandAugment stands in the plain loader between torchvision's other
transforms, as in the published training loops, and takes the first pictures of a place.
Needs the training dependencies and the pictures of the data folder.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cv2
import lightning
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from training.config import TrainConfig
from training.data import load_places, training_loader
from training.models import build_network
from training.module import PlaceRecognition
from training.places import Place, gsv_cities
from vpr_ros.picture_folder import read_picture

PLACES = 48
SIZES = ((320, 320), (640, 480), (1280, 960), (2560, 1920))
QUALITY = 90  # JPEG
ROUNDS = 3
BATCHES = 6  # a round


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--steps', type=int, default=20, help='of training a round; 0: none')
    arguments = parser.parse_args()
    config = TrainConfig(gsv_places=24, camera_places=0, clip_places=0, views=4, neighbours=1)
    config = replace(config, min_place_distance_m=0.0)
    places = gsv_cities(config.data_root / config.gsv, min_pictures=4)[:PLACES]
    print('| pictures | augmentation | plain, pictures/s | ours, pictures/s | ratio |')
    print('|---|---|---|---|---|')
    for width, height in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            larger = write_larger(places, Path(folder), (width, height))
            for augmentation in ('strong', 'randaugment'):
                chosen = replace(config, augmentation=augmentation)
                plain, ours = compare(
                    lambda: pictures_per_second(plain_loader(chosen, larger)),  # noqa: B023
                    lambda: pictures_per_second(training_loader(chosen, larger)),  # noqa: B023
                )
                row = f'| {plain:.0f} | {ours:.0f} | {ours / plain:.1f} |'
                print(f'| {width}x{height} | {augmentation} {row}', flush=True)
    if arguments.steps:
        plain, ours = compare(
            lambda: trained_per_second(TrainConfig(), plain_loader, arguments.steps),
            lambda: trained_per_second(TrainConfig(), training_loader, arguments.steps),
        )
        print(
            f'\nTraining {TrainConfig().name} on the pictures as they are: {plain:.1f} pictures/s '
            f'with the plain loader, {ours:.1f} with ours, ratio {ours / plain:.2f}'
        )


def plain_read(path: Path, *, at_least: int) -> np.ndarray:
    """Read a picture as a first script does, however few pixels are enough."""
    with Image.open(path) as picture:
        return np.asarray(picture.convert('RGB'))


class PublishedViews(Dataset):
    """The first K pictures of a place through the transforms of the published loops."""

    def __init__(self, config: TrainConfig, places: Sequence[Place]) -> None:
        """Chain the transforms."""
        self._places = places
        self._views = config.views
        self._transform = transforms.Compose([
            transforms.Resize((config.height, config.width)),
            transforms.RandAugment(3, interpolation=transforms.InterpolationMode.BILINEAR),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ])  # fmt: skip

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Return float32 (K, 3, H, W) and int64 (K,), the index of the place repeated."""
        index, _ = key
        views = []
        for path in self._places[index].pictures[: self._views]:
            with Image.open(path) as picture:
                views.append(self._transform(picture.convert('RGB')))
        return torch.stack(views), torch.full((len(views),), index)


def plain_loader(config: TrainConfig, places: Sequence[Place]) -> DataLoader:
    """Return the plain loader: the same batches, read in the one process."""
    loader = training_loader(replace(config, workers=0), places, read=plain_read)
    if config.augmentation == 'randaugment':
        views = PublishedViews(config, places)
        return DataLoader(views, batch_sampler=loader.batch_sampler, num_workers=0)
    return loader


def compare(*measures: Callable[[], float]) -> list[float]:
    """Return the median of each over rounds that take turns."""
    rounds = [[measure() for measure in measures] for _ in range(ROUNDS)]
    return [statistics.median(values) for values in zip(*rounds, strict=True)]


def pictures_per_second(loader: DataLoader) -> float:
    """Time some batches after the first, which starts the processes."""
    batches = iter(loader)
    next(batches)
    start = time.perf_counter()
    count = sum(views.shape[0] * views.shape[1] for views, _ in itertools.islice(batches, BATCHES))
    return count / (time.perf_counter() - start)


def trained_per_second(
    config: TrainConfig, load: Callable[[TrainConfig, Sequence[Place]], DataLoader], steps: int
) -> float:
    """Time steps of the default training after the first, which starts the processes."""
    places, _ = load_places(config)
    torch.set_num_threads(config.threads)
    network = build_network(config).to(memory_format=torch.channels_last)
    task = PlaceRecognition(network, config, places, ())
    clock = Clock()
    trainer = lightning.Trainer(
        max_steps=steps + 1,
        precision=config.precision,
        limit_val_batches=0,
        callbacks=[clock],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(task, train_dataloaders=load(config, places))
    seconds = clock.ends[-1] - clock.ends[0]
    return sum(config.places_per_source.values()) * config.views * steps / seconds


class Clock(lightning.Callback):
    """Writes down when each step ends."""

    def __init__(self) -> None:
        """Begin with none."""
        self.ends: list[float] = []

    def on_train_batch_end(self, *_: object) -> None:
        """Note the time."""
        self.ends.append(time.perf_counter())


def write_larger(places: Sequence[Place], folder: Path, size: tuple[int, int]) -> list[Place]:
    """Write the pictures as JPEG of another (width, height), and return those places."""
    larger = []
    for place in places:
        files = []
        for path in place.pictures:
            file = folder / path.name
            bgr = cv2.cvtColor(read_picture(path), cv2.COLOR_RGB2BGR)
            bgr = cv2.resize(bgr, size, interpolation=cv2.INTER_CUBIC)
            cv2.imwrite(str(file), bgr, (cv2.IMWRITE_JPEG_QUALITY, QUALITY))
            files.append(file)
        larger.append(replace(place, pictures=tuple(files)))
    return larger


if __name__ == '__main__':
    main()
