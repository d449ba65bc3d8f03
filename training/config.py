# SPDX-License-Identifier: Apache-2.0
"""Everything a training run can be told, in one place."""

from __future__ import annotations

import dataclasses
import os
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml


@dataclass(frozen=True)
class TrainConfig:
    """Settings of one run; a YAML file and `key=value` arguments state only what differs."""

    name: str = 'mobilenetv2_mixvpr'  # of the model and of its run folder

    # Network
    backbone: str = 'mobilenetv2'  # | efficientnet_lite0 | efficientnet_lite1 | resnet50
    frozen_stages: int = 12  # first stages of the backbone that keep their ImageNet weights
    aggregator: str = 'mixvpr'  # mixvpr | gem
    height: int = 320  # input, pixels; a multiple of the backbone's stride
    width: int = 320
    out_channels: int = 256  # mixvpr: descriptor size is out_channels * out_rows
    out_rows: int = 4
    mix_depth: int = 2
    mlp_ratio: float = 1.0
    weights: str = ''  # checkpoint to start from; empty: ImageNet
    pooling_start: bool = True  # mixvpr: begin as whitened pooling, not at random

    # Data: folders below `data`; an empty name leaves a source out
    data: str = ''  # root; empty: $VPR_DATA, else ../shared/data
    gsv: str = 'gsv_cambridge'  # GSV-Cities layout
    cities: tuple[str, ...] = ()  # empty: every city that has a dataframe
    cameras: str = 'webcams_day_night'  # fixed cameras, below train/ and test/
    clips: str = 'ie_tower'  # walked clips
    holdout_every: int = 5  # each n-th place and clip is for validation, never for training
    views: int = 3  # K, views of a place in a batch
    gsv_places: int = 14  # places of each source in a batch
    camera_places: int = 6
    clip_places: int = 12
    min_place_distance_m: float = 25.0  # between GSV places of a batch
    neighbours: int = 4  # places of a batch are drawn in such groups from one street or clip
    night: float = 0.35  # probability that a view is turned into a night
    viewpoint: float = 1.0  # greatest strength of the change of viewpoint, 0 to 1

    # Optimisation
    steps: int = 1300
    warmup_steps: int = 20
    decay_fraction: float = 0.8  # of the steps, at the end, over which the rates fall to zero
    head_lr: float = 3e-4
    mixer_lr: float = 2e-5  # mixvpr: of what works along positions; hurried, the head collapses
    backbone_lr: float = 1e-4
    weight_decay: float = 1e-3
    loss_alpha: float = 1.0  # multi-similarity: weight of positives
    loss_beta: float = 50.0  # weight of negatives
    loss_base: float = 0.0  # similarity at which a pair is neither
    miner_epsilon: float = 0.1
    average_decay: float = 0.99  # a step, of the running mean of the weights; 0: no mean
    precision: str = 'bf16-mixed'  # of Lightning's Trainer, or 32-true, 16-mixed: the trained part
    validate_every: int = 130  # steps
    threads: int = 2  # CPU threads of the network
    workers: int = 2  # processes that prepare batches
    seed: int = 190223

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        sizes = ('height', 'width', 'out_channels', 'out_rows')
        for name in (*sizes, 'neighbours', 'steps', 'validate_every'):
            if getattr(self, name) < 1:
                raise ValueError(f'{name} must be at least 1, not {getattr(self, name)}')
        if self.steps % self.validate_every:
            raise ValueError(
                f'steps ({self.steps}) must be a multiple of validate_every '
                f'({self.validate_every}): checkpoints are written then'
            )
        if self.views < 2:
            raise ValueError(f'views must be at least 2 to make a positive pair, not {self.views}')
        if self.holdout_every < 2:
            raise ValueError(f'holdout_every must be at least 2, not {self.holdout_every}')
        for name in ('night', 'viewpoint', 'decay_fraction', 'average_decay'):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f'{name} must be within 0 and 1, not {getattr(self, name)}')

    @property
    def data_root(self) -> Path:
        """Folder of the data sets."""
        return Path(self.data or os.environ.get('VPR_DATA') or '../shared/data')

    @property
    def places_per_source(self) -> dict[str, int]:
        """Places of each source in a batch, sources that are left out excepted."""
        counts = {
            'gsv': self.gsv_places if self.gsv else 0,
            'camera': self.camera_places if self.cameras else 0,
            'clip': self.clip_places if self.clips else 0,
        }
        return {source: count for source, count in counts.items() if count > 0}

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain values."""
        return dataclasses.asdict(self)

    def to_yaml(self) -> str:
        """Return every setting as YAML, in the order of this class."""
        plain = {k: list(v) if isinstance(v, tuple) else v for k, v in self.to_dict().items()}
        return yaml.safe_dump(plain, sort_keys=False)


def load_config(path: Path | None = None, overrides: Sequence[str] = ()) -> TrainConfig:
    """Read the settings: defaults, then the file of differences, then `key=value` texts.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: An unknown key, a value of the wrong type or an impossible one.
    """
    values: dict[str, Any] = {}
    if path is not None:
        values = yaml.safe_load(Path(path).read_text()) or {}
        if not isinstance(values, dict):
            raise ValueError(f'{path} must hold `key: value` lines, not a {type(values).__name__}')
    return config_from_dict(values | parse_overrides(overrides))


def parse_overrides(texts: Sequence[str]) -> dict[str, Any]:
    """Read `key=value` texts; the values are YAML.

    Raises:
        ValueError: A text without `=`.
    """
    values = {}
    for text in texts:
        key, separator, value = text.partition('=')
        if not separator:
            raise ValueError(f'{text!r} is not of the form key=value')
        values[key.strip()] = yaml.safe_load(value) if value else ''
    return values


def config_from_dict(values: Mapping[str, Any], base: TrainConfig | None = None) -> TrainConfig:
    """Return `base` (the defaults when None) with some values replaced, each checked.

    Raises:
        ValueError: An unknown key, a value of the wrong type or an impossible one.
    """
    types = typing.get_type_hints(TrainConfig)
    unknown = sorted(set(values) - set(types))
    if unknown:
        raise ValueError(f'unknown setting {", ".join(unknown)}; there are {", ".join(types)}')
    checked = {key: _checked(key, value, types[key]) for key, value in values.items()}
    return dataclasses.replace(base or TrainConfig(), **checked)


def _checked(key: str, value: Any, kind: Any) -> Any:
    """Return the value as the type of its field, or refuse it."""
    if kind is float and type(value) in (int, float, str):
        try:
            return float(value)  # a text too: YAML reads 1e-4 as one
        except ValueError:
            pass
    elif kind == tuple[str, ...]:
        if isinstance(value, (list, tuple)) and all(isinstance(v, str) for v in value):
            return tuple(value)
    elif type(value) is kind:
        return value
    name = getattr(kind, '__name__', kind) if kind in (int, float, bool, str) else 'list of texts'
    raise ValueError(f'{key} must be a {name}, not {value!r}')
