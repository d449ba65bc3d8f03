# SPDX-License-Identifier: Apache-2.0
"""How well places are recognised: from a recorded run to numbers and a report to act on.

The road: `answers` (a recognizer's answer to every picture, offline or live) and `truth` (what
would have been right) go into `scores` (recall, precision, errors, coverage, latency, and how sure
each number is), which `results` writes down and `report` draws.
"""
