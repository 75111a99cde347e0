# shellcheck shell=bash
# What comes before the stages of egs/asvspoof2019_la/run.sh, which sources this file when it has declared its
# options: the help, the checks of what was given, and what follows from it for the stages:
#
#   nj score_nj ngpu found      how many jobs and GPUs; found: GPUs of this machine, `any` on a cluster
#   job_gpu                     1 if the jobs of stages 1, 2 and 4 to 6 have a GPU each, else 0
#   training resources          how a training starts, and what its launcher is asked for
#   range exp seed              of several seeds: SEED=A:B for the launcher, and SEED in the experiment's name
#   numbers experiments         the seeds one by one, and their experiments
#   again skip                  --force and --skip-bad, where they were asked for
#   train_sets dev_sets test_sets evaluated      lists of names; evaluated: folders of all that is scored
#   prepare configs             what stage 1 prepares; whose front-ends stage 2 runs

help_message="Usage: ./run.sh [--option value ...]        (in a recipe's folder, such as egs/asvspoof2019_la)

  --corpus DIR          the folder of the database (default: '$corpus'); with --download true it is fetched where
                        that is allowed
  --database NAME       which database it is (default: $database; 'asvtk corpora ls' lists them)
  --database-options 'W ...'    more words for asvtk prepare, such as '--version v9' (docs/corpora.md)
  --corpora FILE.yaml   several databases and tables instead of one (docs/corpora.md)
  --train-sets 'NAME ...' --dev-sets 'NAME ...' --test-sets 'NAME ...'     data directories in $datadir
                        (default: '$train_sets', '$dev_sets', '$test_sets'; test sets may be empty)
  --experiment 'DIR ...'  finished experiments, of any recipe: score and evaluate them, train nothing
  --config FILE.yaml    front-end, model, loss, training (default: $config)
  --override 'K=V ...'  changes to the config, such as 'training.epochs=10 frontend.layers=[3,12,24]'
  --init PATH           begin training with these weights: an experiment, package, file, or a name
  --tag NAME            name of the experiment in $expdir/ (default: the config's name)
  --seeds A:B           train every seed from A to B, as TAG_seedA ... (default: the config's own, as TAG)
  --stage N --stop-stage N --skip-stages 'N ...'    which stages (default: $stage to $stop_stage)
  --nj N                jobs of stage 2, each with one GPU or none; with GPUs, no more than this machine has
                        (default: 4, or --ngpu if that is more; no more than this machine has CPUs)
  --score-nj N          jobs of stage 4, likewise (default: one for each experiment, times --ngpu)
  --ngpu auto|0|N       GPUs of a training on each node; 0: compute on the CPU (default: $ngpu)
  --num-processes N     processes of a training on each node, if it has no GPU (default: $num_processes)
  --num-nodes N         nodes of a training; more than one only with slurm.py (default: $num_nodes)
  --num-threads N       CPU threads of a training process or a scoring job (default: $num_threads)
  --augment-copies K    augmented versions of the training set to cache (default: the config's; none
                        without its section augmentation)
  --skip-bad true       do without audio that cannot be decoded (default: $skip_bad)
  --datadir DIR --dumpdir DIR --expdir DIR          (default: $datadir, $dumpdir, $expdir)
  --force true          do again what is finished (default: $force)

stages: 0 check the corpus, 1 data directories, 2 cache features, 3 train, 4 score, 5 calibrate and evaluate,
6 analyse (layer weights, experts by attack, gates), 7 pack model, card and threshold into one file; these two
only with --stop-stage 6 or 7.
cmd.sh says where jobs run."

ARGUMENTS=("$@")
printf -v ASVTK_COMMAND '%q ' "$0" "$@"        # for the records of what was run
export ASVTK_COMMAND=${ASVTK_COMMAND% }
case " $* " in *" --help "* | *" -h "*) . "${BASH_SOURCE[0]%/*}/parse_options.sh" --help ;; esac
if [ ! -e path.sh ] || [ ! -e cmd.sh ]; then
    misuse "there is no path.sh and cmd.sh here; run it in a recipe's folder: cd egs/asvspoof2019_la"
fi
. ./path.sh
. ./cmd.sh
. parse_options.sh
[ $# -eq 0 ] || misuse "${1@Q}: not an option; --help lists them"
[ -n "$tag" ] || tag=${experiment:+$(basename "${experiment%% *}")}
[ -n "$tag" ] || tag=$(basename "$config" .yaml)
check 'stage stop_stage' "$WHOLE" 'a whole number, such as 3'
check skip_stages '[0-9 ]*' "numbers and spaces, such as '0 1'"
check "num_processes num_nodes num_threads ${nj:+nj} ${score_nj:+score_nj}" "$COUNT" 'a whole number, at least 1'
check ngpu "auto|$WHOLE" 'auto, 0 or a number of GPUs'
check augment_copies "($WHOLE)?" 'a whole number'
check_seeds
check download 'true|false' 'true or false'
check 'config tag datadir dumpdir expdir' '.+' 'a name'
check tag '[^/]*' 'a name without /'
check_names corpus database database_options corpora train_sets dev_sets test_sets experiment config init tag datadir dumpdir expdir
[[ ! $override =~ [\(\)\&\;\<\>\|\$\`\\]|SEED ]] ||
    misuse "--override ${override@Q}: holds characters of the shell"

# On this machine one can look for a GPU; a cluster's submitting host need not have what its nodes have.
case $cuda_cmd in
    run.p[ly]*) found=$(ask '[0-9]+' run.py --count-gpus) ;;
    *) found=any ;;
esac
if [ "$ngpu" = auto ]; then
    if [ "$found" = 0 ]; then ngpu=0; else ngpu=1; fi
    log "ngpu: $ngpu"
elif [ "$found" != any ] && [ "$ngpu" -gt "$found" ]; then
    of=${CUDA_VISIBLE_DEVICES+CUDA_VISIBLE_DEVICES}
    misuse "--ngpu $ngpu: ${of:-nvidia-smi -L} names ${found/#0/no} GPU here; give --ngpu 0 to compute on the CPU"
fi
if [ "$num_nodes" -gt 1 ] && [[ $cuda_cmd != slurm.p[ly]* ]]; then
    misuse "--num-nodes $num_nodes: needs Slurm, by slurm.py in cmd.sh; cuda_cmd is '$cuda_cmd'"
fi
if [ "$ngpu" -gt 0 ] && [ "$num_processes" -gt 1 ]; then
    misuse "--num-processes $num_processes: goes with --ngpu 0; with GPUs there is a process for each"
fi

# Only training joins several GPUs; jobs of the other stages have one each.
job_gpu=$((ngpu > 0))
if [ -z "$nj" ]; then
    nj=$((ngpu > 4 ? ngpu : 4))
    # On this machine more jobs than CPUs would take turns, and each needs some seconds to start.
    [[ $found = any || $nj -le $(nproc) ]] || nj=$(nproc)
fi

# How a training starts, and what its launcher is asked for.
[ "$ngpu" -eq 0 ] || num_processes=$ngpu
num_cpus=$((num_processes * num_threads))
training=(asvtk train)
resources=(--gpu "$ngpu" --num-threads "$num_cpus")
if [ "$num_processes" -gt 1 ] || [ "$num_nodes" -gt 1 ]; then
    # The launcher sets these to the threads of the whole job; each of its processes gets its share.
    training=(env {OMP,MKL,OPENBLAS}_NUM_THREADS="$num_threads"
        torchrun --nnodes "$num_nodes" --nproc-per-node "$num_processes")
    if [ "$num_nodes" -eq 1 ]; then
        training+=(--standalone)
    else
        # The script of a job runs on its first node; there the processes of all nodes meet.
        resources+=(-N "$num_nodes")
        training=(srun --nodes "$num_nodes" --ntasks-per-node 1 --cpus-per-task "$num_cpus" --kill-on-bad-exit=1
            "${training[@]}" --rdzv-backend c10d --rdzv-id '$SLURM_JOB_ID'
            --rdzv-endpoint '$(hostname):$((20000+SLURM_JOB_ID%20000))')
    fi
    training+=(-m asvtk train)
fi

# With several seeds, SEED stands for each of them in the launcher's JOB=1:n manner.
if [ -n "$seeds" ]; then
    range=("SEED=$seeds") exp=$expdir/${tag}_seedSEED seed=seed=SEED
    numbers=($(seq "${seeds%%:*}" "${seeds##*:}"))
else
    range=() exp=$expdir/$tag seed='' numbers=(SEED)
fi
experiments=() configs=("$config")
for number in "${numbers[@]}"; do experiments+=("${exp//SEED/$number}"); done
if [ -n "$experiment" ]; then
    [ -z "$seeds$init$override" ] ||
        misuse "--experiment: is finished; no --seeds, --init or --override goes with it"
    train_sets='' dev_sets='' skip_stages+=' 3'
    read -ra experiments <<<"$experiment"
    for folder in "${experiments[@]}"; do
        [ -e "$folder/config.yaml" ] || misuse "--experiment $folder: holds no config.yaml, which an experiment has"
    done
    configs=("${experiments[@]/%//config.yaml}") exp=$expdir/$tag
elif [ -z "$train_sets" ] && [ "$stop_stage" -gt 1 ]; then
    misuse "--experiment DIR: there is nothing to train on here; name a finished experiment"
fi
[ -n "$score_nj" ] || score_nj=$((${#experiments[@]} * (ngpu > 1 ? ngpu : 1)))
again=() skip=()
[ "$force" = false ] || again=(--force)
[ "$skip_bad" = false ] || skip=(--skip-bad)
[ -z "$augment_copies" ] || override+=" augmentation.copies=$augment_copies"

# Sets of data, and what stage 1 makes them of.
for sets in train_sets dev_sets test_sets; do
    declare -n names=$sets
    read -ra names <<<"$names"
done
evaluated=("${dev_sets[@]}" "${test_sets[@]}")
evaluated=("${evaluated[@]/#/$datadir/}")
if [ -n "$corpora" ]; then
    prepare=(--list "$corpora")
elif [ "$database" = asvspoof2019_la ]; then
    prepare=("$corpus")
else # its data directories have its name, as their names are those of scores and caches
    prepare=(--corpus "$database" --prefix "$database-" "$corpus")
fi
prepare+=($database_options)

# Is it this stage's turn?
stage() {
    if [ "$1" -lt "$stage" ] || [ "$1" -gt "$stop_stage" ] || [[ " $skip_stages " == *" $1 "* ]]; then
        return 1
    fi
    log "stage $1: $2"
}

# Sets launcher, and lowers jobs where this machine has not so many GPUs.
plan_extraction() {
    if [ "$gpus" -gt 0 ]; then launcher=$cuda_cmd; else launcher=$train_cmd; fi
    if [ "$jobs" -lt "$nj" ]; then log "nj: $jobs, as there are no more batches of utterances"; fi
    if [[ $gpus -gt 0 && $found != any && $jobs -gt $found ]]; then
        jobs=$found
        log "nj: $jobs, a job for each GPU here"
    fi
}

# Prints the experiments that are not trained yet, as `train` describes them; fails where another one stands in their folder.
untrained() {
    local number folder state
    for number in "${numbers[@]}"; do
        folder=${exp//SEED/$number} state=new
        if [ "$force" = false ] && [[ -e $folder/config.yaml || -n $init ]]; then
            state=$(ask 'new|unfinished|finished' asvtk train "${train[@]}" ${seed//SEED/$number} --exp "$folder" --check)
        fi
        [ "$state" = finished ] || echo "$folder"
    done
}

# write_run_script FOLDER: the script that runs this experiment again.
write_run_script() {
    local folder=$1
    mkdir -p "$folder"
    {
        echo '#!/usr/bin/env bash'
        echo '# Runs the command that made this experiment from training on; what is finished is not done twice.'
        printf 'cd %q && exec %q' "$PWD" "$HERE/run.sh"
        printf ' %q' "${ARGUMENTS[@]}" --corpus "$corpus" --stage 3 --stop-stage 5 --force false
        echo ' "$@"'
    } >"$folder/run.sh"
    chmod +x "$folder/run.sh"
}

# Shows the epochs as they are written to the logs, on a terminal. It runs until it is killed.
show_epochs() {
    if [ -t 1 ]; then
        tail --pid=$$ -n 0 -F "${experiments[@]/%//log/train.log}" 2>/dev/null |
            grep --line-buffered -E '^(==>|epoch|going on)' &
    fi
}
