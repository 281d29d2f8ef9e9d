"""report.html: what a run measured, on one page that opens without a network.

The page is rendered from report_template.html; tables come from tables.py.
"""

import os
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from mmjsd_jax import (
  factor_tables,
  files,
  html_page,
  paper_tables,
  quality_tables,
  tables,
)
from mmjsd_jax.html_page import Figure, Image
from mmjsd_jax.paper_tables import PaperTable
from mmjsd_jax.tables import Results, Table, count, duration, get, nats, share

SCHEMA = 1

_OBJECTIVES = {
  'mvae': 'MVAE: joint ELBO of a product of experts, plus unimodal ELBOs',
  'mmvae': 'MMVAE: ELBO of a mixture of experts',
  'mmvae_dreg': 'MMVAE: importance-weighted bound of a mixture of experts, '
  'doubly reparameterised gradients',
  'mmjsd': 'mmJSD: mixture of experts, Jensen-Shannon divergence to a '
  'geometric-mean dynamic prior',
  'mopoe': 'MoPoE: ELBO of a mixture of the products of experts of all subsets',
  'mopoe_eq5': 'MoPoE, Eq. 5: mean of the ELBOs of all subsets',
  'mmpoe': 'mmPoE: unimodal ELBOs and the KL of a product of experts',
}

_DEFINITIONS = (
  'Linear probe: logistic regression on the mean of q(z | x of a subset), '
  'trained on that many training examples and scored on the test set. The '
  'untrained columns are the same probe on the randomly initialised encoder: '
  'what the architecture gives away for free.',
  'Untrained, here and in the log-likelihood: random weights, before any data '
  'were seen, even where training starts from the median colour.',
  'Conditional coherence: a modality is generated from a draw of q(z | x of a '
  'subset); the share that a classifier assigns to the class of the inputs. '
  'Modalities of the subset itself are left out.',
  'Ceiling: the accuracy of the same classifiers on real test images. No '
  'generator is expected to pass it; coherence relative to the ceiling divides '
  'by it.',
  'Joint coherence: all modalities are decoded from one draw of the prior; the '
  'share of draws in which the classifiers agree on all M of them. Modalities '
  'with unrelated, evenly spread classes agree in one of 10^(M-1) draws, with '
  'ten classes. Published values are from the prior.',
  'Log-likelihood: importance sampling with K draws. In expectation it is a '
  'lower bound on log p(x) at every finite K, and rises to it with K; a single '
  'estimate is stochastic. Compare values at the same K only. Likelihoods are '
  'unweighted. The ELBO is the case K = 1.',
  'Standard errors are over test examples or draws, of one trained model. They '
  'say nothing about other random seeds.',
)


_FACTOR_DEFINITIONS = (
  'Factors, such as attributes of a face or the shape of a sprite, take the '
  'place of the one class that other data have: every factor has a probe of '
  'its own, and the classifier of a modality tells all of them. Macro mean: of '
  'the numbers of the factors, each counted once.',
  'Prevalence: the share of test examples that have an attribute, or that are '
  "of a factor's commonest class. It is what chance has.",
)


class Card(NamedTuple):
  """A headline number."""

  title: str
  value: str
  context: str


class PublishedMetric(NamedTuple):
  """Published values of one metric, and what differs from their protocol."""

  title: str
  table: Table
  protocols: list[str]
  notes: list[tuple[str, str]]


def write_report(
  results: Results,
  figures: Mapping[str, Figure],
  path: str | os.PathLike[str],
  *,
  captions: Mapping[str, str] | None = None,
) -> None:
  """Writes the report, whole or not at all.

  Args:
    results: the contents of results.json, schema 1.
    figures: name to a PNG, as a path or as bytes, in the order of the page.
      Captions are known for 'reconstructions', 'random_samples',
      'conditional_<subset>', 'swapped_<modality>', 'curves' and 'loss'.
    path: the HTML file to write; its folder exists.
    captions: figure name to a caption, in place of the known one.

  Raises:
    ValueError: another schema, or a figure that is not a PNG.
    KeyError: `results` lacks a part that is not a metric.
  """
  html = render(results, figures, captions=captions)
  files.write_atomically(pathlib.Path(path), html)


def render(
  results: Results,
  figures: Mapping[str, Figure],
  *,
  captions: Mapping[str, str] | None = None,
) -> str:
  """The report's HTML. Arguments and errors as `write_report`."""
  schema = results.get('schema')
  if schema != SCHEMA:
    raise ValueError(f'expected results of schema {SCHEMA}, got {schema!r}')
  preset = results['objective']['preset']
  return html_page.render(
    'report_template.html',
    name=results['name'],
    version=results['version'],
    preset=preset,
    objective_title=_OBJECTIVES.get(preset, preset),
    finished=html_page.time(results['finished']),
    substitutions=results['substitutions'],
    cards=_cards(results),
    meaning=_meaning(results),
    cautions=_cautions(results),
    run=_run(results),
    objective=tables.key_values(
      results['objective'], 'The objective, axis by axis.'
    ),
    config=tables.key_values(results['config'], 'Every setting of the run.'),
    environment=tables.key_values(
      results['environment'], 'Programs and hardware.'
    ),
    left_out=_left_out(results),
    factors=factor_tables.sections(results),
    probe=(tables.probe_by_size(results), tables.probe_subsets(results)),
    coherence=(
      tables.coherence_by_size(results),
      tables.coherence_matrix(results),
      tables.joint_coherence(results),
      tables.coherence_pairs(results),
    ),
    log_likelihood=(
      tables.log_likelihood(results),
      tables.log_likelihood_by_size(results),
      tables.log_likelihood_subsets(results),
    ),
    num_examples=tables.num_examples(results),
    text=(
      tables.text(results)
      if get(results, 'metrics', 'coherence', 'exact_match')
      else None
    ),
    quality=quality_tables.by_size(results),
    quality_pairs=quality_tables.of_pairs(results),
    readings=(
      (
        _without_class(tables.readings(results), results),
        tables.readings_pairs(results),
      )
      if get(results, 'metrics', 'readings')
      else None
    ),
    published=_published(results),
    paper_tables=_paper_tables(results),
    as_released=(
      _without_class(tables.as_released(results), results)
      if get(results, 'metrics', 'as_released')
      else None
    ),
    images=_images(figures, captions or {}, results),
    definitions=_DEFINITIONS
    + (_FACTOR_DEFINITIONS if get(results, 'metrics', 'factors') else ()),
  )


def _left_out(results: Results) -> Mapping[str, str]:
  """What the data did not allow to measure, and why."""
  return get(results, 'metrics', 'left_out') or {}


def _cards(results: Results) -> list[Card]:
  metrics = results['metrics']
  last = len(results['data']['modalities'])
  n = tables.probe_sizes(results)[0]
  probe = get(metrics, 'probe', n, 'by_size')
  coherence = get(metrics, 'coherence')
  by_size = get(coherence, 'conditional', 'by_size')
  likelihood = get(metrics, 'log_likelihood')
  joint, before = get(likelihood, 'joint'), get(likelihood, 'untrained_joint')
  cards = {
    'probe': Card(
      'Linear probe',
      _range(get(probe, '1'), get(probe, str(last))),
      f'accuracy from 1 → {last} modalities; '
      f'{tables.probe_size(results, n)} latents; chance '
      f'{share(get(metrics, "probe", "chance"))}',
    ),
    'coherence': Card(
      'Conditional coherence',
      _range(get(by_size, '1'), get(by_size, str(last - 1))),
      f'from 1 → {last - 1} modalities; chance '
      f'{share(get(coherence, "chance"))}, ceiling '
      f'{share(tables.mean_ceiling(results))}',
    ),
    'joint coherence': Card(
      'Joint coherence',
      share(get(coherence, 'joint'), get(coherence, 'joint_standard_error')),
      f'all {last} agree; chance {share(get(coherence, "joint_chance"))}, '
      f'ceiling {share(tables.joint_ceiling(results)[0])}',
    ),
    'log_likelihood': Card(
      'Log-likelihood',
      nats(get(joint, 'value'), get(joint, 'standard_error')),
      f'nats per example, K = {count(get(joint, "num_importance_samples"))}; '
      f'untrained {nats(get(before, "value"))}, '
      f'K = {count(get(before, "num_importance_samples"))}',
    ),
  }
  absent = {*_left_out(results), *_replaced(results)}
  if 'coherence' in absent:
    absent.add('joint coherence')
  return _factor_cards(results) + [
    card for what, card in cards.items() if what not in absent
  ]


def _replaced(results: Results) -> tuple[str, ...]:
  """The metrics of a class, where factors are measured in its place."""
  return ('probe', 'coherence') if get(results, 'metrics', 'factors') else ()


def _without_class(table: Table, results: Results) -> Table:
  """Without the columns of a class, where there are factors in its place."""
  kept = [
    index
    for index, column in enumerate(table.columns)
    if not column.startswith(_replaced(results))
  ]
  return table._replace(
    columns=tuple(table.columns[index] for index in kept),
    rows=tuple(tuple(row[index] for index in kept) for row in table.rows),
  )


def _factor_cards(results: Results) -> list[Card]:
  chance = share(factor_tables.chance(results))
  ceiling = share(factor_tables.ceiling(results))
  told = {
    'Factors from latents': (factor_tables.probe_means(results), ''),
    'Factors of samples': (
      factor_tables.generated_means(results),
      f', ceiling {ceiling}',
    ),
  }
  return [
    Card(
      title,
      ' | '.join(map(share, means.values())),
      f'mean {factor_tables.measure(results)}: '
      f'{" | ".join(map(_in_words, means))}; chance {chance}{limit}',
    )
    for title, (means, limit) in told.items()
    if means
  ]


def _in_words(name: str) -> str:
  """'a, b → c' of 'a+b->c'."""
  return name.replace('->', ' → ').replace('+', ', ')


def _range(first: float | None, last: float | None) -> str:
  if not (tables.is_number(first) or tables.is_number(last)):
    return tables.MISSING
  return f'{share(first)} → {share(last)}'


def _likelihoods(results: Results) -> tuple[float | None, float | None]:
  """log p(x) of all modalities after and before training, in nats.

  Both with the same K where there is such a pair: the estimate rises with K.
  """
  likelihood = get(results, 'metrics', 'log_likelihood')
  after = get(likelihood, 'joint')
  before = get(likelihood, 'untrained_joint')
  samples = get(likelihood, 'num_importance_samples')
  if get(before, 'num_importance_samples') == samples:
    last = str(len(results['data']['modalities']))
    return get(likelihood, 'by_size', last), get(before, 'value')
  return get(after, 'value'), get(before, 'value')


def _meaning(results: Results) -> list[str]:
  """The headline numbers in words; only those that were measured."""
  metrics = results['metrics']
  last = str(len(results['data']['modalities']))
  almost = str(int(last) - 1)
  sentences = []
  n = tables.probe_sizes(results)[0]
  probe = get(metrics, 'probe', n, 'by_size')
  one, every = get(probe, '1'), get(probe, last)
  if tables.is_number(one) and tables.is_number(every):
    sentences.append(
      f'The latent of one modality tells the class to a linear classifier in '
      f'{_percent(one)} of the test examples, that of all {last} in '
      f'{_percent(every)}.'
    )
  by_size = get(metrics, 'coherence', 'conditional', 'by_size')
  one, most = get(by_size, '1'), get(by_size, almost)
  if tables.is_number(one) and tables.is_number(most):
    trend = (
      'More inputs help' if most > one + 0.01 else 'More inputs do not help'
    )
    sentences.append(
      f'What is generated from one other modality shows its class in '
      f'{_percent(one)} of the cases, from {almost} others in '
      f'{_percent(most)}. {trend}.'
    )
  sentences += _factor_meaning(results)
  joint = get(metrics, 'coherence', 'joint')
  if tables.is_number(joint):
    sentences.append(
      f'Without any input, all {last} generated modalities agree on a class in '
      f'{_percent(joint)} of the draws.'
    )
  fitted = get(metrics, 'coherence', 'joint_from_sampler')
  if tables.is_number(value := get(fitted, 'value')):
    sentences.append(
      f'If the shared latents are drawn from a mixture of '
      f'{get(fitted, "num_components")} Gaussians, fitted to the training '
      f'posteriors after training, in place of the prior, they agree in '
      f'{_percent(value)}.'
    )
  after, before = _likelihoods(results)
  if tables.is_number(after) and tables.is_number(before):
    sentences.append(
      f'Training raised log p(x) by {after - before:,.1f} nats per example.'
      if after > before
      else 'Training did not raise log p(x).'
    )
  return sentences


def _factor_meaning(results: Results) -> list[str]:
  """What latents and samples tell of the factors, in words."""
  measure = factor_tables.measure(results)
  chance = share(factor_tables.chance(results))
  told = {
    'Linear probes of the latents': factor_tables.probe_means(results),
    'Classifiers of what is generated': factor_tables.generated_means(results),
  }
  return [
    f'{who} tell the factors with a mean {measure} of '
    + ', '.join(f'{share(x)} ({_in_words(name)})' for name, x in means.items())
    + f'; chance has {chance}.'
    for who, means in told.items()
    if means
  ]


def _cautions(results: Results) -> list[str]:
  """What a reader of the headline numbers must know."""
  cautions = []
  metrics, training = results['metrics'], results['training']
  planned = get(results, 'config', 'train', 'num_epochs')
  epochs = training.get('epochs')
  if tables.is_number(planned) and tables.is_number(epochs):
    if epochs < 0.99 * planned:
      cautions.append(
        f'The model was trained for {epochs:g} of {planned:g} epochs.'
      )
  if subsets := get(results, 'config', 'evaluation', 'subsets'):
    cautions.append(
      f'Only these subsets were evaluated: {", ".join(subsets)}. Means over '
      'subsets of a size are over these.'
    )
  absent = {
    name: ''
    for name in ('probe', 'coherence', 'log_likelihood')
    if not metrics.get(name)
  }
  absent |= {name: f' ({why})' for name, why in _left_out(results).items()}
  for name in _replaced(results):
    absent.pop(name, None)
  if absent:
    said = (name.replace('_', ' ') + why for name, why in absent.items())
    cautions.append(f'Not measured in this run: {", ".join(said)}.')
  cautions += _gaps(results)
  coherence = get(metrics, 'coherence', 'conditional', 'by_size', '1')
  chance = get(metrics, 'coherence', 'chance')
  if tables.is_number(coherence) and tables.is_number(chance):
    if coherence < chance + 0.05:
      cautions.append('Coherence from one modality is close to chance.')
  ceiling = tables.mean_ceiling(results)
  if ceiling is not None and ceiling < 0.9:
    cautions.append(
      f'The classifiers that judge coherence are right on {_percent(ceiling)} '
      'of real images only: coherence is a coarse measure here.'
    )
  if without := get(metrics, 'factors', 'num_without_positives'):
    cautions.append(
      f'{count(without)} of {len(metrics["factors"]["names"])} factors have no '
      'positive among the test examples: means are over the others.'
    )
  after, before = _likelihoods(results)
  if tables.is_number(after) and tables.is_number(before) and after < before:
    cautions.append('log p(x) is lower than before training.')
  if skipped := training.get('skipped_steps'):
    cautions.append(
      f'{count(skipped)} of {count(training["steps"])} steps were skipped: '
      'their loss or gradient was not finite.'
    )
  if training.get('learning_rate_scale', 1) != 1:
    cautions.append(
      'The learning rate ended at '
      f'{training["learning_rate_scale"]:g} of its value: it was lowered '
      'whenever the loss or a gradient was not finite.'
    )
  return cautions


def _gaps(results: Results) -> list[str]:
  """How few examples the numbers of all modalities are of, where some lack."""
  data, metrics = results['data'], results['metrics']
  n, every = tables.probe_sizes(results)[0], '+'.join(data['modalities'])
  told = []
  if numbers := get(metrics, 'probe', n, 'num_examples', every):
    train, test = map(count, numbers)
    told.append(
      'Examples lack modalities or their class: the probe of all '
      f'{len(data["modalities"])} learned from {train} examples and was judged '
      f'on {test}.'
    )
  complete = get(metrics, 'log_likelihood', 'num_examples')
  limits = get(results, 'config', 'evaluation') or {}
  taken = min(
    limits.get(key) or data['num_test']
    for key in ('num_test_examples', 'num_log_likelihood_examples')
  )
  if (
    get(data, 'missing')
    and tables.is_number(complete)
    and complete < min(taken, data['num_test'])
  ):
    told.append(
      f'log p(x) is of {count(complete)} of {count(data["num_test"])} test '
      'examples, those that have all modalities.'
    )
  return told


def _run(results: Results) -> Table:
  data, training = results['data'], results['training']
  rate = training.get('samples_per_second')
  parameters = training.get('num_parameters')
  sha256 = get(results, 'evaluation', 'inception_sha256')
  rows = (
    ('objective', _objective_line(results)),
    ('data', f'{data["name"]}: {data["source"]}'),
    ('modalities', ', '.join(data['modalities'])),
    (
      'examples',
      f'{data["num_train"]:,} training, {data["num_test"]:,} test'
      + _measured_on(results),
    ),
    *((('missing in training', text),) if (text := _missing(results)) else ()),
    ('data fingerprint (SHA-256)', data['fingerprint']),
    (
      'training',
      f'{count(training.get("steps"))} steps, '
      f'{count(training.get("epochs"))} epochs, batches of '
      f'{count(training.get("batch_size"))}, '
      f'{count(training.get("samples_seen"))} examples seen',
    ),
    ('parameters', count(parameters)),
    (
      'training time',
      f'{duration(training.get("seconds"))}, {count(rate)} examples/s',
    ),
    ('evaluation time', _evaluation_time(results)),
    *((("Inception's weights (SHA-256)", sha256),) if sha256 else ()),
    ('checkpoint evaluated', f'step {count(training.get("checkpoint_step"))}'),
    ('device', tables.device(results['environment'])),
    ('run again', _determinism(results['environment'])),
    ('started', html_page.time(results['started'])),
    ('finished', html_page.time(results['finished'])),
    ('command', results['command']),
    ('working directory', results['workdir']),
    ('program', f'mmjsd_jax {results["version"]}'),
  )
  return Table('What was run.', ('what', 'value'), rows)


def _evaluation_time(results: Results) -> str:
  """All of it, and of every stage."""
  stages = get(results, 'evaluation', 'stages') or {}
  by_stage = ', '.join(f'{name} {duration(s)}' for name, s in stages.items())
  total = duration(get(results, 'evaluation', 'seconds'))
  return f'{total}: {by_stage}' if by_stage else total


def _determinism(environment: Results) -> str:
  """What the same command gives once more."""
  platform = environment.get('platform')
  if platform == 'cpu':
    return (
      'the same command gives the same bits, with these versions and devices'
    )
  if platform != 'gpu':
    return f'whether the same command gives the same bits on {platform} is open'
  if '--xla_gpu_deterministic_ops=true' in environment.get('xla_flags', ''):
    return 'the same bits by --xla_gpu_deterministic_ops=true, as XLA promises'
  return (
    'not the same bits: on a GPU, XLA chooses algorithms by speed and may add '
    'in any order. XLA_FLAGS=--xla_gpu_deterministic_ops=true forbids it'
  )


def _measured_on(results: Results) -> str:
  """', of which ...' where not all test examples were used."""
  used = get(results, 'evaluation', 'num_test_examples')
  if not tables.is_number(used) or used >= results['data']['num_test']:
    return ''
  return f', of which {used:,}, drawn at random, were measured on'


def _missing(results: Results) -> str:
  """What training tuples lack, and which were left out; '' for nothing."""
  said = []
  options = get(results, 'config', 'data')
  if asked := get(options, 'missing'):
    how = get(options, 'missing_how').replace('_', ' ')
    said.append(f'{_percent(asked)} of modalities to be taken away, {how}')
  if missing := get(results, 'data', 'missing'):
    shares = missing['modalities'].items()
    each = ', '.join(f'{name} {_percent(share)}' for name, share in shares)
    said.append(f'{_percent(missing["share"])} are missing ({each})')
    said.append(f'{missing["num_complete"]:,} tuples are complete')
  if get(options, 'incomplete') == 'drop':
    said.append('incomplete tuples were left out')
  return '; '.join(said)


def _objective_line(results: Results) -> str:
  preset = results['objective']['preset']
  title = _OBJECTIVES.get(preset)
  return f'{preset} ({title})' if title else preset


def _published(results: Results) -> list[PublishedMetric]:
  groups: dict[str, list[Mapping[str, Any]]] = {}
  for row in results.get('published') or []:
    metric = row['metric'].rstrip(' 0123456789')
    groups.setdefault(metric, []).append(row)
  return [
    PublishedMetric(
      _METRIC_TITLES.get(metric, metric),
      tables.published_values(metric, rows),
      list(dict.fromkeys(row['protocol'] for row in rows)),
      list({row['source']: row.get('note', '') for row in rows}.items()),
    )
    for metric, rows in groups.items()
  ]


def _paper_tables(results: Results) -> list[PaperTable]:
  """The papers' tables of this data set, without models that were not run."""
  if not paper_tables.has_tables(results):
    return []
  return [
    paper._replace(
      table=paper.table._replace(
        rows=tuple(
          row for row in paper.table.rows if row[1] != paper_tables.NOT_RUN
        )
      )
    )
    for paper in paper_tables.make_tables([results])
  ]


_METRIC_TITLES = {
  'probe by_size': 'Linear probe, 500 training latents',
  'coherence by_size': 'Conditional coherence',
  'joint coherence': 'Joint coherence',
}


def _images(
  figures: Mapping[str, Figure],
  captions: Mapping[str, str],
  results: Results,
) -> list[Image]:
  has_factors = bool(get(results, 'metrics', 'factors'))
  has_text = bool(get(results, 'metrics', 'coherence', 'exact_match'))
  # One grid from one input and one from all others show what there is to see.
  grids = [name for name in figures if name.startswith('conditional_')]
  return [
    _image(
      name,
      figure,
      captions.get(name),
      is_folded=name in grids[2:],
      has_text=has_text or has_factors,
      shown='factors' if has_factors else _shared(results),
    )
    for name, figure in figures.items()
  ]


def _shared(results: Results) -> str:
  """What modalities show of one example: of users' own data it is not known."""
  return 'content' if results['data']['name'] == 'custom' else 'digit'


def _image(
  name: str,
  figure: Figure,
  caption: str | None,
  *,
  is_folded: bool,
  has_text: bool,
  shown: str,
) -> Image:
  title, known = _known_caption(name, shown)
  uri = html_page.embedded(name, figure)
  is_wide = name in ('curves', 'loss', 'random_samples') or shown == 'factors'
  with_all = ('conditional_', 'listing_', 'random_samples', 'reconstructions')
  if has_text and name.startswith(with_all):
    known += ' A text shows the likeliest character at each of its places.'
  return Image(title, caption or known, uri, is_wide, is_folded)


def _known_caption(name: str, shown: str) -> tuple[str, str]:
  """A figure's title, which is its alternative text, and its caption.

  Args:
    name: of the figure.
    shown: what examples of a tuple share, such as 'digit'.
  """
  if name.startswith('listing_'):
    source = name.removeprefix('listing_')
    return (
      f'Generated from {source}',
      f'A row is a test example: its {source}, which is given, its other '
      'modality, which is not, and what the model generates. Every draw is of '
      'the shared latents given the inputs and of a style from the prior: '
      f'draws should have the {shown} of the row and differ in all else. As '
      'mmJSD, Figure 2, and MoPoE, Figure 4. Of a text the filler around it is '
      'not shown.',
    )
  if name.startswith('conditional_'):
    subset = name.removeprefix('conditional_')
    inputs = ', '.join(subset.split('+'))
    return (
      f'Generated from {inputs}',
      f'Above the black line the inputs, test examples of {inputs}; below it '
      'what the model generates from them. One column is one example: read '
      'downwards, and look for the '
      f'{shown} of the inputs in every row. Every '
      'row of a modality is another draw, of the shared latents given the '
      'inputs and of its style, if it has one, from the prior: rows should '
      f'differ in everything but the {shown}.',
    )
  if name.startswith('swapped_'):
    modality = name.removeprefix('swapped_')
    return (
      f'Content and style of {modality} from different examples',
      f'Test examples of {modality} in the first row and, again, in the first '
      'column. Every other cell takes its content, a draw of the shared '
      'latents, from the example at the left of its row, and its style, the '
      'mean of the latents that no other modality has, from the one at the top '
      'of its column. Where the two are kept apart, a row shows one content in '
      'many styles and a column many contents in one style. If a column '
      'repeats the example above it whatever the row, the style holds the '
      f'{shown} as well.',
    )
  title, caption = _CAPTIONS.get(name, (name.replace('_', ' '), ''))
  return title, caption.format(shown=shown)


_CAPTIONS = {
  'factors_probe': (
    'Factors told from latents',
    'A bar is a linear probe of one factor on the posterior mean given the '
    'modalities in the title; the tick is what chance has, so that a bar that '
    'ends there has learnt nothing. As mmJSD, supplement, Figure 6.',
  ),
  'factors_generated': (
    'Factors told from what is generated',
    'A bar is what a classifier, trained on real data, tells of one factor '
    'from generated samples; the tick is what chance has. Where the latents of '
    'what is given do not tell a factor, samples cannot show it. As mmJSD, '
    'supplement, Figure 7.',
  ),
  'reconstructions': (
    'Test examples and their reconstructions',
    'For every modality a row of test examples and below it what the decoder '
    'makes of one draw of the posterior of all modalities.',
  ),
  'random_samples': (
    'Samples from the prior, a block per modality',
    'Decoded from draws of the prior, without any input. The same place in '
    'every block comes from the same draw: in a jointly coherent model it '
    'shows the same {shown} in all blocks.',
  ),
  'curves': (
    'Linear probe, conditional coherence and log-likelihood against the number '
    'of input modalities',
    'Lines: means over subsets of a '
    'size; faint dots: the subsets themselves. Higher is better in all three. '
    'Stars, where there are any, are published means: solid where the protocol '
    'matches, hollow where only a background image differs. A line that rises '
    'says that more inputs help. The three panels of MoPoE, Figure 3.',
  ),
  'loss': (
    'Training loss and its terms against steps',
    'In nats per example; logarithmic in steps. The loss should fall and the '
    'log-likelihood rise until both are level; a dotted loss is that of the '
    'validation set: where it turns up, the model overfits. The regulariser '
    'often rises first, as latents come into use. The loss weighs it by beta, '
    'so it is not the sum of the two other panels.',
  ),
}


def _percent(value: float) -> str:
  return f'{100 * value:.2g} %' if value < 0.01 else f'{100 * value:.1f} %'
