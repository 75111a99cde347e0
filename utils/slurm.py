#!/usr/bin/env python3
"""Run a command, or n numbered copies of it, as jobs of Slurm; each writes its own log.

usage: slurm.py [options] [JOB=1:n | JOB=k] [options] LOG command args...

  utils/slurm.py --mem 4G --time 2:00:00 JOB=1:40 exp/log/score.JOB.log asvtk score --part JOB
  utils/slurm.py --gpu 1 exp/log/train.log asvtk train exp

JOB (any identifier) is replaced by the job's number wherever its text stands in LOG and in the command.
n jobs are one array, or several where the site allows no array that long. The command line waits for all.

  --max-jobs-run n, -tc n  at most n jobs at a time; the smallest counts when repeated
  --num-threads n          CPUs of one job, given to it also as OMP_NUM_THREADS and its like (default: 1)
  --gpu n                  n GPUs for each job (default: 0)
  --mem 4G                 memory for each CPU of a job; 0: the site's default
  --time H:M:S             time limit of a job
  --pick all|failed|incomplete
                           by what the logs of an earlier run say: `incomplete` runs the jobs that never
                           ended, `failed` those and the failed ones, `all` (default) every job
  --config FILE            instead of conf/slurm.conf, which says how --name value becomes options of
                           sbatch; utils/launcher/conf.py tells its lines, and where a site's own go
  -p gpu, -A account ...   an option with one dash and its value go to sbatch as they are

Words of the command are quoted as by run.py. Each job starts in this folder, which all nodes must share,
reads ./path.sh if there is one, and stops at its first failing command. The script and what Slurm itself
has to say go to q/ beside the folder log/.

Ctrl-C cancels the jobs. Killed by kill -9, the same command finds its jobs again and goes on waiting.

Exit status: 0, 1 when a job failed or none could be submitted, 255 for a wrong command line,
128 + the signal's number when interrupted.
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))

from launcher.cluster import run_on
from launcher.front import main
from launcher.slurm import Slurm

if __name__ == "__main__":
    sys.exit(main("slurm.py", __doc__, run_on(Slurm())))
