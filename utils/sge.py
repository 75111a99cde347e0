#!/usr/bin/env python3
"""Run a command, or n numbered copies of it, as jobs of Grid Engine; each writes its own log.

usage: sge.py [options] [JOB=1:n | JOB=k] [options] LOG command args...

  utils/sge.py --mem 4G JOB=1:40 exp/log/score.JOB.log asvtk score --part JOB
  utils/sge.py --gpu 1 exp/log/train.log asvtk train exp

JOB (any identifier) is replaced by the job's number wherever its text stands in LOG and in the command.
n jobs are one array, or several where the site allows no array that long. The command line waits for all.

  --max-jobs-run n, -tc n  at most n jobs at a time; the smallest counts when repeated
  --num-threads n          slots of one job, given to it also as OMP_NUM_THREADS and its like (default: 1)
  --gpu n                  n GPUs for each job (default: 0)
  --mem 4G                 memory of a job; 0: the site's default
  --time H:M:S             time limit of a job
  --pick all|failed|incomplete
                           by what the logs of an earlier run say: `incomplete` runs the jobs that never
                           ended, `failed` those and the failed ones, `all` (default) every job
  --config FILE            instead of conf/sge.conf, which says how --name value becomes options of qsub
                           (Kaldi's conf/queue.conf can be given); utils/launcher/conf.py tells its lines,
                           and where a site's own go
  -q all.q, -pe smp 4 ...  an option with one dash and its values (-V has none, -pe has two, others one)
                           go to qsub as they are

Words of the command are quoted as by run.py. Each job starts in this folder, which all nodes must share,
reads ./path.sh if there is one, and stops at its first failing command. The script and what Grid Engine
itself has to say go to q/ beside the folder log/.

Ctrl-C deletes the jobs. Killed by kill -9, the same command finds its jobs again and goes on waiting.

Exit status: 0, 1 when a job failed or none could be submitted, 255 for a wrong command line,
128 + the signal's number when interrupted.
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))

from launcher.cluster import run_on
from launcher.front import main
from launcher.sge import GridEngine

if __name__ == "__main__":
    sys.exit(main("sge.py", __doc__, run_on(GridEngine())))
