"""What a run writes while it trains."""

import json
import logging

import pytest
from tensorboardX import proto

from mmjsd_jax import journal
from mmjsd_jax.journal import Journal
from mmjsd_jax.train import Progress


def _progress(step):
  metrics = {'loss': step / 8, 'log_likelihood/m0': -1.5}
  return Progress(step, metrics, seconds=step * 0.25, samples_per_second=64.04)


def _write(workdir, steps, first_step=0):
  book = Journal(workdir, first_step=first_step, num_steps=100)
  for step in steps:
    book.write(_progress(step))
  book.close()


def _line(step):
  return {
    'step': step,
    'seconds': step * 0.25,
    'samples_per_second': 64.0,
    'loss': step / 8,
    'log_likelihood/m0': -1.5,
  }


def test_metrics_are_read_as_written(tmp_path):
  _write(tmp_path, [10, 20])
  assert journal.read_metrics(tmp_path) == [_line(10), _line(20)]


def test_no_metrics_are_an_empty_list(tmp_path):
  assert journal.read_metrics(tmp_path) == []


def test_going_on_tells_no_step_twice(tmp_path):
  _write(tmp_path, [10, 20, 30])
  _write(tmp_path, [30, 40], first_step=20)
  steps = [line['step'] for line in journal.read_metrics(tmp_path)]
  assert steps == [10, 20, 30, 40]


def test_going_on_from_the_start_drops_everything(tmp_path):
  _write(tmp_path, [10, 20])
  _write(tmp_path, [10])
  assert journal.read_metrics(tmp_path) == [_line(10)]


def test_a_last_line_that_was_cut_off_is_left_out(tmp_path):
  _write(tmp_path, [10, 20])
  path = tmp_path / 'metrics.jsonl'
  path.write_text(path.read_text()[:-9])
  assert journal.read_metrics(tmp_path) == [_line(10)]
  _write(tmp_path, [20], first_step=10)
  assert journal.read_metrics(tmp_path) == [_line(10), _line(20)]


def test_lines_are_on_disk_at_once(tmp_path):
  book = Journal(tmp_path, first_step=0, num_steps=100)
  book.write(_progress(10))
  text = (tmp_path / 'metrics.jsonl').read_text()
  book.close()
  assert json.loads(text) == _line(10)


def test_tensorboard_gets_every_metric(tmp_path):
  _write(tmp_path, [10])
  (path,) = (tmp_path / 'tensorboard').iterdir()
  values = {
    value.tag: (event.step, value.simple_value)
    for event in _events(path.read_bytes())
    for value in event.summary.value
  }
  assert values == {'loss': (10, 1.25), 'log_likelihood/m0': (10, -1.5)}


def test_without_a_terminal_lines_are_logged(tmp_path, caplog):
  with caplog.at_level(logging.INFO, 'mmjsd_jax'):
    _write(tmp_path, [10])
  assert 'step 10 of 100: loss 1.2, 64 samples/s' in caplog.text


def test_on_a_terminal_there_is_a_bar(tmp_path, monkeypatch, capsys):
  monkeypatch.setattr('sys.stderr.isatty', lambda: True, raising=False)
  _write(tmp_path, [10, 20])
  assert '20/100' in capsys.readouterr().err


def _events(data):
  """The records of a TFRecord file: length (8), CRC (4), data, CRC (4)."""
  while data:
    length = int.from_bytes(data[:8], 'little')
    yield proto.event_pb2.Event.FromString(data[12 : 12 + length])
    data = data[16 + length :]


@pytest.mark.parametrize('num_lines', [0, 1])
def test_every_line_ends(tmp_path, num_lines):
  _write(tmp_path, [10] * num_lines)
  text = (tmp_path / 'metrics.jsonl').read_text()
  assert text.count('\n') == num_lines
