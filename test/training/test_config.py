# SPDX-License-Identifier: Apache-2.0
import dataclasses
from pathlib import Path

import pytest
import yaml

from training.config import TrainConfig, config_from_dict, load_config
from training.presets import PRESETS

CONFIGS = sorted((Path(__file__).resolve().parents[2] / 'training' / 'configs').glob('*.yaml'))


def test_file_then_arguments_replace_the_defaults(tmp_path):
    file = tmp_path / 'some.yaml'
    file.write_text('steps: 260\nhead_lr: 1e-3\ncities: [Rome, Paris]\n')
    config = load_config(file, ['steps=390', 'night=0', 'pooling_start=false', 'gsv='])
    assert (config.steps, config.head_lr, config.night) == (390, 1e-3, 0.0)
    assert config.cities == ('Rome', 'Paris')
    assert config.pooling_start is False
    assert config.gsv == ''
    assert config.views == TrainConfig().views


def test_yaml_round_trip(tmp_path):
    config = TrainConfig(cities=('Rome',), steps=260)
    (tmp_path / 'config.yaml').write_text(config.to_yaml())
    assert load_config(tmp_path / 'config.yaml') == config


def test_unknown_keys_are_refused_by_name():
    with pytest.raises(ValueError, match='unknown setting stepz; there are name, preset'):
        load_config(None, ['stepz=3'])


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('steps=many', "steps must be a int, not 'many'"),
        ('steps=1.5', 'steps must be a int, not 1.5'),
        ('steps=true', 'steps must be a int, not True'),
        ('pooling_start=1', 'pooling_start must be a bool, not 1'),
        ('head_lr=fast', "head_lr must be a float, not 'fast'"),
        ('name=3', 'name must be a str, not 3'),
        ('cities=Rome', "cities must be a list of texts, not 'Rome'"),
        ('milestones=[x]', r"milestones must be a list of whole numbers, not \['x'\]"),
        ('loss_args=3', 'loss_args must be a mapping of names to numbers, not 3'),
        ('schedule=step', "schedule must be one of linear, cosine, milestones, not 'step'"),
        ('steps=0', 'steps must be at least 1, not 0'),
        ('steps=150', r'steps \(150\) must be a multiple of validate_every \(130\)'),
        ('views=1', 'views must be at least 2'),
        ('night=1.5', 'night must be within 0 and 1'),
        ('steps', "'steps' is not of the form key=value"),
    ],
)
def test_impossible_values_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        load_config(None, [text])


def test_file_must_hold_settings(tmp_path):
    (tmp_path / 'list.yaml').write_text('- 1\n')
    with pytest.raises(ValueError, match='must hold `key: value` lines, not a list'):
        load_config(tmp_path / 'list.yaml')


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.name)
def test_shipped_files_hold_differences_only(path):
    differences = yaml.safe_load(path.read_text())
    defaults = dataclasses.asdict(TrainConfig())
    config_from_dict(differences)
    defaults |= PRESETS.get(differences.get('preset'), {})
    assert not [key for key, value in differences.items() if defaults[key] == value]


def test_data_root_follows_the_environment(monkeypatch):
    monkeypatch.setenv('VPR_DATA', '/somewhere')
    assert TrainConfig().data_root == Path('/somewhere')
    assert TrainConfig(data='/else').data_root == Path('/else')
