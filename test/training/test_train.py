# SPDX-License-Identifier: Apache-2.0
import csv

import numpy as np
import pytest
import torch

from training import train
from training.config import TrainConfig, load_config
from training.data import load_places, training_loader
from training.models import build_network
from training.models.checkpoint import network_weights, read_checkpoint
from training.module import PlaceRecognition, learning_rate_factor


def metrics(run, column):
    with (run / 'metrics.csv').open() as file:
        return {int(r['step']): float(r[column]) for r in csv.DictReader(file) if r.get(column)}


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp('runs')


@pytest.fixture
def finished(runs, small_run, monkeypatch):
    """A run of four steps, made once."""
    existing = sorted(runs.glob('mobilenetv2_mixvpr-*'))
    if existing:
        return existing[0]
    monkeypatch.setattr(train, 'POOLING_START_BATCHES', 3)
    return train.main(['--runs', str(runs), *small_run])


def test_a_run_explains_itself(finished, small_run):
    assert load_config(finished / 'config.yaml') == load_config(None, small_run)
    commit = (finished / 'commit.txt').read_text().strip()
    assert commit.startswith('unknown') or len(commit.removesuffix('-dirty')) == 40
    recalls = metrics(finished, 'val/recall')
    assert len(recalls) == 2
    assert all(0 <= recall <= 1 for recall in recalls.values())
    checkpoint = read_checkpoint(finished / 'last.ckpt')
    assert checkpoint['global_step'] == 4
    assert (finished / 'best.ckpt').is_file()


def test_only_what_is_not_frozen_learned(finished, small_run):
    config = load_config(None, small_run)
    start = build_network(config)
    start.backbone.load_imagenet()
    learned = network_weights(read_checkpoint(finished / 'last.ckpt'))
    changed = {k for k, v in start.state_dict().items() if not torch.equal(v, learned[k])}
    assert 'backbone.model._conv_stem.weight' not in changed
    assert 'backbone.model._blocks.14._project_conv.weight' in changed
    assert not [key for key in changed if 'running_' in key]


def test_a_run_goes_on_where_it_stopped(finished, runs):
    resumed = train.main(['--runs', str(runs), '--resume', str(finished), 'steps=6'])
    checkpoint = read_checkpoint(resumed / 'last.ckpt')
    assert checkpoint['global_step'] == 6
    assert list(metrics(resumed, 'val/recall')) == [5]
    assert (resumed / 'resumed_from.txt').read_text().strip() == str(finished / 'last.ckpt')
    for more in (['--config', 'x.yaml'], ['head_lr=1e-5']):
        with pytest.raises(SystemExit):
            train.main(['--resume', str(finished), *more])


def test_a_resumed_run_draws_the_same_curve(runs, small_run, monkeypatch):
    """Losses, weights and batch norms are those of the run that nothing stopped."""
    monkeypatch.setattr(train, 'POOLING_START_BATCHES', 3)
    losses = []
    step = PlaceRecognition.training_step

    def record(task, batch, index):
        loss = step(task, batch, index)
        losses.append(loss.item())
        return loss

    def stop_after_three(task, batch, index):
        if task.global_step == 3:
            raise RuntimeError('cut')
        return record(task, batch, index)

    monkeypatch.setattr(PlaceRecognition, 'training_step', record)
    whole = train.main(['--runs', str(runs), *small_run, 'name=whole'])
    expected = losses.copy()
    monkeypatch.setattr(PlaceRecognition, 'training_step', stop_after_three)
    with pytest.raises(RuntimeError, match='cut'):
        train.main(['--runs', str(runs), *small_run, 'name=cut'])
    (cut,) = runs.glob('cut-*')
    monkeypatch.setattr(PlaceRecognition, 'training_step', record)
    losses.clear()
    resumed = train.main(['--runs', str(runs), '--resume', str(cut)])

    assert len(expected) == 4
    assert losses == pytest.approx(expected[2:], rel=1e-4)  # the last checkpoint is of step two
    one, other = (read_checkpoint(run / 'last.ckpt') for run in (whole, resumed))
    for part in ('state_dict', 'current_model_state'):
        for key, value in one[part].items():
            assert torch.allclose(value, other[part][key], atol=1e-5), key


def test_checkpoints_hold_the_running_mean_of_the_weights(finished):
    checkpoint = read_checkpoint(finished / 'last.ckpt')
    mean, weights = checkpoint['state_dict'], checkpoint['current_model_state']
    key = 'network.aggregator.row_proj.weight'
    assert not torch.equal(mean[key], weights[key])
    assert torch.allclose(mean[key], weights[key], atol=1e-2)


def test_the_loss_falls_on_a_batch(small_run):
    torch.manual_seed(0)
    config = load_config(None, small_run)
    places, _ = load_places(config)
    network = build_network(config)
    network.backbone.load_imagenet()
    task = PlaceRecognition(network, config, places, [])
    task.log_dict = lambda *args, **kwargs: None  # needs a trainer
    task.train()
    batch = next(iter(training_loader(config, places)))
    optimizer = task.configure_optimizers()['optimizer']
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        loss = task.training_step(batch, 0)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.isfinite(losses).all()
    assert losses[-1] < 0.7 * losses[0]


def test_backbone_mixers_and_projection_have_their_own_rates(small_run):
    config = load_config(
        None, [*small_run, 'warmup_steps=0', 'head_lr=3', 'mixer_lr=2', 'backbone_lr=1']
    )
    network = build_network(config)
    groups = PlaceRecognition(network, config, [], []).configure_optimizers()['optimizer']
    found = {id(p): g for g in groups.param_groups for p in g['params']}
    expected = {
        'backbone.model._conv_head.weight': (1.0, config.weight_decay),
        'backbone.model._bn1.bias': (1.0, 0.0),
        'aggregator.mix.1.mix.3.weight': (2.0, config.weight_decay),
        'aggregator.row_proj.bias': (2.0, 0.0),
        'aggregator.channel_proj.weight': (3.0, config.weight_decay),
    }
    parameters = dict(network.named_parameters())
    for name, (rate, decay) in expected.items():
        group = found[id(parameters[name])]
        assert (group['initial_lr'], group['weight_decay']) == (rate, decay), name
    trained = {id(p) for p in network.parameters() if p.requires_grad}
    assert set(found) == trained


def test_learning_rate_rises_stays_and_falls():
    config = TrainConfig(steps=100, validate_every=50, warmup_steps=10, decay_fraction=0.4)
    factors = [learning_rate_factor(step, config) for step in (0, 9, 50, 80, 100)]
    assert factors == pytest.approx([0.1, 1.0, 1.0, 0.5, 0.0])
