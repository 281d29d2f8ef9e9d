"""What benchmarks/gpu.py takes for the data, and how it says what it found."""

import pathlib
import sys

import pytest

sys.path.insert(
  0, str(pathlib.Path(__file__).resolve().parent.parent / 'benchmarks')
)

import gpu
import gpu_data
import gpu_speed

from mmjsd_jax.data import mnist_svhn_text, polymnist

SCALE = 100


def test_there_are_as_many_triples_as_in_the_papers():
  num_triples = 20 * sum(map(min, gpu_data.MNIST, gpu_data.SVHN))
  assert num_triples == 1_121_360
  assert (sum(gpu_data.MNIST), sum(gpu_data.SVHN)) == (60_000, 73_257)


@pytest.mark.parametrize(
  ('dataset', 'load'),
  [('polymnist', polymnist.load), ('mnist_svhn_text', mnist_svhn_text.load)],
)
def test_noise_is_read_as_the_data_and_is_not_called_that(
  dataset, load, tmp_path, monkeypatch
):
  gpu_data.write_files(dataset, tmp_path, SCALE)
  loaded = load(digits='idx', directory=str(tmp_path))
  noise = gpu_data.make_split(dataset, SCALE)
  assert loaded.substituted
  shapes = {name: x.shape[1:] for name, x in loaded.train.inputs.items()}
  assert shapes == gpu_data.SHAPES[dataset]
  assert shapes == {name: x.shape[1:] for name, x in noise.inputs.items()}
  assert loaded.train.tables.keys() == noise.tables.keys()
  # A hundredth of each digit's number is rounded.
  assert len(loaded.train.labels) == pytest.approx(len(noise.labels), rel=0.02)
  monkeypatch.setenv('MMJSD_DATA_DIR', str(tmp_path))
  assert not gpu_data.is_at_hand(dataset)


def test_the_peak_is_that_of_the_chip_and_the_precision():
  peaks = [
    gpu_speed.peak_tflops('NVIDIA H200', p) for p in gpu_speed.PRECISIONS
  ]
  assert peaks == [67, 495, 989]
  assert gpu_speed.peak_tflops('TPU v4', 'float32') is None
  assert gpu_speed.peak_tflops('NVIDIA H100 PCIe', 'tf32') is None


def test_what_there_was_no_time_for_is_said(monkeypatch, capsys, tmp_path):
  output = tmp_path / 'gpu.json'
  monkeypatch.setattr(
    sys, 'argv', ['gpu', '--minutes=0', f'--output={output}', '--only', 'run/*']
  )
  gpu.main()
  printed = capsys.readouterr().out
  for dataset in gpu.DATASETS:
    assert f'run/{dataset}' in printed
  assert printed.count('skipped: ') == 2
  assert output.exists()


def test_five_seeds_are_compared_with_one():
  parts = {
    'speed/polymnist/tf32/1': {'milliseconds': 2.0},
    'speed/polymnist/tf32/5': {'milliseconds': 3.0},
    'speed/polymnist/float32/5': {'milliseconds': 3.0},
    'speed/polymnist/bfloat16/5': {'skipped': 'no time'},
  }
  (line,) = gpu._seeds(parts)
  assert line.startswith(
    'speed/polymnist/tf32: 5 seeds take 1.50 times as long'
  )
