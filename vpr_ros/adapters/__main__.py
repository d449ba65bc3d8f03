# SPDX-License-Identifier: Apache-2.0
"""`python -m vpr_ros.adapters NAME --ros-args …` is the installed executable NAME."""

import importlib
import sys

MODULES = {
    'closure_recorder': 'recorder_node',
    'initial_pose': 'initial_pose_node',
    'rtabmap_links': 'rtabmap_node',
}

if __name__ == '__main__':
    name = sys.argv[1] if len(sys.argv) > 1 else ''
    if name not in MODULES:
        sys.exit(f'{name!r} is no adapter; there are: {", ".join(MODULES)}')
    module = importlib.import_module(f'vpr_ros.adapters.{MODULES[name]}')
    sys.exit(module.main([name, *sys.argv[2:]]))
