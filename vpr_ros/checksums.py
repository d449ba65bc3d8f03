# SPDX-License-Identifier: Apache-2.0
"""The hashes of many files in one file, as `sha256sum` writes it: `sha256sum -c SHA256SUMS`.

A map names it in `map.json` instead of each keyframe: 100,000 of them are not read when a map is
loaded, but each when it is used.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from vpr_ros.errors import MapError
from vpr_ros.hashing import file_sha256

CHECKSUMS = 'SHA256SUMS'
_LINE = re.compile(r'([0-9a-f]{64})  ([^/\\\n]+)\n')


def read_checksums(folder: Path) -> dict[str, str]:
    """Return file name to SHA-256, hexadecimal; empty where none were written.

    Raises:
        MapError: Something else is in the file.
    """
    path = folder / CHECKSUMS
    try:
        text = path.read_text(encoding='utf-8')
    except FileNotFoundError:
        return {}
    except UnicodeDecodeError as error:
        raise MapError(f'{path} holds no hashes: {error}') from error
    found = _LINE.findall(text)
    if sum(len(digest) + len(name) + 3 for digest, name in found) != len(text):
        raise MapError(f'{path} is not as sha256sum writes it: copy the map again or rebuild it')
    return {name: digest for digest, name in found}


def write_checksums(folder: Path, known: Mapping[str, str]) -> None:
    """Write the hashes of the files of a folder.

    Args:
        folder: The folder.
        known: Hashes of files that were checked or hashed before, and need not be read again.

    Raises:
        OSError: A file cannot be read or written.
    """
    sums = dict(known)
    for path in folder.iterdir():
        if path.is_file() and path.name not in sums and path.name != CHECKSUMS:
            sums[path.name] = file_sha256(path)
    lines = (f'{digest}  {name}\n' for name, digest in sorted(sums.items()))
    (folder / CHECKSUMS).write_text(''.join(lines), encoding='utf-8')


def check_file(path: Path, sha256: str | None, found: str, *, listed_in: str) -> None:
    """Compare the hash of a file with what it should be.

    Args:
        path: The file.
        sha256: What it should be; None: it is not listed.
        found: What it is.
        listed_in: Name of the file that lists it.

    Raises:
        MapError: They differ.
    """
    if found != sha256:
        raise MapError(
            f'{path} differs from its hash in {listed_in}: truncated, edited or of another map; '
            'copy the map again or rebuild it'
        )


def check_folder(folder: Path) -> None:
    """Compare every listed file of a folder.

    Raises:
        MapError: One is missing or differs.
    """
    for name, sha256 in read_checksums(folder).items():
        path = folder / name
        if not path.is_file():
            raise MapError(f'{path} is missing: copy the map again or rebuild it')
        check_file(path, sha256, file_sha256(path), listed_in=CHECKSUMS)
