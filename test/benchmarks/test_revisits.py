# SPDX-License-Identifier: Apache-2.0
import cv2
import pytest

from vpr_ros.benchmarks import open_benchmark
from vpr_ros.benchmarks.revisits import revisit_set
from vpr_ros.errors import SourceError

NO_TURN = (0.0, 0.0, 0.0, 1.0)
HALF_TURN = (0.0, 0.0, 1.0, 0.0)


def run(folder, poses, textured_pictures):
    """Write a run of numbered pictures and its poses; a pose is x and a quaternion."""
    (folder / 'rgb').mkdir()
    for i, rgb in enumerate(textured_pictures(len(poses))):
        cv2.imwrite(str(folder / 'rgb' / f'{i:03}.png'), rgb)
    rows = [f'{i} {x} 0 0 {" ".join(map(str, q))}' for i, (x, q) in enumerate(poses) if q]
    (folder / 'poses.txt').write_text('\n'.join(rows))
    return folder / 'rgb', folder / 'poses.txt'


def test_only_what_is_old_enough_and_near_enough_is_a_hit(tmp_path, textured_pictures):
    there = [(x, NO_TURN) for x in (0.0, 1.0, 2.0, 3.0)]
    minus = (0.0, 0.0, 0.0, -1.0)  # the same orientation as 1
    back = [(2.4, NO_TURN), (1.0, HALF_TURN), (0.0, minus)]
    pictures, poses = run(tmp_path, there + back, textured_pictures)
    asked = revisit_set(pictures, poses, apart=2)
    queries = [picture.args[0].name for picture in asked.queries]
    assert queries == ['006.png'], '004 saw 002 two pictures ago, 005 looks the other way'
    assert [rows.tolist() for rows in asked.truth] == [[0]]
    assert asked.searched.tolist() == [4], 'pictures 0 to 3, more than two before'
    assert len(asked.references) == 7
    assert 'more than 2 before it within 0.5 m and 30 degrees' in asked.protocol

    asked = revisit_set(pictures, poses, apart=1)
    assert [rows.tolist() for rows in asked.truth] == [[2], [0]]
    wider = revisit_set(pictures, poses, apart=1, radius_m=1.5, angle_deg=180.0)
    assert [rows.tolist() for rows in wider.truth] == [[1, 2], [0, 1, 2], [0, 1]]


def test_pictures_without_a_pose_are_left_out(tmp_path, textured_pictures):
    poses = [(0.0, NO_TURN), (1.0, None), (2.0, NO_TURN), (0.0, NO_TURN)]
    pictures, table = run(tmp_path, poses, textured_pictures)
    asked = revisit_set(pictures, table, apart=2)
    assert asked.protocol.endswith('; 1 pictures without a pose are left out')
    assert asked.searched.tolist() == [1], 'picture 1 counts, though it is not asked'
    assert [picture.args[0].name for picture in asked.references] == [
        '000.png', '002.png', '003.png',
    ]  # fmt: skip
    assert [rows.tolist() for rows in asked.truth] == [[0]]


def test_a_run_that_comes_back_nowhere(tmp_path, textured_pictures):
    pictures, poses = run(tmp_path, [(float(x), NO_TURN) for x in range(4)], textured_pictures)
    with pytest.raises(SourceError, match=r'no picture .* within 0\.5 m .* lower apart'):
        revisit_set(pictures, poses, apart=1)


def test_apart_is_no_negative_number(tmp_path):
    with pytest.raises(ValueError, match='must be 0 or more, not -1'):
        revisit_set(tmp_path, tmp_path / 'poses.txt', apart=-1)


@pytest.mark.parametrize(('name', 'queries'), [('red_kitchen', 445), ('tum_fr1_desk', 288)])
def test_the_runs_at_hand(vpr_data, name, queries):
    assert len(open_benchmark(name, vpr_data / name).queries) == queries


def test_a_run_without_pictures_or_poses(tmp_path):
    with pytest.raises(FileNotFoundError, match='has no rgb/; give the folder that holds it'):
        open_benchmark('red_kitchen', tmp_path)
    (tmp_path / 'rgb').mkdir()
    (tmp_path / 'rgb' / '0.png').touch()
    with pytest.raises(FileNotFoundError, match=r'no pose file at .*/poses_tum.txt'):
        open_benchmark('red_kitchen', tmp_path)
