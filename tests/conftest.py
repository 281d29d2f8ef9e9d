"""Settings and fixtures that all tests share."""

import gc
import os
import pathlib

import hypothesis
import pytest

_ROOT = pathlib.Path(__file__).resolve().parent.parent

# Compiling takes most of the tests' time, so compiled programs are kept from
# one run to the next. In the environment, so that the programs which tests
# start share them; before `import jax`, which reads them.
os.environ.setdefault(
  'JAX_COMPILATION_CACHE_DIR', str(_ROOT / '.cache' / 'jax')
)
os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0')

import jax  # noqa: E402

from mmjsd_jax.data import tfds_source  # noqa: E402

jax.config.update('jax_platforms', 'cpu')
jax.config.update('jax_num_cpu_devices', 8)
# Silent broadcasting between ranks is the commonest wrong ELBO.
jax.config.update('jax_numpy_rank_promotion', 'raise')

hypothesis.settings.register_profile(
  'mmjsd_jax',
  # The first example compiles, so it takes far longer than the others.
  deadline=None,
  max_examples=20,
  # The same examples on every machine: a red test is red for everyone.
  derandomize=True,
  database=None,
)
hypothesis.settings.load_profile('mmjsd_jax')


def pytest_collection_finish() -> None:
  """What has been imported stays; no collection need go through it again."""
  gc.collect()
  gc.freeze()


@pytest.fixture(scope='session', autouse=True)
def _cache_dir(tmp_path_factory: pytest.TempPathFactory) -> None:
  """What the package caches is neither read from nor left in the home."""
  os.environ['MMJSD_CACHE_DIR'] = str(tmp_path_factory.mktemp('cache'))


@pytest.fixture(scope='session')
def key() -> jax.Array:
  """A random key; the same in every test."""
  return jax.random.key(0)


@pytest.fixture
def no_local_data(
  monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
  """The test sees neither the machine's own data nor the network."""
  monkeypatch.delenv('MMJSD_DATA_DIR', raising=False)
  monkeypatch.setenv('TFDS_DATA_DIR', str(tmp_path / 'no_tfds'))
  monkeypatch.setattr(tfds_source, '_probe', lambda *_: 'no network in tests')


@pytest.fixture(scope='session')
def data_dir() -> pathlib.Path:
  """The folder with the original data sets; skips the test without one."""
  given = os.environ.get('MMJSD_DATA_DIR')
  if given is not None:
    path = pathlib.Path(given)
    if not path.is_dir():
      pytest.fail(f'MMJSD_DATA_DIR={given} is not a folder.')
    return path
  path = _ROOT.parent / 'shared' / 'data'
  if not path.is_dir():
    pytest.skip('Set MMJSD_DATA_DIR to the folder with the data sets.')
  return path
