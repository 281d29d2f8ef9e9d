"""Random access to the examples of a prepared copy, without TensorFlow."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

# Records decoded at a time, which bounds what is held beside the result.
_CHUNK = 256


class DamagedRecord(OSError):
  """A record that cannot be read; names the file and the record."""


class Records:
  """The examples of one split, in ArrayRecord files; any thread may read.

  Nothing is held in memory but the files' indices. ArrayRecord keeps a hash of
  every record, which reading it compares.

  Attributes:
    shapes: modality name -> shape of an item, which is uint8.
  """

  def __init__(
    self,
    paths: Sequence[str],
    lengths: Sequence[int],
    shapes: Mapping[str, tuple[int, ...]],
    *,
    labelled: bool = True,
  ):
    """Opens the files.

    Args:
      paths: of the files, in the order of the examples.
      lengths: how many records each of them has.
      shapes: see the class.
      labelled: whether examples have a class; else all labels are -1.

    Raises:
      ValueError: a file has another number of records.
      Exception: whatever ArrayRecord raises where a file is damaged.
    """
    from array_record.python import array_record_module

    self.shapes = dict(shapes)
    self._labelled = labelled
    self._paths = list(paths)
    self._readers = [
      # Records far apart: what lies behind one is not read with it.
      array_record_module.ArrayRecordReader(
        path, options='readahead_buffer_size:0', file_reader_buffer_size=2**15
      )
      for path in self._paths
    ]
    for path, length, reader in zip(
      self._paths, lengths, self._readers, strict=True
    ):
      if reader.num_records() != length:
        raise ValueError(
          f'{path}: expected {length} records; got {reader.num_records()}'
        )
    self._ends = np.cumsum(lengths)

  def __len__(self) -> int:
    return int(self._ends[-1])

  def read(
    self, rows: np.ndarray, names: Sequence[str]
  ) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Examples by their numbers.

    Args:
      rows: which examples. Integers [N], in [0, len).
      names: of the modalities that are wanted.

    Returns:
      Modality name -> uint8 [N, *shape], and labels int32 [N].

    Raises:
      DamagedRecord: one of the records is damaged.
    """
    inputs = {
      name: np.empty((len(rows), *self.shapes[name]), np.uint8)
      for name in names
    }
    labels = np.empty(len(rows), np.int32)
    for start in range(0, len(rows), _CHUNK):
      part = slice(start, start + _CHUNK)
      items, labels[part] = self._decode(rows[part], names)
      for name, values in items.items():
        pixels = np.frombuffer(b''.join(values), np.uint8)
        inputs[name][part] = pixels.reshape(-1, *self.shapes[name])
    return inputs, labels

  def _decode(
    self, rows: np.ndarray, names: Sequence[str]
  ) -> tuple[dict[str, list[bytes]], list[int]]:
    from tensorflow_datasets.proto import tf_example_pb2

    items: dict[str, list[bytes]] = {name: [] for name in names}
    sizes = {name: int(np.prod(self.shapes[name])) for name in names}
    labels = []
    for row, record in zip(rows, self._fetch(rows), strict=True):
      try:
        features = tf_example_pb2.Example.FromString(record).features.feature
        label = features['label'].int64_list.value[0] if self._labelled else -1
        labels.append(label)
        for name, size in sizes.items():
          (item,) = features[name].bytes_list.value
          if len(item) != size:
            raise ValueError(f'{len(item)} bytes of {name}, not {size}')
          items[name].append(item)
      except Exception as error:  # protobuf has kinds of its own
        raise self._damaged(*self._place(row), error) from error
    return items, labels

  def _fetch(self, rows: np.ndarray) -> list[Any]:
    """The records as they are stored, in the order of `rows`."""
    records: list[Any] = [None] * len(rows)
    shards, places = self._place(rows)
    for shard in np.unique(shards).tolist():
      (chosen,) = np.nonzero(shards == shard)
      for index, record in zip(
        chosen.tolist(),
        self._read_shard(shard, places[chosen].tolist()),
        strict=True,
      ):
        records[index] = record
    return records

  def _read_shard(self, shard: int, places: list[int]) -> list[Any]:
    reader = self._readers[shard]
    try:
      return reader.read(places)
    except Exception as error:  # ArrayRecord raises any kind
      for place in places:
        try:
          reader.read([place])
        except Exception as its_error:
          raise self._damaged(shard, place, its_error) from its_error
      raise DamagedRecord(f'{self._paths[shard]}: {_line(error)}') from error

  def _place(self, rows: Any) -> tuple[Any, Any]:
    """The files that examples are in, and their numbers there."""
    shards = np.searchsorted(self._ends, rows, side='right')
    return shards, rows - np.concatenate([[0], self._ends])[shards]

  def _damaged(self, shard: int, place: int, error: Exception) -> DamagedRecord:
    return DamagedRecord(
      f'{self._paths[shard]}: record {place} is damaged ({_line(error)})'
    )


def _line(error: Exception) -> str:
  return f'{type(error).__name__}: {" ".join(str(error).split())[:300]}'
