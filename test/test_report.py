# SPDX-License-Identifier: Apache-2.0
"""The report: its figures, its words, its pictures, and the page in a real browser."""

import base64
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from made_run import THRESHOLD, made_run, without_truth

from tools.screenshot import NoBrowserError, browser, save_screenshot
from vpr_ros.evaluation import figures, gallery, matrix, report, scores, summary, thumbnails
from vpr_ros.evaluation.outcomes import Verdict, judge
from vpr_ros.evaluation.report import PAGE_BYTES, write_report

KEPT = Path(__file__).resolve().parents[1] / 'test_output'  # for people to look at
FIGURES = ('route', 'precision_recall', 'similarity', 'similarity_matrix', 'latency')
MIXED = 'RRRRWRRRMMRRURRJRRDRRRWRBRRR'


def write(run, out):
    """The page of a run, as text."""
    outcomes = judge(run.answers, run.truth)
    numbers = scores.numbers(outcomes, threshold=run.threshold, only_mapped=False)
    intervals = scores.intervals(outcomes, threshold=run.threshold, only_mapped=False)
    paths = write_report(run, outcomes, numbers, intervals, out)
    assert paths[0] == out / 'report.html'
    assert sorted(path for path in out.iterdir()) == sorted(paths)
    return paths[0].read_text('utf-8')


class Page(HTMLParser):
    """The text, tags and scripts of a page."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.scripts, self.texts, self.addresses = [], [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ('src', 'href', 'data')]

    def handle_data(self, data):
        inside = self.scripts if self.tags[-1:] == ['script'] else self.texts
        inside.append(data)

    @property
    def data(self):
        return json.loads(self.scripts[0], parse_constant=pytest.fail)

    @property
    def text(self):
        return re.sub(r'\s+', ' ', ' '.join(self.texts))


# --- the page as a file


def test_page_holds_everything_itself(tmp_path, textured_pictures):
    html = write(made_run(MIXED, pictures=textured_pictures(len(MIXED))), tmp_path / 'new' / 'out')
    page = Page(html)
    assert page.addresses
    assert all(address.startswith('data:') for address in page.addresses)
    assert not re.search(r'url\((?!data:)|@import|https?://', html)
    assert "default-src 'none'" in html


def test_figures_of_the_page_are_the_files(tmp_path):
    html = write(made_run(MIXED), tmp_path)
    for name in FIGURES:
        assert base64.b64encode((tmp_path / f'{name}.png').read_bytes()).decode() in html


def test_page_says_what_counts(tmp_path):
    text = Page(write(made_run(MIXED), tmp_path)).text
    assert 'right is the place of the same number; recall@K over' in text
    for kinds, verdict in (('R', 'right'), ('W', 'wrong'), ('MB', 'missed'), ('J', 'not judged')):
        assert f'{sum(map(MIXED.count, kinds))} {verdict}' in text
    right = MIXED.count('R')
    assert f'{summary.percent(right / (right + 2))} of those judged are right' in text
    assert f'min_similarity: {THRESHOLD}' in text
    assert 'flatters' in text
    assert 'ab' * 32 in text
    assert 'vpr evaluate' in text  # the command line
    assert 'total' in text


def test_what_others_wrote_is_escaped(tmp_path):
    evil = '</script><script>alert(1)</script>'
    run = made_run('RWM', pictures=np.zeros((3, 24, 32, 3), np.uint8))
    answers = [replace(answer, name=evil) for answer in run.answers]
    run.place_map.images[:] = [evil] * len(run.place_map)
    run = replace(run, answers=answers, title=evil, description={evil: evil, 'a': {evil: [evil]}})
    page = Page(write(run, tmp_path))
    assert page.tags.count('script') == 2  # the data and our own
    assert page.data['pictures']['name'] == [evil] * 3
    assert evil in page.text


def test_dropped_and_unreadable_are_counted(tmp_path, textured_pictures):
    run = replace(made_run(MIXED, pictures=textured_pictures(10)), counts={'received': 27})
    text = Page(write(run, tmp_path)).text
    assert '1 dropped' in text
    assert 'received 27' in text
    assert f'{len(MIXED) - 10} of {len(MIXED)} query pictures could not be read again' in text


@pytest.mark.parametrize(
    ('kinds', 'sentence'),
    [
        ('MMMM', 'Nothing was accepted'),
        ('BBBB', 'Nothing was accepted'),
        ('DDDD', 'None of the 4 pictures was looked at: all were dropped.'),
        ('JJJJ', 'Whether rightly is not known'),
        ('UUUU', 'Nothing was accepted'),
        ('R', 'most similar match is right for 100 %'),
        ('JM', '1 of 2 are accepted. That finds 0 %'),
        ('D', 'None of the 1 pictures was looked at'),
        ('WW', 'most similar match is right for 0 %'),
    ],
)
@pytest.mark.parametrize('positions', [False, True])
def test_poor_runs(tmp_path, kinds, sentence, positions):
    page = Page(write(made_run(kinds, positions=positions), tmp_path))
    assert sentence in page.text
    assert not re.search(r'\bnan\b', page.text, re.IGNORECASE)
    assert len(page.data['pictures']['number']) == len(kinds)


def test_run_without_truth_invents_nothing(tmp_path):
    page = Page(write(without_truth(made_run('RRMRR')), tmp_path))
    assert 'no truth was given' in page.text
    assert 'No threshold can be advised' in page.text
    for name in ('recall@1', 'average precision', 'precision and recall of'):
        assert name not in page.text.replace('recall@K', '')
    assert 'Not drawn: it is not known' in page.text
    assert not (tmp_path / 'precision_recall.png').exists()


def test_empty_map(tmp_path):
    run = made_run('BB')
    run = replace(run, place_map=type(run.place_map)(run.place_map.model), truth=None)
    assert 'Not drawn: the map holds no places' in Page(write(run, tmp_path)).text


def test_answers_without_descriptors(tmp_path):
    run = made_run('RRR')
    answers = [
        replace(a, recognition=replace(a.recognition, descriptor=None)) for a in run.answers
    ]
    text = Page(write(replace(run, answers=answers), tmp_path)).text
    assert 'Not drawn: the answers carry no descriptors' in text


def test_script_has_the_values_of_each_picture(tmp_path):
    run = made_run(MIXED)
    data = Page(write(run, tmp_path)).data
    outcomes = judge(run.answers, run.truth)
    for i, verdict in enumerate(outcomes.verdicts()):
        assert data['verdicts'][data['pictures']['verdict'][i]]['label'] == verdict.value
        if verdict is Verdict.DROPPED:
            assert data['pictures']['similarity'][i] is None
        elif np.isfinite(outcomes.similarity[i]):
            best = run.answers[i].recognition.matches[0]
            assert data['pictures']['similarity'][i] == pytest.approx(best.similarity, abs=1e-4)
            assert data['places'][str(data['pictures']['match'][i])] == best.image


def test_later_stages_have_rows_and_curves(tmp_path):
    from vpr_ros.recognizer import Status

    run = made_run('RRRRWRRMRR')
    answers = list(run.answers)
    for i in (0, 1, 4):
        first = replace(answers[i].recognition.matches[0], probability=0.9)
        recognition = replace(answers[i].recognition, status=Status.VERIFIED, matches=(first,))
        answers[i] = replace(answers[i], recognition=recognition)
    page = Page(write(replace(run, answers=answers), tmp_path))
    for stage in ('retrieved', 'consistent', 'verified'):
        assert f'Stage: {stage}' in page.text
    assert page.data['pictures']['probability'][:3] == [0.9, 0.9, None]


# --- the figures


@pytest.mark.parametrize(
    ('draw', 'positions'),
    [(figures.draw_route, True), (figures.draw_route, False), (figures.draw_similarity, True)],
)
def test_every_picture_is_where_its_mark_says(tmp_path, draw, positions):
    run = made_run('RWRRWRRUUR', positions=positions)
    outcomes = judge(run.answers, run.truth)
    drawing = draw(run, outcomes, tmp_path / 'figure.png')
    png = cv2.imread(str(drawing.path))
    for (x, y), verdict in zip(drawing.marks, outcomes.verdicts(), strict=True):
        column, row = round(x * png.shape[1]), round(y * png.shape[0])
        rgb = png[row - 1 : row + 2, column - 1 : column + 2, ::-1].reshape(-1, 3).astype(float)
        wanted = np.array([int(figures.COLOURS[verdict][i : i + 2], 16) for i in (1, 3, 5)])
        assert np.abs(rgb - wanted).max(axis=1).min() < 45  # they are a little transparent


def test_marks_of_the_matrix_and_the_curve(tmp_path):
    run = made_run('RRWD')
    outcomes = judge(run.answers, run.truth)
    marks = figures.draw_similarity_matrix(run, outcomes, tmp_path / 'a.png').marks
    assert np.isnan(marks[3]).all()
    assert (np.diff(marks[:3, 1]) > 0).all()  # pictures go down
    assert marks[2, 0] == pytest.approx(marks[0, 0], abs=1e-6)  # taken for place 0
    curve = figures.draw_precision_recall(
        run, outcomes, scores.stages(outcomes, THRESHOLD), {}, tmp_path / 'b.png'
    ).marks
    order = np.argsort(-outcomes.similarity[:3])
    assert (np.diff(curve[order, 0]) >= 0).all()  # the less similar, the more recall


def test_route_is_drawn_in_the_plane_of_motion():
    flat = np.zeros((5, 3))
    flat[:, 0] = np.arange(5)
    assert figures._top_view(flat) == (0, 1)
    kitti = np.column_stack([np.arange(5.0), 0.1 * np.arange(5), np.arange(5.0) ** 2])
    assert figures._top_view(kitti) == (0, 2)


def test_similarity_cells_are_maxima(monkeypatch):
    rng = np.random.default_rng(1)
    queries, places = rng.normal(size=(23, 4)), rng.normal(size=(57, 4)).astype(np.float16)
    every = queries.astype(np.float32) @ places.T.astype(np.float32)
    rows, columns = matrix.edges(23, 10), matrix.edges(57, 10)
    wanted = np.array(
        [
            [every[rows[i] : rows[i + 1], columns[j] : columns[j + 1]].max() for j in range(10)]
            for i in range(10)
        ]
    )
    for at_once in (3, 8192):
        monkeypatch.setattr(matrix, '_PLACES_AT_ONCE', at_once)
        monkeypatch.setattr(matrix, '_PICTURES_AT_ONCE', at_once)
        found = matrix.similarity_cells(list(queries.astype(np.float32)), places, cells=10)
        np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_pictures_without_descriptor_are_unknown_cells():
    found = matrix.similarity_cells([None, np.ones(1, np.float32)], np.ones((3, 1), np.float32))
    assert np.isnan(found[0]).all()
    assert (found[1] == 1).all()


def test_truth_cells():
    marked = matrix.truth_cells([np.array([0, 9]), None, np.array([], int)], 10, cells=5)
    assert marked.shape == (3, 5)
    assert np.argwhere(marked).tolist() == [[0, 0], [0, 4]]


# --- the words


@pytest.mark.parametrize(
    ('fraction', 'text'),
    [
        (1.0, '100 %'),
        (0.9999, '99.9 %'),
        (0.0, '0 %'),
        (0.0001, '0.1 %'),
        (0.831, '83.1 %'),
        (math.nan, 'not known'),
    ],
)
def test_percent_rounds_to_all_or_none_only_what_is(fraction, text):
    assert summary.percent(fraction) == text


def test_advised_parameter_accepts_the_same_pictures():
    similarities = np.array([0.9, 0.43281, 0.43279, 0.43272, 0.3, np.nan])
    for threshold in similarities[:5]:
        written = float(summary._parameter(threshold, similarities))
        assert written <= threshold
        assert ((similarities >= written) == (similarities >= threshold)).all()
    assert summary._parameter(0.9, similarities) == '0.9000'


def test_settings_reach_what_they_promise():
    run = made_run('RRRWRRRRRR')
    outcomes = judge(run.answers, run.truth)
    stage = scores.stages(outcomes, run.threshold)[scores.RETRIEVED]
    for setting in summary.settings(run, outcomes, stage)[1:]:
        accepted = outcomes.similarity >= float(setting.line.partition(': ')[2])
        assert outcomes.right[accepted].all()
        assert setting.recall == summary.percent(accepted.sum() / len(run.answers))


def test_no_setting_where_the_most_similar_is_wrong():
    run = made_run('WM')
    outcomes = judge(run.answers, run.truth)
    stage = scores.stages(outcomes, run.threshold)[scores.RETRIEVED]
    assert [setting.line for setting in summary.settings(run, outcomes, stage)[1:]] == ['', '']


# --- the gallery


def test_worst_false_come_most_similar_first_and_apart():
    run = made_run('RWWW' + 60 * 'R' + 'W' + 67 * 'R')
    outcomes = judge(run.answers, run.truth)
    cases = gallery.worst_false(run, outcomes)
    numbers = [case.picture for case in cases]
    wrong = np.flatnonzero(np.array(outcomes.verdicts()) == Verdict.WRONG)
    assert numbers[0] == wrong[np.argmax(outcomes.similarity[wrong])]
    assert (np.diff(outcomes.similarity[numbers]) <= 0).all()
    assert len(numbers) == 2  # of 132: none within 2 of another
    assert all(case.true == case.picture and case.claimed != case.true for case in cases)


def test_missed_show_the_true_place_that_is_nearest():
    run = made_run('MRRR', positions=True)
    positives = (np.array([0, 3]), *run.truth.positives[1:])
    run = replace(run, truth=replace(run.truth, positives=positives))
    outcomes = judge(run.answers, run.truth)
    (case,) = gallery.worst_missed(run, outcomes)
    assert case.true == 0
    assert case.claimed == -1  # it is the true place
    unplaced = replace(run, truth=replace(run.truth, track=None))
    assert gallery.worst_missed(unplaced, outcomes)[0].true == 3


# --- the thumbnails


def decoded(uri):
    data = np.frombuffer(base64.b64decode(uri.partition(',')[2]), np.uint8)
    return cv2.imdecode(data, cv2.IMREAD_COLOR)[:, :, ::-1]


def cell(sheets, number):
    at = sheets.cells[number]
    sheet = decoded(sheets.uris[at // sheets.across**2])
    row, column = divmod(at % sheets.across**2, sheets.across)
    top, left = row * sheets.height, column * sheets.width
    return sheet[top : top + sheets.height, left : left + sheets.width]


def test_every_picture_is_in_its_cell(textured_pictures):
    pictures = dict(enumerate(textured_pictures(230, height=60, width=80)))
    pairs = [(i, 229 - i) for i in range(230)]
    (queries, places), left_out = thumbnails.sheets((pictures, pictures), pairs, 10**7)
    assert left_out == 0
    assert len(queries.uris) == 3
    for sheets in (queries, places):
        for number in (0, 9, 10, 99, 100, 229):
            wanted = cv2.resize(pictures[number], (sheets.width, sheets.height))
            assert np.abs(cell(sheets, number).astype(int) - wanted).mean() < 12


def test_less_room_smaller_pictures_then_fewer_pairs():
    rng = np.random.default_rng(0)
    noise = {i: rng.integers(0, 256, (60, 80, 3), dtype=np.uint8) for i in range(200)}
    pairs = [(i, i) for i in range(200)]
    areas, lost = [], []
    for budget in (10**7, 600_000, 60_000, 0):
        made, left_out = thumbnails.sheets((noise, noise), pairs, budget)
        assert sum(len(uri) for group in made for uri in group.uris) <= budget
        assert len(made[0].cells) == 200 - left_out
        areas.append(made[0].width * made[0].height)
        lost.append(left_out)
    assert areas[0] > areas[1] >= areas[2]
    assert lost[:2] == [0, 0]
    assert 0 < lost[2] < 200
    assert lost[3] == 200


def test_pictures_keep_their_proportions():
    wide, tall = np.full((20, 80, 3), 255, np.uint8), np.full((80, 20, 3), 255, np.uint8)
    (made,), _ = thumbnails.sheets(({0: wide, 1: tall},), [(0,), (1,)], 10**6)
    assert (made.width, made.height) == (80, 20)
    lit = (cell(made, 1) > 240).all(axis=2)
    rows, columns = np.flatnonzero(lit.any(axis=1)), np.flatnonzero(lit.any(axis=0))
    assert np.ptp(rows) > 2.5 * np.ptp(columns)


def test_page_of_2000_noisy_pictures_is_under_10_mb(tmp_path):
    def noise(numbers):
        for number in sorted(numbers):
            rng = np.random.default_rng(number)
            yield number, rng.integers(0, 256, (120, 160, 3), dtype=np.uint8)

    run = replace(made_run(MIXED[:20] * 100), query_pictures=noise, place_pictures=noise)
    outcomes = judge(run.answers, run.truth)
    numbers = scores.numbers(outcomes, threshold=run.threshold, only_mapped=False)
    path, *_ = write_report(run, outcomes, numbers, {}, tmp_path)
    assert path.stat().st_size <= PAGE_BYTES < 10_000_000
    data = Page(path.read_text('utf-8')).data
    assert len(data['sheets']['queries']['numbers']) == 2000  # none left out
    assert data['sheets']['queries']['width'] >= 48


def test_what_the_page_leaves_out_is_said(tmp_path, textured_pictures, monkeypatch):
    run = made_run(8 * 'RRMRRR', pictures=textured_pictures(48))
    monkeypatch.setattr(report, '_MAX_SHOWN', 20)
    page = Page(write(run, tmp_path / 'a'))
    numbers = page.data['pictures']['number']
    assert set(range(0, 48, 3)) <= set(numbers)
    assert f'{len(numbers)} of 48 pictures can be pointed at' in page.text
    without = {**page.data, 'sheets': None}
    size = (tmp_path / 'a' / 'report.html').stat().st_size
    sheets = len(json.dumps(page.data)) - len(json.dumps(without))
    monkeypatch.setattr(report, 'PAGE_BYTES', size - sheets + 6000)
    text = Page(write(run, tmp_path / 'b')).text
    assert re.search(r'[1-9]\d* of \d+ pairs of pictures are not shown', text)


# --- in a browser


@pytest.fixture(scope='module')
def chrome():
    try:
        with browser(width=1400, height=900) as driver:
            yield driver
    except NoBrowserError as error:
        pytest.skip(str(error))


@pytest.fixture
def opened(chrome, tmp_path, textured_pictures):
    """A run, its page open in Chromium."""
    count = len(MIXED)
    run = made_run(
        MIXED,
        positions=True,
        pictures=textured_pictures(count),
        place_pictures=textured_pictures(count, seed=1),
    )
    write(run, tmp_path)
    chrome.get_log('performance')  # of the page before
    chrome.get((tmp_path / 'report.html').as_uri())
    yield run, chrome
    assert chrome.get_log('browser') == []
    requests = [
        message['params']['request']['url']
        for message in (json.loads(e['message'])['message'] for e in chrome.get_log('performance'))
        if message['method'] == 'Network.requestWillBeSent'
    ]
    assert requests
    assert all(url.startswith(('file://', 'data:')) for url in requests)


def text_of(chrome, selector):
    return chrome.find_element('css selector', selector).text


def shown(chrome, canvas):
    """What a canvas shows: uint8 RGB (H, W, 3), once the picture with that number is drawn."""
    from selenium.webdriver.support.wait import WebDriverWait

    at = f'const c = document.getElementById("{canvas}");'
    WebDriverWait(chrome, 10).until(
        lambda c: c.execute_script(f'{at} return c.dataset.shown === c.dataset.wanted')
    )
    uri = chrome.execute_script(f'{at} return c.toDataURL("image/png")')
    return decoded(uri)


def hover(chrome, name, index):
    """Move the mouse to where a picture is in a figure."""
    from selenium.webdriver import ActionChains

    figure = chrome.find_element('css selector', f'[data-figure={name}]')
    chrome.execute_script('arguments[0].scrollIntoView({block: "center"})', figure)
    data = json.loads(chrome.execute_script('return document.getElementById("data").textContent'))
    x, y = data['marks'][name][index]
    box = figure.rect
    dx, dy = round((x - 0.5) * box['width']), round((y - 0.5) * box['height'])
    actions = ActionChains(chrome).move_to_element_with_offset(figure, dx, dy)
    actions.perform()
    return actions


def press(chrome, key):
    from selenium.webdriver import ActionChains

    ActionChains(chrome).send_keys(key).perform()


def wider_than_the_window(chrome):
    return chrome.execute_script('return document.documentElement.scrollWidth > innerWidth')


def test_narrow_page(opened):
    from selenium.webdriver.common.keys import Keys

    _, chrome = opened
    narrow = {'width': 500, 'height': 900, 'deviceScaleFactor': 1, 'mobile': False}
    chrome.execute_cdp_cmd('Emulation.setDeviceMetricsOverride', narrow)
    try:
        assert not wider_than_the_window(chrome)
        assert not chrome.find_element('id', 'inspector').is_displayed()
        press(chrome, Keys.ARROW_RIGHT)
        assert chrome.find_element('id', 'inspector').is_displayed()
    finally:
        wide = {**narrow, 'width': 1400}
        chrome.execute_cdp_cmd('Emulation.setDeviceMetricsOverride', wide)


def test_page_opens_and_draws(opened):
    _, chrome = opened
    assert chrome.title == 'a made run'
    images = chrome.find_elements('css selector', 'main img')
    assert len(images) >= len(FIGURES)
    assert all(image.get_property('naturalWidth') > 0 for image in images)
    assert shown(chrome, 'query').shape[0] > 40
    assert not wider_than_the_window(chrome)
    path = KEPT / 'report.png'
    path.parent.mkdir(exist_ok=True)
    save_screenshot(chrome, path)
    assert cv2.imread(str(path)).shape[1] == 1400


def test_hover_shows_the_pair_and_marks_it_everywhere(opened, textured_pictures):
    run, chrome = opened
    wrong = MIXED.index('W')
    for name in ('similarity', 'route', 'similarity_matrix'):
        hover(chrome, name, wrong - 1)
        assert text_of(chrome, '#position') == f'picture {wrong} of {len(MIXED)}'
        hover(chrome, name, wrong)
        assert text_of(chrome, '#position') == f'picture {wrong + 1} of {len(MIXED)}'
    recognition = run.answers[wrong].recognition
    match = recognition.matches[0]
    assert text_of(chrome, '#verdict') == 'wrong'
    assert text_of(chrome, '#query-name') == run.answers[wrong].name
    assert text_of(chrome, '#match-name') == match.image
    assert f'{match.similarity:.3f}' in text_of(chrome, '#facts')
    for canvas, number, seed in (('query', wrong, 0), ('match', match.row, 1)):
        picture = shown(chrome, canvas)
        wanted = cv2.resize(textured_pictures(len(MIXED), seed=seed)[number], picture.shape[1::-1])
        assert np.abs(picture.astype(int) - wanted).mean() < 12
    for mark in chrome.find_elements('css selector', '.mark'):
        assert mark.is_displayed()


def test_arrows_walk_and_a_click_pins(opened):
    from selenium.webdriver.common.keys import Keys

    _, chrome = opened
    actions = hover(chrome, 'similarity', 0)
    press(chrome, Keys.ARROW_RIGHT)
    assert text_of(chrome, '#position').startswith('picture 2 of')
    press(chrome, Keys.ARROW_LEFT)
    press(chrome, Keys.ARROW_LEFT)
    assert text_of(chrome, '#position').startswith('picture 1 of')  # there is none before
    actions.click().perform()
    hover(chrome, 'similarity', 10)
    assert text_of(chrome, '#position').startswith('picture 1 of')
    press(chrome, Keys.ESCAPE)
    hover(chrome, 'similarity', 9)
    assert text_of(chrome, '#position').startswith('picture 10 of')


def test_dropped_picture_shows_that_there_is_no_match(opened):
    from selenium.webdriver.common.keys import Keys

    _, chrome = opened
    dropped = MIXED.index('D')
    hover(chrome, 'similarity', dropped - 1)
    press(chrome, Keys.ARROW_RIGHT)
    assert text_of(chrome, '#verdict') == 'dropped'
    assert text_of(chrome, '#match-name') == 'none'
    assert not chrome.find_element('id', 'match').is_displayed()
    assert chrome.find_element('id', 'query').is_displayed()
    mark = chrome.find_element('css selector', '[data-figure=similarity] .mark')
    assert not mark.is_displayed()
