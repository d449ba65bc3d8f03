# SPDX-License-Identifier: Apache-2.0
"""Which features of two pictures look alike."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vpr_ros.verification.local_features import LocalFeatures

LEARNED_KINDS = ('xfeat',)  # trained for their cosine, which says more than the ratio


def match_features(
    first: LocalFeatures, second: LocalFeatures, *, max_ratio: float, min_cosine: float
) -> np.ndarray:
    """Pair features that are each other's best match, and a good one.

    Args:
        first: Features of one picture.
        second: Features of the other.
        max_ratio: Of handmade features: largest distance to the best over that to the second best
            (Lowe 2004); 1: any.
        min_cosine: Of learned features: smallest cosine.

    Returns:
        (M, 2) int64 rows into `first` and `second`; each row of either appears once at most.

    Raises:
        ValueError: The features are of two kinds.
    """
    if first.kind != second.kind:
        raise ValueError(f'{first.kind} and {second.kind} features cannot be compared')
    if min(len(first), len(second)) < 2:
        return np.zeros((0, 2), np.int64)
    alike, distance = _similarities(first.descriptors, second.descriptors)
    rows = np.arange(len(first))
    best = np.argmax(alike, axis=1)
    products = alike[rows, best]
    is_mutual = products == alike.max(axis=0)[best]  # a third of the time of argmax
    if first.kind in LEARNED_KINDS:
        is_good = products >= min_cosine
    else:
        alike[rows, best] = -np.inf
        is_good = distance(products) < max_ratio * distance(alike.max(axis=1))
    kept = np.flatnonzero(is_mutual & is_good)
    kept = np.sort(kept[np.unique(best[kept], return_index=True)[1]])  # twins: the first
    return np.stack([kept, best[kept]], axis=1)


def _similarities(
    first: np.ndarray, second: np.ndarray
) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """Return inner products (K, L) float32, and what makes distances of them.

    Euclidean for float32 of unit norm; Hamming for uint8, whose bits count as 1 and -1.
    """
    if first.dtype == np.uint8:
        first, second = (
            np.unpackbits(bits, axis=1) * np.float32(2) - 1 for bits in (first, second)
        )
        num_bits = first.shape[1]
        return first @ second.T, lambda product: (num_bits - product) / 2
    return first @ second.T, lambda product: np.sqrt(np.maximum(2 - 2 * product, 0))
