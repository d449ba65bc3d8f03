# SPDX-License-Identifier: Apache-2.0
"""Small benchmarks in the layouts that the field publishes."""

import csv

import cv2
import numpy as np
import pytest
from made_sets import MSLS_QUERIES, MSLS_REFERENCES, QUERIES, REFERENCES, objects, utm_name

from vpr_ros.benchmarks.retrieval import Describer, look_up
from vpr_ros.evaluation.metrics import recall_at_k
from vpr_ros.extractor import DescriptorExtractor


@pytest.fixture
def save_pictures(textured_pictures):
    """Write pictures of places: equal numbers look alike, a query is darker than its reference."""
    places = textured_pictures(80)

    def save(root, names, numbers=None, *, light=1.0):
        for name, number in zip(names, numbers or range(len(names)), strict=True):
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(path), (places[number] * light).astype(np.uint8)[..., ::-1])

    return save


@pytest.fixture
def recall(tiny_model):
    """Recall@1 of the runtime."""
    extractor = DescriptorExtractor(tiny_model, device='cpu')
    model = Describer(extractor.info.ref, extractor.extract_batch)
    return lambda asked: recall_at_k(look_up(model, asked, top_k=1).rows, asked.truth, (1,))[1]


@pytest.fixture
def pittsburgh(tmp_path, save_pictures):
    save_pictures(tmp_path, REFERENCES)
    save_pictures(tmp_path / 'queries_real', QUERIES, [1, 2, 7], light=0.7)
    return tmp_path


@pytest.fixture
def listed(tmp_path, save_pictures):
    """Write a set of three names lists; the pictures and lists lie apart."""

    def make(prefix, folder, truth, numbers=(0, 1, 2)):
        references = [f'ref/{i:07d}.jpg' for i in range(4)]
        queries = [f'query/{i:07d}.jpg' for i in range(len(numbers))]
        save_pictures(tmp_path / 'pictures', references)
        save_pictures(tmp_path / 'pictures', queries, list(numbers), light=0.7)
        lists = tmp_path / 'repository' / 'datasets' / folder
        lists.mkdir(parents=True)
        np.save(lists / f'{prefix}_dbImages.npy', np.array(references))
        np.save(lists / f'{prefix}_qImages.npy', np.array(queries))
        np.save(lists / f'{prefix}_gt.npy', truth, allow_pickle=True)
        return tmp_path / 'pictures', tmp_path / 'repository'

    return make


@pytest.fixture
def msls(tmp_path, save_pictures):
    save_pictures(tmp_path, MSLS_REFERENCES)
    save_pictures(tmp_path, MSLS_QUERIES, [0, 9, 3], light=0.7)
    np.save(tmp_path / 'msls_val_dbImages.npy', np.array(MSLS_REFERENCES))
    np.save(tmp_path / 'msls_val_qImages.npy', np.array(MSLS_QUERIES))
    np.save(tmp_path / 'msls_val_qIdx.npy', np.array([0, 2]))
    np.save(tmp_path / 'msls_val_pIdx.npy', objects([np.array([0, 1]), np.array([3])]))
    east = {'database': [[0, 30], [0, 100]], 'query': [[10, 900], [100]]}
    number = {'database': 0, 'query': 0}
    for kind, cities in east.items():
        for city, metres in zip(('cph', 'sf'), cities, strict=True):
            keys = [f'{kind[0].replace("d", "r")}{number[kind] + i}' for i in range(len(metres))]
            number[kind] += len(metres)
            folder = tmp_path / 'train_val' / city / kind
            north = 6_000_000 if city == 'cph' else 4_000_000
            raw = [(0, key, 1, 2, 3, '2019-01-01', 'False') for key in keys]
            post = [
                (0, key, x, north, 0, 'False', 'False', 'Forward')
                for key, x in zip(keys, metres, strict=True)
            ]
            # A panorama, of which there is no picture here: it must not be asked for.
            raw.append((0, 'pano', 1, 2, 3, '2019-01-01', 'True'))
            post.append((0, 'pano', 0, north, 0, 'False', 'False', 'Forward'))
            for name, header, rows in (
                ('raw', ',key,lon,lat,ca,captured_at,pano', raw),
                (
                    'postprocessed',
                    ',key,easting,northing,unique_cluster,night,control_panel,view_direction',
                    post,
                ),
            ):
                with (folder / f'{name}.csv').open('w', newline='') as file:
                    csv.writer(file).writerows([header.split(','), *rows])
    return tmp_path


@pytest.fixture
def nordland(tmp_path, save_pictures):
    """25 frames of two seasons; `frames` says which the folder of queries holds, by what names."""

    def make(frames, names):
        save_pictures(tmp_path, [f'ref/{i:07d}.jpg' for i in range(25)])
        save_pictures(tmp_path, [f'query/{name:07d}.jpg' for name in names], frames, light=0.7)
        return tmp_path

    return make


@pytest.fixture
def tokyo(tmp_path, save_pictures):
    positions = [(387_000.0, 0.0), (387_024.0, 0.0), (388_000.0, 0.0)]
    save_pictures(tmp_path / 'database', [f'03814/{utm_name(*p)}' for p in positions])
    for folder in ('queries', 'queries_v1', 'queries_v2'):
        names = [utm_name(387_000, 7), utm_name(388_000, 0), utm_name(390_000, 0)]
        save_pictures(tmp_path / folder, names, [1, 2, 9], light=0.7)
    return tmp_path
