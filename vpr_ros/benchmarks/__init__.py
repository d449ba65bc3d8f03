# SPDX-License-Identifier: Apache-2.0
"""The field's benchmarks: what they ask, how a model answers, what was published.

`open_benchmark(name, root)` makes a `RetrievalSet`, `retrieval.look_up` asks a model, `published`
holds the figures of others. `vpr evaluate benchmark list` shows the names and the layouts.

Recall depends on the protocol as much as on the network, so each set says in its `protocol` what
counts as a hit and which queries count. Nothing that a file holds is ever run.
"""

from vpr_ros.benchmarks.registry import BENCHMARKS, open_benchmark

__all__ = ['BENCHMARKS', 'open_benchmark']
