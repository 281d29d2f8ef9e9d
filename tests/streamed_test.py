"""Runs that stream a prepared copy: those of the data it was made of."""

import pathlib

import jax
import numpy as np
import pytest

from mmjsd_jax import config as configuration
from mmjsd_jax import job as jobs
from mmjsd_jax.data.dataset import Streamed

pytestmark = pytest.mark.usefixtures('no_local_data')
SMALL = {
  'data.digits': 'embedded',
  'data.embedded_repeats': 1,
  'data.modalities': ('m0', 'm3'),
  'data.num_validation': 50,
  'model.latent_dim': 4,
  'model.first_colour': 'median',
  'train.batch_size': 8,
  'train.num_steps': 4,
  'train.log_every': 2,
  'train.checkpoint_every': 2,
}


@pytest.fixture(scope='module')
def copy(tmp_path_factory) -> pathlib.Path:
  """PolyMNIST of the embedded digits, as our builder writes it."""
  from mmjsd_jax.data import polymnist_builder

  root = tmp_path_factory.mktemp('copy')
  with pytest.MonkeyPatch.context() as patch:
    patch.delenv('MMJSD_DATA_DIR', raising=False)
    polymnist_builder.Polymnist(
      data_dir=root, digits='embedded'
    ).download_and_prepare()
  return root


def prepare(workdir, **changes):
  config = configuration.default()
  config.update_from_flattened_dict(SMALL | changes)
  return jobs.prepare(config, workdir, mode='train', command='test')


def streamed(copy, **changes):
  return {'data.stream': True, 'data.dir': str(copy), **changes}


def assert_same(left, right):
  jax.tree.map(np.testing.assert_array_equal, left, right)


def test_a_streamed_job_is_the_resident_one(copy, tmp_path):
  resident = prepare(tmp_path)
  job = prepare(tmp_path, **streamed(copy))
  assert isinstance(job.training, Streamed)
  assert job.model == resident.model
  assert job.settings == resident.settings
  assert job.dataset.train.num_examples < 1000
  every = np.arange(job.training.num_examples)
  assert_same(job.training.take(every), resident.training.take(every))
  assert_same(job.validation, resident.validation)
  evaluated = jobs.for_evaluation(job).dataset
  assert_same(evaluated.train, resident.dataset.train)
  assert_same(evaluated.test, resident.dataset.test)
  assert 'streamed from' in job.dataset.source
  assert jobs.for_evaluation(job).substitutions == resident.substitutions


def test_all_modalities_have_the_fingerprint_of_the_resident_set(
  copy, tmp_path
):
  every = {'data.modalities': ()}
  resident = prepare(tmp_path, **every).dataset.fingerprint
  assert prepare(tmp_path, **streamed(copy, **every)).dataset.fingerprint == (
    resident
  )
  assert prepare(tmp_path, **streamed(copy)).dataset.fingerprint != resident


def test_an_evaluation_of_a_part_says_so(copy, tmp_path, monkeypatch):
  monkeypatch.setattr(jobs, 'MAX_EVALUATED', 100)
  job = prepare(tmp_path, **streamed(copy))
  part = jobs.for_evaluation(job)
  assert part.dataset.train.num_examples == 100
  assert part.substitutions[0].endswith(
    'Classifiers and probes learned from 100 of the 1,442 training tuples,'
    ' drawn at random.'
  )
  assert part.dataset.fingerprint != job.dataset.fingerprint


def test_a_copy_of_other_data_is_refused(copy, tmp_path):
  with pytest.raises(ValueError, match="with {'seed': 1.*with {'seed': 0"):
    prepare(tmp_path, **streamed(copy, **{'data.seed': 1}))
  with pytest.raises(ValueError, match="'digits': 'mnist'}; got one"):
    prepare(tmp_path, **streamed(copy, **{'data.digits': 'mnist'}))
  prepare(tmp_path, **streamed(copy, **{'data.digits': 'auto'}))


def test_without_a_copy_it_is_said_what_prepares_one(tmp_path):
  with pytest.raises(FileNotFoundError, match='polymnist_builder prepares one'):
    prepare(tmp_path, **streamed(tmp_path))
