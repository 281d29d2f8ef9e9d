"""Declarations of users' own data: JSON and back, and what is refused."""

import json

import pytest

from mmjsd_jax.data.declaration import (
  Declaration,
  Declared,
  ModalitySpec,
  Source,
  from_json,
)

SCANS = Declared(ModalitySpec('scans', 'image'), Source('scans.npz'))
GENES = Declared(ModalitySpec('genes', 'vector'), Source('genes.csv'))


def test_a_declaration_survives_json():
  full = Declaration(
    (
      Declared(
        ModalitySpec('scans', 'image', 'laplace', 0.5, 16, 2.0, 'a.b:make'),
        Source('x_{split}.npz', 'pixels', present='seen', splits=('train',)),
      ),
      Declared(
        ModalitySpec('notes', 'text', alphabet='ab ', length=7),
        Source('{split}.csv', 'note', rows_of='scans'),
      ),
      Declared(
        ModalitySpec('genes', 'vector', standardise=False),
        Source('{split}.parquet', columns=('a', 'b')),
      ),
    ),
    id='patient',
    labels=Source('{split}.csv', 'class'),
    test_share=0.5,
    partial_rows='absent',
  )
  assert from_json(full.to_json()) == full


def test_defaults_are_left_out():
  assert json.loads(Declaration((GENES,)).to_json()) == {
    'modalities': [
      {
        'spec': {'name': 'genes', 'kind': 'vector'},
        'source': {'file': 'genes.csv'},
      }
    ]
  }


def test_defaults_go_by_kind():
  found = [
    ModalitySpec('a', kind).with_defaults()[2:5]
    for kind in ('vector', 'image', 'text')
  ]
  assert found == [
    ('normal', 1.0, 256),
    ('laplace', 0.75, 32),
    ('categorical', None, 64),
  ]


@pytest.mark.parametrize(
  ('text', 'message'),
  [
    ('', 'expected a declaration as JSON; got Expecting value'),
    ('[' * 100_000, 'expected a declaration as JSON; got '),
    ('[]', r'declaration must have fields; got \[\]'),
    ('{}', "declaration lacks the field 'modalities'"),
    ('{"modalities": {}}', r'declaration.modalities must be a list; got {}'),
    ('{"modalities": [], "x": 1}', "must have fields of .*; got 'x'"),
    ('{"modalities": []}', 'modalities must be one at least'),
    (
      '{"modalities": [{"spec": {"name": 1, "kind": "a"}, "source": {}}]}',
      r'modalities\[0\].spec.name must be a str; got 1',
    ),
    (
      '{"modalities": [{"source": {"file": "a"}, "spec": {"name": "a",'
      ' "kind": "text", "width": 1.5}}]}',
      r'modalities\[0\].spec.width must be a int; got 1.5',
    ),
    (
      '{"modalities": [{"source": {"file": "a"}, "spec": {"name": "a",'
      ' "kind": "text", "scale": NaN}}]}',
      r'spec.scale must be a float; got nan',
    ),
  ],
)
def test_other_text_is_refused(text, message):
  with pytest.raises(ValueError, match=message):
    from_json(text)


def _spec(**changes):
  return Declaration((GENES._replace(spec=GENES.spec._replace(**changes)),))


def _source(**changes):
  return Declaration((GENES._replace(source=Source('g.csv', **changes)),))


@pytest.mark.parametrize(
  ('declaration', 'message'),
  [
    (_spec(name='a+b'), "name of a modality must be .*; got 'a\\+b'"),
    (_spec(name=''), "name of a modality must be .*; got ''"),
    (_spec(kind='table'), "kind of genes must be one of .*; got 'table'"),
    (_spec(likelihood='categorical'), 'likelihood of genes must be one of'),
    (_spec(scale=0.0), 'scale of genes must be at least 1e-6'),
    (
      _spec(likelihood='normal_learned', scale=1.0),
      'scale of genes must be None with the likelihood normal_learned',
    ),
    (_spec(width=5000), 'width of genes must be at least 0 and at most 4096'),
    (_spec(weight=-1.0), 'weight of genes must be at least 0'),
    (_spec(networks='os.system'), "networks of genes must be 'package.module:"),
    (_spec(networks='a;b:c'), "networks of genes must be 'package.module:"),
    (
      _spec(alphabet='ab'),
      "alphabet, length and filler of genes must be '', 0",
    ),
    (_spec(filler='*'), 'alphabet, length and filler of genes must be'),
    (_spec(kind='text', filler='**'), 'filler of genes must be a character'),
    (
      _spec(kind='text', alphabet='ab'),
      "alphabet of genes must be .* ' ' among",
    ),
    (
      _spec(kind='text', alphabet='ab ', filler='*'),
      r"alphabet of genes must be .* '\*' among",
    ),
    (_spec(kind='text', length=5000), 'length of genes must be at least 0'),
    (_spec(shape=(3,)), 'shape, mean, std and columns of genes must be ()'),
    (_source(key='a', columns=('b',)), 'key and columns of genes must be not'),
    (_source(rows_of='scans'), r"rows_of of genes must be one of \('genes',\)"),
    (_source(splits=('train',)), "splits of genes must be .* only with '{spl"),
    (Declaration((GENES, GENES)), 'modalities must be of distinct names'),
    (
      Declaration((SCANS._replace(source=Source('a', columns=('b',))),)),
      r'columns of scans must be \(\) of a modality of kind image',
    ),
    (
      Declaration((GENES, Declared(SCANS.spec, Source('{split}.npz')))),
      "file of scans must be with '{split}' in its name, or none",
    ),
    (
      Declaration((GENES,), labels=Source('l.csv')),
      'key of labels must be the name of a column',
    ),
    (Declaration((GENES,), test_share=0.0), 'test_share must be above 0'),
    (Declaration((GENES,), partial_rows='fill'), 'partial_rows must be one of'),
  ],
)
def test_what_cannot_be_is_refused_by_name(declaration, message):
  with pytest.raises(ValueError, match=message):
    declaration.to_json()
