# SPDX-License-Identifier: Apache-2.0
"""`vpr evaluate` on folders, bags, maps and a run's own past; what it refuses, and that it leaves
nothing behind then."""

import csv
import itertools
import json
import shutil

import cv2
import numpy as np
import pytest
import yaml
from rosbags.rosbag2 import CompressionFormat, CompressionMode, Writer
from tiny_model import write_tiny_model

from vpr_ros.bag_messages import header
from vpr_ros.bag_writer import BagWriter
from vpr_ros.cli import main
from vpr_ros.extractor import DescriptorExtractor
from vpr_ros.map_builder import BuildOptions, build_map
from vpr_ros.place_map import PlaceMap
from vpr_ros.pose_lookup import PosesByTime
from vpr_ros.sources import BagSource

NS = 1_000_000_000
T0 = 1_700_000_000 * NS
UPRIGHT = [0.0, 0.0, 0.0, 1.0]
GLOBAL_ZERO = (48.0, 11.0, 500.0)


@pytest.fixture
def folders(tmp_path, textured_pictures):
    """The same 12 places twice, once darker; query 5 is black."""
    for name, factor in (('reference', 1.0), ('query', 0.7)):
        (tmp_path / name).mkdir()
        for i, rgb in enumerate(textured_pictures(12)):
            shown = rgb * 0 if name == 'query' and i == 5 else (rgb * factor).astype('uint8')
            cv2.imwrite(str(tmp_path / name / f'{i:03}.png'), shown[..., ::-1])
    return tmp_path


def run(*arguments):
    return main(['evaluate', *map(str, arguments)])


def evaluate(folders, model, *more):
    arguments = ['--reference', folders / 'reference', '--query', folders / 'query']
    out = ['--tolerance', '0', '--out', folders / 'out', '--model', model, '--device', 'cpu']
    return run(*arguments, *out, *more)


def metrics_in(out):
    return json.loads((out / 'metrics.json').read_text())


def comparable(out):
    """What must be equal however the same pictures are stored: all but times and names."""
    with (out / 'queries.csv').open(newline='') as file:
        rows = [
            {k: v for k, v in row.items() if k not in ('name', 'stamp_ns', 'latency_s')}
            for row in csv.DictReader(file)
        ]
    different = {'title', 'created', 'command', 'query', 'reference', 'truth'}
    different |= {'latency_ms', 'sensors', 'endings'}
    return {k: v for k, v in metrics_in(out).items() if k not in different}, rows


# Two folders


def test_writes_what_it_measured(folders, tiny_model, capsys):
    assert evaluate(folders, tiny_model) == 0
    metrics = metrics_in(folders / 'out')
    assert metrics['recall@1'] == metrics['recall@10'] == pytest.approx(11 / 12)
    assert metrics['precision_at_threshold'] == 1.0 and metrics['num_queries'] == 12
    assert 'give or take 0' in metrics['protocol']
    stages = {'quality', 'extract', 'search', 'filter', 'features', 'verify', 'total'}
    assert metrics['latency_ms'].keys() == stages
    assert [ending['status'] for ending in metrics['endings']] == ['VERIFIED', 'REJECTED']
    assert metrics['endings'][0]['right'] == metrics['endings'][0]['count'] == 11
    assert metrics['verified.precision_at_threshold'] == 1.0
    for name in ('precision_recall.png', 'similarity_matrix.png'):
        assert cv2.imread(str(folders / 'out' / name)).std() > 5
    assert (folders / 'out' / 'report.html').stat().st_size > 10_000
    assert 'recall@1                     0.9167' in capsys.readouterr().out


def test_a_map_in_the_folder_of_the_results_is_left_alone(folders, tiny_model):
    (folders / 'out' / 'map').mkdir(parents=True)
    (folders / 'out' / 'map' / 'mine').touch()
    assert evaluate(folders, tiny_model) == 0
    assert [path.name for path in (folders / 'out' / 'map').iterdir()] == ['mine']


def test_pairs_of_names_are_the_truth(folders, tiny_model):
    pairs = folders / 'pairs.csv'
    rows = [f'{i:03}.png,{(i + 3) % 12:03}.png' for i in range(10)]
    pairs.write_text('\n'.join(['query,reference', *rows]))
    common = [
        '--reference', folders / 'reference', '--query', folders / 'query', '--pairs', pairs,
        '--out', folders / 'out', '--model', tiny_model,
    ]  # fmt: skip
    assert run(*common) == 0
    metrics = metrics_in(folders / 'out')
    assert (metrics['recall@1'], metrics['num_judged']) == (0.0, 10)
    assert run(*common, '--tolerance', 3) == 0
    assert metrics_in(folders / 'out')['recall@1'] == pytest.approx(8 / 10)  # black, and 009 by 12


def test_a_model_without_a_threshold_is_given_one(folders, capsys):
    bare = write_tiny_model(folders / 'bare.onnx', min_similarity=None)
    assert evaluate(folders, bare) == 2
    assert 'records no threshold' in capsys.readouterr().err
    assert evaluate(folders, bare, '--min-similarity', '0.5') == 0


def test_fail_under_is_an_exit_status(folders, tiny_model, capsys):
    assert evaluate(folders, tiny_model, '--fail-under', 'recall@1=0.9') == 0
    assert (
        evaluate(folders, tiny_model, '--fail-under', 'recall@1=0.95', '--fail-under', 'recall=0')
        == 1
    )
    assert 'recall@1 is 0.9167, below 0.95' in capsys.readouterr().err
    assert (folders / 'out' / 'metrics.json').exists()
    undefined = 'position_error_m.rmse=0'
    assert evaluate(folders, tiny_model, '--fail-under', undefined) == 1
    assert 'position_error_m.rmse is undefined' in capsys.readouterr().err
    assert evaluate(folders, tiny_model, '--fail-under', 'recal@1=0.9') == 2
    assert 'no recal@1 to judge; there is recall@1, recall@5' in capsys.readouterr().err
    assert evaluate(folders, tiny_model, '--fail-over', 'longest_gap_pictures=0') == 1
    assert 'longest_gap_pictures is 1.0000, above 0' in capsys.readouterr().err
    assert evaluate(folders, tiny_model, '--fail-over', 'longest_gap_pictures=1') == 0
    with pytest.raises(SystemExit):
        evaluate(folders, tiny_model, '--fail-under', 'recall@1')
    with pytest.raises(SystemExit):
        evaluate(folders, tiny_model, '--fail-under', 'recall@1=90')
    assert 'recall@1 is a fraction, 0 to 1, not 90' in capsys.readouterr().err


def test_runs_are_compared(folders, tiny_model, capsys):
    alone = ['--features', 'none']  # what is verified is accepted however strict the threshold
    assert evaluate(folders, tiny_model, *alone) == 0
    strict = ['--min-similarity', 1, '--out', folders / 'strict']
    assert evaluate(folders, tiny_model, *alone, *strict) == 0
    capsys.readouterr()
    out = folders / 'numbers.json'
    assert main(['evaluate', 'compare', str(folders / 'out'), str(folders / 'strict'),
                 '--json', str(out)]) == 0  # fmt: skip
    printed = capsys.readouterr().out
    assert 'the same pictures, paired' in printed
    recall = json.loads(out.read_text())['others'][str(folders / 'strict')]['recall']
    assert recall['difference'] == pytest.approx(-11 / 12)
    assert recall['low'] is None and not recall['exceeds_noise']  # twelve pictures are too few
    assert main(['evaluate', 'compare', str(folders / 'out')]) == 2
    assert main(['evaluate', 'compare', str(folders / 'out'), str(folders)]) == 2
    assert 'metrics.json' in capsys.readouterr().err


# Bags


def drive(path, pictures, *, x0=0.0, gnss=False, lost=()):
    """A bag of a straight drive, a picture a metre; odometry twice a second, between them."""
    with BagWriter(path) as bag:
        for i, rgb in enumerate(pictures):
            bag.add_compressed('/camera', png(rgb), T0 + i * NS, 'camera')
            for half in (0, 1):
                stamp, x = T0 + i * NS + half * NS // 2, x0 + i + half / 2
                if gnss:
                    degrees = x / 111_200  # of latitude
                    status = -1 if 2 * i + half in lost else 0
                    bag.add_navsatfix('/fix', (48 + degrees, 11.0, 500.0), stamp, status=status)
                else:
                    bag.add_odometry('/odom', [x, 0, 0], UPRIGHT, stamp)
    return path


def png(rgb):
    return cv2.imencode('.png', rgb[..., ::-1])[1].tobytes()


def built(bag, model, out, topic=None, **options):
    source = BagSource(bag)
    poses = source.poses(topic)
    lookup = None if poses is None else PosesByTime(poses.trajectory, max_gap_s=1.5)
    return build_map(
        source, DescriptorExtractor(model), out, poses=lookup, options=BuildOptions(**options)
    ).place_map


def test_a_bag_against_a_map_is_judged_by_named_poses(tmp_path, tiny_model, textured_pictures):
    bag = drive(tmp_path / 'bag', textured_pictures(20))
    built(bag, tiny_model, tmp_path / 'map')
    common = ['--bag', bag, '--map', tmp_path / 'map', '--out', tmp_path / 'out',
              '--model', tiny_model]  # fmt: skip
    assert run(*common, '--pose-topic', '/odom', '--within', 1.2) == 0
    metrics = metrics_in(tmp_path / 'out')
    assert metrics['recall@1'] == metrics['coverage'] == 1.0
    assert metrics['position_error_m.max'] == pytest.approx(0, abs=1e-6)
    assert metrics['map']['num_places'] == 20 and len(metrics['map']['sha256']) == 64
    assert metrics['first_fix_s'] == 0.0 and metrics['longest_gap_s'] == 1.0
    assert metrics['truth']['within_m'] == 1.2


def test_odometry_that_nobody_named_is_no_truth(tmp_path, tiny_model, textured_pictures, capsys):
    bag = drive(tmp_path / 'bag', textured_pictures(5))
    built(bag, tiny_model, tmp_path / 'map')
    common = ['--bag', bag, '--map', tmp_path / 'map', '--out', tmp_path / 'out',
              '--model', tiny_model]  # fmt: skip
    assert run(*common) == 2
    said = capsys.readouterr().err
    assert 'what is right' in said and '--pose-topic' in said and '--no-truth' in said
    assert not (tmp_path / 'out').exists()
    assert run(*common, '--no-truth') == 0
    metrics = metrics_in(tmp_path / 'out')
    assert metrics['recall@1'] is None and metrics['precision'] is None
    assert metrics['coverage'] == 1.0 and 'nothing is judged' in metrics['protocol']


def test_gnss_shares_its_frame_by_nature(tmp_path, tiny_model, textured_pictures):
    pictures = textured_pictures(20)
    reference = drive(tmp_path / 'reference', pictures, gnss=True)
    query = drive(tmp_path / 'query', pictures[5:15], x0=5.0, gnss=True, lost=(3, 4))
    assert main(['map', 'build', str(reference), '--out', str(tmp_path / 'map'), '--model',
                 str(tiny_model), '--min-distance', '0.5']) == 0  # fmt: skip
    assert run('--bag', query, '--map', tmp_path / 'map', '--out', tmp_path / 'out',
               '--model', tiny_model, '--within', 1.5) == 0  # fmt: skip
    metrics = metrics_in(tmp_path / 'out')
    assert metrics['recall@1'] == 1.0
    assert metrics['position_error_m.median'] == pytest.approx(0, abs=0.01)
    assert metrics['truth']['poses_left_out'] == {'without a fix': 2}


def test_a_second_bag_makes_the_map(tmp_path, tiny_model, textured_pictures):
    pictures = textured_pictures(12)
    reference, query = tmp_path / 'reference', tmp_path / 'query'
    drive(reference, pictures)
    drive(query, pictures[4:9], x0=4.2)
    assert run('--query', query, '--reference', reference, '--pose-topic', '/odom', '--within',
               0.5, '--min-distance', 0, '--out', tmp_path / 'out',
               '--model', tiny_model) == 0  # fmt: skip
    metrics = metrics_in(tmp_path / 'out')
    assert metrics['recall@1'] == 1.0 and metrics['num_places'] == 12
    assert metrics['position_error_m.median'] == pytest.approx(0.2)


def test_a_run_against_its_own_past(tmp_path, tiny_model, textured_pictures):
    """A round of 12 places, driven twice; the second time each is known."""
    pictures = textured_pictures(12)
    with BagWriter(tmp_path / 'bag') as bag:
        for i in range(24):
            bag.add_image('/camera', pictures[i % 12], T0 + i * NS, 'camera')
            bag.add_odometry('/odom', [5.0 * (i % 12), 0, 0], UPRIGHT, T0 + i * NS)
    common = ['--bag', tmp_path / 'bag', '--own-past', '--model', tiny_model, '--within', 1]
    assert run(*common, '--apart', 6, '--out', tmp_path / 'out') == 0
    metrics = metrics_in(tmp_path / 'out')
    assert (metrics['recall@1'], metrics['num_mapped']) == (1.0, 12)
    assert metrics['asks_only_mapped'] and metrics['first_fix_s'] == 12.0
    # Places that are not 12 s old when they come back are not in the map yet.
    assert run(*common, '--apart', 12, '--out', tmp_path / 'later') == 0
    assert metrics_in(tmp_path / 'later')['num_mapped'] == 0
    assert run(*common, '--apart-pictures', 11, '--out', tmp_path / 'by_number') == 0
    assert metrics_in(tmp_path / 'by_number')['recall@1'] == 1.0


def test_a_run_that_never_comes_back_is_judged_by_its_false_closures(
    tmp_path, tiny_model, textured_pictures
):
    pictures = textured_pictures(6)
    with BagWriter(tmp_path / 'bag') as bag:
        for i in range(12):  # the same pictures again, a kilometre on
            bag.add_image('/camera', pictures[i % 6], T0 + i * NS, 'camera')
            bag.add_odometry('/odom', [200.0 * i, 0, 0], UPRIGHT, T0 + i * NS)
    assert run('--bag', tmp_path / 'bag', '--own-past', '--apart', 3, '--model', tiny_model,
               '--out', tmp_path / 'out') == 0  # fmt: skip
    metrics = metrics_in(tmp_path / 'out')
    assert metrics['precision'] == 0.0 and metrics['num_accepted'] == 6
    assert metrics['recall@1'] is None and metrics['average_precision'] is None


def test_pictures_without_a_pose_are_no_places_of_the_past(
    tmp_path, tiny_model, textured_pictures
):
    pictures = textured_pictures(12)
    with BagWriter(tmp_path / 'bag') as bag:
        for i in range(24):
            bag.add_image('/camera', pictures[i % 12], T0 + i * NS, 'camera')
            if i % 12 not in (4, 5, 6):
                bag.add_odometry('/odom', [5.0 * (i % 12), 0, 0], UPRIGHT, T0 + i * NS)
    assert run('--bag', tmp_path / 'bag', '--own-past', '--apart', 6, '--within', 1, '--model',
               tiny_model, '--out', tmp_path / 'out') == 0  # fmt: skip
    metrics = metrics_in(tmp_path / 'out')
    assert (metrics['num_judged'], metrics['num_mapped']) == (18, 9)
    assert metrics['recall@1'] == metrics['precision'] == 1.0


def test_several_cameras_are_one_run(tmp_path, tiny_model, textured_pictures):
    pictures = textured_pictures(20)
    with BagWriter(tmp_path / 'bag') as bag:
        for i in range(10):
            bag.add_image('/left', pictures[i], T0 + i * NS, 'left')
            bag.add_image('/right', pictures[10 + i], T0 + i * NS, 'right')
            bag.add_odometry('/odom', [2.0 * i, 0, 0], UPRIGHT, T0 + i * NS)
        bag.add_odometry('/odom', [20.0, 0, 0], UPRIGHT, T0 + 10 * NS)
    both = ['--topic', '/left', '--topic', '/right']
    assert main(['map', 'build', str(tmp_path / 'bag'), *both, '--out', str(tmp_path / 'map'),
                 '--model', str(tiny_model)]) == 0  # fmt: skip
    places = PlaceMap.load(tmp_path / 'map').places
    assert np.bincount(places['camera']).tolist() == [10, 10]  # neither shadows the other
    assert run('--bag', tmp_path / 'bag', '--map', tmp_path / 'map', *both, '--pose-topic',
               '/odom', '--out', tmp_path / 'out', '--model', tiny_model) == 0  # fmt: skip
    metrics = metrics_in(tmp_path / 'out')
    assert metrics['num_queries'] == 20 and metrics['recall@1'] == 1.0
    assert metrics['query']['topics'] == ['/left', '/right']
    with (tmp_path / 'out' / 'queries.csv').open(newline='') as file:
        rows = list(csv.DictReader(file))
    assert [row['camera'] for row in rows] == ['0', '1'] * 10
    assert [row['name'].split()[0] for row in rows] == ['/left', '/right'] * 10
    assert run('--bag', tmp_path / 'bag', '--map', tmp_path / 'map', '--topic', '/left',
               '--topic', '/left', '--no-truth', '--out', tmp_path / 'out') == 2  # fmt: skip


def test_a_video_is_a_query(folders, tiny_model, textured_pictures):
    path = folders / 'query.avi'
    video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), 10, (160, 120))
    for rgb in textured_pictures(12)[2:8]:
        video.write(np.ascontiguousarray(rgb[..., ::-1]))
    video.release()
    pairs = folders / 'pairs.csv'
    names = [f'query.avi {i / 10:.3f} s,{i + 2:03}.png' for i in range(6)]
    pairs.write_text('\n'.join(['query,reference', *names]))
    assert run('--query', path, '--reference', folders / 'reference', '--pairs', pairs, '--out',
               folders / 'out', '--model', tiny_model) == 0  # fmt: skip
    assert metrics_in(folders / 'out')['recall@1'] == 1.0


@pytest.mark.parametrize('kind', ['tum', 'kitti', 'csv'])
def test_every_kind_of_pose_file(folders, tiny_model, kind):
    """Numbered pictures, a place every two metres."""
    rows = {
        'tum': [f'{i} {2.0 * i} 0 0 0 0 0 1' for i in range(12)],
        'kitti': [f'1 0 0 {2.0 * i} 0 1 0 0 0 0 1 0' for i in range(12)],
        'csv': ['image,x,y,z', *(f'{i:03}.png,{2.0 * i},0,0' for i in range(12))],
    }[kind]
    poses = folders / f'poses.{"csv" if kind == "csv" else "txt"}'
    poses.write_text('\n'.join(rows) + '\n')
    assert run('--query', folders / 'query', '--reference', folders / 'reference', '--poses',
               poses, '--reference-poses', poses, '--within', 1, '--out', folders / 'out',
               '--model', tiny_model) == 0  # fmt: skip
    metrics = metrics_in(folders / 'out')
    assert metrics['recall@1'] == pytest.approx(11 / 12)
    assert metrics['position_error_m.max'] == pytest.approx(0)


def test_poses_of_another_clock_and_their_gaps(tmp_path, tiny_model, textured_pictures):
    bag = drive(tmp_path / 'bag', textured_pictures(10))
    built(bag, tiny_model, tmp_path / 'map')
    poses = tmp_path / 'poses.txt'
    stamps = [T0 // NS + 100 + i for i in range(10) if i not in (4, 5, 6)]
    poses.write_text('\n'.join(f'{s} {s - T0 // NS - 100} 0 0 0 0 0 1' for s in stamps))
    common = ['--bag', bag, '--map', tmp_path / 'map', '--poses', poses, '--time-offset', 100,
              '--within', 0.5, '--out', tmp_path / 'out', '--model', tiny_model]  # fmt: skip
    assert run(*common) == 0
    metrics = metrics_in(tmp_path / 'out')
    assert (metrics['num_judged'], metrics['recall@1']) == (7, 1.0)
    assert run(*common, '--max-pose-gap', 4) == 0
    metrics = metrics_in(tmp_path / 'out')
    assert (metrics['num_judged'], metrics['recall@1']) == (10, 1.0)


@pytest.fixture(params=['tum_fr1_desk', 'gardens_point'])
def real_run(request, vpr_data, tmp_path):
    """A folder of real pictures with times or numbers, and how it is judged."""
    folder = tmp_path / 'folder'
    folder.mkdir()
    if request.param == 'gardens_point':
        for path in sorted((vpr_data / 'gardens_point' / 'day_right').iterdir())[:30]:
            (folder / path.name).symlink_to(path)
        reference = tmp_path / 'reference'
        reference.mkdir()
        for path in sorted((vpr_data / 'gardens_point' / 'day_left').iterdir())[:40]:
            (reference / path.name).symlink_to(path)
        return folder, ['--reference', reference, '--tolerance', 2]
    for path in sorted((vpr_data / 'tum_fr1_desk' / 'rgb').iterdir())[::8]:
        (folder / path.name).symlink_to(path)
    poses = vpr_data / 'tum_fr1_desk' / 'groundtruth.txt'
    how = ['--own-past', '--apart-pictures', 12, '--poses', poses, '--within', 0.5]
    return folder, [*how, '--within-angle', 30, '--max-pose-gap', 0.1]


def write_jpegs(folder, path, storage, names):
    """Record JPEG files as they are, with the stamps in their names, or a second apart."""
    with BagWriter(path, storage) as bag:
        for name in names:
            number = name.removeprefix('Image').removesuffix('.jpg')
            stamp = round(float(number) * 1e6) * 1000 if '.' in number else (int(number) + 1) * NS
            bag.add_compressed('/camera', (folder / name).read_bytes(), stamp, 'camera')
    return path


def split(folder, path, storage, names):
    """Two files of one bag."""
    half = len(names) // 2
    write_jpegs(folder, path, storage, names[:half])
    other = write_jpegs(folder, path.with_name(f'{path.name}_rest'), storage, names[half:])
    (file,) = (p for p in other.iterdir() if p.suffix != '.yaml')
    shutil.move(file, path / f'second{file.suffix}')
    metadata = yaml.safe_load((path / 'metadata.yaml').read_text())
    information = metadata['rosbag2_bagfile_information']
    information['relative_file_paths'].append(f'second{file.suffix}')
    for topic in information['topics_with_message_count']:
        topic['message_count'] = len(names)
    (path / 'metadata.yaml').write_text(yaml.safe_dump(metadata))
    return path


def test_however_the_pictures_are_stored_the_numbers_are_the_same(
    real_run, tiny_model, tmp_path, monkeypatch
):
    folder, how = real_run
    names = [path.name for path in sorted(folder.iterdir())]
    bags = []
    for storage in ('mcap', 'sqlite3'):
        bags.append(write_jpegs(folder, tmp_path / storage, storage, names))
        bags.append(split(folder, tmp_path / f'{storage}_split', storage, names))
    modes = (CompressionMode.FILE, CompressionMode.MESSAGE)
    for storage, mode in itertools.product(('mcap', 'sqlite3'), modes):

        class CompressingWriter(Writer):
            def open(self, mode=mode):
                self.set_compression(mode, CompressionFormat.ZSTD)
                super().open()

        with monkeypatch.context() as patched:
            patched.setattr('vpr_ros.bag_writer.Writer', CompressingWriter)
            path = tmp_path / f'zstd_{storage}_{mode.name}'
            bags.append(write_jpegs(folder, path, storage, names))

    def result(source, out):
        assert run('--query', source, *how, '--out', out, '--model', tiny_model) == 0
        return comparable(out)

    if how[0] == '--own-past':  # three times as many pictures: one bag of each kind of storage
        bags = bags[1::3]
    expected = result(folder, tmp_path / 'out_folder')
    assert expected[0]['recall@1'] > 0.1 and len(expected[1]) == len(names)
    for bag in bags:
        found = result(bag, tmp_path / f'out_{bag.name}')
        if how[0] != '--own-past':  # numbered pictures have no times, those of a bag have
            for key in ('first_fix_s', 'longest_gap_s'):
                found[0][key] = expected[0][key]
        assert found == expected, bag.name


# What it refuses


def test_a_missing_folder_is_one_sentence(folders, tiny_model, capsys):
    assert evaluate(folders, tiny_model, '--query', folders / 'absent') == 2
    assert 'absent' in capsys.readouterr().err


def test_a_negative_tolerance_is_refused(folders, tiny_model, capsys):
    with pytest.raises(SystemExit):
        evaluate(folders, tiny_model, '--tolerance', '-1')
    assert '0 or more' in capsys.readouterr().err


@pytest.mark.parametrize('value', ['2', '-1', '-1.5', 'nan', 'x'])
def test_a_similarity_out_of_range_is_refused(folders, tiny_model, capsys, value):
    with pytest.raises(SystemExit) as stopped:
        evaluate(folders, tiny_model, '--min-similarity', value)
    assert stopped.value.code == 2
    assert f'must be a number above -1, to 1, not {value!r}' in capsys.readouterr().err


@pytest.fixture
def refused(tmp_path, tiny_model, textured_pictures, capsys):
    """Call with arguments against the map of a drive; returns the error text."""
    bag = drive(tmp_path / 'drive', textured_pictures(6))
    built(bag, tiny_model, tmp_path / 'map')
    before = sorted(path.name for path in tmp_path.iterdir())

    def call(*arguments, against=('--map', tmp_path / 'map')):
        present = sorted(path.name for path in tmp_path.iterdir())
        assert run(*arguments, *against, '--out', tmp_path / 'out', '--model', tiny_model) == 2
        assert sorted(path.name for path in tmp_path.iterdir()) == present
        said = capsys.readouterr().err
        return said[said.rindex('vpr evaluate: ') :]  # after what is not known

    assert 'out' not in before
    return call


def test_a_bag_that_is_cut_off(refused, tmp_path):
    shutil.copytree(tmp_path / 'drive', tmp_path / 'cut')
    (file,) = (tmp_path / 'cut').glob('*.mcap')
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    said = refused('--bag', tmp_path / 'cut', '--pose-topic', '/odom')
    assert str(tmp_path / 'cut') in said and 'cut off' in said


def test_a_missing_topic_and_a_wrong_type_list_what_there_is(refused, tmp_path):
    said = refused('--bag', tmp_path / 'drive', '--topic', '/front', '--no-truth')
    assert 'no topic /front' in said and '/camera  sensor_msgs/msg/CompressedImage' in said
    said = refused('--bag', tmp_path / 'drive', '--topic', '/odom', '--no-truth')
    assert '/odom is a nav_msgs/msg/Odometry' in said
    said = refused('--bag', tmp_path / 'drive', '--pose-topic', '/camera')
    assert '/camera is a sensor_msgs/msg/CompressedImage' in said
    said = refused('--bag', tmp_path / 'drive', '--pose-topic', '/absent')
    assert 'no topic /absent' in said


def test_no_overlap_in_time(refused, tmp_path):
    poses = tmp_path / 'poses.txt'
    poses.write_text('1.0 0 0 0 0 0 0 1\n2.0 1 0 0 0 0 0 1\n')
    said = refused('--bag', tmp_path / 'drive', '--poses', poses)
    assert 'from 1.000 s to 2.000 s' in said and 'from 1700000000.000 s' in said


def test_no_overlap_in_space(refused, tmp_path, textured_pictures):
    far = drive(tmp_path / 'far', textured_pictures(4), x0=1000.0)
    said = refused('--bag', far, '--pose-topic', '/odom')
    assert 'x 1000.0 to 1003.0 m' in said and 'x 0.0 to 5.0 m' in said and 'one frame' in said


def test_an_empty_map(refused, tmp_path, tiny_model):
    PlaceMap(DescriptorExtractor(tiny_model).info.ref).save(tmp_path / 'empty')
    said = refused('--bag', tmp_path / 'drive', '--pose-topic', '/odom',
                   against=('--map', tmp_path / 'empty'))  # fmt: skip
    assert 'holds no places' in said


def test_a_map_without_poses(refused, tmp_path, tiny_model, folders, capsys):
    build_map_of_folder = ['map', 'build', str(folders / 'reference'), '--out',
                           str(tmp_path / 'plain'), '--model', str(tiny_model)]  # fmt: skip
    assert main(build_map_of_folder) == 0
    capsys.readouterr()
    said = refused('--bag', tmp_path / 'drive', '--pose-topic', '/odom',
                   against=('--map', tmp_path / 'plain'))  # fmt: skip
    assert 'no positions' in said and '--tolerance' in said


def test_poses_of_nan_and_gnss_without_a_fix(refused, tmp_path, textured_pictures):
    with BagWriter(tmp_path / 'bad') as bag:
        for i, rgb in enumerate(textured_pictures(3)):
            bag.add_image('/camera', rgb, T0 + i * NS, 'camera')
            bag.add_odometry('/odom', [np.nan] * 3, UPRIGHT, T0 + i * NS)
            bag.add_navsatfix('/fix', GLOBAL_ZERO, T0 + i * NS, status=-1)
    said = refused('--bag', tmp_path / 'bad', '--pose-topic', '/odom')
    assert '/odom has no usable pose (3 not finite)' in said
    said = refused('--bag', tmp_path / 'bad', '--pose-topic', '/fix')
    assert '/fix has no usable pose (3 without a fix)' in said


def test_options_that_would_not_be_looked_at(refused, tmp_path):
    drive_bag = tmp_path / 'drive'
    assert '--reference-poses is for --reference' in refused(
        '--bag', drive_bag, '--reference-poses', 'x'
    )
    assert '--own-past' in refused('--bag', drive_bag, '--apart', 3, '--no-truth')
    said = refused('--bag', drive_bag, '--no-truth', '--pose-topic', '/odom')
    assert '--no-truth and --pose-topic' in said
    said = refused('--bag', drive_bag, '--tolerance', 2, against=('--own-past',))
    assert '--own-past needs poses' in said
    said = refused('--bag', drive_bag, '--apart', 90, against=('--own-past',))
    assert 'too short' in said and '90 s' in said


def test_a_damaged_picture_is_named_or_left_out(folders, tiny_model, capsys):
    (folders / 'query' / '003.png').write_bytes(b'no picture')
    assert evaluate(folders, tiny_model) == 2
    said = capsys.readouterr().err
    assert '003.png is not a whole picture' in said and '--skip-unreadable' in said
    assert not (folders / 'out').exists()
    assert evaluate(folders, tiny_model, '--skip-unreadable') == 0
    metrics = metrics_in(folders / 'out')
    assert metrics['num_queries'] == 11 and metrics['recall@1'] == pytest.approx(10 / 11)


def test_a_clock_that_jumps_back_is_refused(refused, tmp_path, textured_pictures, monkeypatch):
    def looping(recorded_ns, frame_id):
        return header(T0 + (recorded_ns - T0) % (3 * NS) * 2, frame_id)

    monkeypatch.setattr('vpr_ros.bag_writer.header', looping)
    with BagWriter(tmp_path / 'loop') as bag:
        for i, rgb in enumerate(textured_pictures(6)):
            bag.add_image('/camera', rgb, T0 + i * NS, 'camera')
    said = refused('--bag', tmp_path / 'loop', '--no-truth')
    assert 'jump back by 4.0 s' in said and '--stamps record' in said


def test_figures_of_an_earlier_run_do_not_stay(folders, tiny_model):
    assert evaluate(folders, tiny_model) == 0
    assert (folders / 'out' / 'precision_recall.png').exists()
    (folders / 'out' / 'mine.png').touch()
    assert run('--reference', folders / 'reference', '--query', folders / 'query', '--no-truth',
               '--out', folders / 'out', '--model', tiny_model) == 0  # fmt: skip
    assert not (folders / 'out' / 'precision_recall.png').exists()
    assert (folders / 'out' / 'mine.png').exists()


def test_the_keys_of_the_schema(folders, tiny_model):
    """A key that goes, or changes its meaning, is a new schema."""
    assert evaluate(folders, tiny_model) == 0
    assert set(metrics_in(folders / 'out')) >= {
        'schema_version', 'kind', 'title', 'created', 'command', 'model', 'provider',
        'configuration', 'query', 'reference', 'truth', 'versions', 'protocol', 'is_live',
        'asks_only_mapped', 'num_queries', 'num_answered', 'num_judged', 'num_mapped',
        'num_accepted', 'num_places', 'counts', 'threshold', 'intervals', 'latency_ms',
        'recall@1', 'recall@5', 'recall@10', 'recall@20', 'average_precision',
        'precision_at_threshold', 'recall_at_threshold', 'recall_at_100_precision',
        'threshold_at_100_precision', 'recall_at_99_precision', 'threshold_at_99_precision',
        'precision', 'recall', 'coverage', 'dropped', 'first_fix_pictures', 'first_fix_s',
        'longest_gap_pictures', 'longest_gap_s', 'longest_gap_m', 'position_error_m.rmse',
        'position_error_m.median', 'position_error_m.p95', 'position_error_m.max',
        'angle_error_deg.rmse', 'angle_error_deg.median', 'angle_error_deg.p95',
        'angle_error_deg.max',
    }  # fmt: skip
    assert metrics_in(folders / 'out')['command'].startswith('vpr evaluate --reference ')


def test_fixes_need_a_map_with_a_zero_on_earth(refused, tmp_path, textured_pictures):
    bag = drive(tmp_path / 'gnss', textured_pictures(4), gnss=True)
    said = refused('--bag', bag, '--pose-topic', '/fix')
    assert 'no zero on earth' in said and 'NavSatFix' in said


def test_model_info_shows_the_record(tiny_model, capsys):
    assert main(['model', 'info', str(tiny_model), '--device', 'cpu', '--runs', '2']) == 0
    printed = capsys.readouterr().out
    assert 'thumbnail-8x8' in printed and 'latency     p50' in printed
