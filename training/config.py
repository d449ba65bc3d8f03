# SPDX-License-Identifier: Apache-2.0
"""Everything a training run can be told, in one place."""

from __future__ import annotations

import dataclasses
import os
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from training.presets import PRESETS

LISTS: dict[Any, type] = {tuple[str, ...]: str, tuple[int, ...]: int}
NAMES: dict[Any, str] = {
    tuple[str, ...]: 'list of texts',
    tuple[int, ...]: 'list of whole numbers',
    dict[str, float]: 'mapping of names to numbers',
}
CHOICES = {
    'batch_norm': ('kept', 'updated'),
    'augmentation': ('strong', 'randaugment'),
    'optimizer': ('adamw', 'adam', 'sgd'),
    'schedule': ('linear', 'cosine', 'milestones'),
    'gradient_clip_by': ('norm', 'value'),
    'distillation': ('relational', 'projected'),
}


@dataclass(frozen=True)
class TrainConfig:
    """Settings of one run; a YAML file and `key=value` arguments state only what differs."""

    name: str = 'mobilenetv2_mixvpr'  # of the model and of its run folder

    # Network
    preset: str = ''  # published configuration (presets.py) whose values are defaults here
    backbone: str = 'mobilenetv2'  # see models/backbones/__init__.py
    resnet_layers: int = 3  # resnet*: layers that stay, of four
    backbone_stages: int = 0  # first stages of the backbone that stay; 0: all
    frozen_stages: int = 12  # first stages of the backbone that keep their pretrained weights
    batch_norm: str = 'kept'  # statistics of the backbone: kept | updated (frozen stages', too)
    aggregator: str = 'mixvpr'  # mixvpr | gem | convap | clusvpr | netvlad
    height: int = 320  # input, pixels; a multiple of the backbone's stride
    width: int = 320
    out_channels: int = 256  # mixvpr: descriptor size is out_channels * out_rows
    out_rows: int = 4
    mix_depth: int = 2  # mixvpr: mixers; clusvpr: transformer layers
    mlp_ratio: float = 1.0
    mixer_grid: int = 0  # mixvpr: any feature map is brought to this grid; 0: the map's own
    pooled_grid: int = 2  # convap: descriptor size is out_channels * pooled_grid ** 2
    clusters: int = 64  # netvlad, clusvpr: descriptor size is clusters * channels (* 2 / groups)
    groups: int = 8
    projected_size: int = 0  # of a projection after the aggregator; 0: none
    weights: str = ''  # checkpoint to start from
    pretrained: bool = True  # no such checkpoint: the backbone has its published weights
    pooling_start: bool = True  # begin as a discriminant: mixvpr's head, netvlad's projection

    # Data: folders below `data`; an empty name leaves a source out
    data: str = ''  # root; empty: $VPR_DATA, else ../shared/data
    gsv: str = 'gsv_cambridge'  # GSV-Cities layout
    cities: tuple[str, ...] = ()  # empty: every city that has a dataframe
    min_pictures: int = 2  # GSV places with fewer are left out
    in_city: bool = False  # the GSV places of a batch are of one city
    cameras: str = 'webcams_day_night'  # fixed cameras, below train/ and test/
    clips: str = 'ie_tower'  # walked clips
    holdout_every: int = 5  # each n-th place and clip is for validation, never for training
    views: int = 3  # K, views of a place in a batch
    gsv_places: int = 14  # places of each source in a batch
    camera_places: int = 6
    clip_places: int = 12
    min_place_distance_m: float = 25.0  # between GSV places of a batch
    neighbours: int = 4  # places of a batch are drawn in such groups from one street or clip
    augmentation: str = 'strong'  # strong: augment.py | randaugment: three operations, published
    night: float = 0.35  # strong: probability that a view is turned into a night
    viewpoint: float = 1.0  # strong: greatest strength of the change of viewpoint, 0 to 1

    # Optimisation
    steps: int = 1300
    optimizer: str = 'adamw'  # adamw | adam | sgd
    head_lr: float = 3e-4
    mixer_lr: float = 2e-5  # mixvpr: of what works along positions; hurried, the head collapses
    backbone_lr: float = 1e-4
    momentum: float = 0.9  # of sgd
    weight_decay: float = 1e-3
    decay_all: bool = False  # weight decay on biases and norms, too, as the published recipes have
    warmup_steps: int = 20
    schedule: str = 'linear'  # linear | cosine: down to zero | milestones: times gamma at each
    decay_fraction: float = 0.8  # linear, cosine: of the steps, at the end, over which rates fall
    milestones: tuple[int, ...] = ()  # steps
    gamma: float = 0.3
    accumulate: int = 1  # batches to one optimisation step
    gradient_clip: float = 0.0  # 0: none
    gradient_clip_by: str = 'norm'  # norm | value
    loss: str = 'MultiSimilarityLoss'  # of pytorch_metric_learning.losses, by its exact name
    loss_args: dict[str, float] = field(
        default_factory=lambda: {'alpha': 1.0, 'beta': 50.0, 'base': 0.0}
    )
    miner: str = 'MultiSimilarityMiner'  # of pytorch_metric_learning.miners; empty: every pair
    miner_args: dict[str, float] = field(default_factory=lambda: {'epsilon': 0.1})
    teacher: str = ''  # checkpoint or .onnx, whose descriptors the network learns (distill.py)
    distillation: str = 'relational'  # | projected
    distillation_weight: float = 1.0
    distillation_temperature: float = 0.1  # relational
    average_decay: float = 0.99  # a step, of the running mean of the weights; 0: no mean
    precision: str = 'bf16-mixed'  # of Lightning's Trainer, or 32-true, 16-mixed: the trained part
    validate_every: int = 130  # steps
    log_every: int = 10  # steps
    patience: int = 0  # validations without a better recall after which the run ends; 0: never
    threads: int = 2  # CPU threads of the network
    workers: int = 2  # processes that prepare batches
    seed: int = 190223

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        sizes = ('height', 'width', 'out_channels', 'out_rows')
        for name in (*sizes, 'neighbours', 'steps', 'validate_every', 'accumulate'):
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
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                known = ', '.join(choices)
                raise ValueError(f'{name} must be one of {known}, not {getattr(self, name)!r}')
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
    if preset := values.get('preset'):
        if preset not in PRESETS:
            raise ValueError(f'unknown preset {preset!r}; there are {", ".join(PRESETS)}')
        values = {**PRESETS[preset], **values}
    for part in ('loss', 'miner'):
        # The arguments in the defaults are those of the default loss and miner.
        if part in values and f'{part}_args' not in values:
            values = {**values, f'{part}_args': {}}
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
    elif kind in LISTS:
        element = LISTS[kind]
        if isinstance(value, (list, tuple)) and all(type(v) is element for v in value):
            return tuple(value)
    elif kind == dict[str, float]:
        if isinstance(value, Mapping):
            return {str(name): _checked(f'{key}: {name}', v, float) for name, v in value.items()}
    elif type(value) is kind:
        return value
    name = NAMES.get(kind) or kind.__name__
    raise ValueError(f'{key} must be a {name}, not {value!r}')
