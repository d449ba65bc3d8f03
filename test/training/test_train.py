# SPDX-License-Identifier: Apache-2.0
import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import lightning
import numpy as np
import pytest
import torch

from training import train
from training.config import TrainConfig, load_config
from training.curves import draw_curves, read_curves
from training.data import load_places, training_loader
from training.models import build_network
from training.models.checkpoint import network_weights, read_checkpoint
from training.module import PlaceRecognition
from training.objective import learning_rate_factor

ROOT = Path(__file__).resolve().parents[2]


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
    assert sorted(recalls) == [0, 1, 3], 'before the first step, then each validate_every steps'
    assert all(0 <= recall <= 1 for recall in recalls.values())
    checkpoint = read_checkpoint(finished / 'last.ckpt')
    assert checkpoint['global_step'] == 4
    assert (finished / 'best.ckpt').is_file()


def test_only_what_is_not_frozen_learned(finished, small_run):
    config = load_config(None, small_run)
    start = build_network(config)
    start.backbone.load_pretrained()
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
    assert read_checkpoint(cut / 'last.ckpt')['global_step'] == 3  # written when it was cut
    assert losses == pytest.approx(expected[3:], rel=1e-4)
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
    network.backbone.load_pretrained()
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


def start_run(runs, settings):
    """Start train.py as a user does."""
    command = [sys.executable, str(ROOT / 'training' / 'train.py'), '--runs', str(runs), *settings]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def wait_for(condition, process, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < end
        time.sleep(0.2)


def test_ctrl_c_leaves_a_checkpoint_and_says_how_to_go_on(tmp_path, small_run):
    settings = [*small_run, 'steps=4000', 'pooling_start=false', 'name=long']
    process = start_run(tmp_path, settings)
    wait_for(lambda: list(tmp_path.glob('long-*/last.ckpt')), process)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    (run,) = tmp_path.glob('long-*')
    assert process.returncode == 1
    assert 'Traceback' not in output
    assert f'go on with: python training/train.py --resume {run}' in output
    step = read_checkpoint(run / 'last.ckpt')['global_step']
    assert f'stopped by hand at step {step};' in output


@pytest.mark.skipif(not Path('/dev/full').exists(), reason='no /dev/full')
def test_a_full_disk_keeps_the_last_whole_checkpoint(runs, small_run, monkeypatch):
    monkeypatch.setattr(train, 'POOLING_START_BATCHES', 3)
    save = lightning.Trainer.save_checkpoint

    def save_until_full(trainer, path, *args, **kwargs):
        if trainer.global_step > 2:
            with Path('/dev/full').open('wb', buffering=0) as full:
                full.write(b'x')
        save(trainer, path, *args, **kwargs)

    monkeypatch.setattr(lightning.Trainer, 'save_checkpoint', save_until_full)
    with pytest.raises(train.RunStoppedError, match='is full; free some, then go on with: python'):
        train.main(['--runs', str(runs), *small_run, 'name=full'])
    (run,) = runs.glob('full-*')
    assert read_checkpoint(run / 'last.ckpt')['global_step'] == 2


def test_a_run_without_progress_ends_early(runs, small_run, monkeypatch):
    monkeypatch.setattr(train, 'POOLING_START_BATCHES', 3)
    settings = [*small_run, 'steps=40', 'patience=1', 'head_lr=0', 'backbone_lr=0', 'name=flat']
    run = train.main(['--runs', str(runs), *settings])
    assert sorted(metrics(run, 'val/recall')) == [0, 1, 3]


def test_a_run_folder_has_curves_and_events(finished):
    assert cv2.imread(str(finished / 'curves.png')).std() > 5
    assert list(finished.glob('events.out.tfevents*'))
    curves = read_curves(finished / 'metrics.csv')
    assert curves['val/recall'][0] == [1, 2, 4]
    with pytest.raises(FileNotFoundError):
        draw_curves(finished / 'nowhere')


def run_distributed(processes, output, settings):
    """Run the script below under torchrun (or alone) and return what it wrote."""
    command = [sys.executable, str(Path(__file__).with_name('one_step.py')), str(output)]
    if processes > 1:
        command[:1] = [
            sys.executable, '-m', 'torch.distributed.run', '--standalone',
            f'--nproc-per-node={processes}',
        ]  # fmt: skip
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
    done = subprocess.run(
        [*command, *settings], cwd=ROOT, env=environment, capture_output=True, text=True,
        timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return json.loads(output.read_text())


def test_two_processes_learn_what_one_would(tmp_path, small_run):
    """The negatives are those of both: loss and learnt weights equal a single process's."""
    settings = [*small_run, 'pooling_start=false', 'steps=2', 'average_decay=0']
    alone = run_distributed(1, tmp_path / 'alone.json', settings)
    shared = run_distributed(2, tmp_path / 'shared.json', settings)
    assert shared['loss'] == pytest.approx(alone['loss'], rel=1e-4)
    assert shared['weights'] == pytest.approx(alone['weights'], rel=1e-3)
    assert alone['loss'][0] != alone['loss'][1]
    assert shared['rank_batches'] == [9, 9]


def test_processes_must_share_a_batch_evenly(small_run):
    places, _ = load_places(load_config(None, small_run))
    with pytest.raises(ValueError, match='6 places of a batch cannot be shared by 4 processes'):
        training_loader(load_config(None, small_run), places, part=(0, 4))
