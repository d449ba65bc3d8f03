# SPDX-License-Identifier: Apache-2.0
import dataclasses
import json
import shutil
from pathlib import Path

import cv2
import lightning
import numpy as np
import pytest

from training import evaluate, export_onnx
from training.config import config_from_dict
from training.data import load_places
from training.evaluate import Answers, answer, choose_threshold
from training.models import build_network
from training.module import PlaceRecognition
from training.validation import step_set
from vpr_ros import cli
from vpr_ros.benchmarks import open_benchmark
from vpr_ros.benchmarks.retrieval_set import RetrievalSet
from vpr_ros.extractor import read_model_info


@pytest.fixture
def tiny(tiny_model):
    return evaluate.open_model(str(tiny_model), [])


def pictures_of(array):
    return [lambda rgb=rgb: rgb for rgb in array]


def test_answers_of_the_runtime(tiny, textured_pictures):
    rgbs = textured_pictures(20)
    queries = rgbs[[3, 7, 9]]
    truth = [np.array([3]), np.array([7, 8]), np.array([0])]  # the last truth is wrong on purpose
    asked = RetrievalSet('three', '', pictures_of(rgbs), pictures_of(queries), truth, truth)
    answers = answer(tiny, asked)
    assert answers.right.tolist() == [True, True, False]
    assert answers.recall_at_1 == pytest.approx(2 / 3)
    assert answers.best == pytest.approx([1, 1, 1], abs=1e-5)
    assert (answers.best_elsewhere[:2] < 0.99).all()
    assert answers.best_elsewhere[2] == answers.best[2]
    everywhere = dataclasses.replace(asked, vicinity=[np.arange(20)] * 3)
    answers = answer(tiny, everywhere)
    assert (answers.best_elsewhere == -np.inf).all()


def test_a_growing_map_is_searched_as_far_as_it_reaches(tiny, textured_pictures):
    rgbs = textured_pictures(6)
    truth = [np.array([1]), np.array([4])]
    asked = RetrievalSet(
        'two', '', pictures_of(rgbs), pictures_of(rgbs[[1, 4]]), truth, truth,
        searched=np.array([2, 4]),
    )  # fmt: skip
    answers = answer(tiny, asked)
    assert answers.right.tolist() == [True, False], 'place 4 was not in the map yet'
    assert answers.best[0] == pytest.approx(1, abs=1e-5)
    descriptors = tiny.extract_batch(list(rgbs))
    similar = descriptors @ descriptors[[1, 4]].T
    assert answers.best[1] == pytest.approx(similar[:4, 1].max(), abs=1e-5)
    assert answers.best_elsewhere == pytest.approx([similar[0, 0], similar[:4, 1].max()], abs=1e-5)


def test_a_step_of_a_walk_asks_for_its_neighbours():
    walks = [[Path(f'{walk}{i}') for i in range(count)] for walk, count in (('a', 5), ('b', 4))]
    asked = step_set(walks)
    assert [picture.args[0].name for picture in asked.references] == ['a0', 'a2', 'a4', 'b0', 'b2']
    assert [picture.args[0].name for picture in asked.queries] == ['a1', 'a3', 'b1', 'b3']
    assert [rows.tolist() for rows in asked.truth] == [[0, 1], [1, 2], [3, 4], [4]]
    assert [rows.tolist() for rows in asked.vicinity] == [[0, 1, 2]] * 2 + [[3, 4]] * 2


def test_threshold_counts_places_that_the_map_lacks():
    answers = Answers(
        best=np.array([0.9, 0.8, 0.7, 0.6]),
        right=np.array([True, True, True, False]),
        near=np.array([True, True, True, False]),
        best_elsewhere=np.array([0.5, 0.5, 0.75, 0.6]),
    )
    assert choose_threshold([answers], precision=1.0) == 0.8
    assert choose_threshold([answers], precision=0.75) == 0.7
    nearby = Answers(np.array([0.95]), np.array([False]), np.array([True]), np.array([0.1]))
    assert choose_threshold([answers, nearby], precision=1.0) == 0.8
    wrong = Answers(np.ones(2), np.zeros(2, bool), np.zeros(2, bool), np.ones(2))
    with pytest.raises(ValueError, match='no threshold gives 99% precision; the best is 0'):
        choose_threshold([wrong], precision=0.99)


def test_command_prints_and_records(tiny_model, rendered_gsv, tmp_path, capsys):
    model = tmp_path / 'model.onnx'
    shutil.copy(tiny_model, model)
    config = tmp_path / 'config.yaml'
    config.write_text(f'data: {rendered_gsv}\ngsv: .\ncameras: ""\nclips: ""\n')
    folder = next((rendered_gsv / 'Images').iterdir())
    evaluate.main(
        [str(model), '--config', str(config), '--pair', str(folder), str(folder),
         '--precision', '0.5', '--record']
    )  # fmt: skip
    printed = capsys.readouterr().out
    assert 'street-night' in printed
    assert f'{folder.name} in {folder.name}' in printed
    info = read_model_info(model)
    assert f'{info.min_similarity:.4f}' in printed
    assert f'{100 * info.recall_at_1:.1f}' in printed


def test_the_shortcut_of_training_gives_the_recall_of_the_runtime(rendered_gsv, tmp_path):
    """Training validates in torch; what is deployed is the exported file in the runtime."""
    config = config_from_dict({
        'data': str(rendered_gsv), 'gsv': '.', 'cameras': '', 'clips': '', 'holdout_every': 2,
        'pretrained': False, 'height': 64, 'width': 64, 'out_channels': 8, 'workers': 0,
    })  # fmt: skip
    _, sets = load_places(config)
    network = build_network(config).eval()
    task = PlaceRecognition(network, config, [], sets)
    trainer = lightning.Trainer(
        logger=False, enable_progress_bar=False, enable_model_summary=False
    )
    shortcut = trainer.validate(task, verbose=False)[0]
    trainer.save_checkpoint(tmp_path / 'network.ckpt')
    export_onnx.main([
        '--checkpoint', str(tmp_path / 'network.ckpt'), '--out', str(tmp_path / 'model.onnx'),
    ])  # fmt: skip
    model = evaluate.open_model(str(tmp_path / 'model.onnx'), [])
    recalls = [answer(model, asked).recall_at_1 for asked in sets]
    assert [shortcut[f'val/{asked.name}'] for asked in sets] == pytest.approx(recalls)
    assert shortcut['val/recall'] == pytest.approx(np.mean(recalls))
    assert 0 < np.mean(recalls) < 1, 'the sets tell networks apart'


def test_benchmarks_give_what_the_command_of_the_runtime_gives(
    tiny_model, rendered_gsv, textured_pictures, tmp_path, capsys
):
    for folder, light, order in (('reference', 1.0, range(6)), ('query', 0.7, (5, 1, 2, 3, 4, 0))):
        (tmp_path / folder).mkdir()
        for i, rgb in enumerate(textured_pictures(6)[list(order)]):
            picture = (rgb[..., ::-1] * light).astype(np.uint8)
            cv2.imwrite(str(tmp_path / folder / f'{i}.png'), picture)
    command = ['evaluate', 'benchmark', 'folders', '--data', tmp_path, '--out', tmp_path / 'out']
    assert cli.main([*map(str, command), '--model', str(tiny_model), '--device', 'cpu']) == 0
    metrics = json.loads((tmp_path / 'out' / 'metrics.json').read_text())
    asked = open_benchmark('folders', tmp_path)
    recall = answer(evaluate.open_model(str(tiny_model), []), asked).recall_at_1
    assert metrics['recall@1'] == recall == pytest.approx(4 / 6)
    assert metrics['protocol'] == asked.protocol

    capsys.readouterr()
    config = tmp_path / 'config.yaml'
    config.write_text(f'data: {rendered_gsv}\ngsv: .\ncameras: ""\nclips: ""\n')
    options = [str(tiny_model), '--config', str(config), '--precision', '0.5']
    evaluate.main([*options, '--benchmark', 'folders', str(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith(f'folders: {asked.protocol}') for line in lines)
    assert any(line.split()[:2] == ['folders', '66.7'] for line in lines)
    with pytest.raises(SystemExit):
        evaluate.main([*options, '--benchmark', 'folder', str(tmp_path)])
    assert "no benchmark is called 'folder'" in capsys.readouterr().err
