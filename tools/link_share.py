# SPDX-License-Identifier: Apache-2.0
"""Show the checkout to ROS as an installed package; run by the environment's own Python.

pip installs the modules and executables of vpr_ros in place but none of its other files. Links
put them where ROS looks: with the environment in AMENT_PREFIX_PATH, `ros2 launch vpr_ros ...`,
`ros2 run vpr_ros ...` and `get_package_share_directory('vpr_ros')` work, and an edit counts at
once.
"""

from __future__ import annotations

import sys
from importlib.metadata import distribution
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SHARED = ('package.xml', 'config', 'launch', 'models')


def main(prefix: Path | None = None) -> int:
    """Link the package into an installation prefix (default: this environment)."""
    prefix = prefix or Path(sys.prefix)
    for name in SHARED:
        _link(prefix / 'share' / 'vpr_ros' / name, ROOT / name)
    for name in distribution('vpr_ros').entry_points.select(group='console_scripts').names:
        _link(prefix / 'lib' / 'vpr_ros' / name, prefix / 'bin' / name)
    marker = prefix / 'share' / 'ament_index' / 'resource_index' / 'packages' / 'vpr_ros'
    _link(marker, ROOT / 'resource' / 'vpr_ros')
    return 0


def _link(link: Path, target: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(target)


if __name__ == '__main__':
    sys.exit(main())
