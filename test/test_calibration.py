# SPDX-License-Identifier: Apache-2.0
"""Thresholds for a wanted precision: chosen, recorded, read back and used."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from PIL import Image

from vpr_ros import atomic_directory
from vpr_ros.calibration import (
    ByOrder,
    ByPose,
    Trials,
    choose,
    lower_bound,
    trials_of_map,
    trials_of_run,
)
from vpr_ros.cli import main
from vpr_ros.errors import CalibrationError, MapError
from vpr_ros.evaluation import results, scores
from vpr_ros.evaluation.outcomes import judge
from vpr_ros.model_ref import ModelRef
from vpr_ros.place_map import PlaceMap, record_calibration

SIZE = 32
REF = ModelRef('made', 'ab' * 32, SIZE)


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def two_laps(n=100, *, noise=0.5, lost=0, seed=0):
    """Drive a circle of n metres twice; the second time each place looks a little different.

    Of `lost` places, the second look is one of nowhere.
    """
    rng = np.random.default_rng(seed)
    first = unit(rng.standard_normal((n, SIZE)))
    second = unit(first + noise * unit(rng.standard_normal((n, SIZE))))
    second[:lost] = unit(rng.standard_normal((lost, SIZE)))
    angle = np.tile(2 * np.pi * np.arange(n) / n, 2)
    radius = n / (2 * np.pi)
    positions = np.stack([radius * np.cos(angle), radius * np.sin(angle), 0 * angle], axis=1)
    turned = np.stack([0 * angle, 0 * angle, np.sin(angle / 2), np.cos(angle / 2)], axis=1)
    place_map = PlaceMap(REF)
    place_map.add(
        np.concatenate([first, second]),
        stamps_ns=np.arange(2 * n),
        positions=positions,
        orientations_xyzw=turned,
    )
    return place_map


RULE = ByPose(within_m=1.5, within_deg=30.0, apart_m=10.0)


def test_each_place_is_asked_as_a_revisit_and_as_a_stranger():
    trials = trials_of_map(two_laps(), RULE)
    assert len(trials) == 400 and trials.revisit.sum() == 200
    assert trials.right[trials.revisit].all() and not trials.right[~trials.revisit].any()
    place_map = two_laps()
    alike = place_map.descriptors @ place_map.descriptors.T
    twin = np.roll(alike, 100, axis=1).diagonal()
    np.testing.assert_allclose(trials.similarity[trials.revisit], twin, atol=1e-6)


def test_neighbours_along_the_drive_are_not_asked():
    place_map = two_laps()
    lap = PlaceMap(REF)
    for _ in range(2):  # each place at once again: the best match is always the neighbour
        lap.add(
            place_map.descriptors[:100],
            stamps_ns=np.arange(100),
            positions=place_map.places['position'][:100],
        )
    order = np.arange(200).reshape(2, 100).T.ravel()
    beside = PlaceMap(REF)
    beside.add(lap.descriptors[order], stamps_ns=order, positions=lap.places['position'][order])
    trials = trials_of_map(beside, ByPose(1.5, 30.0, 10.0))
    assert not (trials.similarity > 0.99).any()


def test_the_threshold_has_the_precision_and_the_most_recall():
    trials = trials_of_map(two_laps(noise=1.6, lost=10), RULE)
    for wanted in (0.9, 0.99, 1.0):
        choice = choose([trials], wanted)
        threshold = choice.calibration.min_similarity
        accepted = trials.similarity >= threshold
        precision = trials.right[accepted].mean()
        assert choice.calibration.precision == pytest.approx(precision) and precision >= wanted
        assert choice.calibration.recall == pytest.approx(trials.right[accepted].sum() / 200)
        below = [t for t in np.unique(trials.similarity) if t < threshold]
        for other in below:
            accepted = trials.similarity >= other
            more = trials.right[accepted].sum() / 200 > choice.calibration.recall
            assert not (trials.right[accepted].mean() >= wanted and more)
    assert choose([trials], 0.9).calibration.recall > choose([trials], 1.0).calibration.recall


def test_a_map_without_likely_strangers_accepts_no_less_than_its_revisits():
    """Every place is revisited: without strangers, any threshold would have full precision."""
    choice = choose([trials_of_map(two_laps(), RULE)], 1.0)
    assert choice.calibration.recall == 1.0 and choice.calibration.min_similarity > 0.6


@pytest.mark.parametrize(
    ('successes', 'trials', 'bound'),
    [(10, 10, 0.05 ** (1 / 10)), (0, 5, 0.0), (95, 100, 0.8977), (300, 300, 0.05 ** (1 / 300))],
)
def test_lower_bound(successes, trials, bound):
    """All of n: 0.05 = p^n; 95 of 100: the tables of Clopper and Pearson."""
    assert lower_bound(successes, trials) == pytest.approx(bound, abs=2e-4)


def test_few_pairs_are_said_to_be_few():
    assert not choose([trials_of_map(two_laps(20), ByPose(1.5, 30, 5))], 0.99).is_sure
    assert choose([trials_of_map(two_laps(400), RULE)], 0.99).is_sure


def test_by_order_the_next_but_one_is_right():
    place_map = PlaceMap(REF)
    rng = np.random.default_rng(0)
    way = np.cumsum(rng.standard_normal((200, SIZE)), axis=0)
    place_map.add(unit(way), stamps_ns=np.arange(200))
    trials = trials_of_map(place_map, ByOrder(tolerance=2, apart=1))
    assert len(trials) == 400 and trials.revisit.sum() == 200
    alike = place_map.descriptors @ place_map.descriptors.T
    steps = np.abs(np.subtract.outer(np.arange(200), np.arange(200)))
    near = np.where((steps == 2) | (steps == 3), alike, -1).max(axis=1)
    far = np.where(steps > 12, alike, -1).max(axis=1)
    np.testing.assert_allclose(trials.similarity[trials.revisit], np.maximum(near, far))
    np.testing.assert_allclose(trials.similarity[~trials.revisit], far)


def one_lap():
    """Make a map that never comes back, of positions alone."""
    laps, once = two_laps(), PlaceMap(REF)
    once.add(
        laps.descriptors[:80],
        stamps_ns=np.arange(80),
        positions=laps.places['position'][:80],
    )
    return once


def test_what_cannot_be_calibrated_says_why():
    laps = two_laps()
    with pytest.raises(CalibrationError, match=r'no revisits .*--run'):
        choose([trials_of_map(one_lap(), RULE)], 0.99)
    with pytest.raises(CalibrationError, match='none of 80 places lies clearly elsewhere'):
        trials_of_map(one_lap(), ByPose(within_m=500.0, within_deg=180.0, apart_m=10.0))
    nowhere = PlaceMap(REF)
    nowhere.add(laps.descriptors, stamps_ns=np.arange(200))
    with pytest.raises(CalibrationError, match='no positions'):
        trials_of_map(nowhere, RULE)
    mixed_up = PlaceMap(REF)  # the second time, each place looks like the one across the circle
    mixed_up.add(
        np.concatenate([laps.descriptors[:100], np.roll(laps.descriptors[:100], 50, axis=0)]),
        stamps_ns=np.arange(200),
        positions=laps.places['position'],
    )
    with pytest.raises(CalibrationError, match=r'no threshold has a precision of 0\.9: the best'):
        choose([trials_of_map(mixed_up, RULE)], 0.9)
    with pytest.raises(ValueError, match='precision must lie above 0'):
        choose([trials_of_map(laps, RULE)], 0.0)


def test_runs_and_maps_count_together():
    first = Trials(np.array([0.9, 0.8]), np.array([True, True]), np.ones(2, bool), 'a')
    second = Trials(np.array([0.85, 0.1]), np.array([False, False]), np.zeros(2, bool), 'b')
    choice = choose([first, second], 1.0)
    assert choice.calibration.min_similarity == 0.9 and choice.calibration.recall == 0.5
    assert choice.calibration.source == 'a and b' and choice.calibration.num_pairs == 4


# --- a run -------------------------------------------------------------------------------------


def write_run(run, folder):
    outcomes = judge(run.answers, run.truth)
    numbers = scores.numbers(outcomes, threshold=run.threshold, only_mapped=True)
    with results.written_into(folder) as out:
        results.write_metrics(results.metrics(run, outcomes, numbers, {}), out)
        results.write_queries(run, outcomes, out)
    return outcomes


def test_a_judged_run_is_read(tmp_path):
    from made_run import made_run

    run = made_run('RWMUJDB' * 5)
    run = replace(
        run,
        description=dict(run.description)
        | {'query': 'made', 'model': asdict(run.place_map.model)},
    )
    outcomes = write_run(run, tmp_path / 'run')
    trials = trials_of_run(tmp_path / 'run', run.place_map)
    used = outcomes.judged & outcomes.answered & np.isfinite(outcomes.similarity)
    assert 0 < len(trials) == used.sum()
    np.testing.assert_array_equal(trials.right, outcomes.right[used])
    np.testing.assert_array_equal(trials.revisit, outcomes.mapped[used])
    other = PlaceMap(ModelRef('other', 'f' * 64, SIZE))
    with pytest.raises(CalibrationError, match=r'another model .*abababab.*other, ffff'):
        trials_of_run(tmp_path / 'run', other)
    write_run(replace(run, truth=None), tmp_path / 'blind')
    with pytest.raises(CalibrationError, match=r'nothing in .* is judged'):
        trials_of_run(tmp_path / 'blind', run.place_map)


# --- in the map --------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path):
    two_laps().save(tmp_path / 'map')
    return tmp_path / 'map'


def calibrate(*arguments):
    return main(['calibrate', *map(str, arguments)])


def test_the_command_records_what_it_shows(saved, tmp_path, capsys):
    others = {
        path: (path.read_bytes(), path.stat().st_ino)
        for path in saved.iterdir()
        if path.name != 'map.json'
    }
    before = json.loads((saved / 'map.json').read_text())
    options = ('--map', saved, '--within', 1.5, '--apart', 10, '--out', tmp_path / 'curve.png')
    assert calibrate(*options, '--dry-run') == 0
    assert json.loads((saved / 'map.json').read_text()) == before
    assert calibrate(*options) == 0
    manifest = json.loads((saved / 'map.json').read_text())
    recorded = manifest.pop('calibration')
    assert manifest == before, 'nothing else in the manifest changes'
    assert others == {path: (path.read_bytes(), path.stat().st_ino) for path in others}
    assert {path.name for path in saved.iterdir()} == {'map.json', *(p.name for p in others)}
    place_map = PlaceMap.load(saved)
    assert place_map.calibration.min_similarity == recorded['min_similarity']
    assert place_map.calibration.wanted_precision == 0.99
    shown = capsys.readouterr().out
    assert f'threshold  {recorded["min_similarity"]:.4f}' in shown and '<- chosen' in shown
    assert 'at least 0.98' in shown
    assert Image.open(tmp_path / 'curve.png').size == (1600, 752)
    place_map.save(tmp_path / 'copy')
    assert PlaceMap.load(tmp_path / 'copy').calibration == place_map.calibration
    record_calibration(saved, None)
    assert json.loads((saved / 'map.json').read_text()) == before


def test_the_command_refuses_with_a_reason(saved, tmp_path, capsys):
    one_lap().save(tmp_path / 'once')
    before = (tmp_path / 'once' / 'map.json').read_bytes()
    assert calibrate('--map', tmp_path / 'once', '--within', 1.5, '--apart', 10) == 2
    assert 'there are no revisits to measure recall by' in capsys.readouterr().err
    assert (tmp_path / 'once' / 'map.json').read_bytes() == before
    assert calibrate('--map', saved / 'absent') == 2
    assert 'no map at' in capsys.readouterr().err
    with pytest.raises(SystemExit):
        calibrate('--map', saved, '--precision', '99')
    assert "must be a fraction above 0 and up to 1, not '99'" in capsys.readouterr().err
    assert PlaceMap.load(saved).calibration is None


def test_a_map_without_poses_is_judged_by_order(tmp_path, capsys):
    place_map = PlaceMap(REF)
    way = np.cumsum(np.random.default_rng(0).standard_normal((300, SIZE)), axis=0)
    looks = unit(way - way.mean(axis=0))
    place_map.add(looks, stamps_ns=np.arange(300))
    place_map.save(tmp_path / 'map')
    assert calibrate('--map', tmp_path / 'map', '--precision', 0.5) == 0
    assert 'by order' in PlaceMap.load(tmp_path / 'map').calibration.source
    assert (tmp_path / 'map_calibration.png').is_file()


def test_a_crash_leaves_the_old_record(saved, monkeypatch):
    calibration = choose([trials_of_map(two_laps(), RULE)], 0.99).calibration
    record_calibration(saved, calibration)
    before = (saved / 'map.json').read_bytes()

    def full_disk(*_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(atomic_directory, '_flush', full_disk)
    with pytest.raises(OSError, match='No space left'):
        record_calibration(saved, replace(calibration, min_similarity=0.1))
    assert (saved / 'map.json').read_bytes() == before
    assert not list(saved.glob('.*'))


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'min_similarity': 1.5}, r'min_similarity must lie above -1 and up to 1, not 1\.5'),
        ({'min_similarity': -1.0}, 'min_similarity must lie above -1'),
        ({'min_similarity': '0.5'}, "min_similarity must be a float, not '0.5'"),
        ({'precision': float('nan')}, 'precision must be a float, not nan'),
        ({'recall': 2}, 'recall must lie between 0 and 1, not 2'),
        ({'num_pairs': True}, 'num_pairs must be a int, not True'),
        ({'num_accepted': 0}, 'num_accepted must lie between 1 and num_pairs'),
        ({'source': None}, 'source must be a str, not None'),
    ],
)
def test_a_damaged_record_is_named(saved, change, message):
    record_calibration(saved, choose([trials_of_map(two_laps(), RULE)], 0.99).calibration)
    manifest = json.loads((saved / 'map.json').read_text())
    manifest['calibration'] |= change
    (saved / 'map.json').write_text(json.dumps(manifest))
    with pytest.raises(MapError, match=rf'map\.json: calibration: {message}'):
        PlaceMap.load(saved)
    (saved / 'map.json').write_text(json.dumps(manifest | {'calibration': [0.5]}))
    with pytest.raises(MapError, match='calibration: must be an object of min_similarity'):
        PlaceMap.load(saved)
