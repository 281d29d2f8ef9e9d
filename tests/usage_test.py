"""The modes that use a trained model: from files to files, whole or not."""

import csv
import zipfile

import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet
from trained_world import NAMES, make_inputs, model, small_networks, workdir

from mmjsd_jax import array_files, example_files, usage
from mmjsd_jax.interruption import Interruption

_FIXTURES = (model, small_networks, workdir)
NUM_EXAMPLES = 8


@pytest.fixture
def few_rows(monkeypatch):
  """Files are read in two parts."""
  monkeypatch.setattr(example_files, 'ROWS', 4)


def _inputs():
  inputs = make_inputs(NUM_EXAMPLES)
  inputs['gene'][[2, 6]] = np.nan
  return inputs | {
    'present.word': np.arange(NUM_EXAMPLES) % 4 > 0,
    'id': np.array([f'p{n}' for n in range(NUM_EXAMPLES)]),
  }


def _given(arrays):
  """What `_inputs` gives, as the model takes it."""
  inputs = {name: arrays[name] for name in NAMES}
  return inputs, {'word': arrays['present.word']}


def _write_folder(folder, arrays):
  folder.mkdir()
  for name, array in arrays.items():
    np.save(folder / f'{name}.npy', array)
  return folder


def _use(mode, workdir, **options):
  complete = usage.check_options(mode, options)
  usage.prepare(mode, workdir, complete)(Interruption())


def _refusal(mode, workdir, **options):
  with pytest.raises((ValueError, OSError)) as error:
    usage.prepare(mode, workdir, usage.check_options(mode, options))
  assert len(str(error.value).splitlines()) == 1
  return str(error.value)


# --- embed --------------------------------------------------------------------


def test_tables_hold_the_posterior(model, workdir, tmp_path, few_rows):
  arrays = _inputs()
  np.savez_compressed(tmp_path / 'in.npz', **arrays)
  _write_folder(tmp_path / 'in', arrays)
  inputs, present = _given(arrays)
  q = model.encode(inputs, present=present)
  close = dict(rtol=1e-5, atol=1e-6)

  _use(
    'embed', workdir, inputs=f'{tmp_path}/in.npz', output=f'{tmp_path}/out.npz'
  )
  with np.load(tmp_path / 'out.npz', allow_pickle=False) as found:
    assert sorted(found) == ['id', 'mean', 'std']
    np.testing.assert_array_equal(found['id'], arrays['id'])
    np.testing.assert_allclose(found['mean'], q.mean, **close)
    np.testing.assert_allclose(found['std'], q.std, **close)
    mean = found['mean']

  _use('embed', workdir, inputs=f'{tmp_path}/in', output=f'{tmp_path}/out.csv')
  with (tmp_path / 'out.csv').open(encoding='utf-8', newline='') as file:
    header, *lines = csv.reader(file)
  assert header[:2] == ['id', 'mean_0']
  assert header[-1] == 'std_2'
  assert [line[0] for line in lines] == arrays['id'].tolist()
  numbers = np.array([line[1:4] for line in lines], np.float32)
  np.testing.assert_array_equal(numbers, mean)

  output = tmp_path / 'out.parquet'
  _use('embed', workdir, inputs=f'{tmp_path}/in', output=str(output))
  table = parquet.read_table(output)
  assert table.column_names == header
  np.testing.assert_array_equal(table['mean_1'].to_numpy(), mean[:, 1])


def test_a_subset_of_the_file_is_embedded(model, workdir, tmp_path, few_rows):
  arrays = _inputs() | {'label': np.arange(NUM_EXAMPLES)}
  folder = _write_folder(tmp_path / 'in', arrays)
  assert "got 'label'" in _refusal(
    'embed', workdir, inputs=str(folder), output=f'{tmp_path}/out'
  )
  _use('embed', workdir, inputs=f'word+gene={folder}', output=f'{tmp_path}/out')
  inputs, present = _given(arrays)
  q = model.encode(inputs, 'word+gene', present=present)
  found = np.load(tmp_path / 'out' / 'mean.npy', allow_pickle=False)
  np.testing.assert_allclose(found, q.mean, rtol=1e-5, atol=1e-6)


# --- generate -----------------------------------------------------------------


def test_what_is_generated_is_written_with_a_picture(
  model, workdir, tmp_path, few_rows
):
  arrays = _inputs()
  folder = _write_folder(tmp_path / 'in', arrays)
  output = tmp_path / 'out.npz'
  told = dict(given=f'word+gene={folder}', seed=5, num_samples=2)
  _use('generate', workdir, output=str(output), targets=['picture'], **told)
  inputs, present = _given(arrays)
  del inputs['picture']
  expected = model.generate(inputs, ['picture'], 2, key=5, present=present)
  with np.load(output, allow_pickle=False) as found:
    assert sorted(found) == ['id', 'picture']
    np.testing.assert_array_equal(
      found['picture'], model.as_given(expected)['picture']
    )
  with Image.open(tmp_path / 'out.png') as picture:
    assert picture.width > 4 * 3  # of the first part's examples


def test_pictures_are_generated_from_vectors_alone(
  workdir, small_networks, tmp_path
):
  np.savez(tmp_path / 'in.npz', gene=_inputs()['gene'])
  told = dict(given=f'{tmp_path}/in.npz', targets=['picture'])
  _use('generate', workdir, output=f'{tmp_path}/out.npz', **told)
  with Image.open(tmp_path / 'out.png') as picture:
    assert picture.height > 2  # of one draw


def test_a_file_is_opened_to_check_it_and_to_read_it(
  model, workdir, tmp_path, monkeypatch
):
  folder = _write_folder(tmp_path / 'in', _inputs())
  opened = []
  members = array_files._members
  monkeypatch.setattr(
    array_files, '_members', lambda *args: opened.append(0) or members(*args)
  )
  told = dict(given=f'word+gene={folder}', output=f'{tmp_path}/out.npz')
  _use('generate', workdir, targets=['gene'], **told)
  assert len(opened) == 2


def test_samples_of_the_prior_can_be_given_again(
  model, workdir, tmp_path, few_rows
):
  output = tmp_path / 'out'
  _use('generate', workdir, output=str(output), num_samples=8)
  expected = model.as_given(model.sample(0, 8))
  for name in NAMES:
    found = np.load(output / f'{name}.npy', allow_pickle=False)
    np.testing.assert_array_equal(found, expected[name])
  assert (tmp_path / 'out.png').is_file()
  _use('embed', workdir, inputs=str(output), output=f'{tmp_path}/again.csv')
  assert len((tmp_path / 'again.csv').read_text().splitlines()) == 9


# --- whole or not at all ------------------------------------------------------


@pytest.mark.parametrize('suffix', ['.npz', '.csv', ''])
def test_bad_examples_further_down_leave_nothing(
  suffix, workdir, small_networks, tmp_path, few_rows
):
  arrays = _inputs()
  arrays['gene'][7, 0] = np.nan
  folder = _write_folder(tmp_path / 'in', arrays)
  options = dict(inputs=str(folder), output=f'{tmp_path}/out{suffix}')
  work = usage.prepare('embed', workdir, options | {'checkpoint': 'final'})
  with pytest.raises(ValueError, match='rows from 4 on: gene .*row 3,'):
    work(Interruption())
  assert [path.name for path in tmp_path.iterdir()] == ['in']


def test_an_interruption_leaves_nothing(
  workdir, small_networks, tmp_path, few_rows
):
  class Interrupted(Interruption):
    def check(self):
      raise KeyboardInterrupt

  options = usage.check_options(
    'generate', {'output': f'{tmp_path}/out.npz', 'num_samples': 4}
  )
  with pytest.raises(KeyboardInterrupt):
    usage.prepare('generate', workdir, options)(Interrupted())
  assert list(tmp_path.iterdir()) == []


# --- what is refused before any work ------------------------------------------


@pytest.mark.parametrize(
  ('mode', 'options', 'message'),
  [
    ('embed', {'output': 'a.csv'}, '--mode=embed needs --inputs'),
    ('generate', {}, '--mode=generate needs --output'),
    ('generate', {'output': 'a', 'inputs': 'b'}, 'takes .*--given.* --inputs'),
    ('train', {'seed': 1}, '--mode=train takes none of these; got --seed'),
  ],
)
def test_options_are_those_of_the_mode(mode, options, message):
  with pytest.raises(ValueError, match=message):
    usage.check_options(mode, options)


def test_outputs_that_cannot_be_are_refused(workdir, small_networks, tmp_path):
  (tmp_path / 'there.npz').write_text('')
  (tmp_path / 'drawn.png').write_text('')
  for output, message in (
    ('there.npz', 'there.npz exists'),
    ('drawn.npz', 'drawn.png exists'),
    ('a.h5', "must end in one of .* got 'a.h5'"),
    ('none/a.npz', 'No such file'),
  ):
    with pytest.raises((ValueError, OSError), match=message):
      options = usage.check_options('generate', {'output': tmp_path / output})
      usage.prepare('generate', workdir, options)
  message = _refusal(
    'generate', workdir, output=f'{tmp_path}/a', targets=['gene', 'm0']
  )
  assert message == f'--targets must be of {NAMES}; got m0'
  told = {'output': f'{tmp_path}/a', 'source': 'sampler'}
  message = _refusal('generate', workdir, **told)
  assert 'without one: an evaluation fits it' in message


@pytest.mark.parametrize(
  ('arrays', 'message'),
  [
    ({}, 'expected the arrays'),
    ({'gene': np.zeros((0, 5))}, 'at least 1'),
    ({'gene': np.zeros((2, 5)), 'word': np.zeros((3, 4))}, 'as many rows each'),
    ({'gene': np.zeros((2, 5), order='F')}, 'gene in C order'),
    ({'gene': np.zeros((2, 4))}, r'gene must have shape \[N, 5\]'),
    ({'m0': np.zeros((2, 4))}, "got 'm0'"),
  ],
  ids=['none', 'no rows', 'lengths', 'order', 'shape', 'name'],
)
def test_files_that_do_not_fit_are_refused(arrays, message, model, tmp_path):
  np.savez(tmp_path / 'in.npz', **arrays)
  given = example_files.parse_given(f'{tmp_path}/in.npz', model.specs)
  with pytest.raises(ValueError, match=message):
    example_files.check_given(given)


def test_damaged_files_and_pickles_are_refused(model, tmp_path):
  path = tmp_path / 'in.npz'
  given = example_files.parse_given(f'gene={path}', model.specs)

  def refused(message):
    with pytest.raises(ValueError, match=f'in.npz: {message}'):
      with example_files.open_parts(given) as parts:
        list(parts)

  objects = np.array([{}], object)
  np.savez(path, gene=objects, allow_pickle=True)
  refused('expected gene of numbers or strings; got objects')
  np.savez(path, word=['one'])
  refused(r"expected the arrays \['gene'\]; got \['word'\]")
  np.savez(path, gene=np.zeros((2, 5)))
  content = bytearray(path.read_bytes())
  content[-300] ^= 1
  path.write_bytes(content[:-200])
  refused('expected an .npz, or a folder .*: File is not a zip file')
  with zipfile.ZipFile(path, 'w') as archive:
    with archive.open('gene.npy', 'w') as file:
      header = {'descr': '<f4', 'fortran_order': False, 'shape': (9, 5)}
      np.lib.format.write_array_header_1_0(file, header)
      file.write(bytes(20))
  refused('gene ends before its 9 rows')


def test_a_file_larger_than_memory_is_read_in_parts(tmp_path):
  with (tmp_path / 'gene.npy').open('wb') as file:
    shape = (10**11, 5)
    header = {'descr': '<f4', 'fortran_order': False, 'shape': shape}
    np.lib.format.write_array_header_1_0(file, header)
    file.truncate(10**12)  # a hole, which takes no place
  with array_files.open_arrays(tmp_path) as arrays:
    assert arrays.num_rows == 10**11
    chunks = arrays.chunks(1000)
    assert next(chunks)['gene'].shape == next(chunks)['gene'].shape == (1000, 5)
