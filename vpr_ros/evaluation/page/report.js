// SPDX-License-Identifier: Apache-2.0
// One picture at a time is current: it is marked in every figure and shown beside its best match.
'use strict';
(() => {
  const data = JSON.parse(document.getElementById('data').textContent);
  const { pictures, places, marks, sheets } = data;
  const count = pictures.number.length;
  if (!count) return;

  const NEAR = 32;  // pixels from the pointer within which a picture counts as meant
  const byId = (id) => document.getElementById(id);
  const inspector = byId('inspector');
  const figures = [...document.querySelectorAll('.figure')];
  const cases = [...document.querySelectorAll('[data-picture]')];
  const indexOf = new Map(pictures.number.map((number, index) => [number, index]));
  for (const group of Object.values(sheets)) {
    group.cells = new Map(group.numbers.map((number, cell) => [number, cell]));
    group.images = [];
  }
  let current = 0;
  let pinned = false;

  async function draw(canvas, group, number) {
    const cell = number === null ? undefined : group.cells.get(number);
    canvas.hidden = cell === undefined;
    canvas.nextElementSibling.hidden = !canvas.hidden;
    if (canvas.hidden) return;
    const perSheet = group.across * group.across;
    const sheet = Math.floor(cell / perSheet);
    const place = cell % perSheet;
    if (!group.images[sheet]) {
      group.images[sheet] = new Image();
      group.images[sheet].src = group.uris[sheet];
    }
    canvas.dataset.wanted = number;
    await group.images[sheet].decode();
    if (canvas.dataset.wanted !== String(number)) return;  // another picture was chosen meanwhile
    canvas.width = group.width;
    canvas.height = group.height;
    canvas.getContext('2d').drawImage(
      group.images[sheet],
      (place % group.across) * group.width, Math.floor(place / group.across) * group.height,
      group.width, group.height, 0, 0, group.width, group.height);
    canvas.dataset.shown = number;
  }

  function fact(list, name, text) {
    if (text === null) return;
    const term = document.createElement('dt');
    const detail = document.createElement('dd');
    term.textContent = name;
    detail.textContent = text;
    list.append(term, detail);
  }

  const fixed = (value, digits, unit = '') => value === null ? null : value.toFixed(digits) + unit;

  function describe(index) {
    const at = (column) => pictures[column][index];
    const verdict = data.verdicts[at('verdict')];
    byId('position').textContent = `picture ${at('number') + 1} of ${data.total}`;
    byId('query-name').textContent = at('name');
    byId('match-name').textContent = at('match') === null ? 'none' : places[at('match')];
    byId('verdict').textContent = verdict.label;
    byId('verdict').style.setProperty('--colour', `var(--${verdict.slug})`);
    const facts = byId('facts');
    facts.replaceChildren();
    const similarity = fixed(at('similarity'), 3);
    fact(facts, 'similarity', similarity && `${similarity} (threshold ${data.threshold.toFixed(3)})`);
    fact(facts, 'probability', fixed(at('probability'), 3));
    fact(facts, 'status', data.statuses[at('status')]);
    fact(facts, 'reason', at('reason') || null);
    fact(facts, 'first right match', at('rank') ? `number ${at('rank')}` : null);
    fact(facts, 'position error', fixed(at('position_error_m'), 2, ' m'));
    fact(facts, 'angle error', fixed(at('angle_error_deg'), 1, '°'));
    fact(facts, 'latency', fixed(at('latency_ms'), 1, ' ms'));
    draw(byId('query'), sheets.queries, at('index'));
    draw(byId('match'), sheets.places, at('match'));
  }

  function choose(index) {
    current = Math.min(Math.max(index, 0), count - 1);
    describe(current);
    for (const figure of figures) {
      const mark = figure.querySelector('.mark');
      const [x, y] = marks[figure.dataset.figure][current] || [null, null];
      mark.hidden = x === null;
      mark.style.left = `${100 * x}%`;
      mark.style.top = `${100 * y}%`;
    }
    for (const article of cases) {
      article.classList.toggle('current', Number(article.dataset.picture) === pictures.number[current]);
    }
  }

  function react(index) {  // to what a person did, unlike the first choice
    inspector.classList.remove('idle');
    choose(index);
  }

  function pin(state) {
    pinned = state;
    inspector.classList.toggle('pinned', pinned);
  }

  function nearest(figure, event) {
    const box = figure.getBoundingClientRect();
    let best = -1;
    let least = NEAR * NEAR;
    marks[figure.dataset.figure].forEach((mark, index) => {
      if (!mark) return;
      const dx = box.left + mark[0] * box.width - event.clientX;
      const dy = box.top + mark[1] * box.height - event.clientY;
      const distance = dx * dx + dy * dy;
      if (distance < least) [best, least] = [index, distance];
    });
    return best;
  }

  for (const figure of figures) {
    figure.addEventListener('mousemove', (event) => {
      const index = pinned ? -1 : nearest(figure, event);
      if (index >= 0) react(index);
    });
    figure.addEventListener('click', (event) => {
      const index = nearest(figure, event);
      if (index < 0) return pin(false);
      pin(!(pinned && index === current));
      react(index);
    });
  }
  for (const article of cases) {
    const index = indexOf.get(Number(article.dataset.picture));
    article.addEventListener('mouseenter', () => pinned || react(index));
    article.addEventListener('click', () => { pin(true); react(index); });
  }
  byId('previous').addEventListener('click', () => react(current - 1));
  byId('next').addEventListener('click', () => react(current + 1));
  document.addEventListener('keydown', (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step) {
      event.preventDefault();
      react(current + step);
    } else if (event.key === 'Escape') {
      pin(false);
      inspector.classList.add('idle');
    }
  });
  inspector.hidden = false;
  choose(cases.length ? indexOf.get(Number(cases[0].dataset.picture)) : 0);
})();
