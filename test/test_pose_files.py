# SPDX-License-Identifier: Apache-2.0
"""Pose files in every format, and every mistake in them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vpr_ros.errors import SourceError
from vpr_ros.pose_files import parse_stamp_ns, read_poses
from vpr_ros.poses import rotation_angle


@pytest.fixture
def write(tmp_path: Path):
    def _write(text: str, name: str = 'poses.txt') -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return _write


def test_tum_keeps_stamps_to_the_nanosecond(write) -> None:
    table = read_poses(
        write(
            '# timestamp tx ty tz qx qy qz qw\n'
            '1305031449.123456789 1 2 3 0 0 0 1\n\n'
            '1305031449.223456789 4 5 6 0 0 0.70711 0.70711  # a comment\n'
        )
    )
    assert table.stamps_ns.tolist() == [1305031449123456789, 1305031449223456789]
    np.testing.assert_array_equal(table.positions, [[1, 2, 3], [4, 5, 6]])
    np.testing.assert_allclose(np.linalg.norm(table.orientations_xyzw, axis=1), 1, atol=1e-12)
    assert len(table.trajectory) == 2


def test_kitti_rows_are_matrices(write) -> None:
    table = read_poses(write('1 0 0 10 0 1 0 20 0 0 1 30\n0 -1 0 1 1 0 0 2 0 0 1 3\n'))
    np.testing.assert_array_equal(table.positions, [[10, 20, 30], [1, 2, 3]])
    quarter_about_z = np.array([0, 0, np.sqrt(0.5), np.sqrt(0.5)])
    assert rotation_angle(table.orientations_xyzw[1], quarter_about_z) < 1e-9
    assert table.stamps_ns is None and table.names is None
    with pytest.raises(SourceError, match='no time stamps'):
        _ = table.trajectory


def test_csv_by_image_name_without_orientations(write) -> None:
    table = read_poses(write('image, z, x, y\na.jpg, 3, 1, 2\nb.jpg, 6, 4, 5\n', 'p.csv'))
    assert table.names == ('a.jpg', 'b.jpg')
    np.testing.assert_array_equal(table.positions, [[1, 2, 3], [4, 5, 6]])
    assert np.isnan(table.orientations_xyzw).all()


def test_csv_in_the_layout_of_euroc(write) -> None:
    head = (
        '#timestamp, p_RS_R_x [m], p_RS_R_y [m], p_RS_R_z [m], q_RS_w [], q_RS_x [], q_RS_y [], '
        'q_RS_z []'
    )
    table = read_poses(write(f'{head}\n1403636579763555584,1,2,3,1,0,0,0\n', 'data.csv'))
    assert table.stamps_ns.tolist() == [1403636579763555584]
    np.testing.assert_array_equal(table.orientations_xyzw, [[0, 0, 0, 1]])


@pytest.mark.parametrize(
    ('text', 'stamp_ns'),
    [
        ('0', 0),
        ('000012', 12 * 10**9),
        ('1305031449.7996', 1305031449799600000),
        ('1305031449', 1305031449 * 10**9),
        ('1403636579763', 1403636579763 * 10**6),
        ('1403636579763555', 1403636579763555 * 10**3),
        ('1403636579763555584', 1403636579763555584),
        ('1.5e3', 1500 * 10**9),
        ('nan', None),
        ('left', None),
        ('99999999999', None),
        ('2147483647', 2147483647 * 10**9),
        ('2147483648', None),
        ('2147483647.999999999', 2147483647999999999),
        ('2147483648000000000', None),
        ('-2147483648', -2147483648 * 10**9),
        ('-2147483649', None),
    ],
)
def test_stamps_are_read_by_their_digits(text: str, stamp_ns: int | None) -> None:
    assert parse_stamp_ns(text) == stamp_ns


TUM = '1 0 0 0 0 0 0 1\n'


@pytest.mark.parametrize(
    ('text', 'name', 'complaint'),
    [
        (TUM + '2 nan 0 0 0 0 0 1\n', 'p.txt', r'line 2: .*not finite'),
        (TUM + '2 0 0 0 0 0 1\n', 'p.txt', r'line 2: 7 columns, 8'),
        (TUM + '0.5 0 0 0 0 0 0 1\n', 'p.txt', r'line 2: stamp 0\.5.*does not follow 1\.0.*sort'),
        (TUM + TUM, 'p.txt', r'line 2: stamp'),
        (TUM + '2 0 0 0 0 0 0 0\n', 'p.txt', r'line 2: .*no unit quaternion \(norm 0\.000'),
        (TUM + 'x 0 0 0 0 0 0 1\n', 'p.txt', r"line 2: 'x' is no time stamp"),
        ('2412311530 0 0 0 0 0 0 1\n', 'p.txt', r"line 1: '2412311530' is no .*2038"),
        (TUM + '2 0 O 0 0 0 0 1\n', 'p.txt', r"line 2: .*'O'"),
        ('1 2 3\n', 'p.txt', r'line 1: 3 columns; a TUM row'),
        ('# nothing\n', 'p.txt', r'columns; a TUM row'),
        ('2 0 0 1 0 1 0 1 0 0 1 1\n', 'p.txt', r'line 1: .*no rotation'),
        ('1 0 0 1 0 1 0 1 0 0 -1 1\n', 'p.txt', r'line 1: .*no rotation'),
        ('image,x,y\na,1,2\n', 'p.csv', r'no column for z in image, x, y'),
        ('x,y,z\n1,2,3\n', 'p.csv', r'no column for stamp or image'),
        ('t,x,y,z,qx,qy,qz\n', 'p.csv', r'no column for qw'),
        ('t,x,y,z\n1,2,3\n', 'p.csv', r'line 2: 3 columns where'),
        ('t,x,y,z\n1,2,,3\n', 'p.csv', r'line 2: could not convert'),
        ('t,x,y,z\n', 'p.csv', r'holds no pose'),
        ('', 'p.csv', r'no column for'),
    ],
)
def test_a_mistake_names_its_line(write, text: str, name: str, complaint: str) -> None:
    with pytest.raises(SourceError, match=complaint):
        read_poses(write(text, name))


@pytest.mark.parametrize('encoding', ['latin-1', 'utf-16'])
def test_a_csv_that_is_not_utf8_names_file_and_remedy(tmp_path, encoding) -> None:
    path = tmp_path / 'poses.csv'
    path.write_bytes('image,x,y,z\na.png,1,2,3\nStraße.png,1,2,3\n'.encode(encoding))
    line = {'latin-1': 3, 'utf-16': 1}[encoding]
    with pytest.raises(SourceError, match=rf'poses\.csv, line {line}: .*save the file as UTF-8'):
        read_poses(path)


def test_a_csv_field_without_end_names_file_and_line(tmp_path) -> None:
    path = tmp_path / 'poses.csv'
    path.write_text('image,x,y,z\n"a.png,1,2,3\n' + 'b.png,1,2,3\n' * 20_000)
    with pytest.raises(SourceError, match=r'poses\.csv, line \d+: .*field'):
        read_poses(path)


def test_missing_file_and_unknown_format(write) -> None:
    with pytest.raises(FileNotFoundError, match='no pose file at /no/such'):
        read_poses('/no/such')
    with pytest.raises(ValueError, match='bvh'):
        read_poses(write(TUM), 'bvh')


def test_real_files(vpr_data: Path) -> None:
    assert len(read_poses(vpr_data / 'tum_fr1_desk' / 'groundtruth.txt').trajectory) > 2000
    kitti = read_poses(vpr_data / 'kitti_03' / 'poses_kitti.txt')
    length = np.linalg.norm(np.diff(kitti.positions, axis=0), axis=1).sum()
    assert length == pytest.approx(559, abs=3)
    assert len(read_poses(vpr_data / 'red_kitchen' / 'poses_tum.txt')) == 1000
