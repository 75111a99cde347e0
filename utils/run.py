#!/usr/bin/env python3
"""Run a command, or n numbered copies of it, on this machine; each writes its own log.

usage: run.py [options] [JOB=1:n | JOB=k] [options] LOG command args...
       run.py --count-gpus      print how many GPUs jobs may use

  utils/run.py JOB=1:4 exp/log/score.JOB.log asvtk score --part JOB
  utils/run.py --gpu 1 exp/log/train.log asvtk train exp

JOB (any identifier) is replaced by the job's number wherever its text stands in LOG and in the command.

  --max-jobs-run n, -tc n  at most n jobs at a time; the smallest counts when repeated
                           (default: usable CPUs / --num-threads)
  --num-threads n          threads of one job, given to it as OMP_NUM_THREADS and its like (default: 1)
  --gpu n                  n GPUs for each job, its own through CUDA_VISIBLE_DEVICES (default: 0)
  --pick all|failed|incomplete
                           by what the logs of an earlier run say: `incomplete` runs the jobs that never
                           ended, `failed` those and the failed ones, `all` (default) every job
  anything else            an option for another launcher: dropped with its value (--mem 4G);
                           -V has no value, -pe has two

A word of the command reaches bash as it is (so `\\|` is a pipe and `\\$HOME` the job's), unless it holds
white space: then it is put in double quotes, or in single quotes when it holds a double quote itself.
Each job starts in this folder, reads ./path.sh if there is one, and stops at its first failing command.

Exit status: 0, 1 when a job failed or none could start, 255 for a wrong command line,
128 + the signal's number when interrupted.
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))

from launcher.front import main
from launcher.local import run_here
from launcher.machine import visible_gpus

if __name__ == "__main__":
    if sys.argv[1:] == ["--count-gpus"]:
        print(len(visible_gpus()))
        sys.exit()
    sys.exit(main("run.py", __doc__, run_here))
