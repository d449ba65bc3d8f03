# SPDX-License-Identifier: Apache-2.0
"""What a run leaves on disk, and runs side by side."""

import json
from dataclasses import fields, replace

import numpy as np
import pytest
from evaluation.made_runs import answer, dropped

from vpr_ros.errors import SourceError
from vpr_ros.evaluation import results, scores
from vpr_ros.evaluation.compare import differences, load_run, same_pictures
from vpr_ros.evaluation.outcomes import judge
from vpr_ros.evaluation.run import Run
from vpr_ros.evaluation.truth import Truth
from vpr_ros.model_ref import ModelRef
from vpr_ros.place_map import PlaceMap
from vpr_ros.recognizer import Status


def made_run(answers, *positives):
    rows = tuple(None if p is None else np.array(p, int) for p in positives)
    return Run(
        title='a run',
        answers=answers,
        truth=Truth('a rule', rows) if rows else None,
        place_map=PlaceMap(ModelRef('m', '0' * 64, 4)),
        threshold=0.5,
        has_times=True,
        is_live=False,
        query_pictures=lambda _: iter(()),
        place_pictures=lambda _: iter(()),
        description={'query': {'path': 'a_folder'}},
    )


def save(run, folder):
    outcomes = judge(run.answers, run.truth)
    numbers = scores.numbers(outcomes, threshold=run.threshold, only_mapped=False)
    intervals = scores.intervals(outcomes, threshold=run.threshold, only_mapped=False)
    with results.written_into(folder) as scratch:
        results.write_metrics(results.metrics(run, outcomes, numbers, intervals), scratch)
        results.write_queries(run, outcomes, scratch)
    return outcomes, numbers


def run_with(recall, *, num=300, seed=0):
    """A run of which a share is right, in stretches of ten."""
    stretches = np.random.default_rng(seed).permutation(num // 10) < recall * num // 10
    good = np.repeat(stretches, 10)
    return made_run(
        [replace(answer(i, (1 if ok else 9, 0.9)), latency_s=0.01) for i, ok in
         enumerate(good)],
        *[[1]] * num,
    )  # fmt: skip


def test_outcomes_come_back_as_they_were(tmp_path):
    answers = [
        answer(0, (3, 1 / 3), position=(1, 2, 3)),
        answer(1, status=Status.REJECTED),
        dropped(2),
        answer(3, (4, 0.25), status=Status.VERIFIED, probability=0.7),
    ]
    answers[0] = replace(answers[0], name='a "picture", with\nbreaks.png')
    run = made_run(answers, [3], None, [1], [])
    before, numbers = save(run, tmp_path / 'out')
    names, after = results.read_outcomes(tmp_path / 'out')
    assert names == [a.name for a in answers]
    for field in fields(before):
        np.testing.assert_array_equal(getattr(before, field.name), getattr(after, field.name))
    metrics = results.read_metrics(tmp_path / 'out')
    assert metrics['recall@1'] == numbers['recall@1']
    assert metrics['num_answered'] == 3 and metrics['num_judged'] == 3
    assert metrics['latency_ms']['total']['p99'] == pytest.approx(10)
    assert metrics['intervals']['recall@1'] == [None, None]  # four pictures are too few
    assert 'a rule' in metrics['protocol']


def test_files_of_others_stay_and_an_error_leaves_nothing(tmp_path):
    out = tmp_path / 'out'
    out.mkdir()
    (out / 'mine').write_text('1')
    (out / 'metrics.json').write_text('old')
    with pytest.raises(RuntimeError), results.written_into(out) as folder:
        (folder / 'metrics.json').write_text('half')
        raise RuntimeError
    assert (out / 'metrics.json').read_text() == 'old'
    assert sorted(p.name for p in tmp_path.iterdir()) == ['out']
    with results.written_into(out) as folder:
        (folder / 'metrics.json').write_text('new')
    assert (out / 'metrics.json').read_text() == 'new' and (out / 'mine').read_text() == '1'


def test_the_same_pictures_are_compared_in_pairs(tmp_path):
    """Runs that fail together differ surely by what is small against the noise of each."""
    base = run_with(0.6)
    ranks = [a.recognition.matches[0].row for a in base.answers]
    better = [answer(i, (1 if row == 1 or i % 12 == 0 else 9, 0.9)) for i, row in enumerate(ranks)]
    save(base, tmp_path / 'a')
    save(made_run(better, *[[1]] * 300), tmp_path / 'b')
    save(replace(run_with(0.65, seed=7), description={'query': {'path': 'c'}}), tmp_path / 'c')
    a, b, c = (load_run(tmp_path / name) for name in 'abc')
    paired = differences(a, b)['recall@1']
    assert paired.difference == pytest.approx(b.metrics['recall@1'] - a.metrics['recall@1'])
    assert paired.exceeds_noise and paired.low <= paired.difference <= paired.high
    other = differences(a, c)['recall@1']
    assert not other.exceeds_noise and other.high - other.low > 3 * (paired.high - paired.low)
    itself = differences(a, a)['recall@1']
    assert (itself.difference, itself.low, itself.high) == (0, 0, 0)
    assert not itself.exceeds_noise


def test_folders_that_are_no_results(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'metrics\.json; `vpr evaluate'):
        load_run(tmp_path)
    (tmp_path / 'metrics.json').write_text('{')
    with pytest.raises(SourceError, match='not JSON'):
        load_run(tmp_path)
    (tmp_path / 'metrics.json').write_text(json.dumps({'schema_version': '7', 'kind': 'run'}))
    with pytest.raises(SourceError, match=r"no run of schema 1 .*'7'"):
        load_run(tmp_path)
    save(run_with(0.5), tmp_path)
    table = (tmp_path / 'queries.csv').read_text().splitlines()
    (tmp_path / 'queries.csv').write_text('\n'.join([table[0], ',,nine,']))
    with pytest.raises(SourceError, match='damaged'):
        load_run(tmp_path)
    (tmp_path / 'queries.csv').write_text('\n'.join(table[:8]))
    with pytest.raises(SourceError, match='has 7 rows for 300 pictures: cut off'):
        load_run(tmp_path)
    (tmp_path / 'queries.csv').write_text('\n'.join([*table[:8], table[8][:9]]))
    with pytest.raises(SourceError, match='damaged'):
        load_run(tmp_path)


def test_pictures_of_the_same_names_need_not_be_the_same(tmp_path):
    save(run_with(0.5), tmp_path / 'a')
    other = replace(run_with(0.5), description={'query': {'path': 'another_folder'}})
    save(other, tmp_path / 'b')
    assert not same_pictures(*(load_run(tmp_path / name) for name in 'ab'))


def test_a_number_that_one_run_lacks_is_not_compared(tmp_path):
    for name in 'ab':
        save(run_with(0.9 if name == 'a' else 0.2), tmp_path / name)
    path = tmp_path / 'b' / 'metrics.json'
    path.write_text(json.dumps(json.loads(path.read_text()) | {'recall@20': None}))
    found = differences(*(load_run(tmp_path / name) for name in 'ab'))
    assert found['recall@1'].exceeds_noise
    assert np.isnan(found['recall@20'].low) and not found['recall@20'].exceeds_noise


def test_runs_too_short_for_an_interval_are_not_compared_surely(tmp_path):
    save(made_run([answer(0, (1, 0.9))], [1]), tmp_path / 'a')
    save(made_run([answer(0, (9, 0.9))], [1]), tmp_path / 'b')
    found = differences(*(load_run(tmp_path / name) for name in 'ab'))['recall@1']
    assert found.difference == -1.0 and np.isnan(found.low) and not found.exceeds_noise
