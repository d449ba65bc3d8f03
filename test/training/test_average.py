# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from training.average import average, main
from training.config import TrainConfig
from training.models.checkpoint import read_checkpoint


def write(path, value, **changes):
    weights = {
        'network.backbone.model.w': torch.full((2,), value),
        'network.backbone.model.count': torch.tensor(int(value)),
    }
    torch.save({'state_dict': weights, 'config': TrainConfig(**changes).to_dict()}, path)
    return path


def test_the_mean_of_the_weights_with_the_settings_of_the_last(tmp_path):
    paths = [write(tmp_path / f'{i}.ckpt', float(i), seed=i) for i in (1, 2, 6)]
    main([*map(str, paths), str(tmp_path / 'mean.ckpt')])
    mean = read_checkpoint(tmp_path / 'mean.ckpt')
    assert mean['state_dict']['backbone.model.w'].tolist() == [3.0, 3.0]
    assert mean['state_dict']['backbone.model.count'].dtype == torch.int64
    assert mean['config']['seed'] == 6


def test_a_forgotten_output_overwrites_no_checkpoint(tmp_path, capsys):
    paths = [str(write(tmp_path / f'{i}.ckpt', float(i))) for i in (1, 2, 3)]
    for given, text in ((paths[:2], 'two checkpoints or more'), (paths, 'is there already')):
        with pytest.raises(SystemExit):
            main(given)
        assert text in capsys.readouterr().err
    weights = read_checkpoint(tmp_path / '3.ckpt')['state_dict']
    assert weights['network.backbone.model.w'].tolist() == [3.0, 3.0]


def test_other_networks_are_refused(tmp_path):
    paths = [write(tmp_path / 'a.ckpt', 1.0), write(tmp_path / 'b.ckpt', 1.0, height=256)]
    with pytest.raises(ValueError, match=r"b\.ckpt is of another network .* \['height'\]"):
        average(paths)
