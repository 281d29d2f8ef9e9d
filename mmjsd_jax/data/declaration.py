"""Users' own data, declared: what each modality is and where it comes from.

A declaration is plain data. It stands in the configuration as JSON text, and
the specifications, completed from the data, in a run's folder: they are all
that is needed to make the model again without the data.

N examples, C columns of a vector.
"""

import json
import math
import re
import types
import typing
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

# Kind -> likelihoods that it may have, the default first.
LIKELIHOODS = {
  'vector': ('normal', 'normal_learned', 'laplace', 'bernoulli'),
  'image': ('laplace', 'normal', 'bernoulli'),
  'text': ('categorical',),
}
KINDS = tuple(LIKELIHOODS)
PARTIAL_ROWS = ('refuse', 'absent')
SPLITS = ('train', 'test')
_OF_SPLIT = re.compile(r'\{split\}|\{([^{}|]+)\|([^{}|]+)\}')
_TFDS = 'tfds:'
_TFDS_COPY = re.compile(
  r'(?P<name>[A-Za-z]\w*)'
  r'(/(?P<config>\w[\w.-]*))?'
  r'(:(?P<version>\d+\.\d+\.\d+))?'
  r'@(?P<split>\w.*)',
  re.ASCII,
)
# Standard deviation of normal, scale of laplace; 0.75 is the papers'.
_SCALES = {'normal': 1.0, 'laplace': 0.75}
# Units of an MLP's layers, channels of the first convolution.
_WIDTHS = {'vector': 256, 'image': 32, 'text': 64}
_MAX_WIDTH = 4096

_T = TypeVar('_T')


class ModalitySpec(NamedTuple):
  """One modality: what it is, and how it is modelled.

  Attributes:
    name: letters, digits, '_' and '-'.
    kind: of KINDS. 'vector' is numbers [N, C]; 'image' uint8, or floats in
      [0, 1], [N, height, width, channels]; 'text' strings.
    likelihood: of LIKELIHOODS[kind]; '' is the first of them.
    scale: of the likelihood, where it is fixed; None is 1 for normal and 0.75
      for laplace. Of standardised vectors it is in standard deviations.
    width: units of an MLP's hidden layers, or channels of the first
      convolution; 0 is 256 for vectors, 32 for images, 64 for texts.
    weight: of its log-likelihood in the objective.
    networks: '', or 'package.module:function' of the user's own, that gives
      (encoder, decoder), Flax modules, from (this specification, number of
      latents).
    standardise: of vectors, whether columns are brought to mean 0 and standard
      deviation 1 over the training part; never for bernoulli.
    alphabet: of texts; '' is that of data/text.py or, where it lacks some, the
      characters that occur. `filler` must be in it: texts end in it.
    length: of texts, in characters; 0 is the longest.
    filler: the character that fills texts up to their length.
    shape: of one example as stored; from the data.
    mean: of every column before it was standardised; from the data. [C] or ().
    std: standard deviation, 1 of constant columns; likewise. [C] or ().
    columns: names of a vector's columns, where it came from a table; from the
      data. [C] or ().
  """

  name: str
  kind: str
  likelihood: str = ''
  scale: float | None = None
  width: int = 0
  weight: float = 1.0
  networks: str = ''
  standardise: bool = True
  alphabet: str = ''
  length: int = 0
  filler: str = ' '
  shape: tuple[int, ...] = ()
  mean: tuple[float, ...] = ()
  std: tuple[float, ...] = ()
  columns: tuple[str, ...] = ()

  def with_defaults(self) -> 'ModalitySpec':
    """The same with the defaults of its kind and likelihood filled in."""
    likelihood = self.likelihood or LIKELIHOODS[self.kind][0]
    scale = _SCALES.get(likelihood) if self.scale is None else self.scale
    return self._replace(
      likelihood=likelihood, scale=scale, width=self.width or _WIDTHS[self.kind]
    )


class TfdsCopy(NamedTuple):
  """Splits of a data set, as TFDS names them.

  Attributes:
    name: of the data set.
    config: of its variants; '' where it has none.
    version: '' is the newest.
    split: such as 'train', 'train[:80%]' or 'train+validation'.
  """

  name: str
  config: str
  version: str
  split: str


def parse_tfds(file: str) -> TfdsCopy | None:
  """What 'tfds:name[/config][:version]@split' says; None of other files.

  Raises:
    ValueError: it begins so and goes on otherwise.
  """
  if not file.startswith(_TFDS):
    return None
  found = _TFDS_COPY.fullmatch(file.removeprefix(_TFDS))
  if found is None:
    raise ValueError(
      f"expected 'tfds:name[/config][:version]@split'; got {file!r}"
    )
  return TfdsCopy(**found.groupdict(default=''))


class Source(NamedTuple):
  """Where values come from: columns, features or an array of a file.

  Attributes:
    file: .csv, .csv.gz, .parquet, .npz or .npy, in `config.data.dir`; or a
      folder with one .npy for each example, named by its id; or what
      `parse_tfds` takes, of a data set that TFDS has prepared. '{split}' in it
      stands for 'train' and 'test', a file each; '{a|b}' for a and b likewise.
    key: the column of a table, array of an .npz or feature of TFDS ('a/b' where
      they are nested) that has the values. '' is of vectors from a table all
      columns that are not named otherwise, and else what has the modality's
      name.
    columns: of a table or TFDS, those of a vector; () goes by `key`.
    present: the column, array or feature that says of which rows there are
      values, as booleans or 0 and 1; '' is of all but those that are NaN or
      empty.
    splits: in which splits there is such a file, where its name tells them.
    rows_of: the modality whose rows those of a file without ids are.
  """

  file: str
  key: str = ''
  columns: tuple[str, ...] = ()
  present: str = ''
  splits: tuple[str, ...] = SPLITS
  rows_of: str = ''

  @property
  def is_by_split(self) -> bool:
    """Whether every split has a file of its own."""
    return _OF_SPLIT.search(self.file) is not None

  def of_split(self, split: str) -> str:
    """The file of one of SPLITS; with '' the one that they share."""
    if not split:
      return self.file
    number = SPLITS.index(split) + 1
    return _OF_SPLIT.sub(lambda found: found[number] or split, self.file)


class Declared(NamedTuple):
  """A modality and where it comes from."""

  spec: ModalitySpec
  source: Source


class Declaration(NamedTuple):
  """A data set of the user's own.

  Attributes:
    modalities: in the order that they are to have.
    id: the column or array, in every file, of the ids that examples are matched
      by; '' matches them by order. A modality is absent of an example whose id
      its file lacks; an example of which all are is left out.
    labels: classes, as numbers or strings; None is none.
    split: 'train' or 'test' of every example; None draws the test part.
    test_share: of the examples, that are drawn for the test part.
    partial_rows: what becomes of rows of a vector of which only a part is NaN:
      'refuse', or 'absent' as if all were.
  """

  modalities: tuple[Declared, ...]
  id: str = ''
  labels: Source | None = None
  split: Source | None = None
  test_share: float = 0.2
  partial_rows: str = PARTIAL_ROWS[0]

  @property
  def specs(self) -> tuple[ModalitySpec, ...]:
    """Of the modalities, in their order."""
    return tuple(declared.spec for declared in self.modalities)

  @property
  def is_by_split(self) -> bool:
    """Whether every split has files of its own."""
    return self.modalities[0].source.is_by_split

  def to_json(self) -> str:
    """As it stands in `config.data.declaration`; defaults are left out.

    Raises:
      ValueError: what `check` refuses.
    """
    check(self)
    return json.dumps(to_tree(self))


def from_json(text: str) -> Declaration:
  """What `Declaration.to_json` wrote.

  Raises:
    ValueError: other text, or a declaration that `check` refuses.
  """
  try:
    tree = json.loads(text)
  except (ValueError, RecursionError) as error:
    raise ValueError(f'expected a declaration as JSON; got {error}') from None
  declaration = from_tree(Declaration, tree, 'declaration')
  check(declaration)
  return declaration


def to_tree(fields: Any) -> Any:
  """Plain JSON types of a class of this file; defaults are left out."""
  if hasattr(fields, '_fields'):
    return {
      name: to_tree(value)
      for name, value in fields._asdict().items()
      if fields._field_defaults.get(name, ...) != value
    }
  return [to_tree(x) for x in fields] if isinstance(fields, tuple) else fields


def from_tree(kind: type[_T], tree: Any, place: str) -> _T:
  """What `to_tree` gave.

  Args:
    kind: the class, of this file.
    tree: what a JSON file has.
    place: names it in errors.

  Raises:
    ValueError: fields that are missing, unknown or of another type.
  """
  return _value(kind, tree, place)


def check(declaration: Declaration) -> None:
  """Refuses what cannot be, whatever the files hold.

  Raises:
    ValueError: names the modality and the field, what was expected and got.
  """
  names = [spec.name for spec in declaration.specs]
  _require(bool(names), 'modalities', 'one at least', 'none')
  _require(
    len(set(names)) == len(names), 'modalities', 'of distinct names', names
  )
  _require(
    declaration.partial_rows in PARTIAL_ROWS,
    'partial_rows',
    f'one of {PARTIAL_ROWS}',
    declaration.partial_rows,
  )
  check_share(declaration.test_share)
  by_split = declaration.is_by_split
  _require(
    not by_split or declaration.split is None,
    'split',
    "None with '{split}' in the names of files",
    declaration.split,
  )
  for spec, source in declaration.modalities:
    check_spec(spec)
    _require(
      not any((spec.shape, spec.mean, spec.std, spec.columns)),
      f'shape, mean, std and columns of {spec.name}',
      '(), as they are found in the data',
      (spec.shape, spec.mean, spec.std, spec.columns),
    )
    _require(
      spec.kind == 'vector' or not source.columns,
      f'columns of {spec.name}',
      f'() of a modality of kind {spec.kind}',
      source.columns,
    )
    _check_source(spec.name, source, names, by_split)
  for what in ('labels', 'split'):
    source = getattr(declaration, what)
    if source is not None:
      _check_source(what, source, names, by_split)
      _require(
        bool(source.key) or source.file.endswith('.npy'),
        f'key of {what}',
        'the name of a column or array',
        '',
      )


def check_share(test_share: float) -> None:
  """Refuses what is no share of the examples.

  Raises:
    ValueError: see above.
  """
  _require(0 < test_share < 1, 'test_share', 'above 0 and below 1', test_share)


def check_spec(spec: ModalitySpec) -> None:
  """Refuses a specification that cannot be, whatever the data are.

  Raises:
    ValueError: names the modality and the field, what was expected and got.
  """
  name = spec.name
  _require(
    re.fullmatch(r'\w[\w-]{0,99}', name, re.ASCII) is not None,
    'name of a modality',
    "at most 100 ASCII letters, digits, '_' and '-'",
    name,
  )
  _require(spec.kind in KINDS, f'kind of {name}', f'one of {KINDS}', spec.kind)
  likelihoods = LIKELIHOODS[spec.kind]
  _require(
    spec.likelihood in ('', *likelihoods),
    f'likelihood of {name}',
    f'one of {likelihoods}',
    spec.likelihood,
  )
  full = spec.with_defaults()
  if full.likelihood in _SCALES:
    _require(
      full.scale is not None and 1e-6 <= full.scale <= 1e6,
      f'scale of {name}',
      'at least 1e-6 and at most 1e6',
      spec.scale,
    )
  else:
    _require(
      spec.scale is None,
      f'scale of {name}',
      f'None with the likelihood {full.likelihood}',
      spec.scale,
    )
  _require(
    0 <= spec.width <= _MAX_WIDTH,
    f'width of {name}',
    f'at least 0 and at most {_MAX_WIDTH}',
    spec.width,
  )
  _require(
    0 <= spec.weight <= 1e4,
    f'weight of {name}',
    'at least 0 and at most 1e4',
    spec.weight,
  )
  dotted = r'[A-Za-z_]\w*(\.[A-Za-z_]\w*)*'
  _require(
    not spec.networks
    or re.fullmatch(f'{dotted}:{dotted}', spec.networks, re.ASCII) is not None,
    f'networks of {name}',
    "'package.module:function'",
    spec.networks,
  )
  if spec.kind == 'text':
    _require(
      0 <= spec.length <= 4096,
      f'length of {name}',
      'at least 0 and at most 4096',
      spec.length,
    )
    alphabet = spec.alphabet
    _require(
      len(spec.filler) == 1, f'filler of {name}', 'a character', spec.filler
    )
    _require(
      not alphabet or (spec.filler in alphabet and len(alphabet) <= 256),
      f'alphabet of {name}',
      f'at most 256 characters, {spec.filler!r} among them',
      alphabet,
    )
  else:
    _require(
      (spec.alphabet, spec.length, spec.filler) == ('', 0, ' '),
      f'alphabet, length and filler of {name}',
      f"'', 0 and ' ' of a modality of kind {spec.kind}",
      (spec.alphabet, spec.length, spec.filler),
    )


def named_networks(specs: Sequence[ModalitySpec]) -> tuple[str, ...]:
  """The users' own callables that the specifications name, each once."""
  return tuple(dict.fromkeys(s.networks for s in specs if s.networks))


def _check_source(
  what: str, source: Source, names: Sequence[str], by_split: bool
) -> None:
  _require(bool(source.file), f'file of {what}', 'a path', source.file)
  _check_tfds(what, source)
  _require(
    source.is_by_split == by_split,
    f'file of {what}',
    "with '{split}' in its name, or none of the files so",
    source.file,
  )
  _require(
    bool(source.splits)
    and source.splits == tuple(s for s in SPLITS if s in source.splits)
    and (by_split or source.splits == SPLITS),
    f'splits of {what}',
    f"of {SPLITS}, and fewer only with '{{split}}' in the file's name",
    source.splits,
  )
  _require(
    not (source.key and source.columns),
    f'key and columns of {what}',
    'not both given',
    (source.key, source.columns),
  )
  _require(
    source.rows_of in ('', *names),
    f'rows_of of {what}',
    f'one of {tuple(names)}',
    source.rows_of,
  )


def _check_tfds(what: str, source: Source) -> None:
  try:
    for split in SPLITS:
      parse_tfds(source.of_split(split))
  except ValueError as error:
    raise ValueError(f'file of {what}: {error}') from None


def _value(kind: Any, value: Any, place: str) -> Any:
  """`value`, of JSON, as an annotation has it."""
  if hasattr(kind, '_fields'):
    return _fields(kind, value, place)
  origin, inner = typing.get_origin(kind), typing.get_args(kind)
  if origin in (types.UnionType, typing.Union):
    of_value = next(k for k in inner if k is not types.NoneType)
    return None if value is None else _value(of_value, value, place)
  if origin is tuple:
    if not isinstance(value, list):
      raise ValueError(f'{place} must be a list; got {value!r}')
    return tuple(
      _value(inner[0], x, f'{place}[{n}]') for n, x in enumerate(value)
    )
  if kind is float and type(value) in (int, float) and math.isfinite(value):
    return float(value)
  if type(value) is not kind or kind is float:
    raise ValueError(f'{place} must be a {kind.__name__}; got {value!r}')
  return value


def _fields(kind: Any, tree: Any, place: str) -> Any:
  if not isinstance(tree, dict):
    raise ValueError(f'{place} must have fields; got {tree!r}')
  hints = typing.get_type_hints(kind)
  for name in tree:
    if name not in hints:
      raise ValueError(
        f'{place} must have fields of {tuple(hints)}; got {name!r}'
      )
  for name in hints:
    if name not in tree and name not in kind._field_defaults:
      raise ValueError(f'{place} lacks the field {name!r}')
  return kind(
    **{
      name: _value(hints[name], value, f'{place}.{name}')
      for name, value in tree.items()
    }
  )


def _require(holds: bool, what: str, expected: str, got: object) -> None:
  if not holds:
    raise ValueError(f'{what} must be {expected}; got {got!r}')
