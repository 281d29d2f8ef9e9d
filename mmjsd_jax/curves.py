"""Metrics against the number of input modalities, and the training loss.

The contents of results.json in, PNG bytes out.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib import axes as mpl_axes
from matplotlib import figure as mpl_figure
from matplotlib import lines as mpl_lines
from matplotlib import ticker

from mmjsd_jax import charts, factor_tables, published, tables

Results = Mapping[str, Any]


def curves_figure(runs: Mapping[str, Results]) -> bytes:
  """Probe, coherence and log-likelihood against number of input modalities.

  The three panels of Sutter et al. 2021 (MoPoE), Fig. 3. Lines are means over
  subsets of a size, faint dots the subsets themselves. Published means are
  drawn as stars where the protocol matches, hollow where it differs in a
  background image only, and not at all otherwise.

  Args:
    runs: label to the contents of a results.json. A metric that a run does
      not have is left out, and said so in the panel if no run has it.

  Returns:
    A PNG.

  Raises:
    ValueError: no runs.
  """
  if not runs:
    raise ValueError('expected the results of at least one run, got none')
  figure = mpl_figure.Figure(figsize=(13, 4.6), dpi=120, layout='constrained')
  panels = figure.subplots(1, 3)
  samples = _common_probe_size(list(runs.values()))
  units = (
    f'accuracy, {samples} training latents',
    'share of the right class',
  )
  if measures := {factor_tables.measure(run) for run in runs.values()} - {''}:
    units = (f'{" or ".join(sorted(measures))}, mean over factors',) * 2
  titles = (
    ('Linear probe', units[0]),
    ('Conditional coherence', units[1]),
    ('Log-likelihood', 'nats per example, all modalities'),
  )
  styles = _styles(runs)
  first_runs: dict[str, str] = {}
  for label, results in runs.items():
    first_runs.setdefault(results['objective']['preset'], label)
  num_modalities = max(len(r['data']['modalities']) for r in runs.values())
  for index, (axes, (title, unit)) in enumerate(
    zip(panels, titles, strict=True)
  ):
    axes.set_title(title, fontsize=13, loc='left', fontweight='bold')
    axes.set_ylabel(unit, fontsize=11)
    axes.set_xlabel('number of input modalities', fontsize=11)
    axes.set_xlim(0.6, num_modalities + 0.4)
    axes.xaxis.set_major_locator(ticker.MultipleLocator(1))
    charts.tidy(axes)
    is_empty = True
    for offset, (label, results) in enumerate(runs.items()):
      panel = _panels(results, samples)[index]
      shift = 0.06 * (offset - (len(runs) - 1) / 2)
      is_empty &= not _draw(axes, panel, label, styles[label], shift)
      # Once per objective, beside its first run.
      if first_runs[results['objective']['preset']] == label:
        _draw_published(
          axes, results, panel.metric, styles[label]['color'], shift
        )
    if is_empty:
      charts.say_missing(axes)
    elif index < 2:
      axes.set_ylim(-0.02, 1.04)
      _draw_limits(axes, [_panels(r, samples)[index] for r in runs.values()])
  _legend(figure, panels)
  return charts.figure_png(figure)


def loss_figure(runs: Mapping[str, Results]) -> bytes:
  """Training loss and its terms against steps, in nats per example.

  Args:
    runs: label to the contents of a results.json; reads `training.history`;
      `validation_loss` is drawn beside `loss` where it is there.

  Returns:
    A PNG. Steps are on a logarithmic scale.
  """
  keys = ('loss', 'log_likelihood', 'regulariser')
  titles = ('Loss', 'Reconstruction log-likelihood', 'Regulariser')
  figure = mpl_figure.Figure(figsize=(13, 4.2), dpi=120, layout='constrained')
  panels = figure.subplots(1, 3)
  styles = _styles(runs)
  for axes, key, title in zip(panels, keys, titles, strict=True):
    axes.set_title(title, fontsize=13, loc='left', fontweight='bold')
    axes.set_ylabel('nats per example', fontsize=11)
    axes.set_xlabel('training step', fontsize=11)
    charts.tidy(axes)
    is_empty = True
    for label, results in runs.items():
      history = results['training']['history']
      style = styles[label] | {'marker': 'o' if len(history) == 1 else ''}
      is_empty &= not _draw_history(axes, history, key, label, style)
      if key == 'loss':
        style |= {'linestyle': ':'}
        name = f'{label}, validation'
        _draw_history(axes, history, 'validation_loss', name, style)
    if is_empty:
      charts.say_missing(axes)
    else:
      axes.set_xscale('log')
      axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 3)))
      axes.xaxis.set_major_formatter(ticker.FuncFormatter(_count))
      axes.xaxis.set_minor_formatter(ticker.NullFormatter())
  _legend(figure, panels)
  return charts.figure_png(figure)


class _Panel(NamedTuple):
  """What one panel of the curves shows of one run."""

  metric: str | None
  by_size: Mapping[str, float | None]
  subsets: Mapping[str, float | None]
  chance: float | None = None
  ceiling: float | None = None


def _panels(results: Results, samples: str | None) -> tuple[_Panel, ...]:
  metrics = results['metrics']
  likelihood = metrics.get('log_likelihood') or {}
  likelihoods = _Panel(
    None, likelihood.get('by_size') or {}, likelihood.get('subsets') or {}
  )
  if metrics.get('factors'):
    return *_factor_panels(results), likelihoods
  probe = metrics.get('probe') or {}
  probed = probe.get(samples) or {}
  coherence = metrics.get('coherence') or {}
  conditional = coherence.get('conditional') or {}
  return (
    _Panel(
      'probe by_size',
      probed.get('by_size') or {},
      probed.get('subsets') or {},
      chance=probe.get('chance'),
    ),
    _Panel(
      'coherence by_size',
      conditional.get('by_size') or {},
      conditional.get('pairs') or {},
      chance=coherence.get('chance'),
      ceiling=tables.mean_ceiling(results),
    ),
    likelihoods,
  )


def _factor_panels(results: Results) -> tuple[_Panel, _Panel]:
  """What the two panels of a class show of factors: macro means."""
  chance = factor_tables.chance(results)
  probed = factor_tables.probe_means(results)
  generated = factor_tables.generated_means(results)
  return (
    _Panel(None, factor_tables.by_size(probed), probed, chance),
    _Panel(
      None,
      factor_tables.by_size(generated),
      generated,
      chance,
      factor_tables.ceiling(results),
    ),
  )


def _common_probe_size(runs: Sequence[Results]) -> str:
  """The smallest number of training latents that any run was probed with."""
  sizes = {
    key
    for results in runs
    for key in results['metrics'].get('probe') or {}
    if key.isdigit()
  }
  if not sizes:
    return '?'
  size = min(sizes, key=int)
  return max((tables.probe_size(run, size) for run in runs), key=len)


def _styles(runs: Mapping[str, Results]) -> dict[str, dict[str, Any]]:
  """A colour per objective, and a dash and marker per run of an objective."""
  dashes = ('-', '--', '-.', ':')
  counts: dict[str, int] = {}
  styles = {}
  for index, (label, results) in enumerate(runs.items()):
    preset = results['objective']['preset']
    count = counts.get(preset, 0)
    counts[preset] = count + 1
    styles[label] = {
      'color': charts.COLOURS.get(preset, 'black'),
      'linestyle': dashes[count % len(dashes)],
      'marker': charts.MARKERS[index % len(charts.MARKERS)],
    }
  return styles


def _draw(
  axes: mpl_axes.Axes,
  panel: _Panel,
  label: str,
  style: Mapping[str, Any],
  shift: float,
) -> bool:
  """Draws a run; False if there was nothing to draw."""
  dots = [
    (_size(name) + shift, value)
    for name, value in panel.subsets.items()
    if tables.is_number(value)
  ]
  if dots:
    x, y = zip(*dots, strict=True)
    axes.scatter(x, y, s=14, color=style['color'], alpha=0.25, linewidths=0)
  means = sorted(
    (int(size), value)
    for size, value in panel.by_size.items()
    if tables.is_number(value)
  )
  if means:
    x, y = zip(*means, strict=True)
    axes.plot(
      [size + shift for size in x],
      y,
      label=label,
      linewidth=2,
      markersize=7,
      markeredgecolor='white',
      **style,
    )
  return bool(means)


def _draw_history(
  axes: mpl_axes.Axes,
  history: Iterable[Mapping[str, Any]],
  key: str,
  label: str,
  style: Mapping[str, Any],
) -> bool:
  """Draws a column of the training history; False if it has no numbers."""
  points = [
    (max(row['step'], 1), row[key])  # 0 has no logarithm
    for row in history
    if tables.is_number(row.get(key))
  ]
  if points:
    axes.plot(*zip(*points, strict=True), label=label, **style)
  return bool(points)


def _draw_published(
  axes: mpl_axes.Axes,
  results: Results,
  metric: str | None,
  colour: str,
  shift: float,
) -> None:
  for row in results.get('published') or []:
    name, _, size = row['metric'].rpartition(' ')
    is_match = row['protocol'] == published.MATCHES
    is_near = row['protocol'] == published.BACKGROUND_DIFFERENCE
    if name != metric or not (is_match or is_near):
      continue
    axes.plot(
      # Beside the run's own point, which it would hide.
      [int(size) + shift + 0.15],
      [row['value']],
      linestyle='',
      marker='*',
      markersize=9,
      markeredgewidth=0.8,
      markerfacecolor=colour if is_match else 'none',
      markeredgecolor=colour,
      label='published' if is_match else 'published, one background differs',
    )


def _draw_limits(axes: mpl_axes.Axes, panels: Sequence[_Panel]) -> None:
  """Dotted lines at chance and at the mean ceiling, named once."""
  for name in ('chance', 'ceiling'):
    values = {getattr(panel, name) for panel in panels} - {None}
    for value in values:
      charts.draw_limit(axes, name, value)


def _legend(figure: mpl_figure.Figure, panels: Iterable[mpl_axes.Axes]) -> None:
  """One legend for all panels, each label once."""
  entries: dict[str, Any] = {}
  for axes in panels:
    for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
      if label.startswith('published'):
        handle = mpl_lines.Line2D(
          [],
          [],
          linestyle='',
          marker='*',
          markersize=12,
          color=charts.GREY,
          markerfacecolor=charts.GREY if label == 'published' else 'none',
        )
      entries.setdefault(label, handle)
  # Runs first, stars last.
  labels = sorted(entries, key=lambda label: label.startswith('published'))
  if labels:
    figure.legend(
      [entries[label] for label in labels],
      labels,
      loc='outside lower center',
      ncols=min(len(labels), 6),
      frameon=False,
      fontsize=11,
    )


def _size(subset: str) -> int:
  """Number of input modalities of 'm0+m1' or 'm0+m1->m2'."""
  return subset.split('->')[0].count('+') + 1


def _count(value: float, _: int) -> str:
  return f'{value / 1000:,g}k' if value >= 1000 else f'{value:g}'
