# SPDX-License-Identifier: Apache-2.0
"""The field's benchmarks as `RetrievalSet`s: `open_benchmark(name, root)`.

Recall depends on the protocol as much as on the network, so each set says in its `protocol` what
counts as a hit and which queries count. Nothing that a file holds is ever run.

| name                          | pictures in ROOT           | lists              | a hit        |
|-------------------------------|----------------------------|--------------------|--------------|
| pitts30k_train, pitts30k_val, | 000/..., queries_real/...  | NAME.mat, or       | within 25 m  |
| pitts30k_test                 |                            | NAME_ D Q G        |              |
| pitts250k_train,              | the same                   | the same           | within 25 m  |
| pitts250k_val, pitts250k_test |                            |                    |              |
| msls_val (official 740)       | train_val/cph/, .../sf/    | msls_val_ D Q      | within 25 m  |
| msls_val_747 (7 without hit)  | the same                   | qIdx.npy pIdx.npy  | within 25 m  |
| msls_val_all (about 11,000)   | the same with its metadata | none               | within 25 m  |
| nordland_2760 (each 10th)     | ref/, query/, numbered     | none or            | +-1 frame    |
|                               |                            | Nordland_ D Q G    |              |
| nordland_27592 (all)          | the same                   | none               | +-10 frames  |
| sped                          | ref/, query/               | SPED_ D Q G        | as in G      |
| essex3in1                     | ref/, query/               | ESSEX_ D Q G       | as in G      |
| cross_season                  | ref/, query/               | CrossSeason_ D Q G | as in G      |
| inria_holidays                | ref/, query/               | Inria_ D Q G       | as in G      |
| tokyo247                      | database/, queries/ (*)    | none               | within 25 m  |
| sf_xl_v1                      | database/, queries_v1/ (*) | none               | within 25 m  |
| sf_xl_v2                      | database/, queries_v2/ (*) | none               | within 25 m  |
| utm (any other)               | database/, queries/ (*)    | none               | within 25 m  |
| folders (any two walks)       | reference/ or ref/, query/ | none               | +-2 pictures |

D, Q, G: dbImages.npy, qImages.npy, gt.npy. (*): file names `@UTM_east@UTM_north@...`.
Lists come apart from the pictures: they are looked for in `lists` (ROOT when it is not given) and
in the subfolders of it in which gsv-cities and MixVPR keep them. `folders` also takes database/
and queries/.
"""

from vpr_ros.benchmarks.registry import BENCHMARKS, open_benchmark

__all__ = ['BENCHMARKS', 'open_benchmark']
