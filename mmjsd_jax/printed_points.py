"""Where the papers' printed numbers stand in the figures of a sweep.

The points of the papers' figures are not printed; their tables are, of the
models at beta 5. The prior weighs 0.25 in all of them, and modality-specific
spaces (MS) have four dimensions.
"""

import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

from matplotlib import axes as mpl_axes

from mmjsd_jax import charts, experiments, measured, published_values
from mmjsd_jax.measured import Measured

_LETTERS = published_values.letters('mnist_svhn_text')

# Of axis to the value without modality-specific spaces, and with them.
_PLACES = {'beta': (5, 5), 'style_dim': (0, 4), 'prior_weight': (0.25, 0.25)}
# Of papers that print a model the later one counts; it repeated its runs.
_TABLES = {
  'probe': (('MoPoE', '2'), ('mmJSD', '1')),
  'coherence': (('MoPoE', '3'), ('mmJSD', '2')),
  'log_likelihood': (('MoPoE', '4'), ('mmJSD', '4')),
}
_SOURCES = {
  'MoPoE': 'Sutter et al. 2021 (MoPoE)',
  'mmJSD': 'Sutter et al. 2020 (mmJSD)',
}


class Printed(NamedTuple):
  """A number of a paper.

  Attributes:
    preset: the model's objective.
    x: where it stands.
    y: how high.
    paper: 'MoPoE' or 'mmJSD'.
  """

  preset: str
  x: float
  y: float
  paper: str


def along(
  points: Sequence[Measured], axis: str, quantity: str, num_inputs: int
) -> list[Printed]:
  """Means over the printed cells of so many inputs.

  Args:
    points: of one sweep; the models of those that were run are looked up.
    axis: of `measured.AXES`.
    quantity: 'probe' or 'coherence'; with 0 inputs, joint coherence.
    num_inputs: of a cell.
  """
  found = []
  for model, preset in _models(points).items():
    paper, cells = _row(quantity, model)
    values = [
      value
      for column, value in cells.items()
      if _num_inputs(quantity, column) == num_inputs
    ]
    if values and axis in _PLACES:
      x = _PLACES[axis][model.endswith('(MS)')]
      found.append(Printed(preset, x, statistics.fmean(values), paper))
  return found


def against_likelihood(
  points: Sequence[Measured], pair: str = ''
) -> list[Printed]:
  """Coherence over log p(X), where a paper prints both of a model.

  Args:
    points: as of `along`.
    pair: 'a+b->c'; '' is joint coherence over log p(X).
  """
  names = measured.modalities(points)
  coherence, likelihood = _columns(pair, names)
  found = []
  for model, preset in _models(points).items():
    paper, heights = _row('coherence', model)
    _, widths = _row('log_likelihood', model)  # of the same paper
    if coherence in heights and likelihood in widths:
      point = Printed(preset, widths[likelihood], heights[coherence], paper)
      found.append(point)
  return found


def draw(
  axes: mpl_axes.Axes, printed: Sequence[Printed], label: str = ''
) -> None:
  """Hollow stars, with a label beside each."""
  for point in printed:
    colour = charts.COLOURS[point.preset]
    axes.plot(
      [point.x],
      [point.y],
      linestyle='',
      marker='*',
      markersize=13,
      markerfacecolor='none',
      markeredgecolor=colour,
    )
    if label:
      axes.annotate(
        label,
        (point.x, point.y),
        xytext=(7, -3),
        textcoords='offset points',
        fontsize=9,
        color=colour,
      )


def about(printed: Sequence[Printed], quantities: Sequence[str]) -> str:
  """What the stars are, for a caption; '' without any.

  Args:
    printed: all that were drawn.
    quantities: of `_TABLES`, that they show.
  """
  if not printed:
    return ''
  used = {point.paper for point in printed}
  sources = [
    f'{source}, Tables '
    + ' and '.join(dict(_TABLES[quantity])[paper] for quantity in quantities)
    for paper, source in _SOURCES.items()
    if paper in used
  ]
  likelihoods = (
    ' The printed log-likelihoods are too high and no targets '
    '(docs/mnist_svhn_text.md says why).'
    if 'log_likelihood' in quantities
    else ''
  )
  return (
    f' Hollow stars: printed in {"; ".join(sources)}, at beta 5, after 50 to '
    "150 epochs on all of SVHN; the points of the papers' figures are not "
    f'printed.{likelihoods}'
  )


def _models(points: Sequence[Measured]) -> dict[str, str]:
  """Model as the papers call it to preset; of other data, none."""
  return {
    experiments.model_name(point.results): point.preset
    for point in points
    if point.results and point.results['data']['name'] == 'mnist_svhn_text'
  }


def _row(quantity: str, model: str) -> tuple[str, dict[str, float]]:
  """The paper that prints the model, and column to mean."""
  for paper, number in _TABLES[quantity]:
    row = published_values.rows(paper, number).get(model)
    if row is not None:
      return paper, {k: _mean(cell) for k, cell in row.cells.items()}
  return '', {}


def _mean(cell: Any) -> float:
  return cell['mean'] if isinstance(cell, dict) else cell


def _num_inputs(quantity: str, column: str) -> int | None:
  """Of 'M|S,T' 2, of the probe's 'M,S' 2; Random is no joint coherence."""
  if column == 'Random':
    return None
  if column == 'Joint':
    return len(_LETTERS) if quantity == 'probe' else 0
  return len(column.rpartition('|')[2].split(','))


def _columns(pair: str, names: Sequence[str]) -> tuple[str, str]:
  """Those of coherence and of log p(X)."""
  if not pair:
    return 'Joint', 'X'
  letters = dict(zip(names, _LETTERS, strict=False))
  subset, _, target = pair.partition('->')
  inputs = [letters.get(name, '') for name in subset.split('+')]
  return (
    f'{letters.get(target)}|{",".join(inputs)}',
    f'X|{",".join(f"x{letter}" for letter in inputs)}',
  )
