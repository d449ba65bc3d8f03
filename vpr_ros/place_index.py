# SPDX-License-Identifier: Apache-2.0
"""The descriptors of a map's places, and which of them are most like a picture's.

A search of one picture compares it with every place while that takes about 2 ms (`EXACT_VALUES`).
In larger maps reading all descriptors takes longer than a camera waits: 200 MB for 100,000 places
of 512 values. There a shortlist comes from binary codes, two bits a value, by Hamming
distance, which estimates the angle (Charikar, "Similarity estimation techniques from rounding
algorithms", STOC 2002), and the shortlist alone is compared exactly. The similarities are always
exact; what the shortlist can lose is a place. `benchmarks/online_mapping.py` measures that.

A code holds the signs of the descriptor after fixed pseudo-random rotations: random signs,
then a cosine transform (Ailon and Chazelle's fast Johnson-Lindenstrauss transform, STOC 2006,
without its subsampling). Nothing is trained except the zero, the mean of the map's first places,
which never changes afterwards: codes of a map are the same whether it grew or was loaded.

One picture is compared by one thread: other cores have other work, and threads that must wait for
each other (BLAS, OpenMP in parts of FAISS) then take many times as long.
"""

from __future__ import annotations

from collections.abc import Iterator

import faiss
import numpy as np
from scipy.fft import dct

from vpr_ros.growing_array import GrowingArray

EXACT_VALUES = 2**23  # N * D up to which one picture is compared with all: 32 MB, about 2 ms
SHORTLIST = 1000  # places of a larger map that one picture is compared with
_SHORTLIST_PER_MATCH = 4  # where more than a quarter of SHORTLIST is wanted
_BLOCK_VALUES = 2**22  # of descriptors kept together: 16 MB, taken from the system when filled
_CENTRE_ROWS = 4096  # first places of a map whose mean is the zero of the codes
_ROTATIONS = 2  # bits for a value
_LEAST_BITS = 1024  # of a short descriptor, too: fewer tell too little
_PART_BYTES = 64
_CODES_A_TIME = 4096  # places coded at once: bounded memory
_CATCH_UP = 2  # places coded for each one added, so that none are left when codes are needed
_CATCH_UP_ADDED = 32  # at most so many of one call count: what adds many waits for `prepare`


class PlaceIndex:
    """Descriptors in the order of the map; each is kept once, beside a code of D / 4 bytes or 128.

    Adding moves nothing that is there already: descriptors lie in blocks.
    """

    def __init__(self, size: int, *, exact_values: int = EXACT_VALUES) -> None:
        """Make it empty.

        Args:
            size: D, values of a descriptor.
            exact_values: Largest N * D at which one picture is compared with every place.
        """
        self._size = size
        self._exact_rows = exact_values // size
        self._blocks: list[np.ndarray] = []  # (room, D) float32, all full but the last
        self._filled: list[int] = []
        self._num = 0
        self._centre = np.empty(0, np.float32)
        self._centre_rows = max(1, min(_CENTRE_ROWS, self._exact_rows // _CATCH_UP))
        rotations = max(_ROTATIONS, -(-_LEAST_BITS // size))
        self._flips = np.random.default_rng(0).choice(
            np.array([-1, 1], np.float32), size=(rotations, size)
        )
        # A code lies in parts of 64 bytes: FAISS 1.7.4 crashes when it compares longer ones.
        parts = -(-rotations * -(-size // 8) // _PART_BYTES)
        self._codes = [GrowingArray(np.uint8, (_PART_BYTES,)) for _ in range(parts)]
        self._num_coded = 0

    def __len__(self) -> int:
        """Return N, the number of places."""
        return self._num

    @property
    def is_exact(self) -> bool:
        """Whether one picture is compared with every place."""
        return self._num <= self._exact_rows

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield all descriptors in order, (n, D) float32 a piece, without copying."""
        for block, filled in zip(self._blocks, self._filled, strict=True):
            yield block[:filled]

    def all(self) -> np.ndarray:
        """Return (N, D) float32; joins the blocks for good, which copies everything once."""
        if len(self._blocks) != 1:
            joined = np.concatenate([np.empty((0, self._size), np.float32), *self.blocks()])
            self._blocks, self._filled = [joined], [self._num]
        return next(self.blocks())

    def attach(self, descriptors: np.ndarray) -> None:
        """Add descriptors that nobody will change, without copying them.

        Args:
            descriptors: (n, D) float32, C order; may be a memory-mapped file.
        """
        if len(descriptors):
            self._close_block()
            self._blocks.append(np.asarray(descriptors))
            self._filled.append(len(descriptors))
            self._num += len(descriptors)

    def add(self, descriptors: np.ndarray) -> None:
        """Add a copy of descriptors.

        Args:
            descriptors: (n, D) float32.
        """
        start = 0
        while start < len(descriptors):
            if not self._blocks or self._filled[-1] == len(self._blocks[-1]):
                room = max(1, _BLOCK_VALUES // self._size)
                self._blocks.append(np.empty((room, self._size), np.float32))
                self._filled.append(0)
            block, filled = self._blocks[-1], self._filled[-1]
            taken = min(len(block) - filled, len(descriptors) - start)
            block[filled : filled + taken] = descriptors[start : start + taken]
            self._filled[-1] += taken
            start += taken
        self._num += len(descriptors)
        if self._num > self._exact_rows // _CATCH_UP:
            self._code(self._num_coded + _CATCH_UP * min(len(descriptors), _CATCH_UP_ADDED))

    def prepare(self) -> None:
        """Do now what the first search of a large map would do: code its places."""
        if not self.is_exact:
            self._code(self._num)

    def similarities(
        self, query: np.ndarray, *, at_least: int, allowed: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Compare one picture with all places, or with those of a large map most like it.

        Args:
            query: (D,) float32.
            at_least: How many are wanted; the shortlist of a large map is several times longer.
            allowed: (N,) bool, the places that may be given; None: all.

        Returns:
            Rows int64, ascending, and their inner products float32.
        """
        wanted = max(SHORTLIST, _SHORTLIST_PER_MATCH * at_least)
        if self.is_exact or (allowed is None and wanted >= self._num):
            values = np.empty(self._num, np.float32)
            start = 0
            for block in self.blocks():
                self._products(block, query, values[start:])
                start += len(block)
            rows = np.arange(self._num) if allowed is None else np.flatnonzero(allowed)
            return rows, values if allowed is None else values[rows]
        if allowed is not None and wanted >= allowed.sum():
            rows = np.flatnonzero(allowed)
        else:
            rows = self._shortlist(query, wanted, allowed)
        return rows, self._compared(rows, query)

    def best(
        self, query: np.ndarray, k: int, *, allowed: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows (k,) int64 most like one picture, best first, and inner products.

        Args:
            query: (D,) float32.
            k: How many at most.
            allowed: As in `similarities`.
        """
        rows, values = self.similarities(query, at_least=k, allowed=allowed)
        if k < len(rows):
            kept = np.argpartition(values, -k)[-k:]
            rows, values = rows[kept], values[kept]
        order = np.lexsort((rows, -values))
        return rows[order], values[order]

    def similarity(self, row: int, query: np.ndarray) -> float:
        """Return the inner product of one picture (D,) float32 with one place."""
        return float(self._compared(np.array([row], np.int64), query)[0])

    def search_batch(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Compare Q pictures with every place, whatever the size of the map.

        Args:
            queries: (Q, D) float32, C order.
            k: At most N.

        Returns:
            Inner products (Q, k) float32, best first, and rows (Q, k) int64.
        """
        values: np.ndarray = np.empty((len(queries), 0), np.float32)
        rows: np.ndarray = np.empty((len(queries), 0), np.int64)
        start = 0
        for block in self.blocks():
            found = faiss.knn(
                queries, block, min(k, len(block)), metric=faiss.METRIC_INNER_PRODUCT
            )
            values = np.concatenate([values, found[0]], axis=1)
            rows = np.concatenate([rows, found[1] + start], axis=1)
            start += len(block)
            if len(block) < start:  # not the first: merge two sorted lists
                order = np.argsort(-values, axis=1, kind='stable')[:, :k]
                values = np.take_along_axis(values, order, axis=1)
                rows = np.take_along_axis(rows, order, axis=1)
        return values, rows

    def _close_block(self) -> None:
        """Give up the room that the last block has left."""
        if self._blocks:
            self._blocks[-1] = self._blocks[-1][: self._filled[-1]]

    def _products(self, descriptors: np.ndarray, query: np.ndarray, values: np.ndarray) -> None:
        """Write the inner products of (n, D) descriptors into the first n values."""
        faiss.fvec_inner_products_ny(  # type: ignore[attr-defined]  # SWIG's
            faiss.swig_ptr(values),
            faiss.swig_ptr(query),
            faiss.swig_ptr(descriptors),
            self._size,
            len(descriptors),
        )

    def _compared(self, rows: np.ndarray, query: np.ndarray) -> np.ndarray:
        """Return the inner products with some rows, ascending."""
        starts = np.cumsum([0, *self._filled])
        cuts = np.searchsorted(rows, starts)
        values = np.empty(len(rows), np.float32)
        for block, start, a, b in zip(self._blocks, starts[:-1], cuts[:-1], cuts[1:], strict=True):
            if a < b:
                self._products(block[rows[a:b] - start], query, values[a:])
        return values

    def _shortlist(self, query: np.ndarray, wanted: int, allowed: np.ndarray | None) -> np.ndarray:
        """Return the rows with the nearest codes, ascending; of equals the first rows."""
        self._code(self._num)
        farthest = 8 * _PART_BYTES * len(self._codes)
        distances, of_part = np.zeros(self._num, np.int32), np.empty(self._num, np.int32)
        for codes, part in zip(self._codes, self._coded(query[np.newaxis]), strict=True):
            faiss.hammings(  # type: ignore[attr-defined]  # SWIG's
                faiss.swig_ptr(part),
                faiss.swig_ptr(codes.rows),
                1,
                self._num,
                _PART_BYTES,
                faiss.swig_ptr(of_part),
            )
            distances += of_part
        if allowed is not None:
            distances[~allowed] = farthest + 1
        within = np.cumsum(np.bincount(distances, minlength=farthest + 2))
        limit = int(np.searchsorted(within, wanted))
        rows = np.flatnonzero(distances <= limit)
        if (spare := len(rows) - wanted) > 0:
            last = np.flatnonzero(distances[rows] == limit)[-spare:]
            rows = np.delete(rows, last)
        return rows

    def _code(self, up_to: int) -> None:
        """Code the places up to a row, as far as there are any."""
        up_to = min(up_to, self._num)
        if not len(self._centre):
            self._centre = (
                self._rows(0, min(self._centre_rows, self._num))
                .mean(axis=0, dtype=np.float64)
                .astype(np.float32)
            )
        while self._num_coded < up_to:
            rows = self._rows(self._num_coded, min(up_to, self._num_coded + _CODES_A_TIME))
            for codes, part in zip(self._codes, self._coded(rows), strict=True):
                codes.append(part)
            self._num_coded += len(rows)

    def _rows(self, start: int, stop: int) -> np.ndarray:
        """Return the descriptors of successive places."""
        found, first = [], 0
        for block in self.blocks():
            found.append(block[max(0, start - first) : max(0, stop - first)])
            first += len(block)
        return np.concatenate(found)

    def _coded(self, descriptors: np.ndarray) -> list[np.ndarray]:
        """Return the parts of the codes, (n, 64) uint8 each."""
        centred = descriptors - self._centre
        turned = [dct(centred * flips, axis=1, norm='ortho') for flips in self._flips]
        bits = [np.packbits(part > 0, axis=1) for part in turned]
        code = np.zeros((len(descriptors), _PART_BYTES * len(self._codes)), np.uint8)
        code[:, : len(bits) * bits[0].shape[1]] = np.concatenate(bits, axis=1)
        return [np.ascontiguousarray(part) for part in np.split(code, len(self._codes), axis=1)]
