"""Storage faults: damaged checkpoints, full and read-only disks, kills.

Whatever befalls the newest checkpoint, the one before is read, a warning names
both, and training saves again. Whatever befalls a write, what was there stays.
"""

import contextlib
import errno
import json
import os
import pathlib
import pickle
import random
import re
import shutil
import subprocess
import sys
import textwrap
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjsd_jax import (
  checkpoint,
  config,
  figures,
  files,
  journal,
  snapshot,
  workdir,
)
from mmjsd_jax.checkpoint import Checkpoints
from mmjsd_jax.journal import Journal, read_metrics
from mmjsd_jax.snapshot import DamagedCheckpoint
from mmjsd_jax.train import Progress


class State(NamedTuple):
  weights: jax.Array
  step: jax.Array


def state_at(step, size=400):
  return State(
    jax.random.normal(jax.random.key(step), (size,)), jnp.int32(step)
  )


def save(checkpoints, step, *, loss=0.0, size=400):
  checkpoints.save(state_at(step, size), seconds=step / 4, loss=loss)
  checkpoints.wait()


def assert_is(restored, step, size=400):
  state, seconds = restored
  jax.tree.map(np.testing.assert_array_equal, state, state_at(step, size))
  assert seconds == step / 4


@pytest.fixture(scope='module')
def saved(tmp_path_factory):
  """Checkpoints 1, 2 and 3; the losses grow."""
  folder = tmp_path_factory.mktemp('saved')
  with opened(folder, keep=3) as checkpoints:
    for step in (1, 2, 3):
      save(checkpoints, step, loss=float(step))
  return folder


@pytest.fixture
def copied(saved, tmp_path):
  return pathlib.Path(shutil.copytree(saved, tmp_path / 'copy'))


@contextlib.contextmanager
def opened(folder, **settings):
  checkpoints = Checkpoints(folder, **settings)
  try:
    yield checkpoints
  finally:
    checkpoints.close()


def files_of(folder):
  return sorted(path for path in folder.rglob('*') if path.is_file())


def truncate(path):
  os.truncate(path, path.stat().st_size // 2)


def empty(path):
  os.truncate(path, 0)


def flip(path, bit=None):
  """Turns one bit over, the middle one unless told."""
  content = bytearray(path.read_bytes())
  byte, bit = divmod(4 * len(content) if bit is None else bit, 8)
  content[byte] ^= 1 << bit
  path.write_bytes(content)


def harmless(path, damage):
  """Nothing is lost of an empty file but the file itself."""
  return damage is not pathlib.Path.unlink and not path.stat().st_size


def assert_falls_back(workdir, caplog, named=''):
  """From a damaged 3 to a whole 2."""
  caplog.clear()
  with opened(workdir, keep=3) as checkpoints:
    assert_is(checkpoints.restore_newest(state_at(0)), 2)
    (warning,) = caplog.messages
    folder = re.escape(str(workdir / 'checkpoints'))
    assert re.fullmatch(
      rf'checkpoint 3 in {folder} is damaged \(.*{re.escape(named)}.*\); '
      'going on from checkpoint 2',
      warning,
    )
    assert checkpoints.latest_step() == 2


def assert_saves_again(workdir):
  with opened(workdir, keep=3) as checkpoints:
    save(checkpoints, 3)
    assert_is(checkpoints.restore_newest(state_at(0)), 3)


@pytest.mark.parametrize(
  'damage',
  [truncate, empty, flip, pathlib.Path.unlink],
  ids=lambda f: f.__name__,
)
def test_damage_to_any_file_falls_back(copied, caplog, damage):
  newest = copied / 'checkpoints' / '3'
  whole = shutil.copytree(newest, copied.parent / 'whole')
  names = [path.relative_to(newest) for path in files_of(newest)]
  assert len(names) > 5
  for name in names:
    if not harmless(newest / name, damage):
      damage(newest / name)
      assert_falls_back(copied, caplog, str(name))
      shutil.copytree(whole, newest)


def test_any_flipped_bit_is_seen(copied):
  """Ten in each file, drawn once for all; the seal of the manifest too."""
  folder = copied / 'checkpoints' / '3'
  draw = random.Random(0)
  for path in files_of(folder):
    for _ in range(10 if path.stat().st_size else 0):
      bit = draw.randrange(8 * path.stat().st_size)
      flip(path, bit)
      with pytest.raises(DamagedCheckpoint, match=path.name):
        snapshot.verify(folder)
      flip(path, bit)
  snapshot.verify(folder)


def half_deleted(folder):
  for path in files_of(folder)[::2]:
    path.unlink()


def emptied(folder):
  shutil.rmtree(folder)
  folder.mkdir()


def of_another_step(folder):
  shutil.rmtree(folder)
  shutil.copytree(folder.with_name('1'), folder)


def of_an_earlier_version(folder):
  (folder / 'manifest').unlink()


@pytest.mark.parametrize(
  ('damage', 'named'),
  [
    (half_deleted, ''),
    (emptied, 'manifest'),
    (of_another_step, 'it is of step 1'),
    (of_an_earlier_version, 'no manifest, as before version'),
  ],
  ids=lambda value: getattr(value, '__name__', ''),
)
def test_a_damaged_folder_falls_back(copied, caplog, damage, named):
  damage(copied / 'checkpoints' / '3')
  assert_falls_back(copied, caplog, named)
  assert_saves_again(copied)


def test_every_damaged_one_is_named(copied, caplog):
  for step in '23':
    empty(copied / 'checkpoints' / step / 'manifest')
  with opened(copied) as checkpoints:
    assert_is(checkpoints.restore_newest(state_at(0)), 1)
    assert checkpoints.steps() == (1,)
  for step, message in zip((3, 2), caplog.messages, strict=True):
    assert message.startswith(f'checkpoint {step} ')
    assert message.endswith('going on from checkpoint 1')


def test_where_none_is_whole_nothing_is_removed(copied):
  before = files_of(copied)
  for step in '123':
    empty(copied / 'checkpoints' / step / 'manifest')
  with opened(copied) as checkpoints:
    for restore in (checkpoints.restore_newest, checkpoints.restore_best):
      with pytest.raises(DamagedCheckpoint, match='3 in.*1 in.*no whole one'):
        restore(state_at(0))
  assert files_of(copied) == before


@pytest.mark.parametrize('name', ['manifest', 'state/manifest.ocdbt'])
def test_the_best_falls_back_to_the_next_best(copied, caplog, name):
  flip(copied / 'checkpoints' / '1' / name)
  with opened(copied) as checkpoints:
    assert_is(checkpoints.restore_best(state_at(0)), 2)
    assert checkpoints.steps() == (1, 2, 3)
  (message,) = caplog.messages
  assert 'checkpoint 1 in' in message
  assert message.endswith('going on from checkpoint 2')


def test_an_evaluation_removes_nothing(copied, caplog):
  empty(copied / 'checkpoints' / '3' / 'manifest')
  before = files_of(copied)
  with opened(copied) as checkpoints:
    restored = checkpoints.restore_newest(state_at(0), remove_damaged=False)
  assert_is(restored, 2)
  assert files_of(copied) == before
  assert len(caplog.messages) == 1


def test_a_leaf_that_orbax_reads_otherwise_is_named(copied):
  folder = copied / 'checkpoints' / '3'
  manifest = folder / 'manifest'
  content = json.loads(manifest.read_bytes().partition(b'\n')[2])
  content['leaves']['weights'][1] ^= 1
  manifest.write_bytes(snapshot._seal(json.dumps(content).encode()))
  with opened(copied) as checkpoints:
    with pytest.raises(
      DamagedCheckpoint, match=r'3 in .*\(weights is not what'
    ):
      checkpoints.restore(state_at(0), 3)


@pytest.mark.parametrize(
  ('like', 'message'),
  [
    (state_at(0, size=2), r'weights must be float32\[2\]; got float32\[400\]'),
    (
      state_at(0)._replace(weights=jnp.zeros(400, jnp.bfloat16)),
      r'weights must be bfloat16\[400\]; got float32',
    ),
    (
      state_at(0)._replace(weights=(jnp.zeros(400),)),
      r'weights/0 must be float32\[400\]; got none|weights must be absent',
    ),
  ],
  ids=['shape', 'dtype', 'structure'],
)
def test_another_model_is_refused_and_not_taken_for_damage(
  copied, like, message
):
  before = files_of(copied)
  with opened(copied) as checkpoints:
    with pytest.raises(snapshot.AnotherModel, match=message):
      checkpoints.restore_newest(like)
  assert files_of(copied) == before


@pytest.mark.parametrize(
  'change',
  [
    lambda manifest: [],
    lambda manifest: manifest | {'more': 1},
    lambda manifest: manifest | {'seconds': 'x'},
    lambda manifest: manifest | {'leaves': []},
    lambda manifest: manifest | {'leaves': {'a': 1}},
    lambda manifest: manifest | {'files': {'/dev/zero': 0}},
    lambda manifest: manifest | {'files': {'../3/manifest': 0}},
  ],
)
def test_a_manifest_of_other_things_is_damaged(copied, change):
  path = copied / 'checkpoints' / '3' / 'manifest'
  manifest = change(snapshot.read_manifest(path.parent)._asdict())
  path.write_bytes(snapshot._seal(json.dumps(manifest).encode()))
  with pytest.raises(DamagedCheckpoint, match='manifest is none of ours'):
    snapshot.verify(path.parent)
  with opened(copied) as checkpoints:
    assert_is(checkpoints.restore_newest(state_at(0)), 2)


def test_what_is_no_checkpoint_is_not_taken_for_one(copied, caplog):
  folder = copied / 'checkpoints'
  for name in ('.9.partial', '9.orbax-checkpoint-tmp', '007', 'nine', '٩'):
    (folder / name).mkdir()
  (folder / '9').write_text('a file')
  with opened(copied, keep=4) as checkpoints:
    assert checkpoints.steps() == (1, 2, 3)
    assert_is(checkpoints.restore_newest(state_at(0)), 3)
    save(checkpoints, 4)
    assert checkpoints.steps() == (1, 2, 3, 4)
  assert not list(folder.glob('.*'))
  assert (folder / 'nine').is_dir()
  assert caplog.messages == []


def test_nothing_is_unpickled(copied, monkeypatch):
  def refuse(*_, **__):
    raise AssertionError('unpickled')

  for name in ('load', 'loads', 'Unpickler'):
    monkeypatch.setattr(pickle, name, refuse)
  with opened(copied) as checkpoints:
    assert_is(checkpoints.restore_newest(state_at(0)), 3)


class Killed(BaseException):
  """Nothing of the program runs after it, not even what cleans up."""


def kill_at(patch, moment):
  """The program dies before the moment-th of its writes and removals."""
  count = 0

  def patched(owner, name):
    original = getattr(owner, name)

    def counted(*args, **kwargs):
      nonlocal count
      count += 1
      if count >= moment:
        raise Killed
      return original(*args, **kwargs)

    patch.setattr(owner, name, counted)

  patched(checkpoint, 'sync')
  patched(os, 'rename')
  patched(os, 'rmdir')
  patched(pathlib.Path, 'write_bytes')
  patched(pathlib.Path, 'mkdir')
  patched(shutil, 'rmtree')


def test_a_kill_at_any_moment_leaves_the_old_or_the_new(
  saved, tmp_path, caplog
):
  """Kept are the newest and the best: the save of 4 removes 3."""
  newest, moment = 3, 0
  finished = False
  while not finished:
    moment += 1
    folder = tmp_path / str(moment)
    shutil.copytree(saved, folder)
    shutil.rmtree(folder / 'checkpoints' / '2')
    with opened(folder, keep=1) as checkpoints:
      with pytest.MonkeyPatch.context() as patch:
        kill_at(patch, moment)
        with contextlib.suppress(Killed):
          save(checkpoints, 4, loss=4.0)
          finished = True
    with opened(folder, keep=1) as checkpoints:
      assert checkpoints.latest_step() >= newest  # never lost once there
      newest = checkpoints.latest_step()
      assert_is(checkpoints.restore_newest(state_at(0)), newest)
      assert_is(checkpoints.restore_best(state_at(0)), 1)
      save(checkpoints, 5, loss=5.0)
    assert sorted(os.listdir(folder / 'checkpoints')) == ['1', '5']
  assert newest == 4
  assert moment > 10
  assert caplog.messages == []


def test_a_checkpoint_is_on_disk_before_it_has_its_name(tmp_path, monkeypatch):
  done, rename = [], os.rename

  def renamed(source, target):
    done.append(pathlib.Path(source))
    rename(source, target)

  for module in (snapshot, checkpoint):
    monkeypatch.setattr(module, 'sync', done.append)
  monkeypatch.setattr(os, 'rename', renamed)
  with opened(tmp_path) as checkpoints:
    save(checkpoints, 1)
  folder = tmp_path / 'checkpoints'
  partial = folder / '.1.partial'
  written = {
    partial / path.relative_to(folder / '1')
    for path in (folder / '1').rglob('*')
  }
  *synced, named, last = done[-len(written) - 3 :]
  assert set(synced) == written | {partial}
  assert (named, last) == (partial, folder)


def no_space(*_, **__):
  raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
  ('module', 'function'), [(snapshot, 'write'), (os, 'rename')], ids=str
)
def test_a_failed_write_is_told_once_and_harms_nothing(
  tmp_path, monkeypatch, module, function
):
  with opened(tmp_path, keep=1) as checkpoints:
    monkeypatch.setattr(module, function, no_space)
    checkpoints.save(state_at(1), seconds=0.0, loss=0.0)
    with pytest.raises(OSError, match='; there is no whole one$'):
      checkpoints.wait()
    monkeypatch.undo()
    save(checkpoints, 2)
    monkeypatch.setattr(module, function, no_space)
    checkpoints.save(state_at(3), seconds=0.0, loss=0.0)
    with pytest.raises(OSError) as told:
      checkpoints.save(state_at(4), seconds=0.0, loss=0.0)
    assert str(told.value) == (
      f'checkpoint of step 3 could not be written to {tmp_path}/checkpoints: '
      'No space left on device; the newest whole one is of step 2'
    )
    monkeypatch.undo()
    checkpoints.wait()
    assert checkpoints.steps() == (2,)
    assert_is(checkpoints.restore_newest(state_at(0)), 2)
    assert os.listdir(tmp_path / 'checkpoints') == ['2']
  checkpoints = Checkpoints(tmp_path)
  monkeypatch.setattr(module, function, no_space)
  checkpoints.save(state_at(3), seconds=0.0, loss=0.0)
  with pytest.raises(OSError, match='step 3 could not'):
    checkpoints.close()
  checkpoints.close()


def test_a_failed_write_names_what_is_whole(copied, monkeypatch):
  empty(copied / 'checkpoints' / '3' / 'manifest')
  monkeypatch.setattr(snapshot, 'write', no_space)
  with opened(copied) as checkpoints:
    with pytest.raises(OSError, match='the newest whole one is of step 2$'):
      save(checkpoints, 4)


@pytest.mark.whole
@pytest.mark.parametrize('checked', [True, False], ids=['room', 'no_room'])
def test_a_write_error_ends_a_program_with_one_line(tmp_path, checked):
  """Or with Orbax's lines before it, where the room is lost while it writes."""
  program = """
    import pathlib, resource, sys
    import jax.numpy as jnp
    from typing import NamedTuple
    from mmjsd_jax import command, snapshot
    from mmjsd_jax.checkpoint import Checkpoints

    class State(NamedTuple):
      weights: jnp.ndarray
      step: jnp.ndarray

    if sys.argv[2] == 'False':
      snapshot._check_room = lambda *_: None
    command.log_to_stderr()
    checkpoints = Checkpoints(pathlib.Path(sys.argv[1]))
    try:
      for step, limit in ((1, 2**20), (2, 2**13)):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, 2**20))
        weights = jnp.sin(jnp.arange(9000.0) + step)
        state = State(weights, jnp.int32(step))
        checkpoints.save(state, seconds=0.0, loss=0.0)
        checkpoints.wait()
    except OSError as error:
      checkpoints.close()
      command.exit_with(error)
  """
  ended = subprocess.run(
    [sys.executable, '-c', textwrap.dedent(program), tmp_path, str(checked)],
    capture_output=True,
    text=True,
    timeout=120,
    env=os.environ | {'JAX_PLATFORMS': 'cpu'},
  )
  *before, last, end = ended.stderr.split('\n')
  assert last == (
    f'error: checkpoint of step 2 could not be written to {tmp_path}/'
    'checkpoints: File too large; the newest whole one is of step 1'
  )
  assert not end
  assert bool(before) != checked
  assert ended.returncode == 2
  assert os.listdir(tmp_path / 'checkpoints') == ['1']


@pytest.fixture
def small_disk(tmp_path):
  """A folder that holds 3 MB; skips where none can be mounted."""
  folder = tmp_path / 'disk'
  folder.mkdir()
  command = ['mount', '-t', 'tmpfs', '-o', 'size=3m', 'tmpfs', str(folder)]
  try:
    subprocess.run(command, check=True, capture_output=True, text=True)
  except (OSError, subprocess.CalledProcessError) as error:
    why = getattr(error, 'stderr', '').strip() or error
    pytest.skip(f'a small disk cannot be mounted here: {why}')
  yield folder
  subprocess.run(['umount', '--lazy', str(folder)], check=True)


def fill(folder):
  """Leaves no byte free on the disk."""
  with (
    contextlib.suppress(OSError),
    (folder / 'filling').open('wb', buffering=0) as file,
  ):
    while True:
      file.write(bytes(4096))


def test_a_full_disk_leaves_the_last_checkpoint_whole(small_disk):
  size = 300_000  # so that two of them fit
  with opened(small_disk, keep=2) as checkpoints:
    save(checkpoints, 1, size=size)
    save(checkpoints, 2, size=size)
    with pytest.raises(OSError) as told:
      save(checkpoints, 3, size=size)
    assert str(told.value) == (
      f'checkpoint of step 3 could not be written to {small_disk}/checkpoints: '
      'No space left on device; the newest whole one is of step 2'
    )
    assert_is(checkpoints.restore_newest(state_at(0, size)), 2, size)
  fill(small_disk)
  with opened(small_disk, keep=2) as checkpoints:
    assert_is(checkpoints.restore_newest(state_at(0, size)), 2, size)
    with pytest.raises(OSError, match='No space left on device'):
      save(checkpoints, 3, size=size)
  (small_disk / 'filling').unlink()
  shutil.rmtree(small_disk / 'checkpoints' / '1')
  with opened(small_disk, keep=1) as checkpoints:
    save(checkpoints, 3, size=size)
    assert_is(checkpoints.restore_newest(state_at(0, size)), 3, size)
  assert os.listdir(small_disk / 'checkpoints') == ['3']


@pytest.mark.parametrize(
  'write',
  [
    lambda path: files.write_json(path, [0.5] * 10_000),
    lambda path: files.write_atomically(path, 'text' * 10_000),
    lambda path: figures.write_png(bytes(10_000), path),
  ],
  ids=['json', 'text', 'png'],
)
def test_a_full_disk_leaves_the_old_file(small_disk, write):
  path = small_disk / 'results'
  path.write_text('old')
  fill(small_disk)
  with pytest.raises(OSError, match=f'No space left on device: .{path}'):
    write(path)
  assert path.read_text() == 'old'
  assert sorted(os.listdir(small_disk)) == ['filling', 'results']


def test_a_full_disk_ends_the_journal_and_keeps_its_lines(small_disk):
  book = Journal(small_disk, first_step=0, num_steps=9)
  book.write(Progress(1, {'loss': 0.5}, seconds=1, samples_per_second=1))
  fill(small_disk)
  many = {f'log_likelihood/m{n}': 0.5 for n in range(1000)}
  with pytest.raises(OSError, match='No space left on device: .*/metrics'):
    book.write(Progress(2, {'loss': 0.5} | many, 2, 1))
  with contextlib.suppress(OSError):
    book.close()
  assert [line['step'] for line in read_metrics(small_disk)] == [1]
  (small_disk / 'filling').unlink()
  book = Journal(small_disk, first_step=1, num_steps=9)
  book.write(Progress(2, {'loss': 0.25}, seconds=2, samples_per_second=1))
  book.close()
  assert [line['step'] for line in read_metrics(small_disk)] == [1, 2]


def test_a_full_disk_ends_tensorboard(small_disk):
  board = journal._Board(small_disk / 'tensorboard', 0)
  fill(small_disk)
  many = {f'log_likelihood/m{n}': 0.5 for n in range(1000)}
  with pytest.raises(OSError, match='No space left on device: .*/tensorboard'):
    board.write(Progress(2, many, 2, 1))
  with pytest.raises(OSError, match='No space left on device: .*/tensorboard'):
    board.close()


def test_a_read_only_disk_is_refused_at_start(small_disk):
  settings = config.default()
  workdir.check(small_disk / 'run', settings, 'train')
  with opened(small_disk) as checkpoints:
    save(checkpoints, 1)
    remount = ['mount', '-o', 'remount,ro', str(small_disk)]
    subprocess.run(remount, check=True)
    with pytest.raises(OSError, match='; Read-only file system|: Read-only'):
      workdir.check(small_disk / 'run', settings, 'train')
    assert_is(checkpoints.restore_newest(state_at(0)), 1)
    with pytest.raises(OSError, match='Read-only file system; .* of step 1$'):
      save(checkpoints, 2)
