"""What the TFDS builders share: sets that `load` makes, written once.

Importing this module loads TFDS, and refuses clearly where TFDS cannot work.
"""

import functools
import importlib.util
import os
from collections.abc import Callable, Iterator
from typing import Any

# TFDS needs it without declaring it, and would fail deep inside.
if importlib.util.find_spec('importlib_resources') is None:
  raise ModuleNotFoundError(
    'tensorflow-datasets needs the package importlib_resources: pip install'
    ' importlib_resources',
    name='importlib_resources',
  )

import tensorflow_datasets as tfds
from array_record.python import array_record_module

from mmjsd_jax.data.dataset import Dataset

# Tuples in a file: of PolyMNIST some 120 MB.
_SHARD_TUPLES = 10_000


class InMemoryBuilder(  # type: ignore[call-arg]
  tfds.core.ShardBasedBuilder, skip_registration=True
):
  """Writes a data set as ArrayRecord, in the order of its tuples.

  A directory holds one set. Asking for other options than those it was
  prepared with is an error, not a silent reading of the wrong one. Subclasses
  give `_info`, `_load` and `_generate_examples`.

  Attributes:
    TITLE: of the set, for messages.
  """

  TITLE: str

  def __init__(
    self, *, options: dict[str, Any], allow_download: bool, **kwargs: Any
  ):
    self._options = options
    self._allow_download = allow_download
    kwargs.setdefault('file_format', 'array_record')
    super().__init__(**kwargs)
    # What TFDS pickles and restores a builder from.
    self._original_state.update(options, allow_download=allow_download)
    prepared = (self.info.metadata or {}).get('options', options)
    if prepared != options:
      raise ValueError(
        f'{self.data_path}: expected {self.TITLE} prepared with {options}; got'
        f' one prepared with {prepared}; take another data_dir, or read it as'
        ' it is by tfds.builder_from_directory'
      )

  def _load(self) -> Dataset:
    """The set that is to be written."""
    raise NotImplementedError

  def _generate_examples(
    self, split: Any, rows: range
  ) -> Iterator[tuple[int, dict[str, Any]]]:
    """The tuples `rows` of a split, each with its number."""
    raise NotImplementedError

  def _example_writer(self) -> Any:
    return _Plain(self.info.file_format)

  def _shard_iterators_per_split(
    self, dl_manager: Any
  ) -> dict[str, list[Callable[[], Iterator[tuple[int, dict[str, Any]]]]]]:
    del dl_manager
    dataset = self._load()
    self.info.metadata.update(
      options=self._options,
      source=dataset.source,
      substituted=dataset.substituted,
      fingerprint=dataset.fingerprint,
    )
    return {
      name: [
        functools.partial(
          self._generate_examples,
          split,
          range(split.num_examples)[start : start + _SHARD_TUPLES],
        )
        for start in range(0, split.num_examples, _SHARD_TUPLES)
      ]
      for name, split in (
        ('train', dataset.streamed or dataset.train),
        ('test', dataset.test),
      )
    }


class _Plain(tfds.core.writer.ExampleWriter):
  """Writes uncompressed ArrayRecord: a tenth larger, and twice as fast to read.

  Other formats are written as TFDS does.
  """

  def write(self, path: Any, examples: Any) -> Any:
    if self.file_format != tfds.core.FileFormat.ARRAY_RECORD:
      return super().write(path, examples)
    writer = array_record_module.ArrayRecordWriter(
      os.fspath(path), 'group_size:1,uncompressed'
    )
    for _, record in examples:
      writer.write(record)
    writer.close()
    return None
