# Where jobs run. Each is a launcher with Kaldi's command line, LAUNCHER [options] [JOB=1:n] LOG command:
# run.py of ../../utils for this machine, slurm.py for Slurm, sge.py for Grid Engine. Kaldi's run.pl,
# slurm.pl or queue.pl can be named instead. More in ../../docs/cluster.md.
export train_cmd="run.py"   # features that need no GPU
export cuda_cmd="run.py"    # features that do, and training; --ngpu says whether there is one
export decode_cmd="run.py"  # scoring

# Slurm: options with one dash go to sbatch as they are; --mem, --time ... become its options by
# conf/slurm.conf, or without such a file by what slurm.py knows. What only your site needs belongs into
# conf/slurm.local.conf or ~/.config/asvtk/slurm.conf, such as the line: option gpu=* -p a100 --gres=gpu:$0
#   export train_cmd="slurm.py --mem 4G"
#   export cuda_cmd="slurm.py -p gpu -A my_account --mem 8G --time 12:00:00"
#   export decode_cmd="slurm.py --mem 4G"
#
# Grid Engine: the same, with conf/sge.conf; Kaldi's own file is taken with --config conf/queue.conf.
#   export train_cmd="sge.py --mem 4G"
#   export cuda_cmd="sge.py -q gpu.q --mem 8G"
#   export decode_cmd="sge.py --mem 4G"
