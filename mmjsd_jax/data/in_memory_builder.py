"""What the TFDS builders share: sets that `load` makes in memory, written once.

Importing this module loads TFDS, and refuses clearly where TFDS cannot work.
"""

import importlib.util
from typing import Any

# TFDS needs it without declaring it, and would fail deep inside.
if importlib.util.find_spec('importlib_resources') is None:
  raise ModuleNotFoundError(
    'tensorflow-datasets needs the package importlib_resources: pip install'
    ' importlib_resources',
    name='importlib_resources',
  )

import tensorflow_datasets as tfds

from mmjsd_jax.data.dataset import Dataset, Split

# TFDS sorts a split in memory up to 1000 MiB, and beyond that by TensorFlow.
_MAX_SPLIT_BYTES = 1000 << 20


class InMemoryBuilder(  # type: ignore[call-arg]
  tfds.core.GeneratorBasedBuilder, skip_registration=True
):
  """Writes a data set as ArrayRecord, in the order of its tuples.

  A directory holds one set. Asking for other options than those it was
  prepared with is an error, not a silent reading of the wrong one. Subclasses
  give `_info`, `_load` and `_generate_examples`.

  Attributes:
    TITLE: of the set, for messages.
    TUPLE_BYTES: of one example, with room for names and lengths.
    ADVICE: what to do about a split that is too large.
  """

  TITLE: str
  TUPLE_BYTES: int
  ADVICE = ''

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

  def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
    del dl_manager
    dataset = self._load()
    splits: dict[str, Split] = {'train': dataset.train, 'test': dataset.test}
    for name, split in splits.items():
      if len(split.labels) * self.TUPLE_BYTES > _MAX_SPLIT_BYTES:
        raise ValueError(
          f'expected at most {_MAX_SPLIT_BYTES // self.TUPLE_BYTES:,} tuples in'
          f' a split, as TFDS writes more by TensorFlow only; got'
          f' {len(split.labels):,} in {name}{self.ADVICE}'
        )
    self.info.metadata.update(
      options=self._options,
      source=dataset.source,
      substituted=dataset.substituted,
      fingerprint=dataset.fingerprint,
    )
    return {
      name: self._generate_examples(split) for name, split in splits.items()
    }
