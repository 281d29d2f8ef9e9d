"""Runs: what is refused before any work, and one run from start to report.

Only the classifiers are cut short; all else is what a user's command does.
"""

import errno
import functools
import html
import json
import logging
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax.sharding import AxisType
from PIL import Image

from mmjsd_jax import config as configuration
from mmjsd_jax import job as jobs
from mmjsd_jax import journal, results, run, snapshot, trained
from mmjsd_jax import step as steps
from mmjsd_jax import workdir as workdirs
from mmjsd_jax.checkpoint import Checkpoints
from mmjsd_jax.data import idx, polymnist
from mmjsd_jax.evaluation import classifiers, samplers
from mmjsd_jax.evaluation.classifier_networks import DigitClassifier
from mmjsd_jax.evaluation.inception import Inception
from mmjsd_jax.gaussian import Gaussian
from mmjsd_jax.modalities import polymnist_image
from mmjsd_jax.train import NonFiniteLoss

pytestmark = pytest.mark.whole

_LOAD = polymnist.load
MODES = ('train_and_evaluate', 'train', 'evaluate')
EMBEDDED = "Scikit-learn's bundled handwritten digits, not MNIST"
TEXTURES = 'Textures made by arithmetic are the backgrounds'


def _config(**changes):
  """A run of seconds: two modalities, the embedded digits, four steps."""
  config = configuration.default()
  config.name = 'tiny'
  config.update_from_flattened_dict(
    {
      'data.digits': 'embedded',
      'data.modalities': ('m0', 'm3'),
      'data.embedded_repeats': 1,
      'model.latent_dim': 4,
      'train.batch_size': 8,
      'train.num_steps': 4,
      'train.log_every': 2,
      'train.checkpoint_every': 2,
      'evaluation.num_probe_samples': (40,),
      'evaluation.num_joint_samples': 16,
      'evaluation.num_importance_samples': 2,
      'evaluation.num_joint_importance_samples': 2,
      'evaluation.num_log_likelihood_examples': 4,
    }
    | changes
  )
  return config


def _prepare(config, workdir, mode='train_and_evaluate'):
  return jobs.prepare(config, workdir, mode=mode, command='test')


def _read(workdir, name='results.json'):
  return json.loads((workdir / name).read_text(encoding='utf-8'))


@pytest.fixture(autouse=True)
def _no_data_directory(monkeypatch, tmp_path):
  """Data are found where a test says, and nowhere else."""
  monkeypatch.delenv('MMJSD_DATA_DIR', raising=False)
  monkeypatch.setenv('TFDS_DATA_DIR', str(tmp_path / 'no_tfds'))


@pytest.fixture(scope='session')
def finished(tmp_path_factory):
  """The workdir of a run that has trained and evaluated."""
  workdir = tmp_path_factory.mktemp('runs') / 'tiny'
  with pytest.MonkeyPatch.context() as patch:
    patch.delenv('MMJSD_DATA_DIR', raising=False)
    _make_cheap(patch)
    run.execute(_prepare(_config(), workdir))
  return workdir


@pytest.fixture
def copied(finished, tmp_path):
  """A copy of the finished run, to do with as one likes."""
  return pathlib.Path(shutil.copytree(finished, tmp_path / 'copy'))


def _make_cheap(patch):
  """One device, small networks, and judges that have learned nothing.

  Compiling the real networks takes most of a minute; they have tests.
  """
  mesh = jax.make_mesh(
    (1,), ('data',), (AxisType.Auto,), devices=jax.devices()[:1]
  )
  patch.setattr(run, 'make_mesh', lambda: mesh)
  patch.setattr(polymnist_image, 'Encoder', _Encoder)
  patch.setattr(polymnist_image, 'Decoder', _Decoder)
  patch.setattr(classifiers, 'train_classifiers', _classifiers)


class _Encoder(nn.Module):
  latent_dim: int
  hidden_dim: int

  @nn.compact
  def __call__(self, x):
    features = nn.Dense(2 * self.latent_dim)(x.reshape(len(x), -1))
    return Gaussian(*jnp.split(features, 2, axis=-1))


class _Decoder(nn.Module):
  first_colour: tuple[float, ...] | None

  @nn.compact
  def __call__(self, z):
    pixels = nn.Dense(28 * 28 * 3)(z)
    return pixels.reshape(*z.shape[:-1], 28, 28, 3)


def _classifiers(key, dataset):
  del key
  shapes = jax.eval_shape(
    functools.partial(DigitClassifier().init, train=False),
    jax.random.key(0),
    jax.ShapeDtypeStruct((1, 28, 28, 3), np.float32),
  )['params']
  rng = np.random.default_rng(0)
  params = jax.tree.map(
    lambda leaf: rng.normal(0, 0.1, leaf.shape).astype(leaf.dtype), shapes
  )
  names = dataset.modalities
  return classifiers.Classifiers(
    dict.fromkeys(names, params), dict.fromkeys(names, 0.1)
  )


# --- what is refused before any work ------------------------------------------


def _refusal(config, workdir, mode='train_and_evaluate'):
  """The message; nothing may be left behind."""
  before = sorted(workdir.rglob('*')) if workdir.exists() else None
  with pytest.raises((ValueError, OSError)) as error:
    _prepare(config, workdir, mode)
  after = sorted(workdir.rglob('*')) if workdir.exists() else None
  assert before == after
  assert len(str(error.value).splitlines()) == 1
  return str(error.value)


@pytest.mark.parametrize(
  ('changes', 'expected'),
  [
    ({'objective.beta': -1.0}, 'config.objective.beta must be'),
    ({'model.style_dim': (1,)}, '2 numbers for the modalities'),
    ({'evaluation.subsets': ('m0+m1',)}, "got 'm0+m1'"),
    ({'train.batch_size': 12}, 'a multiple of the 8 devices; got 12'),
    ({'train.batch_size': 8000}, 'at most the 1442 training examples'),
    ({'data.num_validation': 1442}, 'below the 1442 training tuples; got 1442'),
    ({'data.digits': 'mnist'}, 'MNIST not found'),
    ({'data.backgrounds': ('a.png',) * 5}, 'a.png is missing'),
  ],
)
def test_what_cannot_work_leaves_nothing_behind(tmp_path, changes, expected):
  message = _refusal(_config(**changes), tmp_path / 'run')
  assert expected in message


def test_inceptions_weights_are_read_first_and_told_in_results(
  tmp_path, monkeypatch
):
  path = tmp_path / 'inception.npz'
  path.write_text('no weights')
  config = _config(
    **{
      'evaluation.num_quality_samples': 20,
      'evaluation.inception_weights': str(path),
    }
  )
  workdir = tmp_path / 'run'
  with pytest.raises(ValueError, match='expected Inception weights'):
    _prepare(config, workdir)
  assert not workdir.exists()
  inception = Inception({}, 'fingerprint')
  monkeypatch.setattr(jobs, 'load_inception', lambda _: inception)
  job = _prepare(config, workdir)
  assert job.inception is inception
  made = results.make_results(
    job, started='', training={}, metrics={}, stages={'a': 1, 'b': 2}
  )
  assert made['evaluation']['inception_sha256'] == 'fingerprint'
  assert made['evaluation']['stages'] == {'a': 1, 'b': 2}
  assert made['evaluation']['seconds'] == 3


def test_a_background_that_is_too_small_is_refused(tmp_path):
  paths = []
  for index in range(5):
    paths.append(str(tmp_path / f'{index}.png'))
    size = (40, 40) if index else (40, 27)
    Image.new('RGB', size).save(paths[-1])
  config = _config(**{'data.backgrounds': tuple(paths)})
  message = _refusal(config, tmp_path / 'run')
  assert '0.png: expected at least 28 x 28 pixels; got 40 x 27' in message


@pytest.mark.parametrize(
  ('content', 'expected'),
  [
    (idx.header((2, 28, 28)), 'expected at most'),
    (b'\x00\x01' + idx.header((0, 28, 28))[2:], 'magic 00000803; got 0001'),
  ],
  ids=['truncated', 'wrong magic'],
)
def test_a_damaged_idx_file_is_refused(tmp_path, content, expected):
  for split in ('train', 't10k'):
    (tmp_path / f'{split}-images-idx3-ubyte').write_bytes(content)
    labels = idx.header((0,))
    (tmp_path / f'{split}-labels-idx1-ubyte').write_bytes(labels)
  config = _config(**{'data.digits': 'idx', 'data.dir': str(tmp_path)})
  assert expected in _refusal(config, tmp_path / 'run')


def test_data_are_checked(tmp_path, monkeypatch):
  def load(**settings):
    found = _LOAD(**settings)
    inputs = {
      name: images.astype(np.float32)
      for name, images in found.train.inputs.items()
    }
    inputs['m3'][7, 0, 0, 0] = np.nan
    return found._replace(train=found.train._replace(inputs=inputs))

  monkeypatch.setattr(polymnist, 'load', load)
  message = _refusal(_config(), tmp_path / 'run')
  assert message.startswith('m3 of the train split must be finite; got 1 ')


def test_an_unwritable_workdir_is_refused(tmp_path, monkeypatch):
  (tmp_path / 'file').write_text('')
  for workdir in (tmp_path / 'file', tmp_path / 'file' / 'run'):
    with pytest.raises(OSError, match='must be a folder that can be written'):
      _prepare(_config(), workdir)

  def refuse(**_):
    raise PermissionError(13, 'Permission denied')

  monkeypatch.setattr(workdirs.tempfile, 'TemporaryFile', refuse)
  assert 'Permission denied' in _refusal(_config(), tmp_path / 'run')


def test_a_folder_with_other_things_is_refused(tmp_path):
  (tmp_path / 'thesis.tex').write_text('')
  assert "holds ['thesis.tex']" in _refusal(_config(), tmp_path)


def test_a_workdir_without_a_run_is_not_evaluated(tmp_path):
  message = _refusal(_config(), tmp_path / 'run', mode='evaluate')
  assert 'holds no run: run.json is missing' in message
  with pytest.raises(FileNotFoundError, match='holds no run'):
    workdirs.stored_config(tmp_path)


@pytest.mark.parametrize(
  'content', ['', '{"config": {', '[]', '{"config": {}}', '{"config": 1}']
)
def test_a_damaged_run_is_refused(tmp_path, content):
  (tmp_path / 'run.json').write_text(content)
  for mode in MODES:
    message = _refusal(_config(), tmp_path, mode)
    assert 'run.json must hold the config and the data of a run' in message


def test_a_run_is_claimed_and_other_data_are_refused(tmp_path):
  workdir = tmp_path / 'deep' / 'run'
  job = _prepare(_config(), workdir)
  assert job.dataset.modalities == ('m0', 'm3')
  assert not workdir.exists()
  with _claimed(job):
    names = sorted(path.name for path in workdir.iterdir())
    assert names == ['.lock', 'run.json']
  assert workdirs.stored_config(workdir) == _config()
  stored = _read(workdir, 'run.json')
  stored['data']['fingerprint'] = '0'
  (workdir / 'run.json').write_text(json.dumps(stored))
  assert 'holds a run on other data' in _refusal(_config(), workdir)


def _claimed(job):
  return workdirs.claimed(job.workdir, job.config, job.dataset, job.mode)


def test_a_workdir_in_use_is_refused(tmp_path):
  workdir = tmp_path / 'run'
  job, second = (_prepare(_config(), workdir) for _ in range(2))
  expected = f'in use by process {os.getpid()} on {platform.node()}; wait'
  with _claimed(job):
    assert expected in _refusal(_config(), workdir)
    # The second found the folder free, but came too late.
    with pytest.raises(OSError, match=expected):
      run.execute(second)
  with _claimed(second):
    pass


def test_a_run_that_was_begun_meanwhile_is_left_alone(tmp_path):
  workdir = tmp_path / 'run'
  late = _prepare(_config(**{'objective.preset': 'mmjsd'}), workdir)
  with _claimed(_prepare(_config(), workdir)):
    pass
  with pytest.raises(FileExistsError, match="objective.preset: 'mopoe' ->"):
    run.execute(late)
  assert workdirs.stored_config(workdir) == _config()


def test_a_lock_whose_process_died_is_taken_over(tmp_path):
  workdir = tmp_path / 'run'
  workdir.mkdir()
  holder = subprocess.Popen(
    [sys.executable, '-c', _HOLD_LOCK, str(workdir)],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
  )
  assert holder.stdout.readline() == b'held\n'
  expected = f'is in use by process {holder.pid} on'
  assert expected in _refusal(_config(), workdir)
  holder.kill()
  holder.communicate()
  assert (workdir / '.lock').exists()
  with _claimed(_prepare(_config(), workdir)):
    pass


_HOLD_LOCK = """
import pathlib, sys
from mmjsd_jax import workdir
with workdir.locked(pathlib.Path(sys.argv[1])):
  print('held', flush=True)
  sys.stdin.read()
"""


def test_a_folder_that_cannot_be_locked_is_told(tmp_path, monkeypatch, caplog):
  def refuse(*_):
    raise OSError(errno.ENOLCK, 'No locks available')

  monkeypatch.setattr(workdirs.fcntl, 'flock', refuse)
  with _claimed(_prepare(_config(), tmp_path)):
    assert 'cannot be locked (No locks available)' in caplog.text


def test_embedded_digits_are_told_at_the_start(tmp_path, caplog):
  with caplog.at_level(logging.INFO, 'mmjsd_jax'):
    job = _prepare(_config(**{'data.digits': 'auto'}), tmp_path)
  assert EMBEDDED in caplog.text
  assert 'no data directory was named' in job.dataset.substituted


def test_held_out_tuples_are_those_that_are_not_trained_on(tmp_path):
  job = _prepare(_config(**{'data.num_validation': 42}), tmp_path)
  assert len(job.training.labels) == 1400
  assert len(job.validation.labels) == 42
  both = np.concatenate(
    [job.training.inputs['m3'], job.validation.inputs['m3']]
  )
  rows = [image.tobytes() for image in both]
  assert sorted(rows) == sorted(
    image.tobytes() for image in job.dataset.train.inputs['m3']
  )


def test_modalities_are_taken_from_training_tuples_alone(tmp_path):
  changes = {'data.num_validation': 42, 'data.missing': 0.5}
  job = _prepare(_config(**changes), tmp_path)
  assert set(job.training.present) == set(job.settings.gaps) == {'m0', 'm3'}
  there = np.stack(list(job.training.present.values()))
  assert there.any(axis=0).all()
  for split in (job.validation, job.dataset.train, job.dataset.test):
    assert split.present == {}
  dropped = _prepare(
    _config(**changes, **{'data.incomplete': 'drop'}), tmp_path
  )
  assert dropped.settings.gaps == ()
  (rows,) = np.nonzero(there.all(axis=0))
  np.testing.assert_array_equal(
    dropped.training.inputs['m3'], job.training.inputs['m3'][rows]
  )


def test_dropping_all_tuples_is_refused(tmp_path):
  with pytest.raises(ValueError, match="none of the 1442 .*; got 'drop'"):
    _prepare(
      _config(**{'data.missing': 1.0, 'data.incomplete': 'drop'}), tmp_path
    )


def test_a_run_with_gaps_and_without_labels_says_so(tmp_path, monkeypatch):
  def load(**settings):
    found = _LOAD(**settings)
    return found._replace(
      num_classes=0,
      train=found.train._replace(labels=0 * found.train.labels - 1),
      test=found.test._replace(labels=0 * found.test.labels - 1),
    )

  _make_cheap(monkeypatch)
  monkeypatch.setattr(polymnist, 'load', load)
  run.execute(_prepare(_config(**{'data.missing': 0.5}), tmp_path))
  found = _read(tmp_path)
  assert found['metrics'].keys() == {'log_likelihood', 'left_out'}
  # Half of two, of which one in four had none and got one back.
  assert abs(found['data']['missing']['share'] - 0.375) < 0.03
  report = html.unescape((tmp_path / 'report.html').read_text('utf-8'))
  assert '50.0 % of modalities to be taken away, at random' in report
  assert report.count('Left out: the data set has no labels.') == 2
  ours, _ = report.split('id="published"')
  assert 'class="missing"' not in ours
  (line, _) = journal.read_metrics(tmp_path)
  assert line['log_likelihood_where_present/m0'] < 0 < line['present/m0'] < 1
  model = trained.load(tmp_path)
  assert model.sample(0, 2, source='sampler')['m3'].shape[0] == 2


def test_nothing_to_evaluate_is_an_error(tmp_path):
  with _claimed(_prepare(_config(), tmp_path)):
    pass
  job = _prepare(_config(), tmp_path, mode='evaluate')
  with pytest.raises(FileNotFoundError, match='no checkpoint to evaluate'):
    run.execute(job)


# --- one run from start to report ---------------------------------------------


def test_results_have_every_block(finished):
  results = _read(finished)
  assert set(results) == {
    'schema',
    'name',
    'version',
    'command',
    'workdir',
    'started',
    'finished',
    'config',
    'objective',
    'data',
    'substitutions',
    'environment',
    'training',
    'evaluation',
    'metrics',
    'published',
  }
  assert results['command'] == 'test'
  assert configuration.from_dict(results['config']) == _config()
  assert results['objective']['posterior'] == 'mopoe'
  assert results['data']['modalities'] == ['m0', 'm3']
  assert results['data']['num_train'] == 1442
  assert results['data']['num_test'] == 355
  assert results['environment']['platform'] == 'cpu'
  metrics = results['metrics']
  assert set(metrics) == {'probe', 'coherence', 'log_likelihood'}
  assert set(metrics['probe']['40']['subsets']) == {'m0', 'm3', 'm0+m3'}
  assert set(metrics['probe']['untrained']['40']['by_size']) == {'1', '2'}
  pairs = metrics['coherence']['conditional']['pairs']
  assert set(pairs) == {'m0->m3', 'm3->m0'}
  assert {'joint', 'joint_chance', 'ceiling'} <= set(metrics['coherence'])
  assert {'subsets', 'standard_error', 'joint', 'untrained_joint'} <= set(
    metrics['log_likelihood']
  )
  assert results['published']
  assert list(results['evaluation']['stages']) == [
    'checkpoint',
    'classifiers',
    'sampler',
    'encoding',
    'linear probe',
    'linear probe, untrained',
    'coherence',
    'log-likelihood',
    'log-likelihood, joint',
    'log-likelihood, untrained',
    'samples for figures',
  ]


def test_sampler_is_kept_for_later(finished):
  found = samplers.load(
    finished / 'sampler.npz', num_components=10, latent_dim=4
  )
  assert abs(found.weights.sum() - 1) < 1e-6
  block = _read(finished)['metrics']['coherence']['joint_from_sampler']
  assert block['num_examples'] == 1442
  assert 0 <= block['value'] <= 1


def test_training_is_told_once_per_step(finished):
  training = _read(finished)['training']
  assert training['steps'] == training['checkpoint_step'] == 4
  assert training['samples_seen'] == 32
  assert training['num_parameters'] > 0
  lines = journal.read_metrics(finished)
  assert [line['step'] for line in lines] == [2, 4]
  assert training['history'] == lines


def test_substitutions_are_in_results_and_report(finished):
  results = _read(finished)
  (substitution,) = results['substitutions']
  assert results['data']['substituted'] == substitution
  report = html.unescape((finished / 'report.html').read_text('utf-8'))
  for said in (EMBEDDED, TEXTURES):
    assert said in substitution
    assert said in report


def test_figures_are_pictures(finished):
  names = {path.stem for path in (finished / 'figures').iterdir()}
  assert {'reconstructions', 'random_samples', 'curves', 'loss'} <= names
  assert {'conditional_m0', 'conditional_m3'} <= names
  for name in names:
    with Image.open(finished / 'figures' / f'{name}.png') as picture:
      assert min(picture.size) >= 28


def test_nothing_half_written_is_left(finished):
  assert not [path for path in finished.rglob('*') if 'partial' in path.name]


def test_evaluating_again_gives_the_same_metrics(copied, monkeypatch):
  before = _read(copied)
  (copied / 'results.json').unlink()
  _make_cheap(monkeypatch)
  run.execute(_prepare(workdirs.stored_config(copied), copied, mode='evaluate'))
  after = _read(copied)
  # JSON tells every float64 in full, so this is equality to the bit.
  assert after['metrics'] == before['metrics']
  assert after['training'] == before['training']


def test_another_objective_is_refused_with_the_difference(copied):
  before = (copied / 'results.json').read_bytes()
  for mode in MODES:
    message = _refusal(_config(**{'objective.preset': 'mmjsd'}), copied, mode)
    assert "objective.preset: 'mopoe' -> 'mmjsd'" in message
  assert (copied / 'results.json').read_bytes() == before


def test_a_longer_run_goes_on(copied, monkeypatch):
  _make_cheap(monkeypatch)
  first = journal.read_metrics(copied)
  config = _config(**{'train.num_steps': 8})
  run.execute(_prepare(config, copied, mode='train'))
  lines = journal.read_metrics(copied)
  assert lines[:2] == first
  assert [line['step'] for line in lines] == [2, 4, 6, 8]
  assert workdirs.stored_config(copied).train.num_steps == 8


def test_a_damaged_checkpoint_is_told_in_results_and_report(
  copied, monkeypatch
):
  state = copied / 'checkpoints' / '4' / 'manifest'
  state.write_bytes(state.read_bytes()[:-9])
  _make_cheap(monkeypatch)
  monkeypatch.setattr(run.evaluate, 'evaluate', _metrics_of(copied))
  config = _config(**{'evaluation.sampler': ''})
  run.execute(_prepare(config, copied, mode='evaluate'))
  said = 'Checkpoint 4 is damaged: that of step 2 was evaluated in its place.'
  results = _read(copied)
  assert results['substitutions'][-1] == said
  assert results['training']['checkpoint_step'] == 2
  assert not (copied / 'sampler.npz').exists()  # it was of step 4
  assert said in html.unescape((copied / 'report.html').read_text('utf-8'))


def test_a_damaged_checkpoint_is_trained_again(copied, monkeypatch):
  _make_cheap(monkeypatch)
  before = journal.read_metrics(copied)
  manifest = copied / 'checkpoints' / '4' / 'manifest'
  leaves = snapshot.read_manifest(manifest.parent).leaves
  manifest.write_bytes(manifest.read_bytes()[:-9])
  run.execute(_prepare(_config(), copied, mode='train'))
  assert snapshot.read_manifest(manifest.parent).leaves == leaves
  assert _without_times(journal.read_metrics(copied)) == _without_times(before)


def _without_times(lines):
  times = ('seconds', 'samples_per_second')
  return [{k: v for k, v in line.items() if k not in times} for line in lines]


def test_a_finished_run_is_loaded_without_its_data(finished, monkeypatch):
  _make_cheap(monkeypatch)
  monkeypatch.setattr(polymnist, 'load', None)
  model = trained.load(finished)
  assert (model.step, model.modalities) == (4, ('m0', 'm3'))
  assert model.sample(0, 2, source='sampler')['m3'].shape[0] == 2
  checkpoints = Checkpoints(finished)
  mesh = run.make_mesh()
  settings = jobs.make_settings(_config(), model.model, 4)
  state, _ = checkpoints.restore(
    steps.init_state(model.model, settings, mesh), 4
  )
  checkpoints.close()
  jax.tree.map(np.testing.assert_array_equal, model.params, state.params)
  images = np.zeros((3, 28, 28, 3), np.uint8)
  assert model.encode({'m3': images}).mean.shape == (3, 4)


def test_what_the_readme_does_with_a_model_works(finished, monkeypatch):
  _make_cheap(monkeypatch)
  root = pathlib.Path(__file__).resolve().parent.parent
  readme = (root / 'README.md').read_text(encoding='utf-8')
  blocks = re.findall(r'```py\n(.*?)```', readme, flags=re.DOTALL)
  (block,) = [b for b in blocks if 'mmjsd_jax.load' in b]
  names = {}
  exec(block.replace("'runs/mine'", repr(str(finished))), names)
  assert names['pictures'].shape == (5, 10, 28, 28, 3)
  assert names['samples']['m0'].shape == (100, 28, 28, 3)
  assert np.all(np.isfinite(names['log_p']))


def test_the_same_command_gives_the_same_bits(finished, tmp_path, monkeypatch):
  _make_cheap(monkeypatch)
  workdir = tmp_path / 'again'
  run.execute(_prepare(_config(), workdir))
  for step in ('2', '4'):
    first, second = (
      snapshot.read_manifest(folder / 'checkpoints' / step).leaves
      for folder in (finished, workdir)
    )
    assert first == second
  assert _read(workdir)['metrics'] == _read(finished)['metrics']
  first, second = map(journal.read_metrics, (finished, workdir))
  assert _without_times(first) == _without_times(second)


class _Failing:
  """Stands in for `train`: fails at a step until the rate is low enough.

  Attributes:
    factors: what the rate was multiplied by, start by start.
  """

  def __init__(self, monkeypatch, *, highest_rate):
    self.factors = []
    self._begin, self._train, self._highest = run.begin, run.train, highest_rate
    monkeypatch.setattr(run, 'begin', self.begin)
    monkeypatch.setattr(run, 'train', self.train)

  def begin(self, *arguments, rate_factor):
    self.factors.append(rate_factor)
    return self._begin(*arguments, rate_factor=rate_factor)

  def train(self, *arguments, stop_requested):
    scale = float(arguments[4].state.rate_scale)
    for progress in self._train(*arguments, stop_requested=stop_requested):
      if progress.step > 2 and scale > self._highest:
        raise NonFiniteLoss(f'at {scale}')
      yield progress


def test_a_run_that_is_longer_already_is_refused(copied, monkeypatch):
  _make_cheap(monkeypatch)
  job = _prepare(_config(**{'train.num_steps': 2}), copied, mode='train')
  with pytest.raises(FileExistsError, match='of 4 steps; it cannot have 2'):
    run.execute(job)


def test_restoring_halves_the_rate_until_it_works(
  tmp_path, monkeypatch, caplog
):
  _make_cheap(monkeypatch)
  failing = _Failing(monkeypatch, highest_rate=0.25)
  workdir = tmp_path / 'run'
  config = _config(**{'train.non_finite': 'restore'})
  run.execute(_prepare(config, workdir, mode='train'))
  # At first from step 0 to the checkpoint of step 2, then from there.
  assert failing.factors == [1, 0.5, 0.25]
  assert 'at 1.0. Back to step 2, with 0.5 of the learning rate' in caplog.text
  lines = journal.read_metrics(workdir)
  assert [line['step'] for line in lines] == [2, 4]
  rate = config.train.learning_rate
  assert [line['learning_rate'] for line in lines] == [rate, rate / 4]


def test_restoring_ends_where_no_rate_works(tmp_path, monkeypatch):
  _make_cheap(monkeypatch)
  monkeypatch.setattr(run, 'MAX_HALVED', 2)
  failing = _Failing(monkeypatch, highest_rate=0)
  config = _config(**{'train.non_finite': 'restore'})
  with pytest.raises(NonFiniteLoss):
    run.execute(_prepare(config, tmp_path, mode='train'))
  assert failing.factors == [1, 0.5, 0.25]


def test_results_that_cannot_be_written_leave_the_old_ones(copied, monkeypatch):
  before = (copied / 'results.json').read_bytes()
  shutil.rmtree(copied / 'figures')
  (copied / 'figures').write_text('')
  _make_cheap(monkeypatch)
  job = _prepare(_config(), copied, mode='evaluate')
  monkeypatch.setattr(run.evaluate, 'evaluate', _metrics_of(copied))
  with pytest.raises(OSError, match='figures'):
    run.execute(job)
  assert (copied / 'results.json').read_bytes() == before
  assert [path.name for path in copied.glob('.*')] == ['.lock']


def _metrics_of(workdir):
  metrics = _read(workdir)['metrics']
  return lambda *_, **__: metrics
