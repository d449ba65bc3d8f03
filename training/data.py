# SPDX-License-Identifier: Apache-2.0
"""From the settings to what a run reads: training places and validation sets."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from training.config import TrainConfig
from training.dataset import MixedBatches, PlaceDataset
from training.places import Place, cut_clip, fixed_cameras, gsv_cities, walked_clips
from training.validation import camera_set, clip_set, split, step_set, street_sets
from vpr_ros.benchmarks.retrieval_set import RetrievalSet
from vpr_ros.picture_folder import read_picture
from vpr_ros.preprocess import Preprocess


def load_places(config: TrainConfig) -> tuple[list[Place], list[RetrievalSet]]:
    """Read the sources named in the settings.

    Returns:
        The training places, and the sets of the validation split.

    Raises:
        FileNotFoundError: A data set is not where the settings say.
        ValueError: No source is named.
    """
    root, size = config.data_root, (config.height, config.width)
    training: list[Place] = []
    sets: list[RetrievalSet] = []
    if config.gsv:
        every = gsv_cities(root / config.gsv, config.cities, min_pictures=config.min_pictures)
        kept, held_out = split(every, every=config.holdout_every)
        training += kept
        sets += street_sets(held_out, size=size)
    if config.cameras:
        training += fixed_cameras(root / config.cameras / 'train')
        sets.append(camera_set(fixed_cameras(root / config.cameras / 'test')))
    if config.clips:
        clips = walked_clips(root / config.clips)
        kept_clips, held_out_clips = split(clips, every=config.holdout_every)
        training += [place for clip in kept_clips for place in cut_clip(clip)]
        sets += [clip_set(held_out_clips, size=size), step_set(held_out_clips)]
    if not training:
        raise ValueError('no data: name at least one of gsv, cameras and clips')
    return training, sets


def training_loader(
    config: TrainConfig,
    places: Sequence[Place],
    *,
    start: int = 0,
    part: tuple[int, int] = (0, 1),
    read: Callable[..., np.ndarray] = read_picture,
) -> DataLoader:
    """Return endless batches of views (P, K, H, W, 3) uint8 and labels (P, K).

    Args:
        config: The settings.
        places: The training places.
        start: Batch to go on from.
        part: (number of this process, how many there are): each gets its share of every batch.
        read: Reads a picture file.
    """
    dataset = PlaceDataset(
        places,
        views=config.views,
        size=(config.height, config.width),
        augmentation=config.augmentation,
        night=config.night,
        viewpoint=config.viewpoint,
        seed=config.seed,
        read=read,
    )
    batches = MixedBatches(
        places,
        config.places_per_source,
        min_distance_m=config.min_place_distance_m,
        neighbours=config.neighbours,
        in_city=config.in_city,
        seed=config.seed,
        start=start,
        part=part,
    )
    return DataLoader(dataset, batch_sampler=batches, num_workers=config.workers)


class _Pictures(Dataset):
    """All pictures of some retrieval sets, references before queries, set after set."""

    def __init__(self, sets: Sequence[RetrievalSet], preprocess: Preprocess) -> None:
        self._pictures = [p for s in sets for p in (*s.references, *s.queries)]
        self._preprocess = preprocess

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, index: int) -> Tensor:
        return torch.from_numpy(self._preprocess(self._pictures[index]()))


def validation_loader(config: TrainConfig, sets: Sequence[RetrievalSet]) -> DataLoader:
    """Return the pictures of the sets in order, resized as the runtime resizes them."""
    pictures = _Pictures(sets, Preprocess(config.height, config.width))
    return DataLoader(pictures, batch_size=32, num_workers=config.workers)
