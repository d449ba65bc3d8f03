# SPDX-License-Identifier: Apache-2.0
"""Parts of small benchmarks in the layouts that the field publishes."""

import numpy as np

REFERENCES = ['000/a.jpg', '000/b.jpg', '001/c.jpg', '001/d.jpg']
QUERIES = ['000/q0.jpg', '001/q1.jpg', '001/q2.jpg']
REFERENCES_M = np.array([[0.0, 10.0, 100.0, 1000.0], [0.0, 0.0, 50.0, 0.0]])
QUERIES_M = np.array([[5.0, 100.0, 500.0], [0.0, 75.0, 0.0]])  # the second is just 25 m away

MSLS_REFERENCES = [
    f'train_val/{city}/database/images/r{i}.jpg'
    for i, city in enumerate(('cph', 'cph', 'sf', 'sf'))
]
MSLS_QUERIES = [
    f'train_val/{city}/query/images/q{i}.jpg' for i, city in enumerate(('cph', 'cph', 'sf'))
]


def objects(items):
    """Return a one-dimensional array of objects, whatever the items are."""
    array = np.empty(len(items), object)
    for i, item in enumerate(items):
        array[i] = item
    return array


def column(names):
    """Return file names as MATLAB keeps them, (N, 1) objects."""
    return objects(names)[:, None]


def db_struct(**changes):
    """A dbStruct with its fields in the published order."""
    return {
        'whichSet': 'test',
        'dbImageFns': column(REFERENCES),
        'utmDb': REFERENCES_M,
        'qImageFns': column(QUERIES),
        'utmQ': QUERIES_M,
        'numImages': 4,
        'numQueries': 3,
        'posDistThr': 25,
        'posDistSqThr': 625,
        'nonTrivPosDistSqThr': 100,
    } | changes


def utm_name(east, north, note=''):
    """Return a file name that holds a position, metres."""
    return f'@{east:010.2f}@{north:010.2f}@54@S@035.68@0139.76@{note}@@@@@@@@.jpg'
