# SPDX-License-Identifier: Apache-2.0
"""Repair the CMake files of the ROS 2 wheels; run by the environment's own Python.

They name the include folders of Python and NumPy on the machine that built the wheels
(`/opt/python/cp311-cp311/...`), and CMake stops at folders that do not exist.
"""

from __future__ import annotations

import re
import sys
import sysconfig
from pathlib import Path

import numpy as np

FOREIGN_NUMPY = re.compile(
    r'/opt/python/[^/;"]+/lib/python[\d.]+/site-packages/numpy/[^;"]*include'
)
FOREIGN_PYTHON = re.compile(r'/opt/python/[^/;"]+/include/python[\d.]+')


def relocate(text: str, python_include: str, numpy_include: str) -> str:
    """Return the text of a CMake file with the include folders of this environment."""
    text = FOREIGN_NUMPY.sub(lambda _: numpy_include, text)
    return FOREIGN_PYTHON.sub(lambda _: python_include, text)


def main() -> int:
    """Repair every exported CMake file of this environment."""
    python_include = sysconfig.get_paths()['include']
    for path in sorted((Path(sys.prefix) / 'share').glob('*/cmake/*.cmake')):
        text = path.read_text('utf-8')
        repaired = relocate(text, python_include, np.get_include())
        if repaired != text:
            path.write_text(repaired, 'utf-8')
            print(f'repaired {path}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
