# SPDX-License-Identifier: Apache-2.0
"""`python -m vpr_ros.node --ros-args …` is the installed executable `localizer`."""

import sys

from vpr_ros.node import main

sys.exit(main())
