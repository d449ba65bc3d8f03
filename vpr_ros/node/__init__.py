# SPDX-License-Identifier: Apache-2.0
"""The ROS 2 node `localizer`.

`localizer` wires lifecycle, threads and parameters; `image_input`, `outputs` and `services` hold
its subscription, publishers and services. What they call knows nothing of rclpy: `engine` (model,
map, recognition), `parameters`, `mailbox`, `statistics`, `messages`, `markers`, `debug_image`,
`diagnostics`, `silence` (why no picture arrives).
"""

from __future__ import annotations

from vpr_ros.blas import use_one_blas_thread


def main(args: list[str] | None = None) -> int:
    """Run the node; the console script `localizer`."""
    use_one_blas_thread()
    from vpr_ros.node.localizer import main as run

    return run(args)
