# Where jobs run. Each is a launcher with Kaldi's command line, LAUNCHER [options] [JOB=1:n] LOG command:
# run.py of ../../utils for this machine. Kaldi's run.pl, slurm.pl or queue.pl can be named instead,
# with options of your site, such as "slurm.pl --mem 8G".
export train_cmd="run.py"   # features that need no GPU
export cuda_cmd="run.py"    # features that do, and training; --ngpu says whether there is one
export decode_cmd="run.py"  # scoring
