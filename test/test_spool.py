# SPDX-License-Identifier: Apache-2.0
"""What an interrupted build leaves behind, and what may go on with it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from vpr_ros.errors import MapError
from vpr_ros.spool import Spool

BUILD = {'model': {'name': 'a', 'sha256': '1'}, 'options': {'every': 1}}


def spool(tmp_path: Path, build=BUILD, **options) -> Spool:
    return Spool(tmp_path / 'map', build, size=3, **options)


def test_rows_are_there_again(tmp_path) -> None:
    with spool(tmp_path) as first:
        first.append([0, 2], np.ones((2, 3)))
        first.append([5], np.full((1, 3), 2))
    with spool(tmp_path) as second:
        assert len(second) == 3
        assert second.indices.tolist() == [0, 2, 5]
        np.testing.assert_array_equal(second.descriptors, [[1, 1, 1], [1, 1, 1], [2, 2, 2]])
        second.discard()
    assert not (tmp_path / 'map.partial').exists()


def test_nothing_done_leaves_nothing(tmp_path) -> None:
    with pytest.raises(KeyboardInterrupt), spool(tmp_path):
        raise KeyboardInterrupt
    assert not (tmp_path / 'map.partial').exists()


def test_another_build_is_refused_with_the_difference(tmp_path) -> None:
    with spool(tmp_path) as first:
        first.append([0], np.ones((1, 3)))
    other = {'model': {'name': 'b', 'sha256': '1'}, 'options': {'every': 2}}
    with (
        pytest.raises(MapError, match=r'name was a, is b; every was 1, is 2; .*--no-resume'),
        spool(tmp_path, other),
    ):
        pass
    with spool(tmp_path, other, resume=False) as fresh:
        assert len(fresh) == 0
        fresh.append([1], np.ones((1, 3)))
    with spool(tmp_path, other) as again:
        assert again.indices.tolist() == [1]


def test_a_half_written_batch_is_as_good_as_none(tmp_path) -> None:
    with spool(tmp_path) as first:
        first.append([0], np.ones((1, 3)))
    (tmp_path / 'map.partial' / 'rows_000000001.npy.tmp').write_bytes(b'\x93NUMPY')
    with spool(tmp_path) as second:
        assert len(second) == 1


@pytest.mark.parametrize('damage', ['truncate', 'lose', 'record'])
def test_damage_is_named(tmp_path, damage) -> None:
    with spool(tmp_path) as first:
        first.append([0], np.ones((1, 3)))
        first.append([1], np.ones((1, 3)))
    folder = tmp_path / 'map.partial'
    if damage == 'truncate':
        file = folder / 'rows_000000001.npy'
        file.write_bytes(file.read_bytes()[:-4])
    elif damage == 'lose':
        (folder / 'rows_000000000.npy').unlink()
    else:
        (folder / 'build.json').write_text('{')
    with pytest.raises(MapError, match=r'(damaged|does not follow).*--no-resume'), spool(tmp_path):
        pass


@pytest.mark.parametrize('resume', [True, False])
@pytest.mark.parametrize('left', ['all', 'keyframes', 'build.json.tmp'])
def test_work_without_its_record_starts_over(tmp_path, left, resume) -> None:
    """A build killed while it removed its work, as it was done once, or before it began."""
    with spool(tmp_path) as first:
        first.append([0], np.ones((1, 3)))
        (first.keyframes / '000000.jpg').write_bytes(b'old')
    folder = tmp_path / 'map.partial'
    (folder / 'build.json').rename(folder / 'build.json.tmp')
    (folder / 'rows_000000001.npy.tmp').touch()
    for path in folder.iterdir():
        if left not in ('all', path.name) and path.is_file():
            path.unlink()
    with spool(tmp_path, resume=resume) as fresh:
        assert len(fresh) == 0 and not list(fresh.keyframes.iterdir())
        fresh.append([7], np.ones((1, 3)))
    with spool(tmp_path) as again:
        assert again.indices.tolist() == [7]


_DISCARD_AND_DIE = """
import os, pathlib, shutil, signal, sys
from vpr_ros.spool import Spool
folder, left = pathlib.Path(sys.argv[1]), int(sys.argv[2])
def dying(function):
    def call(*args, **options):
        global left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
        return function(*args, **options)
    return call
spool = Spool(folder / 'map', BUILD, size=3)
with spool:
    os.unlink, os.rmdir = dying(os.unlink), dying(os.rmdir)
    spool.discard()
"""


@pytest.mark.parametrize('removals', range(7))
def test_killed_while_removing_the_work_the_next_build_goes_on(tmp_path, removals) -> None:
    with spool(tmp_path) as first:
        for i in range(3):
            first.append([i], np.ones((1, 3)))
            (first.keyframes / f'{i:06d}.jpg').touch()
    script = _DISCARD_AND_DIE.replace('BUILD', repr(BUILD))
    command = [sys.executable, '-c', script, str(tmp_path), str(removals)]
    assert subprocess.run(command, check=False, timeout=60).returncode == -signal.SIGKILL
    assert (tmp_path / 'map.partial' / 'build.json').exists()
    with spool(tmp_path) as second:
        assert second.indices.tolist() == list(range(max(0, 3 - removals)))


def test_what_someone_put_beside_the_work_is_kept(tmp_path) -> None:
    with spool(tmp_path) as first:
        first.append([0], np.ones((1, 3)))
        (first.directory / 'rows_of_thesis.txt').write_text('important')
        first.discard()
    assert [path.name for path in (tmp_path / 'map.partial').iterdir()] == ['rows_of_thesis.txt']


def test_a_folder_of_someone_else_is_left_alone(tmp_path) -> None:
    folder = tmp_path / 'map.partial'
    folder.mkdir()
    (folder / 'thesis.tex').write_text('important')
    for resume in (True, False):
        with (
            pytest.raises(MapError, match=r'in the way.*thesis\.tex'),
            spool(tmp_path, resume=resume),
        ):
            pass
    assert (folder / 'thesis.tex').read_text() == 'important'


def test_two_processes_cannot_build_one_map(tmp_path) -> None:
    script = (
        'import sys\nfrom pathlib import Path\nfrom vpr_ros.spool import Spool\n'
        f'with Spool(Path({str(tmp_path / "map")!r}), {BUILD!r}, size=3): '
        "print('locked', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, '-c', script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == 'locked\n'
        with pytest.raises(MapError, match='another process is building'), spool(tmp_path):
            pass
        other.stdin.close()
    with spool(tmp_path) as free:
        assert len(free) == 0
