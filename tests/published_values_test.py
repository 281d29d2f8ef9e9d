"""What the papers print, cell by cell."""

import json
import pathlib
import tomllib

import pytest

from mmjsd_jax import experiments, paper_columns, published_values

_ROOT = pathlib.Path(__file__).resolve().parent.parent
_PAPERS = {
  'mmJSD': 'mmJSD_NeurIPS2020',
  'MoPoE': 'MoPoE_ICLR2021',
  'mmJSD, workshop': 'mmJSD_workshop_dSprites',
}
_DATA = {'mnist_svhn_text': 'MNIST-SVHN-Text', 'celeba': 'CelebA'}
_TABLES = [
  (paper, number)
  for paper, contents in published_values.load()['papers'].items()
  for number in contents['tables']
]


@pytest.fixture(scope='module')
def transcript(data_dir: pathlib.Path) -> dict:
  """All cells, typed and checked apart from this package's file."""
  path = data_dir.parent / 'reference' / 'published.json'
  if not path.is_file():
    pytest.skip(f'There is no {path}.')
  return json.loads(path.read_text(encoding='utf-8'))


@pytest.mark.parametrize(('paper', 'number'), _TABLES)
def test_cells_are_those_of_the_transcript(
  transcript: dict, paper: str, number: str
):
  expected = transcript[_PAPERS[paper]][f'table_{number}']['rows']
  assert published_values.table(paper, number)['rows'] == expected


def test_settings_are_those_of_the_transcript(transcript: dict):
  printed = transcript['hyperparameters_as_printed']
  for paper, contents in published_values.load()['papers'].items():
    for data_set, settings in contents['settings'].items():
      expected = printed[f'{paper}_{_DATA[data_set]}']
      for key, value in settings.items():
        assert value == expected[key]


@pytest.mark.parametrize(
  ('paper', 'number', 'model', 'column', 'expected'),
  [
    # Read off the papers' pages.
    ('mmJSD', '2', 'mmJSD (MS)', 'S|M,T', 0.92),
    ('mmJSD', '3', 'MMVAE', 'S|M', 0.005),
    ('mmJSD', '4', 'mmJSD', 'X|xM,xS', -2000),
    ('mmJSD', '10', 'MMVAE (I=30)', 'S|M', 0.76),
    ('MoPoE', '2', 'MVAE', 'T', {'mean': 0.85, 'std': 0.10}),
    ('MoPoE', '4', 'MMVAE', 'X|xS', {'mean': -1857, 'std': 12}),
    ('MoPoE', '6', 'MoPoE', 'Joint', {'mean': 0.31, 'std': 0.03}),
    ('MoPoE', '7', 'Eq. (5)', 'X|xT', -2039),
    ('mmJSD', '5', 'mmJSD (MS)', 'T->I', 0.42),
    ('MoPoE', '5', 'MVAE', 'I->T', 0.26),
    ('mmJSD, workshop', '1a', 'mmPoE', 'Scale/Img', 0.17),
    ('mmJSD, workshop', '1b', 'mmPoE/Joint', 'Pos X', 0.97),
  ],
)
def test_cells_of_the_papers(paper, number, model, column, expected):
  rows = published_values.table(paper, number)['rows']
  assert rows[model][column] == expected


@pytest.mark.parametrize(('paper', 'number'), _TABLES)
def test_tables_are_rectangular_and_said_where_from(paper: str, number: str):
  table = published_values.table(paper, number)
  assert table['where'].endswith(f'Table {number}')
  assert table['quantity'] in paper_columns.QUANTITIES
  for model, cells in table['rows'].items():
    assert list(cells) == table['columns'], model
  assert set(table['caveats']) <= set(published_values.load()['caveats'])


@pytest.mark.parametrize(('paper', 'number'), _TABLES)
def test_models_are_known_by_the_names_of_ours(paper: str, number: str):
  names = {title.format(30) for title in experiments.TITLES.values()}
  for model in published_values.table(paper, number)['rows']:
    plain = model.partition('/')[0].removesuffix(' (MS)')
    assert plain in names or f'MoPoE, {plain}' in names


def test_every_caveat_concerns_a_table():
  named = {
    key
    for paper, number in _TABLES
    for key in published_values.table(paper, number)['caveats']
  }
  assert named == set(published_values.load()['caveats'])


def test_the_supplement_adds_rows_and_replaces_none():
  rows = published_values.rows('mmJSD', '1')
  assert rows['MMVAE (I=30)'].where == 'supplement, Table 9'
  assert {row.where for model, row in rows.items() if '(I=' not in model} == {
    ''
  }
  caveats = published_values.caveats('mmJSD', '1')
  assert any('(I=30)' in text for text in caveats)
  assert len(set(caveats)) == len(caveats)


def test_the_random_column_of_mmjsd_is_explained():
  for number in ('2', '10'):
    caveats = published_values.caveats('mmJSD', number)
    assert any('not joint coherence' in text for text in caveats)
  # Three independent digits of ten: both comparisons hold, or neither.
  assert 0.1**2 + 0.9**2 == pytest.approx(0.82)


def test_files_that_are_no_code_are_packaged():
  text = (_ROOT / 'pyproject.toml').read_text(encoding='utf-8')
  patterns = tomllib.loads(text)['tool']['setuptools']['package-data']['*']
  files = {p.name: p for p in (_ROOT / 'mmjsd_jax').iterdir() if p.is_file()}
  assert {'published_values.json', 'page_sort.js'} <= files.keys()
  for path in files.values():
    assert path.suffix == '.py' or any(map(path.match, patterns)), path
