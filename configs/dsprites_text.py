"""dSprites with text: a shape, its size, angle and place, in pixels and words.

  launch/local.sh --config=configs/dsprites_text.py
  launch/local.sh --config=configs/dsprites_text.py:objective=mmpoe
  launch/local.sh --config=configs/dsprites_text.py:full,objective=mmjsd

The set of the workshop version of mmJSD, which says nothing of sizes, weights
and lengths: all of them are ours. Without 'full': 50,000 of the 737,280 images
and 15,000 steps. 'full' has the whole grid, 3 GB of it.
'smoke' is for a quick look at whether everything runs.
"""

from mmjsd_jax import config as defaults


def get_config(arg=None):
  """The configuration for `arg`: 'full', 'smoke', 'objective=<preset>'."""
  chosen = defaults.parse_arg(arg, ('full', 'smoke', 'objective'))
  config = defaults.default()
  config.objective.preset = chosen.get('objective', 'mmjsd')
  config.data.name = 'dsprites_text'
  config.data.num_examples = 50_000
  config.model.latent_dim = 16
  # Image: what a text does not say, angle and place. Text: where it starts.
  config.model.style_dim = (6, 4)
  config.objective.beta = 1.0
  # Ours. What an image and its text share costs less than a style; if not, the
  # styles hold all of it and neither is drawn from the other.
  config.objective.likelihood_weights = (5.0, 20.0)
  config.objective.style_weights = (40.0, 40.0)
  config.train.batch_size = 64
  config.train.num_steps = 15_000
  config.train.log_every = 200
  config.train.checkpoint_every = 2000
  config.evaluation.num_test_examples = 5000
  if 'full' in chosen:
    config.data.num_examples = 0
    config.train.batch_size = 256
    config.train.num_steps = 0
    config.train.num_epochs = 50
    config.train.log_every = 500
    config.train.checkpoint_every = 5000
    config.evaluation.num_test_examples = 0
  if 'smoke' in chosen:
    config.data.num_examples = 2000
    config.train.batch_size = 16
    config.train.num_epochs = 0
    config.train.num_steps = 20
    config.train.log_every = 10
    config.train.checkpoint_every = 10
    config.evaluation.num_test_examples = 100
    config.evaluation.num_probe_samples = (500,)
    config.evaluation.num_joint_samples = 500
    config.evaluation.num_importance_samples = 2
    config.evaluation.num_joint_importance_samples = 4
    config.evaluation.num_log_likelihood_examples = 32
  parts = [name if not value else value for name, value in chosen.items()]
  config.name = '-'.join(['dsprites_text', *parts])
  return config
