"""From a competition's photos to a place on Kaggle's leaderboard: train, infer, submit."""

import os

__version__ = "0.1.0"

# On the CPU the threads of a training wait for each other hundreds of times a step. libgomp lets them spin for so long
# that, beside a busy program, each burns the time that the other one waits for: a step took 35 times as long as alone,
# and takes 6 times as long with a tenth of it (benchmarks/busy_machine.py). It reads this as torch is loaded;
# in a notebook that has loaded it before, it stays as it is.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "30000")
