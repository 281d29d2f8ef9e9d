"""Which runs are averaged, and what they are called."""

import paper_world
import pytest

from mmjsd_jax import experiments, objectives


@pytest.mark.parametrize(
  ('preset', 'style_dim', 'expected'),
  [
    ('mvae', (), 'MVAE'),
    ('mmvae', (0, 0, 0), 'MMVAE'),
    ('mmvae_dreg', (), 'MMVAE (I=30)'),
    ('mmvae_dreg', (4, 4, 4), 'MMVAE (I=30) (MS)'),
    ('mmjsd', (0, 4, 0), 'mmJSD (MS)'),
    ('mopoe_eq5', (), 'MoPoE, Eq. (5)'),
  ],
)
def test_models_have_the_papers_names(preset, style_dim, expected):
  results = paper_world.make_run(preset, style_dim=style_dim)
  assert experiments.model_name(results) == expected


def test_no_styles_are_recorded_before_there_were_any():
  results = paper_world.make_run()
  del results['config']['model']['style_dim']
  assert experiments.model_name(results) == 'MoPoE'


def test_other_numbers_of_importance_samples_are_another_model():
  results = paper_world.make_run('mmvae_dreg')
  results['objective']['num_samples'] = 10
  assert experiments.model_name(results) == 'MMVAE (I=10)'


def test_seeds_of_one_experiment_come_together():
  runs = [paper_world.make_run(seed=seed) for seed in range(3)]
  for seed, run in enumerate(runs):
    run['config']['data']['seed'] = seed
    run['config']['evaluation']['seed'] = seed
  (experiment,) = experiments.group(runs)
  assert experiment == ('MoPoE', (), tuple(runs))
  assert experiments.seeds(experiment.runs) == ['0', '1', '2']


@pytest.mark.parametrize(
  ('section', 'key', 'value', 'expected'),
  [
    ('objective', 'beta', 2.5, 'objective.beta 2.5'),
    ('model', 'latent_dim', 16, 'model.latent_dim 16'),
    ('evaluation', 'checkpoint', 'best', 'evaluation.checkpoint best'),
    ('train', 'num_epochs', 150, 'train.num_epochs 150'),
  ],
)
def test_other_settings_are_told_apart(section, key, value, expected):
  runs = [paper_world.make_run(), paper_world.make_run()]
  runs[1]['config'][section][key] = value
  first, second = experiments.group(runs)
  assert second.details == (expected,)
  assert len(first.details) == 1 and first.details != second.details


def test_a_part_of_the_data_is_told_apart():
  runs = [paper_world.make_run(), paper_world.make_run()]
  runs[1]['data']['num_train'] = 1000
  whole, part = experiments.group(runs)
  assert whole.details == ('examples 1,121,360 + 200,000',)
  assert part.details == ('examples 1,000 + 200,000',)


def test_another_reading_of_several_inputs_is_told_once():
  runs = [paper_world.make_run('mmjsd'), paper_world.make_run('mmjsd')]
  runs[1]['config']['objective']['change'] = {
    'subset_posterior': 'dynamic_prior'
  }
  runs[1]['objective']['subset_posterior'] = 'dynamic_prior'
  product, dynamic_prior = experiments.group(runs)
  assert product.details == ('objective.subset_posterior product',)
  assert dynamic_prior.details == ('objective.subset_posterior dynamic_prior',)
  # Alone as well: it is not the preset.
  (alone,) = experiments.group(runs[1:])
  assert alone.details == dynamic_prior.details


def test_one_seed_twice_is_refused():
  runs = [paper_world.make_run(seed=3), paper_world.make_run(seed=3)]
  with pytest.raises(ValueError, match='differ in config.seed, got the seeds'):
    experiments.group(runs)


def test_models_are_sorted_as_in_the_papers():
  expected = [
    'MVAE',
    'MMVAE',
    'MMVAE (I=10)',
    'MMVAE (I=30)',
    'mmJSD',
    'MoPoE, Eq. (5)',
    'MoPoE',
    'mmPoE',
    'unheard_of',
    'MVAE (MS)',
    'MMVAE (I=30) (MS)',
    'MoPoE (MS)',
  ]
  assert sorted(reversed(expected), key=experiments.place) == expected


def test_every_preset_has_a_title():
  assert set(experiments.TITLES) == set(objectives.PRESETS)
