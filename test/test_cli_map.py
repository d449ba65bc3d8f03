# SPDX-License-Identifier: Apache-2.0
"""`vpr map …` as it is typed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from vpr_ros.bag_writer import BagWriter
from vpr_ros.cli import main
from vpr_ros.keyframe_store import store_of_map
from vpr_ros.place_map import PlaceMap
from vpr_ros.verification.verifier import GeometricVerifier

S = 1_000_000_000
T0 = 1_700_000_000 * S


@pytest.fixture
def pictures(tmp_path: Path, textured_pictures) -> Path:
    folder = tmp_path / 'pictures'
    folder.mkdir()
    for i, rgb in enumerate(textured_pictures(6)):
        cv2.imwrite(str(folder / f'{i}.5.png'), rgb[..., ::-1])
    rows = ''.join(f'{i} {i - 0.5} 0 0 0 0 0 1\n' for i in range(8))
    (tmp_path / 'poses.txt').write_text(rows)
    return folder


@pytest.fixture
def build(tmp_path: Path, tiny_model: Path):
    """`vpr map build SOURCE --out map --model tiny …`, returning the exit code."""

    def _build(source: Path, *options: object) -> int:
        fixed = ['--out', tmp_path / 'map', '--model', tiny_model, '--device', 'cpu']
        return main([str(word) for word in ['map', 'build', source, *fixed, *options]])

    return _build


def test_build_info_and_verify(tmp_path, pictures, build, tiny_model, capsys) -> None:
    out = tmp_path / 'map'
    assert build(pictures, '--poses', tmp_path / 'poses.txt') == 0
    printed = capsys.readouterr()
    assert '6 places over 5.0 m, 1.00 m apart, from 6 pictures' in printed.out
    assert f'written to {out}' in printed.out
    assert f'map:={out}' in printed.out and f'model:={tiny_model}' in printed.out
    assert 'CPU' in printed.err or 'cpu' in printed.err

    assert main(['map', 'info', str(out)]) == 0
    printed = capsys.readouterr().out
    assert 'places      6' in printed and 'thumbnail-8x8' in printed and 'frame map' in printed
    assert main(['map', 'info', str(out), '--json']) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts['places'] == 6 and facts['spacing_m'] == 1.0 and facts['extent_m'] == [5, 0, 0]
    assert facts['first_stamp_s'] == 0.5 and facts['bytes']['keyframes'] > 0

    assert main(['map', 'verify', str(out), '--model', str(tiny_model)]) == 0
    assert 'holds: 6 places' in capsys.readouterr().out


@pytest.mark.parametrize('name', ['descriptors.npy', 'places.npy', 'keyframes/000002.jpg'])
def test_verify_finds_damage(tmp_path, pictures, build, capsys, name) -> None:
    assert build(pictures) == 0
    path = tmp_path / 'map' / name
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert main(['map', 'verify', str(tmp_path / 'map')]) == 1
    assert name in capsys.readouterr().out


def test_info_of_a_map_without_poses(tmp_path, pictures, build, capsys) -> None:
    assert build(pictures, '--no-keep-pictures', '--frame-id', 'hall') == 0
    assert '6 places in order, without poses' in capsys.readouterr().out
    assert main(['map', 'info', str(tmp_path / 'map')]) == 0
    assert 'their order is the truth' in capsys.readouterr().out
    assert PlaceMap.load(tmp_path / 'map').frame_id == 'hall'


def test_from_a_bag(tmp_path, build, capsys, textured_pictures) -> None:
    with BagWriter(tmp_path / 'bag') as bag:
        for i, rgb in enumerate(textured_pictures(5)):
            bag.add_image('/image', rgb, T0 + i * S, 'camera')
            bag.add_odometry('/odom', [i, 0, 0], [0, 0, 0, 1], T0 + i * S)
            bag.add_navsatfix('/fix', (48 + i / 1e5, 11.0, 500.0), T0 + i * S)
        bag.add_navsatfix('/fix', (48.0, 11.0, 500.0), T0 + 9 * S, status=-1)
    assert build(tmp_path / 'bag') == 2
    assert 'several pose topics; choose one with --pose-topic: /fix, /odom' in (
        capsys.readouterr().err
    )
    assert build(tmp_path / 'bag', '--pose-topic', '/odom', '--min-distance', 2) == 0
    assert '3 places over 4.0 m' in capsys.readouterr().out
    assert build(tmp_path / 'bag', '--pose-topic', '/fix', '--overwrite') == 0
    printed = capsys.readouterr()
    assert '5 places over 4.4 m' in printed.out
    assert 'poses left out: 1 without a fix' in printed.err
    assert 'zero of the map: 48.00000000 11.00000000 500.000' in printed.err
    assert main(['map', 'info', str(tmp_path / 'map')]) == 0
    assert 'zero        48.00000000 11.00000000 500.000 (latitude' in capsys.readouterr().out
    assert build(tmp_path / 'bag', '--no-poses', '--every', 2, '--overwrite') == 0
    assert '3 places in order' in capsys.readouterr().out


CALIBRATION = """\
image_width: 640
image_height: 480
camera_name: kitchen
camera_matrix:
  rows: 3
  cols: 3
  data: [525.0, 0.0, 319.5, 0.0, 525.0, 239.5, 0.0, 0.0, 1.0]
distortion_model: plumb_bob
distortion_coefficients:
  rows: 1
  cols: 5
  data: [0.0, 0.0, 0.0, 0.0, 0.0]
"""


@pytest.fixture
def calibration(tmp_path: Path) -> Path:
    path = tmp_path / 'ost.yaml'
    path.write_text(CALIBRATION)
    return path


def test_a_kitchen_is_verified_in_metres(tmp_path, vpr_data, build, calibration, capsys) -> None:
    kitchen, out = vpr_data / 'red_kitchen', tmp_path / 'map'
    choice = ['--poses', kitchen / 'poses_tum.txt', '--min-distance', 0.15, '--min-angle', 15]
    options = [*choice, '--camera-info', calibration, '--camera-pose', 'optical']
    assert build(kitchen / 'rgb', *options) == 0
    printed = capsys.readouterr()
    assert 'not known' not in printed.err
    assert 'can be verified in metres' in printed.out
    assert main(['map', 'info', str(out)]) == 0
    text = capsys.readouterr().out
    assert 'intrinsics of 640x480 pictures; mounting 0 0 0 0 0 0 1' in text
    assert main(['map', 'info', str(out), '--json']) == 0
    facts = json.loads(capsys.readouterr().out)
    features, n = facts['features'], facts['places']
    assert n > 20 and (features['kind'], features['places']) == ('sift', n)
    assert features['places_with_landmarks'] > 0.9 * n and features['mean_landmarks'] > 50
    assert 30_000 < features['bytes_per_place'] < 200_000
    assert facts['calibrations'][0]['intrinsics']['matrix'][0] == [525.0, 0.0, 319.5]
    assert main(['map', 'verify', str(out)]) == 0

    place_map = PlaceMap.load(out)
    store = store_of_map(place_map)
    keyframe = store.keyframe(7)
    assert (keyframe.features.width, keyframe.features.height) == (480, 360)
    focal, centre = keyframe.camera.matrix[0, [0, 2]]
    assert focal == pytest.approx(525 * 0.75) and centre == pytest.approx(239.5)
    np.testing.assert_allclose(keyframe.pose[:3, 3], place_map.places['position'][7])
    errors_m = []
    verifier = GeometricVerifier(store)
    for row in range(1, n, 5):  # each place's features, held against the place before
        features = store.keyframe(row).features
        (result,) = verifier.verify(features, [row - 1], camera=keyframe.camera)
        if result.metric and result.num_inliers >= 30:
            truth = np.linalg.inv(store.keyframe(row - 1).pose) @ store.keyframe(row).pose
            errors_m.append(np.linalg.norm(result.translation - truth[:3, 3]))
    assert len(errors_m) >= 3
    assert np.median(errors_m) < 0.05 and max(errors_m) < 0.15


def test_a_build_without_mounting_or_intrinsics_says_what_is_missing(
    tmp_path, pictures, build, calibration, capsys
) -> None:
    calibration.write_text(CALIBRATION.replace('640', '320').replace('480', '240'))
    assert build(pictures, '--poses', tmp_path / 'poses.txt') == 0
    error = capsys.readouterr().err
    assert error.count('intrinsics of') == 1 and error.count('mounting of') == 1
    more = ['--camera-info', calibration, '--overwrite']
    assert build(pictures, '--poses', tmp_path / 'poses.txt', *more) == 0
    error = capsys.readouterr().err
    assert 'intrinsics of' not in error and 'no verification in metres' in error
    store = store_of_map(PlaceMap.load(tmp_path / 'map'))
    assert store.keyframe(0).pose is None and store.keyframe(0).camera is not None
    assert build(pictures, *more) == 0
    assert 'mounting' not in capsys.readouterr().err, 'without poses nobody asks for it'
    assert build(pictures, '--features', 'none', '--overwrite') == 0
    assert 'not known' not in capsys.readouterr().err
    assert len(store_of_map(PlaceMap.load(tmp_path / 'map'))) == 0
    assert main(['map', 'info', str(tmp_path / 'map')]) == 0
    assert 'features    none' in capsys.readouterr().out


def test_cameras_of_a_bag(tmp_path, build, capsys, textured_pictures) -> None:
    lenses = {'/front/image_raw': 100.0, '/left/image_rect': 200.0}
    with BagWriter(tmp_path / 'bag') as bag:
        for i, rgb in enumerate(textured_pictures(4)):
            bag.add_odometry('/odom', [i, 0, 0], [0, 0, 0, 1], T0 + i * S)
            for topic, focal in lenses.items():
                bag.add_image(topic, rgb, T0 + i * S, 'camera')
                matrix = np.array([[focal, 0, 79.5], [0, focal, 59.5], [0, 0, 1]])
                info = f'{topic.rpartition("/")[0]}/camera_info'
                bag.add_camera_info(info, matrix, (120, 160), T0 + i * S, 'camera')
    topics = ['--topic', '/front/image_raw', '--topic', '/left/image_rect']
    ahead = '--camera-pose=front=0.5 0 1 -0.5 0.5 -0.5 0.5'
    assert build(tmp_path / 'bag', *topics, ahead) == 0
    error = capsys.readouterr().err
    assert 'intrinsics of' not in error and 'mounting of /left/image_rect not known' in error
    place_map = PlaceMap.load(tmp_path / 'map')
    front, left = place_map.cameras
    assert (front.number, left.number, left.body_from_camera) == (0, 1, None)
    assert front.body_from_camera == (0.5, 0, 1, -0.5, 0.5, -0.5, 0.5)
    assert front.calibration.intrinsics.matrix[0, 0] == 100
    assert left.calibration.intrinsics.matrix[0, 0] == 200
    store = store_of_map(place_map)
    first, second = (int(np.flatnonzero(place_map.places['camera'] == c)[1]) for c in (0, 1))
    np.testing.assert_allclose(  # z, ahead of the camera, is x of the body
        store.keyframe(first).pose, [[0, 0, 1, 1.5], [-1, 0, 0, 0], [0, -1, 0, 1], [0, 0, 0, 1]]
    )
    assert store.keyframe(second).pose is None
    assert store.keyframe(second).camera.matrix[0, 0] == 200


@pytest.mark.parametrize(
    ('options', 'complaint'),
    [
        (['--camera-pose', '0 0 0 0 0 0'], 'a pose is 7 finite numbers'),
        (['--camera-pose', '0 0 0 0 0 0 2'], 'unit quaternion'),
        (['--camera-pose', 'ahead'], '--camera-pose'),
        (['--camera-pose', 'optical', '--camera-pose', 'optical'], '2 times for one camera'),
        (['--camera-info', 'none.yaml'], 'none.yaml'),
        (['--camera-info-topic', '/info'], 'is no rosbag2'),
    ],
)
def test_mistakes_about_cameras_are_one_line(build, pictures, capsys, options, complaint) -> None:
    assert build(pictures, *options) == 2
    error = capsys.readouterr().err.strip()
    assert complaint in error and 'Traceback' not in error and '\n' not in error


def test_cameras_of_several_topics_are_named(tmp_path, build, capsys, textured_pictures) -> None:
    with BagWriter(tmp_path / 'bag') as bag:
        for topic in ('/front/image', '/left/image'):
            bag.add_image(topic, textured_pictures(1)[0], T0, 'camera')
    topics = ['--topic', '/front/image', '--topic', '/left/image', '--camera-pose']
    for pose in ('optical', 'image=optical', 'rear=optical'):
        assert build(tmp_path / 'bag', *topics, pose) == 2
        assert 'must begin with NAME= and NAME be a part of one topic' in capsys.readouterr().err
    assert build(tmp_path / 'bag', *topics, 'left=optical', '--camera-pose', 'left=optical') == 2
    assert 'is given twice for /left/image' in capsys.readouterr().err
    assert build(tmp_path / 'bag', *topics[:-1], '--camera-info-topic', 'left=/nothing') == 2
    assert 'has no topic /nothing' in capsys.readouterr().err


def test_a_calibration_of_other_pictures_is_refused(pictures, build, calibration, capsys) -> None:
    calibration.write_text(CALIBRATION.replace('640', '600'))
    assert build(pictures, '--camera-info', calibration) == 2
    error = capsys.readouterr().err
    assert (
        'picture 0: the calibration is of pictures of 600x480 pixels, these have 160x120' in error
    )


def test_a_gnss_map_keeps_its_zero(tmp_path, build, capsys, textured_pictures) -> None:
    with BagWriter(tmp_path / 'bag') as bag:
        for i, rgb in enumerate(textured_pictures(6)):
            bag.add_navsatfix('/fix', (48 + i / 1e5, 11.0, 500.0), T0 + i * S)
            png = cv2.imencode('.png', rgb)[1].tobytes() if i < 5 else b'junk'
            bag.add_compressed('/image/compressed', png, T0 + i * S, 'camera')

    def info() -> dict:
        assert main(['map', 'info', str(tmp_path / 'map'), '--json']) == 0
        return json.loads(capsys.readouterr().out)

    command = (tmp_path / 'bag', '--batch', 2, '--origin', '47.9', '-11.5', '410')
    assert build(*command) == 2, 'the last picture is junk'
    png = cv2.imencode('.png', textured_pictures(6)[5])[1].tobytes()
    assert build(*command, '--skip-unreadable', '--no-resume') == 0
    capsys.readouterr()
    zero = {'latitude_deg': 47.9, 'longitude_deg': -11.5, 'altitude_m': 410.0}
    assert info()['origin'] == zero
    assert json.loads((tmp_path / 'map' / 'map.json').read_text())['origin'] == zero
    assert build(tmp_path / 'bag', '--no-poses', '--skip-unreadable', '--overwrite') == 0
    capsys.readouterr()
    assert info()['origin'] is None
    assert 'origin' not in json.loads((tmp_path / 'map' / 'map.json').read_text())


def test_a_map_keeps_the_frame_of_its_poses(tmp_path, build, capsys, textured_pictures) -> None:
    with BagWriter(tmp_path / 'bag') as bag:
        for i, rgb in enumerate(textured_pictures(3)):
            bag.add_image('/image', rgb, T0 + i * S, 'camera')
            bag.add_odometry('/odom', [i, 0, 0], [0, 0, 0, 1], T0 + i * S)
            bag.add_pose_stamped('/pose', [i, 0, 0], [0, 0, 0, 1], T0 + i * S, frame_id='')
            bag.add_navsatfix('/fix', (48 + i / 1e5, 11.0, 500.0), T0 + i * S)
    for options, frame_id, said in (
        (['--pose-topic', '/odom'], 'odom', '/odom has the poses of base_link in odom'),
        (['--pose-topic', '/odom', '--frame-id', 'hall'], 'hall', 'frame of the map: hall'),
        (['--pose-topic', '/pose'], 'map', 'frame of the map: map'),
        (['--pose-topic', '/fix'], 'map', '/fix has the poses of gps in east, north, up'),
    ):
        assert build(tmp_path / 'bag', *options, '--overwrite') == 0
        assert PlaceMap.load(tmp_path / 'map').frame_id == frame_id
        printed = capsys.readouterr().err
        assert said in printed and 'no camera extrinsic is applied' in printed
    assert build(tmp_path / 'bag', '--no-poses', '--overwrite') == 0
    assert PlaceMap.load(tmp_path / 'map').frame_id == 'map'
    assert 'extrinsic' not in capsys.readouterr().err


def test_a_build_that_was_interrupted_in_another_frame_is_not_gone_on_with(
    tmp_path, build, capsys, textured_pictures
) -> None:
    with BagWriter(tmp_path / 'bag') as bag:
        for i, rgb in enumerate(textured_pictures(6)):
            bag.add_odometry('/odom', [i, 0, 0], [0, 0, 0, 1], T0 + i * S)
            png = cv2.imencode('.png', rgb)[1].tobytes() if i < 5 else b'junk'
            bag.add_compressed('/image/compressed', png, T0 + i * S, 'camera')
    command = (tmp_path / 'bag', '--batch', 2)
    assert build(*command) == 2
    assert '--skip-unreadable' in capsys.readouterr().err
    assert len(list((tmp_path / 'map.partial').glob('rows_*'))) == 2
    assert build(*command, '--frame-id', 'odom') == 2, 'the same frame by name'
    assert 'another build' not in capsys.readouterr().err
    assert build(*command, '--frame-id', 'map') == 2
    assert 'frame_id was odom, is map' in capsys.readouterr().err


def test_a_damaged_picture_says_how_to_leave_it_out(tmp_path, pictures, build, capsys) -> None:
    (pictures / '3.5.png').write_bytes(b'junk')
    assert build(pictures) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert '3.5.png is not a whole picture' in error and '--skip-unreadable leaves' in error
    assert build(pictures, '--skip-unreadable', '--no-resume') == 0
    assert 'left out: 1 pictures unreadable' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('options', 'complaint'),
    [
        (['--min-distance', '1'], '--min-distance and --min-angle need poses'),
        (['--topic', '/image'], 'is no rosbag2, so it has no topic /image'),
        (['--pose-topic', '/odom'], 'is no rosbag2, so it has no topic /odom'),
        (['--poses', '/no/such/file'], 'no pose file at /no/such/file'),
        (['--origin', '48', '11', '500'], '--origin is for poses from a NavSatFix topic'),
        (['--origin', '248', '11', '500'], '--origin: latitude_deg must lie between -90 and 90, '),
        (['--origin', '48', '11', 'nan'], '--origin: altitude_m must be finite, not nan'),
    ],
)
def test_mistakes_are_one_line(build, pictures, capsys, options, complaint, tmp_path) -> None:
    assert build(pictures, *options) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith('vpr map: ') and complaint in error
    assert sorted(path.name for path in tmp_path.iterdir()) == ['pictures', 'poses.txt']


@pytest.mark.parametrize(
    'options',
    [
        ['--every', '0'],
        ['--batch', 'x'],
        ['--max-pose-gap', '-1'],
        ['--min-distance', 'nan'],
        ['--frame-id', ''],
        ['--no-poses', '--pose-topic', '/odom'],
    ],
)
def test_values_out_of_range_are_refused_by_the_parser(build, pictures, options) -> None:
    with pytest.raises(SystemExit) as stopped:
        build(pictures, *options)
    assert stopped.value.code == 2


@pytest.mark.parametrize('out', ['.', '', '..', 'below/..', '/'])
def test_the_current_folder_becomes_no_map(
    pictures, tiny_model, tmp_path, monkeypatch, capsys, out
) -> None:
    (tmp_path / 'empty' / 'below').mkdir(parents=True)
    monkeypatch.chdir(tmp_path / 'empty')
    command = ['map', 'build', str(pictures), '--out', out, '--model', str(tiny_model)]
    assert main([*command, '--device', 'cpu', '--overwrite']) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith('vpr map: ')
    assert 'current folder' in error and 'name a folder of its own' in error
    assert sorted(path.name for path in tmp_path.iterdir()) == ['empty', 'pictures', 'poses.txt']


@pytest.mark.parametrize(
    ('options', 'advice'),
    [
        ([], '; the same command goes on there'),
        (['--no-resume'], '; the same command without --no-resume goes on there'),
    ],
)
def test_the_advice_after_ctrl_c_keeps_the_work(
    pictures, build, tmp_path, monkeypatch, capsys, options, advice
) -> None:
    _interrupt_at(monkeypatch, num_places=5)
    assert build(pictures, '--batch', 2, *options) == 130
    assert f'the work so far is kept in {tmp_path / "map.partial"}{advice}\n' in (
        capsys.readouterr().err
    )
    monkeypatch.undo()
    assert build(pictures, '--batch', 2) == 0
    assert '(4 from the interrupted build)' in capsys.readouterr().out


def test_ctrl_c_before_any_work_promises_nothing(
    pictures, build, tmp_path, monkeypatch, capsys
) -> None:
    _interrupt_at(monkeypatch, num_places=1)
    assert build(pictures) == 130
    error = capsys.readouterr().err
    assert 'interrupted' in error and 'goes on' not in error and 'kept' not in error
    assert not (tmp_path / 'map.partial').exists()


def _interrupt_at(monkeypatch: pytest.MonkeyPatch, *, num_places: int) -> None:
    def update(self, num_frames: int, places: int, num_done: int) -> None:
        if places == num_places:
            raise KeyboardInterrupt

    monkeypatch.setattr('vpr_ros.cli.map._Bar.update', update)


def test_missing_source_and_map(tmp_path, build, capsys) -> None:
    assert build(tmp_path / 'none') == 2
    assert 'no folder, video or bag at' in capsys.readouterr().err
    for action in ('info', 'verify'):
        assert main(['map', action, str(tmp_path / 'none')]) == 2
        assert 'none' in capsys.readouterr().err


def test_ctrl_c_keeps_the_work(tmp_path, tiny_model, textured_pictures) -> None:
    folder = tmp_path / 'many'
    folder.mkdir()
    rgb = textured_pictures(1, height=480, width=640)[0]
    for i in range(400):
        cv2.imwrite(str(folder / f'{i:04d}.jpg'), rgb[..., ::-1])
    command = [sys.executable, '-m', 'vpr_ros.cli', 'map', 'build', folder]
    command += [
        '--out',
        tmp_path / 'map',
        '--model',
        tiny_model,
        '--batch',
        4,
        '--features',
        'none',
    ]
    command = [str(word) for word in command]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        partial = tmp_path / 'map.partial'
        deadline = time.monotonic() + 30
        while len(list(partial.glob('rows_*'))) < 3 and time.monotonic() < deadline:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.001)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=20)
    assert process.returncode == 130
    assert f'the work so far is kept in {partial}' in error and 'Traceback' not in error
    finished = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert 'from the interrupted build)' in finished.stdout
    assert len(PlaceMap.load(tmp_path / 'map')) == 400
    assert np.isnan(PlaceMap.load(tmp_path / 'map').spacing_m)
