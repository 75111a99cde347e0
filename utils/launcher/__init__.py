"""What run.py, slurm.py and sge.py share: one command line, one kind of log, three places to run.

    front      from the words of the command line to the exit status
    grammar    Kaldi's command line           conf       Kaldi's slurm.conf and queue.conf
    jobs       the numbered jobs, --pick      logs       headers, trailers, the end of a log
    body       what bash is given             machine    GPUs and threads of this machine
    local      jobs as processes of this machine
    cluster    jobs in a queue: submit, watch, cancel; the same for every scheduler
    slurm, sge what differs between schedulers
    signals, messages

The standard library only, and little of it: a recipe starts a launcher for each of its steps, on whatever
Python >= 3.10 is first on PATH.
"""
