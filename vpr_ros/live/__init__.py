# SPDX-License-Identifier: Apache-2.0
"""A recording through the real node, over DDS, and the answers to it.

`run` starts the node (`node_process`) or finds one that runs, plays, and waits for the last
answer; `listener` collects what the node says, `answers` reads it; `counts` says what became of
the pictures.
"""
