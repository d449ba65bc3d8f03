# SPDX-License-Identifier: Apache-2.0
import dataclasses
import io
import os
import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from made_sets import QUERIES, QUERIES_M, REFERENCES, REFERENCES_M, column, db_struct, objects
from scipy.io import savemat

from vpr_ros.benchmarks import BENCHMARKS, open_benchmark, registry
from vpr_ros.benchmarks.assembly import rows_within
from vpr_ros.benchmarks.name_lists import read_names, read_rows
from vpr_ros.benchmarks.object_arrays import read_array
from vpr_ros.errors import SourceError


def rows_of(asked):
    return [rows.tolist() for rows in asked.truth]


# --- Pittsburgh


def test_pittsburgh_struct(pittsburgh, recall):
    (pittsburgh / 'datasets').mkdir()
    savemat(pittsburgh / 'datasets' / 'pitts30k_test.mat', {'dbStruct': db_struct()})
    asked = open_benchmark('pitts30k_test', pittsburgh)
    assert asked.name == 'pitts30k_test'
    assert rows_of(asked) == [[0, 1], [2], []]
    assert asked.vicinity is asked.truth
    assert asked.protocol == (
        'a hit is a reference within 25 m of the query by the UTM positions in pitts30k_test.mat; '
        'all 3 queries among 4 references count, 1 of them, which have no such reference, as '
        'misses, unlike the published set of 6816 queries among 10000 references'
    )
    assert recall(asked) == pytest.approx(2 / 3)


def test_pittsburgh_lists_stand_in_for_the_struct(pittsburgh, recall):
    lists = pittsburgh / 'lists'
    lists.mkdir()
    with pytest.raises(
        FileNotFoundError, match=r'no pitts250k_val.mat, and pitts250k_val_dbImages'
    ):
        open_benchmark('pitts250k_val', pittsburgh, lists=lists)
    np.save(lists / 'pitts250k_val_dbImages.npy', np.array(REFERENCES))
    queries = np.array([f'queries_real/{name}' for name in QUERIES])
    np.save(lists / 'pitts250k_val_qImages.npy', queries)
    np.save(
        lists / 'pitts250k_val_gt.npy', objects([np.array([1]), np.array([0, 2]), np.array([])])
    )
    asked = open_benchmark('pitts250k_val', pittsburgh, lists=lists)
    assert rows_of(asked) == [[1], [0, 2], []]
    assert asked.truth[2].dtype == np.int64
    assert 'pitts250k_val_gt.npy' in asked.protocol
    assert recall(asked) == pytest.approx(2 / 3)
    savemat(lists / 'pitts250k_val.mat', {'dbStruct': db_struct()})
    assert rows_of(open_benchmark('pitts250k_val', pittsburgh, lists=lists))[0] == [0, 1]


@pytest.mark.parametrize(
    ('content', 'reason'),
    [
        ({'other': 1}, 'it holds no dbStruct'),
        ({'dbStruct': 7}, 'no struct with names and positions'),
        ({'dbStruct': {'whichSet': 'test', 'dbImageFns': column(['a.jpg'])}}, 'no struct with'),
        ({'dbStruct': db_struct(utmDb=REFERENCES_M.T)}, r'positions of 4 .* are float64 \(4, 2\)'),
        (
            {'dbStruct': db_struct(utmQ=QUERIES_M[:, :2])},
            r'positions of 3 .* are float64 \(2, 2\)',
        ),
        ({'dbStruct': db_struct(qImageFns=np.arange(3.0))}, 'no file names where they should be'),
        (b'MATLAB 7.3 MAT-file'.ljust(124) + b'\x00\x02IM', 'matlab v7.3'),
        (b'<html>not found</html>', 'save it so with -v7'),
    ],
)
def test_mat_file_of_another_layout(pittsburgh, content, reason):
    path = pittsburgh / 'pitts30k_val.mat'
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        savemat(path, content)
    with pytest.raises(SourceError, match=rf'pitts30k_val\.mat is not a dbStruct.*{reason}'):
        open_benchmark('pitts30k_val', pittsburgh)


def test_positions_must_be_finite(pittsburgh):
    utm = QUERIES_M.copy()
    utm[0, 1] = np.nan
    savemat(pittsburgh / 'pitts30k_val.mat', {'dbStruct': db_struct(utmQ=utm)})
    with pytest.raises(SourceError, match=r'pitts30k_val\.mat: 1 positions .* query 1: \[nan, 75'):
        open_benchmark('pitts30k_val', pittsburgh)


def test_missing_pictures_are_counted_and_the_first_is_named(pittsburgh):
    savemat(pittsburgh / 'pitts30k_val.mat', {'dbStruct': db_struct()})
    for name in ('000/q0.jpg', '001/q2.jpg'):
        (pittsburgh / 'queries_real' / name).unlink()
    with pytest.raises(
        FileNotFoundError, match=r'2 of the 3 pictures .*/queries_real/000/q0\.jpg'
    ):
        open_benchmark('pitts30k_val', pittsburgh)


# --- positions


def test_radius_is_searched_without_a_matrix():
    rng = np.random.default_rng(0)
    references, queries = rng.uniform(0, 20_000, (40_000, 2)), rng.uniform(0, 20_000, (8_000, 2))
    tracemalloc.start()
    rows = rows_within(25.0, references_m=references, queries_m=queries, source=Path('made'))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 50e6  # bytes; 40,000 x 8,000 distances would be 2.6e9
    for query in range(0, 8_000, 500):
        near = np.linalg.norm(references - queries[query], axis=1) <= 25.0
        assert rows[query].tolist() == np.flatnonzero(near).tolist()
    assert sum(len(row) for row in rows[::500]) > 0


def test_edge_of_the_radius_is_a_hit():
    references, queries = np.array([[0.0, 0.0], [0.0, 50.01]]), np.array([[0.0, 25.0]])
    for radius_m, rows in ((25.0, [0]), (24.99, []), (25.01, [0, 1])):
        found = rows_within(
            radius_m, references_m=references, queries_m=queries, source=Path('made')
        )
        assert found[0].tolist() == rows
    with pytest.raises(ValueError, match=r'radius_m must be 0 or more, not -1'):
        rows_within(-1, references_m=references, queries_m=queries, source=Path('made'))


# --- MSLS


def test_msls_official_subset(msls, recall):
    asked = open_benchmark('msls_val', msls)
    assert rows_of(asked) == [[0, 1], [3]]
    assert (
        'names for the query (within 25 m), asked is the subset in msls_val_qIdx.npy; all 2 '
        in (asked.protocol)
    )
    assert 'published set of 740 queries among 18871' in asked.protocol
    assert recall(asked) == 1.0


def test_msls_with_the_queries_that_have_no_reference(msls, recall):
    asked = open_benchmark('msls_val_747', msls)
    assert rows_of(asked) == [[0, 1], [], [3]]
    assert 'every picture of msls_val_qImages.npy; all 3 queries' in asked.protocol
    assert '1 of them, which have no such reference, as misses' in asked.protocol
    assert recall(asked) == pytest.approx(2 / 3)


def test_msls_with_every_picture(msls, recall):
    asked = open_benchmark('msls_val_all', msls)
    assert rows_of(asked) == [[0, 1], [], [3]]
    assert [picture.args[0].name for picture in asked.queries] == ['q0.jpg', 'q1.jpg', 'q2.jpg']
    assert len(asked.references) == 4
    assert 'every picture of cph and sf that is no panorama; all 3 queries' in asked.protocol
    assert recall(asked) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ('index', 'error'),
    [
        ([0, 3], 'qIdx.npy names query 3, there are 3, from 0'),
        ([-1, 0], 'qIdx.npy names query -1, there are 3'),
        ([0, 1, 2], r'qIdx.npy holds int64 \(3,\), .*pIdx.npy has the truth of 2 queries'),
        ([0.0, 1.0], r'qIdx.npy holds float64 \(2,\)'),
    ],
)
def test_msls_index_that_does_not_fit(msls, index, error):
    np.save(msls / 'msls_val_qIdx.npy', np.array(index))
    with pytest.raises(SourceError, match=error):
        open_benchmark('msls_val', msls)


def test_msls_tables_that_do_not_fit(msls):
    table = msls / 'train_val' / 'sf' / 'query' / 'postprocessed.csv'
    whole = table.read_text()
    table.write_text(whole.replace('easting', 'x'))
    with pytest.raises(SourceError, match=r"sf/query/postprocessed.csv has no column 'easting'"):
        open_benchmark('msls_val_all', msls)
    table.write_text(whole.replace('q2,100,', 'q2,,'))
    with pytest.raises(SourceError, match=r"sf/query/postprocessed.csv: q2 is at '', '4000000'"):
        open_benchmark('msls_val_all', msls)
    table.unlink()
    with pytest.raises(
        FileNotFoundError, match=r'no .*sf/query/postprocessed.csv; unpack the meta'
    ):
        open_benchmark('msls_val_all', msls)


# --- lists of names


@pytest.mark.parametrize(
    ('name', 'prefix', 'folder', 'truth'),
    [
        ('sped', 'SPED', 'SPED', np.array([[0], [1], [3]])),
        ('essex3in1', 'ESSEX', 'ESSEX', np.array([[0], [1], [3]])),
        ('cross_season', 'CrossSeason', 'CrossSeason', objects([np.arange(4), [1], [3]])),
        ('inria_holidays', 'Inria', 'InriaHolidays', objects([[0], [3, 1], [3]])),
    ],
)  # fmt: skip
def test_lists_of_gsv_cities(listed, recall, name, prefix, folder, truth):
    root, lists = listed(prefix, folder, truth)
    asked = open_benchmark(name, root, lists=lists)
    assert rows_of(asked) == [np.ravel(rows).tolist() for rows in truth]
    assert f'{prefix}_gt.npy names for the query; all 3 queries among 4' in asked.protocol
    assert recall(asked) == pytest.approx(2 / 3)  # the last truth is wrong on purpose


@pytest.mark.parametrize(
    ('truth', 'error'),
    [
        (
            np.array([[0], [4], [1]]),
            'SPED_gt.npy says that query 1 shows reference 4, there are 4',
        ),
        (np.array([0, 1, -2]), 'SPED_gt.npy says that query 2 shows reference -2'),
        (np.array([0, 1]), 'SPED_gt.npy has the truth of 2 queries, there are 3'),
        (np.array([[0.5]] * 3), r'SPED_gt.npy: the truth of query 0 is .*0\.5.*, not row numbers'),
        (np.array(['a', 'b', 'c']), 'SPED_gt.npy: the truth of query 0 is .*a.*, not row numbers'),
        (objects([[0], 'ref', [1]]), 'SPED_gt.npy: the truth of query 1 is .*ref.*, not row numb'),
        (objects([[0], objects([[1]]), [1]]), 'SPED_gt.npy: the truth of query 1 is .*, not row'),
        (np.array(7), 'SPED_gt.npy holds one value'),
    ],
)
def test_truth_that_does_not_fit(listed, truth, error):
    root, lists = listed('SPED', 'SPED', truth)
    with pytest.raises(SourceError, match=error):
        open_benchmark('sped', root, lists=lists)


def test_lists_that_are_missing_or_no_lists(listed):
    root, lists = listed('SPED', 'SPED', np.array([0, 1, 2]))
    with pytest.raises(FileNotFoundError, match=r'SPED_dbImages.npy is not in .*pictures, nor in'):
        open_benchmark('sped', root)
    names = lists / 'datasets' / 'SPED' / 'SPED_qImages.npy'
    for wrong in (np.arange(3), np.array([['a.jpg', 'b.jpg']]), np.array([], '<U5')):
        np.save(names, wrong)
        with pytest.raises(SourceError, match=r'SPED_qImages.npy is no list of file names but'):
            open_benchmark('sped', root, lists=lists)
    beyond_unicode = np.array([0x110000], '<u4').view('<U1')
    np.save(names, beyond_unicode)
    with pytest.raises(SourceError, match=r'SPED_qImages.npy is no list of file names but <U1'):
        open_benchmark('sped', root, lists=lists)


# --- arrays of objects


def dump(path, item, *, shape=(1,), protocol=4):
    """Write a .npy file that says it is an array of objects, then any pickle."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {'descr': '|O', 'fortran_order': False, 'shape': shape}
    )
    content = item if isinstance(item, bytes) else pickle.dumps(item, protocol=protocol)
    path.write_bytes(header.getvalue() + content)


@pytest.mark.parametrize('protocol', [3, 4])  # before and since NumPy 1.26
@pytest.mark.parametrize(
    'array',
    [
        objects([np.array([1, 2]), np.array([3])]),
        objects([np.array([1, 2], '>i4'), np.array([7], np.uint8)]),
        objects([np.array([], float), [], np.array([300_000] * 300)]),
        objects([[1, 2], (3,), 4, np.int64(5)]),
        np.array([[1, 2], [3, 4], [5, 6]], object),
        np.asfortranarray(np.array([[1, 2], [3, 4], [5, 6]], object)),
    ],
    ids=['int64', 'other types', 'empty and long', 'lists and numbers', 'square', 'by columns'],
)
def test_rows_of_object_arrays(tmp_path, array, protocol):
    path = tmp_path / 'gt.npy'
    dump(path, array, shape=array.shape, protocol=protocol)
    rows = read_rows(path)
    assert [row.tolist() for row in rows] == [np.ravel(row).tolist() for row in array]
    assert {row.dtype for row in rows} == {np.dtype(np.int64)}
    np.save(path, array, allow_pickle=True)
    assert [row.tolist() for row in read_rows(path)] == [row.tolist() for row in rows]


def test_elements_by_columns(tmp_path):
    square = np.array([[1, 2, 3], [4, 5, 6]])
    dump(tmp_path / 'gt.npy', objects([np.asfortranarray(square)]))
    assert read_array(tmp_path / 'gt.npy')[0].tolist() == square.tolist()


def test_names_of_object_arrays(tmp_path):
    path = tmp_path / 'names.npy'
    np.save(path, objects(['a.jpg', np.str_('b/c.jpg')]), allow_pickle=True)
    assert read_names(path) == ['a.jpg', 'b/c.jpg']


class Harm:
    """Runs `function(*arguments)` when it is unpickled."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize('nested', [False, True])
@pytest.mark.parametrize(
    ('function', 'refused'),
    [
        (lambda path: Harm(os.system, f'touch {path}'), f'{os.system.__module__}.system'),
        (lambda path: Harm(eval, f'open({str(path)!r}, "w").close()'), 'builtins.eval'),
        (lambda path: Harm(np.memmap, str(path), 'u1', 'w+', 0, (1,)), 'numpy.*memmap'),
    ],
)  # fmt: skip
def test_truth_that_runs_something_is_refused(listed, function, refused, nested):
    root, lists = listed('CrossSeason', 'CrossSeason', np.array([0, 1, 2]))
    touched = root / 'touched'
    truth = lists / 'datasets' / 'CrossSeason' / 'CrossSeason_gt.npy'
    harm = function(touched)
    dump(truth, objects([[0], [1], harm]) if nested else harm, shape=(3,))
    with pytest.raises(SourceError, match=rf'CrossSeason_gt\.npy asks for {refused}, which no'):
        open_benchmark('cross_season', root, lists=lists)
    assert not touched.exists()
    with truth.open('rb') as file:  # and it would have been run
        np.lib.format.read_magic(file)
        np.lib.format.read_array_header_1_0(file)
        pickle.load(file)
    assert touched.exists()


def with_flags_of_numbers():
    """A dtype of objects whose saved state says that it holds none."""
    dtype = np.dtype('O', False, True)
    dtype.__setstate__((3, '|', None, None, None, -1, -1, 0))
    return dtype


class Wild:
    """An array of objects made of bytes, which NumPy would follow as pointers."""

    def __reduce__(self):
        function, arguments, _ = np.empty(0, object).__reduce__()
        return function, arguments, (1, (1,), with_flags_of_numbers(), False, b'\x01' * 8)


@pytest.mark.parametrize(
    ('content', 'reason'),
    [
        (Harm(np.ndarray, (1,), np.dtype('O'), b'\x01' * 8), 'ndarray is called'),
        (Wild(), 'objects from a bytes'),
        (b'\x80\x04cnumpy\ndtype\n}b.', '_StandIn'),  # new attributes for the stand-in itself
        (b'\x80\x04cnumpy\ndtype\nN}\x8c\x09_functionK\x01s\x86b.', 'no array of shape'),
        (b'\x80\x04]\x94h\x00a.', 'no array of shape'),  # a list that holds itself
        (b'\x80\x04cnumpy\nndarray\n.', 'no array of shape'),
        ({'not': 'an array'}, 'no array of shape'),
        (np.arange(3), 'no array of shape'),
        (objects([{'not': 'a number'}]), 'an element of type dict'),
        (objects([1.5]), 'an element of type float'),
        (objects([[1, 'a']]), 'an element of type str'),
        (objects([np.array(['2020-01-01'], 'M8[D]')]), "elements of type 'M8'"),
        (pickle.dumps(objects([[1, 2]]))[:-9], 'truncated|Ran out'),
    ],
)
def test_what_is_no_array_of_numbers_is_refused(tmp_path, content, reason):
    path = tmp_path / 'gt.npy'
    dump(path, content)
    with pytest.raises(SourceError, match=rf'gt\.npy is not .*({reason}).*get it again'):
        read_array(path)
    dump(path, objects([[1, 2]]))
    assert read_rows(path)[0].tolist() == [1, 2]  # nothing stuck


def test_files_that_are_no_arrays(tmp_path):
    path = tmp_path / 'gt.npy'
    with pytest.raises(FileNotFoundError, match=r'gt.npy'):
        read_array(path)
    np.save(path, np.arange(100))
    whole = path.read_bytes()
    records = np.zeros(1, [('rows', object)])
    np.save(tmp_path / 'records.npy', records, allow_pickle=True)
    damaged = (whole[:-8], whole[:60], b'version https://git-lfs.github.com/spec/v1\n', b'')
    for content in (*damaged, (tmp_path / 'records.npy').read_bytes()):
        path.write_bytes(content)
        with pytest.raises(SourceError, match=r'gt\.npy is not a \.npy file that can be read'):
            read_array(path)


# --- Nordland


@pytest.mark.parametrize(
    ('frames', 'names'),
    [
        ([0, 10, 20], [0, 1, 2]),
        ([0, 10, 20], [1, 11, 21]),
        (list(range(25)), range(1, 26)),
    ],
    ids=['renumbered', 'frame numbers', 'all frames'],
)
def test_nordland_thinned(nordland, recall, frames, names):
    asked = open_benchmark('nordland_2760', nordland(frames, names))
    assert rows_of(asked) == [[0, 1], [9, 10, 11], [19, 20, 21]]
    assert 'at most 1 frame from the query, each 10th frame asked; all 3 queries' in asked.protocol
    assert 'unlike the published set of 2760 queries among 27592' in asked.protocol
    assert recall(asked) == 1.0


def test_nordland_full(nordland, recall):
    asked = open_benchmark('nordland_27592', nordland(list(range(25)), range(25)))
    assert rows_of(asked)[0] == list(range(11))
    assert rows_of(asked)[12] == list(range(2, 23))
    assert len(asked.queries) == 25
    assert 'at most 10 frames from the query, every frame asked; all 25' in asked.protocol
    assert recall(asked) == 1.0


def test_nordland_lists(nordland, recall, save_pictures):
    root = nordland([0, 10, 20], [0, 1, 2])
    np.save(root / 'Nordland_dbImages.npy', np.array([f'ref/{i:07d}.jpg' for i in range(25)]))
    np.save(root / 'Nordland_qImages.npy', np.array([f'query/{i:07d}.jpg' for i in range(3)]))
    np.save(root / 'Nordland_gt.npy', objects([np.array([0]), np.array([10]), np.array([1])]))
    asked = open_benchmark('nordland_2760', root)
    assert 'Nordland_gt.npy names' in asked.protocol
    assert rows_of(asked) == [[0], [10], [1]]
    assert recall(asked) == pytest.approx(2 / 3)  # the last truth is wrong on purpose
    save_pictures(root, ['query/0000003.jpg'])
    with pytest.raises(SourceError, match=r'query holds 4 pictures, the lists beside .* name 3'):
        open_benchmark('nordland_2760', root)


@pytest.mark.parametrize(
    ('frames', 'names', 'error'),
    [
        ([0, 10], [0, 1], '25 references and 2 queries, not 3 or 25'),
        ([0, 10, 20], [0, 1, 3], 'goes from 0000001.jpg to 0000003.jpg'),
        ([2, 12, 22], [2, 12, 22], 'begin at 0, of .*query at 2;'),
    ],
)
def test_nordland_frames_that_would_shift(nordland, frames, names, error):
    root = nordland(frames, names)
    with pytest.raises(SourceError, match=error):
        open_benchmark('nordland_2760', root)


def test_nordland_pictures_that_are_not_numbered(nordland, save_pictures):
    root = nordland([0, 10, 20], [0, 1, 2])
    with pytest.raises(SourceError, match=r'25 references and 3 queries, not 25'):
        open_benchmark('nordland_27592', root)
    save_pictures(root, ['query/cover.jpg'])
    with pytest.raises(SourceError, match=r'query must hold numbered pictures, .* of cover\.jpg'):
        open_benchmark('nordland_2760', root)
    for path in (root / 'query').iterdir():
        path.unlink()
    with pytest.raises(SourceError, match=r'query must hold numbered pictures, .* there are none'):
        open_benchmark('nordland_2760', root)
    (root / 'query').rmdir()
    with pytest.raises(FileNotFoundError, match=r'has no query/; give the folder that holds it'):
        open_benchmark('nordland_2760', root)


# --- positions in file names


@pytest.mark.parametrize('name', ['tokyo247', 'sf_xl_v1', 'sf_xl_v2', 'utm'])
def test_positions_in_file_names(tokyo, recall, name):
    if name.startswith('sf_xl'):  # it must not look into the other folders
        for path in (tokyo / 'queries').iterdir():
            path.unlink()
    asked = open_benchmark(name, tokyo)
    assert rows_of(asked) == [[0, 1], [2], []]
    assert (
        'within 25 m of the query by the UTM positions in the file names; all 3' in asked.protocol
    )
    assert '1 of them, which have no such reference, as misses' in asked.protocol
    assert recall(asked) == pytest.approx(2 / 3)


def test_radius_can_be_chosen(tokyo):
    asked = open_benchmark('utm', tokyo, radius_m=7.0)
    assert rows_of(asked) == [[0], [2], []]
    assert 'within 7 m' in asked.protocol


def test_names_without_positions(tokyo, save_pictures):
    save_pictures(tokyo / 'queries', ['IMG_1.jpg', '@east@north@.jpg'])
    with pytest.raises(
        SourceError, match=r'2 of the 5 pictures in .*queries .*, the first is @eas'
    ):
        open_benchmark('utm', tokyo)
    with pytest.raises(SourceError, match=r'1 positions are not finite, the first .* query 3'):
        (tokyo / 'queries' / 'IMG_1.jpg').unlink()
        (tokyo / 'queries' / '@east@north@.jpg').rename(tokyo / 'queries' / '@nan@0@.jpg')
        open_benchmark('utm', tokyo)
    for path in (tokyo / 'queries').iterdir():
        path.unlink()
    with pytest.raises(SourceError, match=r'queries holds no pictures'):
        open_benchmark('utm', tokyo)


# --- plain folders


@pytest.mark.parametrize(
    'names', [('reference', 'query'), ('ref', 'query'), ('database', 'queries')]
)
def test_plain_folders(tmp_path, save_pictures, recall, names):
    save_pictures(tmp_path, [f'{names[0]}/image{i}.png' for i in range(11)])
    queries = [f'{names[1]}/image{i}.png' for i in range(14)]
    save_pictures(tmp_path, queries, [*range(11), 0, 0, 0], light=0.7)
    asked = open_benchmark('folders', tmp_path)
    assert asked.name == 'folders'
    assert rows_of(asked)[10] == [8, 9, 10]
    assert asked.protocol == (
        'a hit is the reference of the same picture number, +-2; all 14 queries among 11 '
        'references count, 1 of them, which have no such reference, as misses'
    )
    assert recall(asked) == pytest.approx(11 / 14)
    assert rows_of(open_benchmark('folders', tmp_path, tolerance=0))[10] == [10]


@pytest.mark.parametrize(
    ('name', 'references', 'queries'),
    [
        ('gardens_point_day', 'day_left', 'day_right'),
        ('gardens_point_night', 'day_right', 'night_right'),
        ('gardens_point_day_night', 'day_left', 'night_right'),
    ],
)
def test_gardens_point(tmp_path, save_pictures, name, references, queries):
    for folder in ('day_left', 'day_right', 'night_right'):
        save_pictures(tmp_path, [f'{folder}/{folder}{i:03}.jpg' for i in range(4)])
    asked = open_benchmark(name, tmp_path)
    assert {picture.args[0].parent.name for picture in asked.references} == {references}
    assert {picture.args[0].parent.name for picture in asked.queries} == {queries}
    assert rows_of(asked) == [[0, 1, 2], [0, 1, 2, 3], [0, 1, 2, 3], [1, 2, 3]]


def test_plain_folder_without_pictures(tmp_path, save_pictures):
    save_pictures(tmp_path, ['reference/a.png', 'query/inner/a.png'])
    with pytest.raises(SourceError, match=r'query holds no pictures'):
        open_benchmark('folders', tmp_path)
    (tmp_path / 'reference').rename(tmp_path / 'other')
    with pytest.raises(FileNotFoundError, match=r'has no reference/ or ref/ or database/;'):
        open_benchmark('folders', tmp_path)


# --- all of them


def test_wrong_calls(tmp_path):
    with pytest.raises(SourceError, match=r"'nordland'; there are pitts30k_train, .*, folders,"):
        open_benchmark('nordland', tmp_path)
    with pytest.raises(SourceError, match=r'msls_val has its own rule .* radius_m does'):
        open_benchmark('msls_val', tmp_path, radius_m=50.0)
    with pytest.raises(SourceError, match=r'tolerance does not apply, leave it out'):
        open_benchmark('utm', tmp_path, tolerance=1)
    with pytest.raises(FileNotFoundError, match=r'no folder .*absent to read utm from'):
        open_benchmark('utm', tmp_path / 'absent')
    with pytest.raises(FileNotFoundError, match=r'no folder .*absent to read sped from'):
        open_benchmark('sped', tmp_path, lists=tmp_path / 'absent')


def test_the_published_size_is_not_remarked_on(listed, monkeypatch):
    root, lists = listed('SPED', 'SPED', np.array([0, 1, 2]))
    assert 'unlike the published set of 607' in open_benchmark('sped', root, lists=lists).protocol
    published = dataclasses.replace(BENCHMARKS['sped'], published=(4, 3))
    monkeypatch.setitem(registry.BENCHMARKS, 'sped', published)
    assert 'published' not in open_benchmark('sped', root, lists=lists).protocol
