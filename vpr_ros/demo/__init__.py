# SPDX-License-Identifier: Apache-2.0
"""The demo: a rendered town, driven twice, recognised by the real node.

Everything here but `live` is free of ROS.
"""
