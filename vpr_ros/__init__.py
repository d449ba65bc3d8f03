# SPDX-License-Identifier: Apache-2.0
"""Visual place recognition for ROS 2: a picture in, loop-closure candidates out."""

__version__ = '0.1.0'
