# SPDX-License-Identifier: Apache-2.0
import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from training import evaluate
from training.evaluate import Answers, answer, choose_threshold
from training.validation import RetrievalSet, step_set, traverse_set
from vpr_ros.extractor import DescriptorExtractor, read_model_info


def pictures_of(array):
    return [lambda rgb=rgb: rgb for rgb in array]


def test_answers_of_the_runtime(tiny_model, textured_pictures):
    rgbs = textured_pictures(20)
    queries = rgbs[[3, 7, 9]]
    truth = [np.array([3]), np.array([7, 8]), np.array([0])]  # the last truth is wrong on purpose
    asked = RetrievalSet('three', '', pictures_of(rgbs), pictures_of(queries), truth, truth)
    answers = answer(DescriptorExtractor(tiny_model, device='cpu'), asked)
    assert answers.right.tolist() == [True, True, False]
    assert answers.recall_at_1 == pytest.approx(2 / 3)
    assert answers.best == pytest.approx([1, 1, 1], abs=1e-5)
    assert (answers.best_elsewhere[:2] < 0.99).all()
    assert answers.best_elsewhere[2] == answers.best[2]
    everywhere = dataclasses.replace(asked, vicinity=[np.arange(20)] * 3)
    answers = answer(DescriptorExtractor(tiny_model, device='cpu'), everywhere)
    assert (answers.best_elsewhere == -np.inf).all()


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


def test_traverses_are_matched_by_number(rendered_gsv):
    folder = next((rendered_gsv / 'Images').iterdir())
    asked = traverse_set(folder, folder, tolerance=1)
    assert [rows.tolist() for rows in asked.truth[:2]] == [[0, 1], [0, 1, 2]]
    assert len(asked.queries) == len(asked.references) == len(asked.truth)
