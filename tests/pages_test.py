"""Markdown of tables, and which runs a page is about."""

import json
import pathlib

import paper_world
import pytest

from mmjsd_jax import pages
from mmjsd_jax.tables import Table


def test_cells_and_headings_are_escaped():
  text = pages.markdown(Table('A caption.', ('a', 'M|S'), (('x|y', '1'),)))
  assert text == ('A caption.\n\n| a | M\\|S |\n| --- | --- |\n| x\\|y | 1 |')


def test_a_table_without_a_caption_starts_with_its_headings():
  assert pages.markdown(Table('', ('a',), ())) == '| a |\n| --- |'


def test_runs_are_labelled_by_objective_and_by_folder_if_need_be(
  tmp_path: pathlib.Path,
):
  paths = []
  for name, preset in (('a', 'mvae'), ('b', 'mopoe'), ('c', 'mopoe')):
    (tmp_path / name).mkdir()
    paths.append(tmp_path / name / 'results.json')
    text = json.dumps(paper_world.make_run(preset))
    paths[-1].write_text(text, encoding='utf-8')
  folders = [path.parent for path in paths]
  assert list(pages.load(paths)) == [
    'mvae',
    f'mopoe ({folders[1]})',
    f'mopoe ({folders[2]})',
  ]
  with pytest.raises(ValueError, match='expected different files'):
    pages.load([paths[0], paths[0]])


def test_what_was_substituted_is_told_with_whose_it_was():
  whole, part = paper_world.make_run(), paper_world.make_run()
  assert pages.what_was_run({'a': whole})[-1] == 'Nothing was substituted.'
  part['substitutions'] = ['SVHN is a part.']
  assert pages.what_was_run({'a': whole, 'b': part})[-1] == (
    '- b: SVHN is a part.'
  )
