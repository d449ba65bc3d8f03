# SPDX-License-Identifier: Apache-2.0
"""How much drift the pose graph takes away, on hand-held runs with made odometry and closures.

Odometry: the true poses with an error of scale, a steady turn and random walks; the first line of
the output says how much, the columns drift_* what it makes of one metre (evo's relative pose
error). Closures: between poses that look at the same things, with noise; a tenth of them join
places that are not one. Errors are root mean squares of the absolute trajectory error in metres
over all poses of the odometry, by evo, after rigid alignment.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vpr_ros.pose_files import read_poses
from vpr_ros.pose_graph.closure import Closure, Kind, Outcome
from vpr_ros.pose_graph.graph import PoseGraph
from vpr_ros.pose_graph.simulation import Drift, Revisits, drifted, made_closures, matrices
from vpr_ros.pose_graph.transforms import quaternion_xyzw
from vpr_ros.poses import NS_PER_S, Trajectory

if TYPE_CHECKING:
    from evo.core.trajectory import PoseTrajectory3D

# Closures for ten pictures a second: fr1_desk's truth has 100 poses a second, RedKitchen's 30.
SEQUENCES = {
    'tum_fr1_desk': ('groundtruth.txt', Revisits(0.3, 20, 333, every=10)),
    'red_kitchen': ('poses_tum.txt', Revisits(0.5, 30, 150, every=3)),
}
RED_KITCHEN_HZ = 30
WALK = Drift(0, 0, 0, translation=0.03, yaw_deg=6, tilt_deg=3)
EVERY_S = 0.5  # how often the graph is optimised, as the node does


def main() -> None:
    """Run every sequence with every seed and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--seeds', type=int, default=5, help='how many: 0, 1, 2, ...')
    parser.add_argument(
        '--walk',
        action='store_true',
        help='drift as a random walk alone, which chance makes small',
    )
    parser.add_argument('--json', type=Path, help='also write the rows here')
    args = parser.parse_args()
    if importlib.util.find_spec('evo') is None:
        raise SystemExit('trajectory errors are measured by evo: pip install evo')
    data = Path(os.environ.get('VPR_DATA', Path(__file__).parents[2] / 'shared' / 'data'))
    drift = WALK if args.walk else Drift()
    print(f'{drift}; the graph has its defaults')
    for sequence, (_, which) in SEQUENCES.items():
        print(f'{sequence}: {which}')
    print()
    columns = (
        *('sequence', 'kind', 'seed', 'way_m', 'drift_percent', 'drift_deg_per_m', 'closures'),
        *(
            'wrong',
            'accepted',
            'wrong_accepted',
            'right_rejected',
            'ate_before_m',
            'ate_after_m',
            'percent',
            'seconds',
            'worst_update_s',
        ),
    )
    print('| ' + ' | '.join(columns) + ' |\n' + '|---' * len(columns) + '|')
    rows = []
    for sequence in SEQUENCES:
        for kind in (Kind.METRIC, Kind.DIRECTION):
            for seed in range(args.seeds):
                row = run(data, sequence, kind, seed, drift)
                rows.append(row)
                cells = (f'{v:.3g}' if isinstance(v, float) else str(v) for v in row.values())
                print('| ' + ' | '.join(cells) + ' |', flush=True)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + '\n', encoding='utf-8')


def true_poses(data: Path, sequence: str) -> Trajectory:
    """Read the true poses of a sequence; those of RedKitchen are numbered and get times."""
    file, _ = SEQUENCES[sequence]
    path = data / sequence / file
    if not path.is_file():
        raise SystemExit(f'no true poses at {path}; set VPR_DATA')
    truth = read_poses(path, 'tum').trajectory
    if sequence != 'red_kitchen':
        return truth
    stamps_ns = (truth.stamps_ns // NS_PER_S + 1) * (NS_PER_S // RED_KITCHEN_HZ)
    return Trajectory(stamps_ns, truth.positions, truth.orientations_xyzw)


def run(data: Path, sequence: str, kind: Kind, seed: int, drift: Drift) -> dict:
    """Drive one sequence through the graph and return its row."""
    rng = np.random.default_rng(seed)
    truth = true_poses(data, sequence)
    odometry = drifted(truth, drift, rng)
    closures = made_closures(truth, SEQUENCES[sequence][1], rng, kind=kind)
    start = time.perf_counter()
    graph, ids, worst_s = optimised(odometry, [closure for closure, _ in closures])
    seconds = time.perf_counter() - start
    right = {i: is_right for i, (_, is_right) in zip(ids, closures, strict=True)}
    accepted, rejected = (
        {i for i, d in graph.decisions.items() if d.outcome is outcome}
        for outcome in (Outcome.ACCEPTED, Outcome.REJECTED)
    )
    before, after = errors_m(truth, odometry, graph)
    drift_m, drift_deg = drift_of_a_metre(truth, odometry)
    way_m = float(np.linalg.norm(np.diff(truth.positions, axis=0), axis=1).sum())
    return {
        'sequence': sequence,
        'kind': kind.value,
        'seed': seed,
        'way_m': way_m,
        'drift_percent': 100 * drift_m,
        'drift_deg_per_m': drift_deg,
        'closures': len(right),
        'wrong': len(right) - sum(right.values()),
        'accepted': len(accepted),
        'wrong_accepted': sum(not right[i] for i in accepted),
        'right_rejected': sum(right[i] for i in rejected),
        'ate_before_m': before,
        'ate_after_m': after,
        'percent': 100 * after / before,
        'seconds': seconds,
        'worst_update_s': worst_s,
    }


def optimised(
    odometry: Trajectory, closures: Sequence[Closure]
) -> tuple[PoseGraph, list[int], float]:
    """Drive a trajectory with its closures through a graph, as the node does.

    Returns:
        The graph at the end, the closures' ids in the order given, the longest update in seconds.
    """
    graph, ids = PoseGraph(), [-1] * len(closures)
    queue = sorted(range(len(closures)), key=lambda i: closures[i].query_stamp_ns)
    worst_s, next_ns = 0.0, 0
    for i, stamp_ns in enumerate(odometry.stamps_ns.tolist()):
        graph.add_odometry(stamp_ns, odometry.positions[i], odometry.orientations_xyzw[i])
        while queue and closures[queue[0]].query_stamp_ns <= stamp_ns:
            number = queue.pop(0)
            ids[number] = graph.add_closure(closures[number])
        if stamp_ns >= next_ns:
            begin = time.perf_counter()
            graph.update()
            worst_s = max(worst_s, time.perf_counter() - begin)
            next_ns = stamp_ns + int(EVERY_S * NS_PER_S)
    for number in queue:  # later than the last odometry: refused, with that reason
        ids[number] = graph.add_closure(closures[number])
    graph.settle()
    return graph, ids, worst_s


def errors_m(truth: Trajectory, odometry: Trajectory, graph: PoseGraph) -> tuple[float, float]:
    """Return the trajectory error of odometry and of the graph, metres, over the same poses.

    They are all poses of the odometry, each corrected as the node before it: the nodes alone lie
    thickest where closures are.
    """
    nodes = graph.odometry()
    before = np.searchsorted(nodes.stamps_ns, odometry.stamps_ns, side='right') - 1
    correction = matrices(graph.trajectory()) @ np.linalg.inv(matrices(nodes))
    poses = correction[np.maximum(before, 0)] @ matrices(odometry)
    corrected = Trajectory(odometry.stamps_ns, poses[:, :3, 3], quaternion_xyzw(poses))
    return ate_m(truth, odometry), ate_m(truth, corrected)


def ate_m(truth: Trajectory, found: Trajectory) -> float:
    """Return the root mean square of the absolute trajectory error, metres."""
    from evo.core import metrics, sync

    true, estimate = sync.associate_trajectories(_evo(truth), _evo(found), max_diff=0.01)
    estimate.align(true)
    error = metrics.APE(metrics.PoseRelation.translation_part)
    error.process_data((true, estimate))
    return float(error.get_statistic(metrics.StatisticsType.rmse))


def drift_of_a_metre(truth: Trajectory, odometry: Trajectory) -> tuple[float, float]:
    """Return what odometry errs in a metre (root mean square), metres and degrees."""
    from evo.core import metrics

    found = []
    for relation in (
        metrics.PoseRelation.translation_part,
        metrics.PoseRelation.rotation_angle_deg,
    ):
        error = metrics.RPE(relation, delta=1, delta_unit=metrics.Unit.meters, all_pairs=True)
        error.process_data((_evo(truth), _evo(odometry)))
        found.append(float(error.get_statistic(metrics.StatisticsType.rmse)))
    return found[0], found[1]


def _evo(trajectory: Trajectory) -> PoseTrajectory3D:
    from evo.core.trajectory import PoseTrajectory3D

    return PoseTrajectory3D(
        positions_xyz=trajectory.positions,
        orientations_quat_wxyz=np.roll(trajectory.orientations_xyzw, 1, axis=1),
        timestamps=trajectory.stamps_ns / NS_PER_S,
    )


if __name__ == '__main__':
    main()
