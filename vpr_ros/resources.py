# SPDX-License-Identifier: Apache-2.0
"""Where files lie: those that come with the package, and those made for it on this machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path

DEFAULT_MODEL = 'mobilenetv2-efficientnet-lite0-xfeat-1024.onnx'


def share_file(*parts: str) -> Path:
    """Find a file of the package, e.g. `share_file('config', 'localize.yaml')`.

    A checkout wins (so that edits count), then the ament prefixes, then the Python prefix.

    Raises:
        FileNotFoundError: It is in none of them; the message lists where it was looked for.
    """
    prefixes = [Path(p) for p in os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep) if p]
    shares = [prefix / 'share' / 'vpr_ros' for prefix in [*prefixes, Path(sys.prefix)]]
    candidates = [folder.joinpath(*parts) for folder in [Path(__file__).parents[1], *shares]]
    for path in candidates:
        if path.exists():
            return path
    looked = ', '.join(str(path) for path in candidates)
    raise FileNotFoundError(
        f'{"/".join(parts)} does not come with this vpr_ros; looked for {looked}'
    )


def default_model() -> Path:
    """Return the shipped model.

    Raises:
        FileNotFoundError: The package was installed without it.
    """
    return share_file('models', DEFAULT_MODEL)


def user_cache(*parts: str) -> Path:
    """Return where a file that was made on this machine lies; it need not exist.

    Below `$XDG_CACHE_HOME/vpr_ros`, else `~/.cache/vpr_ros`.
    """
    # The base directory specification: a relative path is to be ignored.
    chosen = Path(os.environ.get('XDG_CACHE_HOME', ''))
    base = chosen if chosen.is_absolute() else Path.home() / '.cache'
    return base.joinpath('vpr_ros', *parts)
