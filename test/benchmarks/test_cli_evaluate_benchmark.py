# SPDX-License-Identifier: Apache-2.0
"""The command, from small sets in every layout to its table, its file and its exit status."""

import dataclasses
import hashlib
import json

import cv2
import numpy as np
import pytest
from made_sets import db_struct
from scipy.io import savemat

from vpr_ros.benchmarks import BENCHMARKS, registry
from vpr_ros.benchmarks.published import PUBLISHED
from vpr_ros.cli import main


@pytest.fixture
def measure(tiny_model, tmp_path, capsys):
    """Run the command; return its exit status, metrics.json and what it printed."""

    def run(name, data, *more):
        out = tmp_path / 'results'
        options = ['--data', data, '--out', out, '--model', tiny_model, '--device', 'cpu']
        status = main(['evaluate', 'benchmark', name, *map(str, [*options, *more])])
        path = out / 'metrics.json'
        return (
            status,
            json.loads(path.read_text()) if path.exists() else None,
            capsys.readouterr(),
        )

    return run


@pytest.fixture
def walk(tmp_path, save_pictures):
    """Two walks of one route under any two names; the last query shows another place."""

    def make(reference, query):
        save_pictures(tmp_path / 'walks', [f'{reference}/{i}.png' for i in range(6)])
        numbers = [0, 1, 2, 3, 4, 9]
        save_pictures(tmp_path / 'walks', [f'{query}/{i}.png' for i in range(6)], numbers)
        return tmp_path / 'walks'

    return make


@pytest.fixture
def run_with_revisits(tmp_path, textured_pictures):
    """One run that comes back to its first two places; the last picture shows the wrong one."""

    def make(poses, apart):
        root = tmp_path / 'run'
        (root / 'rgb').mkdir(parents=True)
        places = textured_pictures(apart + 1)
        shown = [*range(apart + 1), 0, 0]
        rows = []
        for i, place in enumerate(shown):
            assert cv2.imwrite(str(root / 'rgb' / f'{i:04}.png'), places[place][::4, ::4, ::-1])
            x = i if i <= apart else i - apart - 1  # metres
            rows.append(f'{i} {x} 0 0 0 0 0 1')
        (root / poses).write_text('\n'.join(rows))
        return root

    return make


def made(name, request):
    """Return the folder of a small set in the layout of a benchmark, and that of its lists."""
    fixture = request.getfixturevalue
    if name.startswith('pitts'):
        root = fixture('pittsburgh')
        savemat(root / f'{name}.mat', {'dbStruct': db_struct()})
    elif name.startswith('msls'):
        root = fixture('msls')
    elif name.startswith('nordland'):
        root = fixture('nordland')(list(range(25)), range(25))
    elif name in LISTED:
        return fixture('listed')(*LISTED[name], np.array([[0], [1], [3]]))
    elif name in ('red_kitchen', 'tum_fr1_desk'):
        root = fixture('run_with_revisits')(*RUNS[name])
    elif name.startswith('gardens_point') or name == 'folders':
        root = fixture('walk')(*WALKS[name])
    else:
        root = fixture('tokyo')
    return root, None


LISTED = {
    'sped': ('SPED', 'SPED'),
    'essex3in1': ('ESSEX', 'ESSEX'),
    'cross_season': ('CrossSeason', 'CrossSeason'),
    'inria_holidays': ('Inria', 'InriaHolidays'),
}
RUNS = {'red_kitchen': ('poses_tum.txt', 150), 'tum_fr1_desk': ('groundtruth.txt', 100)}
WALKS = {
    'gardens_point_day': ('day_left', 'day_right'),
    'gardens_point_night': ('day_right', 'night_right'),
    'gardens_point_day_night': ('day_left', 'night_right'),
    'folders': ('reference', 'query'),
}
WHOLE = ('msls_val', 'nordland_2760', 'nordland_27592')


@pytest.mark.parametrize('name', BENCHMARKS)
def test_every_benchmark_from_its_files_to_its_recall(name, measure, request):
    root, lists = made(name, request)
    status, metrics, printed = measure(name, root, *(['--lists', lists] if lists else []))
    assert status == 0
    if name in WHOLE:
        expected = 1.0
    elif name in WALKS:
        expected = 5 / 6
    else:
        expected = 1 / 2 if name in RUNS else 2 / 3
    assert metrics['recall@1'] == pytest.approx(expected)
    for said in (
        f'{name} in {root}',
        f'protocol        {metrics["protocol"]}',
        f'references      {metrics["num_references"]}\n',
        f'queries         {metrics["num_queries"]}\n',
        f'recall@1        {expected:.4f}   {100 * expected:.2f} %',
    ):
        assert said in printed.out
    for row in PUBLISHED[name].rows if name in PUBLISHED else ():
        assert row.method in printed.out and row.source in printed.out
        assert row.remark in printed.out
    assert (name in PUBLISHED) == (f'no figure of others on {name}' not in printed.out)


def test_what_is_written(measure, listed, tiny_model):
    root, lists = listed('SPED', 'SPED', np.array([0, 1, 3]))
    _, metrics, _ = measure('sped', root, '--lists', lists, '--batch', 2)
    assert metrics.pop('command').startswith(f'vpr evaluate benchmark sped --data {root} --out ')
    assert metrics.pop('protocol').startswith('a hit is a reference that SPED_gt.npy names')
    assert metrics == {
        'schema_version': '1',
        'kind': 'benchmark',
        'benchmark': 'sped',
        'data': str(root),
        'recall@1': pytest.approx(2 / 3),
        'recall@5': 1.0,
        'recall@10': 1.0,
        'recall@20': 1.0,
        'num_queries': 3,
        'num_references': 4,
        'model': {
            'name': 'thumbnail-8x8',
            'sha256': hashlib.sha256(tiny_model.read_bytes()).hexdigest(),
            'descriptor_size': 192,
        },
        'provider': 'CPUExecutionProvider',
    }


def test_nothing_is_written_unless_asked(walk, tiny_model, tmp_path, monkeypatch, capsys):
    root = walk('reference', 'query')
    (tmp_path / 'here').mkdir()
    monkeypatch.chdir(tmp_path / 'here')
    command = ['evaluate', 'benchmark', 'folders', '--data', str(root), '--device', 'cpu']
    assert main([*command, '--model', str(tiny_model)]) == 0
    assert 'recall@20       1.0000' in capsys.readouterr().out
    assert not list((tmp_path / 'here').iterdir())


def test_bars_of_users_own_checks(measure, walk):
    root = walk('reference', 'query')
    bars = ['--fail-under', 'recall@1=0.8333', '--fail-under', 'recall@20=1']
    assert measure('folders', root, *bars)[0] == 0
    status, metrics, printed = measure('folders', root, *bars, '--fail-under', 'recall@1=0.9')
    assert status == 1
    assert printed.err.endswith('recall@1 is 0.8333, below 0.9\n')
    assert 'recall@20 is' not in printed.err
    assert metrics['recall@1'] == pytest.approx(5 / 6), 'the results are written all the same'


def test_a_bar_that_is_none_is_refused_before_anything_is_read(measure, tmp_path):
    status, metrics, printed = measure('folders', tmp_path, '--fail-under', 'recall@2=0.5')
    assert (status, metrics) == (2, None)
    assert 'there is no recall@2 to judge; there is recall@1, recall@5, recall@1' in printed.err


def test_a_set_unlike_the_published_one_does_not_compare(measure, listed, monkeypatch):
    root, lists = listed('SPED', 'SPED', np.array([0, 1, 2]))
    warning = 'this set is unlike the published set of 607 queries among 607 references: ours does'
    assert warning in measure('sped', root, '--lists', lists)[2].out
    small = dataclasses.replace(BENCHMARKS['sped'], published=(4, 3))
    monkeypatch.setitem(registry.BENCHMARKS, 'sped', small)
    _, _, printed = measure('sped', root, '--lists', lists)
    assert 'NOT compare' not in printed.out
    assert ' 100.0  100.0  100.0   this run\n' in printed.out
    assert '  85.2      -      -   MixVPR, 4096 values (paper of MixVPR, WACV' in printed.out


def test_another_rule_does_not_compare(measure, tokyo):
    _, _, printed = measure('tokyo247', tokyo)
    assert 'the size of the published set is not known here' in printed.out
    assert 'NOT compare' not in printed.out
    _, metrics, printed = measure('tokyo247', tokyo, '--radius', 7)
    assert 'a hit is within 7 m here, not 25 m: ours does NOT compare' in printed.out
    assert 'within 7 m' in metrics['protocol']


def test_other_tolerance(measure, walk):
    root = walk('day_left', 'day_right')
    _, metrics, _ = measure('gardens_point_day', root, '--tolerance', 0)
    assert '+-0' in metrics['protocol']


def test_the_names_are_shown(capsys):
    assert main(['evaluate', 'benchmark', 'list']) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [line.split()[0] for line in lines] == list(BENCHMARKS)
    assert 'SPED_{dbImages,qImages,gt}.npy' in lines[list(BENCHMARKS).index('sped')]


@pytest.mark.parametrize(
    ('name', 'more', 'error'),
    [
        ('nordland', [], "no benchmark is called 'nordland'; there are pitts30k_train, "),
        ('sped', [], 'SPED_dbImages.npy is not in '),
        ('folders', [], 'has no reference/ or ref/ or database/; give the folder that holds it'),
        ('folders', ['--data', 'absent'], 'there is no folder absent to read folders from'),
        ('folders', ['--radius', '5'], 'folders has its own rule of what is a hit, within 2 pict'),
    ],
)
def test_mistakes_are_one_sentence(measure, tmp_path, name, more, error):
    status, metrics, printed = measure(name, tmp_path, *more)
    assert (status, metrics) == (2, None)
    assert printed.err.startswith('vpr evaluate benchmark: ') and error in printed.err
    assert printed.err.count('\n') == 1


def test_the_folder_must_be_given(capsys):
    assert main(['evaluate', 'benchmark', 'sped']) == 2
    assert 'give --data, the folder of the pictures of sped' in capsys.readouterr().err


def test_missing_pictures_are_named_before_anything_runs(measure, pittsburgh):
    savemat(pittsburgh / 'pitts30k_test.mat', {'dbStruct': db_struct()})
    (pittsburgh / 'queries_real' / '000' / 'q0.jpg').unlink()
    status, _, printed = measure('pitts30k_test', pittsburgh)
    assert status == 2 and '1 of the 3 pictures that' in printed.err


def test_it_stands_beside_the_command_without_an_action(capsys):
    for command in (['evaluate', '--help'], ['-v', 'evaluate', 'benchmark', '--help']):
        with pytest.raises(SystemExit) as stopped:
            main(command)
        assert stopped.value.code == 0
    printed = capsys.readouterr().out
    assert 'usage: vpr evaluate [-h] --query' in printed
    assert '`vpr evaluate benchmark NAME' in printed
    assert 'usage: vpr evaluate benchmark [-h] [--data DIR]' in printed


def test_published_figures_are_percentages_of_known_sets():
    for name, published in PUBLISHED.items():
        assert name in BENCHMARKS and published.protocol
        for row in published.rows:
            assert row.method and row.source and 1 <= len(row.recall) <= 3
            assert all(1 < value <= 100 for value in row.recall)
            assert list(row.recall) == sorted(row.recall), row
