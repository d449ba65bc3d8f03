# SPDX-License-Identifier: Apache-2.0
"""`python -m vpr_ros.cli` does what `vpr` does."""

import sys

from vpr_ros.cli import main

sys.exit(main())
