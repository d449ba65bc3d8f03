# SPDX-License-Identifier: Apache-2.0
"""Python's `logging` of the core, passed on to the node's ROS log."""

from __future__ import annotations

import logging
from typing import Any


class RosHandler(logging.Handler):
    """Writes records to an rclpy logger, which applies its own level and writes /rosout."""

    def __init__(self, ros_logger: Any) -> None:
        """Write to `ros_logger`."""
        super().__init__()
        self._ros_logger = ros_logger

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; one call a level, since rclpy ties a line of code to its level."""
        text = self.format(record)
        if record.levelno >= logging.ERROR:
            self._ros_logger.error(text)
        elif record.levelno >= logging.WARNING:
            self._ros_logger.warning(text)
        elif record.levelno >= logging.INFO:
            self._ros_logger.info(text)
        else:
            self._ros_logger.debug(text)


def forward_to(ros_logger: Any) -> RosHandler:
    """Send what `vpr_ros.*` logs to a node; remove the handler when the node goes."""
    handler = RosHandler(ros_logger)
    package = logging.getLogger('vpr_ros')
    package.setLevel(logging.DEBUG)
    package.addHandler(handler)
    return handler
