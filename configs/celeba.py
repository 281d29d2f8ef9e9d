"""CelebA, bimodal: a face, and the names of its attributes as a text.

  launch/local.sh --config=configs/celeba.py:objective=mopoe
  launch/local.sh --config=configs/celeba.py:paper,objective=mmjsd

Pictures and lists are the user's own download; see docs/data_sets.md. Without
'paper': networks an eighth as wide, which two cores train in some minutes on a
few thousand pictures. What they draw is blurred, and of the text they know
little: it is a look at everything that runs, not the papers' result. 'paper' is
the protocol of mmJSD, supplement C.4, or for MoPoE's objectives that of MoPoE,
App. E, with what only their code says; 70 million parameters, for a GPU.
'smoke' is for a quick look at whether everything runs.
"""

from mmjsd_jax import config as defaults


def get_config(arg=None):
  """The configuration for `arg`: 'paper', 'smoke', 'objective=<preset>'."""
  chosen = defaults.parse_arg(arg, ('paper', 'smoke', 'objective'))
  config = defaults.default()
  preset = config.objective.preset = chosen.get('objective', 'mopoe')
  config.data.name = 'celeba'
  config.model.latent_dim = 32  # mmJSD, supplement C.4; MoPoE, App. E
  config.model.style_dim = (32, 32)  # of the same
  config.objective.beta = 2.5  # of the same
  config.objective.beta_style = 2.0  # mmJSD, supplement C.4
  config.objective.style_weights = (1.0, 5.0)  # of their job scripts
  # Image and text. By size they would be 1 and 48; their code counts pixels and
  # not colours, and MoPoE's, pixels over 64 x 64 x 3.
  config.objective.likelihood_weights = (1.0, 16.0)
  if preset.startswith('mmjsd'):
    config.objective.pi = (0.35, 0.35, 0.3)  # mmJSD's code; the prior last
  config.evaluation.readings = preset.startswith('mmjsd')
  if 'paper' in chosen:
    config.train.num_epochs = 100
    # Ours. Adam's first whole steps turn all 640 features that a head reads one
    # way, and its variances leave what floats can hold.
    config.train.learning_rate_warmup_steps = 1000
    if preset.startswith('mopoe'):
      config.train.num_epochs = 200
      config.train.learning_rate = 5e-4
      config.objective.likelihood_weights = (1 / 3, 16.0)
    if preset == 'mvae':
      config.objective.likelihood_weights = (0.5, 0.5)  # mmJSD's code
    config.train.log_every = 127  # a fifth of an epoch
    config.train.checkpoint_every = 635
    config.evaluation.num_importance_samples = 100
    config.evaluation.num_joint_importance_samples = 1000
    config.evaluation.num_log_likelihood_examples = 1000
  else:  # ours: chosen for a few thousand pictures and two cores
    config.model.width = 16
    config.train.batch_size = 64
    config.train.num_steps = 1500
    if preset == 'mmvae_dreg':  # 60 draws of every example are decoded
      config.train.batch_size = 16
      config.train.num_steps = 100
    config.train.log_every = 50
    config.train.checkpoint_every = 500
    config.evaluation.num_importance_samples = 8
    config.evaluation.num_joint_importance_samples = 64
    config.evaluation.num_log_likelihood_examples = 64
  if 'smoke' in chosen:
    config.model.width = 2
    config.train.batch_size = 16
    config.train.num_epochs = 0
    config.train.num_steps = 20
    config.train.log_every = 10
    config.train.checkpoint_every = 10
    config.evaluation.num_test_examples = 256
    config.evaluation.num_probe_samples = (500,)
    config.evaluation.num_joint_samples = 200
    config.evaluation.num_importance_samples = 2
    config.evaluation.num_joint_importance_samples = 4
    config.evaluation.num_log_likelihood_examples = 32
  parts = [name if not value else value for name, value in chosen.items()]
  config.name = '-'.join(['celeba', *parts])
  return config
