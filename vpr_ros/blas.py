# SPDX-License-Identifier: Apache-2.0
"""How many cores NumPy's matrix products may take."""

from __future__ import annotations

import os


def use_one_blas_thread() -> None:
    """Keep OpenBLAS to the thread that asks, unless the user says otherwise.

    Its other threads wait for the next product by spinning, which takes from network and features
    the core they need: on two cores a third of the pictures. OpenBLAS reads this when NumPy is
    imported, so that only what starts a program can say it.
    """
    os.environ.setdefault('OPENBLAS_NUM_THREADS', '1')
