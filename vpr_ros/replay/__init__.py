# SPDX-License-Identifier: Apache-2.0
"""Play a recording over DDS, where there is no `ros2 bag play`.

`recording` says what is played: topics with their types, and messages in order. `timeline` says
when: time of the recording against real time, at a rate, with pauses. `player` publishes.
"""
