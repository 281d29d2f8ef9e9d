"""The look of all charts: colours, grid, what is missing, and PNG bytes.

Drawn on matplotlib's objects, never on its global state, so that a training run
can draw from any thread and needs no display.
"""

import io

from matplotlib import axes as mpl_axes
from matplotlib import figure as mpl_figure

# Okabe and Ito's palette: told apart by colour-blind readers, and in print.
COLOURS = {
  'mvae': '#0072B2',
  'mmvae': '#E69F00',
  'mmvae_dreg': '#7A5200',
  'mmjsd': '#009E73',
  'mopoe': '#D55E00',
  'mopoe_eq5': '#CC79A7',
  'mmpoe': '#56B4E9',
}
MARKERS = ('o', 's', '^', 'D', 'v', 'P')
GREY = '#666666'


def tidy(axes: mpl_axes.Axes) -> None:
  """A light grid, and no frame above and on the right."""
  axes.grid(True, color='#DDDDDD', linewidth=0.8)
  axes.set_axisbelow(True)
  axes.spines[['top', 'right']].set_visible(False)
  axes.tick_params(labelsize=10)


def say_missing(axes: mpl_axes.Axes) -> None:
  """Says that there is nothing to draw."""
  axes.text(
    0.5,
    0.5,
    'not measured',
    transform=axes.transAxes,
    ha='center',
    va='center',
    fontsize=14,
    color=GREY,
  )


def draw_limit(axes: mpl_axes.Axes, name: str, value: float) -> None:
  """A dotted line across at chance or at a ceiling, with its value."""
  axes.axhline(value, color=GREY, linestyle=(0, (1, 2)), linewidth=1.2)
  axes.annotate(
    f'{name} {value:.3g}',
    (1.0, value),
    xycoords=('axes fraction', 'data'),
    xytext=(-4, 3),
    textcoords='offset points',
    ha='right',
    fontsize=10,
    color=GREY,
  )


def figure_png(figure: mpl_figure.Figure) -> bytes:
  """The figure as PNG; equal figures give equal bytes."""
  buffer = io.BytesIO()
  # Without the program's name, equal results give equal bytes.
  figure.savefig(buffer, format='png', metadata={'Software': None})
  return buffer.getvalue()
