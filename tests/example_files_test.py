"""Tables of new examples, read as those that a model was trained on."""

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow
import pytest
from pyarrow import csv, parquet

import mmjsd_jax
from mmjsd_jax import config as configuration
from mmjsd_jax import example_files, run, step, usage
from mmjsd_jax import job as jobs
from mmjsd_jax.checkpoint import Checkpoints
from mmjsd_jax.data.declaration import (
  Declaration,
  Declared,
  ModalitySpec,
  Source,
)
from mmjsd_jax.interruption import Interruption

GENES = ('TP53', 'BRCA1', 'EGFR')
IDS = [f'p{n}' for n in range(12)]
VALUES = np.random.default_rng(0).normal(3, 2, (12, 3))
NOTES = ['one', 'two', '', 'six'] * 3
CLOSE = dict(rtol=1e-5, atol=1e-6)


def _write(path, **columns):
  table = pyarrow.table(columns)
  if path.suffix == '.parquet':
    parquet.write_table(table, path)
  else:
    csv.write_csv(table, path)
  return path


def _genes(rows=slice(None)):
  return dict(zip(GENES, VALUES[rows].T, strict=True))


def _write_run(folder, modalities, **options):
  """A run with drawn parameters, on tables of its own."""
  config = configuration.default()
  config.data.name = 'custom'
  config.data.dir = str(folder)
  config.data.declaration = Declaration(modalities, **options).to_json()
  config.model.latent_dim = 3
  config.train.batch_size = 8
  config.train.num_steps = 1
  workdir = folder / 'run'
  job = jobs.prepare(config, workdir, mode='train', command='test')
  rng = np.random.default_rng(0)
  with run.claimed(job):
    shapes = jax.eval_shape(lambda: step.fresh_state(job.model, job.settings))
    state = jax.tree.map(
      lambda leaf: jnp.asarray(0.3 * rng.normal(size=leaf.shape), leaf.dtype),
      shapes,
    )
    checkpoints = Checkpoints(workdir)
    checkpoints.save(state, seconds=1.0, loss=2.0)
    checkpoints.close()
  return workdir


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
  """A model of genes and notes in tables, and of scans in arrays."""
  folder = tmp_path_factory.mktemp('tables')
  labels = ['a', 'b'] * 6
  _write(folder / 'genes.csv', patient=IDS, **_genes(), diagnosis=labels)
  _write(folder / 'notes.parquet', patient=IDS, note=NOTES)
  scans = np.zeros((12, 2, 2), np.uint8)
  np.savez(folder / 'scans.npz', patient=IDS, scans=scans)
  return _write_run(
    folder,
    (
      Declared(ModalitySpec('genes', 'vector', width=4), Source('genes.csv')),
      Declared(
        ModalitySpec('notes', 'text', width=4), Source('notes.parquet', 'note')
      ),
      Declared(ModalitySpec('scans', 'image', width=2), Source('scans.npz')),
    ),
    id='patient',
    labels=Source('genes.csv', 'diagnosis'),
  )


@pytest.fixture(scope='module')
def model(workdir):
  """It, loaded."""
  return mmjsd_jax.load(workdir)


def _use(mode, workdir, output, **options):
  told = usage.check_options(mode, options | {'output': str(output)})
  usage.prepare(mode, workdir, told)(Interruption())
  with np.load(output, allow_pickle=False) as found:
    return dict(found)


def _refusal(model, told):
  with pytest.raises((ValueError, OSError)) as error:
    given = example_files.parse_given(told, model.specs, model.declaration)
    example_files.check_given(given)
  assert len(str(error.value).splitlines()) == 1
  return str(error.value)


def test_tables_of_training_are_embedded_as_their_values(
  workdir, model, tmp_path, monkeypatch
):
  monkeypatch.setattr(example_files, 'ROWS', 5)
  data = workdir.parent
  told = f'genes={data}/genes.csv,notes={data}/notes.parquet'
  found = _use('embed', workdir, tmp_path / 'out.npz', inputs=told)
  q = model.encode({'genes': VALUES, 'notes': np.array(NOTES)})
  assert found['id'].tolist() == IDS
  np.testing.assert_allclose(found['mean'], q.mean, **CLOSE)
  np.testing.assert_allclose(found['std'], q.std, **CLOSE)


def test_new_examples_are_in_the_order_of_the_first_table_with_gaps(
  workdir, model, tmp_path
):
  values = VALUES[[4, 1, 2]]
  values[2] = np.nan
  genes = dict(zip(GENES, values.T, strict=True))
  _write(tmp_path / 'g.csv', patient=['x2', 'x1', 'x4'], **genes)
  _write(tmp_path / 'n.csv', patient=['x1', 'x3'], note=['two', 'six'])
  told = f'notes={tmp_path}/n.csv,genes={tmp_path}/g.csv'
  found = _use('embed', workdir, tmp_path / 'out.npz', inputs=told)
  assert found['id'].tolist() == ['x1', 'x3', 'x2', 'x4']
  nothing = np.full(3, np.nan)
  expected = model.encode(
    {
      'genes': np.array([values[1], nothing, values[0], nothing]),
      'notes': ['two', 'six', '', ''],
    }
  )
  np.testing.assert_allclose(found['mean'], expected.mean, **CLOSE)
  np.testing.assert_array_equal(found['mean'][3], 0)  # the prior's


def test_what_is_generated_from_a_table_is_of_its_values(
  workdir, model, tmp_path
):
  path = _write(tmp_path / 'g.parquet', patient=IDS[:3], **_genes(slice(0, 3)))
  found = _use(
    'generate',
    workdir,
    tmp_path / 'out.npz',
    given=f'genes={path}',
    targets=['notes', 'scans'],
    seed=5,
  )
  drawn = model.generate({'genes': VALUES[:3]}, 'notes+scans', key=5)
  assert found['id'].tolist() == IDS[:3]
  for name, items in model.as_given(drawn).items():
    np.testing.assert_array_equal(found[name], items[:, 0])


def test_one_table_without_ids_goes_by_order_and_needs_no_names(tmp_path):
  train = _write(tmp_path / 'a.csv', **_genes(), note=NOTES)
  width = dict(width=4)
  workdir = _write_run(
    tmp_path,
    (
      Declared(ModalitySpec('genes', 'vector', **width), Source('a.csv')),
      Declared(ModalitySpec('notes', 'text', **width), Source('a.csv', 'note')),
    ),
    partial_rows='absent',
  )
  found = _use('embed', workdir, tmp_path / 'out.npz', inputs=str(train))
  model = mmjsd_jax.load(workdir)
  q = model.encode({'genes': VALUES, 'notes': np.array(NOTES)})
  np.testing.assert_array_equal(found['id'], range(12))
  np.testing.assert_allclose(found['mean'], q.mean, **CLOSE)
  # What is there in part is absent, as in training.
  part = _genes(slice(0, 1)) | {'EGFR': [np.nan], 'note': ['six']}
  path = _write(tmp_path / 'part.csv', **part)
  found = _use('embed', workdir, tmp_path / 'part.npz', inputs=str(path))
  q = model.encode({'notes': ['six']})
  np.testing.assert_allclose(found['mean'], q.mean, **CLOSE)


@pytest.mark.parametrize(
  ('told', 'content', 'message'),
  [
    (
      'genes={}',
      'patient,TP53,BRCA1,KRAS\nx,1,2,3\n',
      '{}: expected the 3 columns of genes as in training; got 3, only training'
      " has 'EGFR', only t.csv has 'KRAS'",
    ),
    (
      'genes={}',
      'patient,BRCA1,TP53,EGFR\nx,1,2,3\n',
      '{}: expected the 3 columns of genes as in training; got 3, column'
      " 'BRCA1' in the place of 'TP53'",
    ),
    (
      'genes={}',
      'id,TP53\nx,1\n',
      "{}: expected a column 'patient'; got 'id', 'TP53'",
    ),
    (
      'notes={}',
      'patient,text\nx,one\n',
      "{}: expected a column 'note'; got 'patient', 'text'",
    ),
    (
      'scans={}',
      'patient,x\nx,1\n',
      '{}: expected scans as arrays, in an .npz or a folder of .npy, since'
      ' training had scans.npz; got a table',
    ),
    (
      'genes={}',
      'patient,TP53,BRCA1,EGFR\nx,1,2,3\ny,1,high,3\n',
      "{}: expected numbers in column 'BRCA1'; got 'high' in row 1",
    ),
    (
      'genes={}',
      'patient,TP53,BRCA1,EGFR\nx,1,2,3\ny,1,,3\n',
      'genes of t.csv must be NaN in a whole row or nowhere in it, unless'
      " partial_rows = 'absent'; got 1 rows that are in part, the first id 'y',"
      " in column 'BRCA1'",
    ),
    (
      'genes={}',
      'patient,TP53,BRCA1,EGFR\n',
      'genes of t.csv must be an array of numbers or strings, one row at least;'
      ' got float64 (0, 3)',
    ),
    (
      'notes={}',
      'patient,note\nx,one\ny,\nz,sieben\n',
      "{}, id 'z': notes: expected words of at most 3 characters; got 'sieben',"
      ' which has 6',
    ),
    (
      '{}',
      'patient,TP53\n',
      '{}: expected the modalities that are in it, such as genes={}, as'
      ' training had 3 files; got none',
    ),
    ('genes={},genes={}', '', 'genes must be of one table; got {} and {}'),
    ('notes=none.csv', '', 'notes: none.csv is missing'),
    (
      'genes={},scans=s.npz',
      '',
      's.npz: expected a table, as only tables can be given together; arrays of'
      ' several modalities are in one .npz or folder',
    ),
  ],
  ids=[
    'another column',
    'order',
    'no ids',
    'no text',
    'image',
    'no number',
    'in part',
    'no rows',
    'too long',
    'no names',
    'twice',
    'missing',
    'arrays',
  ],
)
def test_tables_that_are_not_as_in_training_are_refused(
  model, tmp_path, told, content, message
):
  path = tmp_path / 't.csv'
  path.write_text(content)
  assert _refusal(model, told.format(path, path)) == message.format(path, path)


def test_tables_are_for_models_that_were_trained_on_tables(model):
  with pytest.raises(
    ValueError, match='t.csv: expected an .npz .* not trained'
  ):
    example_files.parse_given('genes=t.csv', model.specs)


def test_columns_of_a_run_that_has_not_stored_their_names_are_counted(
  model, tmp_path
):
  assert model.specs[0].columns == GENES
  specs = [spec._replace(columns=()) for spec in model.specs]

  def check(**columns):
    path = _write(tmp_path / 't.csv', patient=['x'], **columns)
    given = example_files.parse_given(f'genes={path}', specs, model.declaration)
    return example_files.check_given(given)

  assert check(a=[1], b=[2], c=[3]) == 1
  with pytest.raises(ValueError, match='the 3 columns of genes .*; got 2$'):
    check(a=[1], b=[2])
