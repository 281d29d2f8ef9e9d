"""The measured side of benchmarks/train_step.py: steps on request.

A child writes one line of JSON when it is ready, then one for every line that
it reads, which is a number of steps to run. In between it sleeps.
"""

import json
import os
import resource
import sys
import time


def serve(run_steps):
  """Answers until the input ends.

  Args:
    run_steps: takes so many training steps, and returns when they are done.
  """
  out = os.fdopen(os.dup(1), 'w')
  os.dup2(2, 1)  # what libraries print is no answer
  sys.stdout.flush()
  _answer(out, run_steps, 1)
  for line in sys.stdin:
    _answer(out, run_steps, int(line))


def _answer(out, run_steps, num_steps):
  cpu, start = time.process_time(), time.monotonic()
  run_steps(num_steps)
  answer = {
    'seconds': time.monotonic() - start,
    'cpu_seconds': time.process_time() - cpu,
    'peak_mb': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
  }
  print(json.dumps(answer), file=out, flush=True)
