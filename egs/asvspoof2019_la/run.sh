#!/usr/bin/env bash
# From the corpus to a results table, in numbered stages. Run it in a recipe's folder.
#
#   0 check the corpus    1 data directories    2 cache features
#   3 train               4 score dev and eval  5 evaluate and report
#   6 analyse             7 pack (both only when asked for: --stop-stage 6 or 7)
#
# Each stage can be stopped, killed and run again on its own: it goes on where it was, and what is
# finished is not done twice. Other recipes call this file; they bring their own conf/ and local/.
set -euo pipefail
{ # bash reads to the closing brace before it runs anything: this file may be edited meanwhile

stage=0
stop_stage=5
skip_stages=                        # such as "0 1"
corpus=                             # the LA/ folder of the database
config=conf/lfcc_moe_mamba.yaml     # front-end, model, loss, training
override=                           # changes to the config: "training.epochs=10 model.experts=8"
init=                               # begin training with the weights of an experiment, package or .safetensors
tag=                                # name of the experiment; empty: the config's
seeds=                              # 1:3 trains seeds 1, 2, 3 as TAG_seed1 ...; empty: the config's own
nj=                                 # jobs of stage 2, and readers of stage 1; empty: 4, or ngpu if that is more
score_nj=                           # jobs of stage 4; empty: one for each experiment, times ngpu
ngpu=auto                           # 0: CPU, N: GPUs of a training on each node, auto: 1 where there is one
num_processes=1                     # without GPUs: processes of a training on each node
num_nodes=1                         # of a training; more than one only on Slurm
num_threads=1                       # CPU threads of a training process or a scoring job
augment_copies=                     # augmented versions of the training set to cache; empty: the config's
skip_bad=false                      # stage 2 goes on without audio that cannot be decoded
datadir=data                        # data directories
dumpdir=dump                        # feature caches, shared by all experiments
expdir=exp                          # experiments
force=false                         # do again what is finished

help_message="Usage: ./run.sh [--option value ...]        (in a recipe's folder, such as egs/asvspoof2019_la)

  --corpus DIR          the LA/ folder of the database (default: '$corpus')
  --config FILE.yaml    front-end, model, loss, training (default: $config)
  --override 'K=V ...'  changes to the config, such as 'training.epochs=10 frontend.layers=[3,12,24]'
  --init PATH           begin training with the weights of an experiment, a package or a .safetensors
  --tag NAME            name of the experiment in $expdir/ (default: the config's name)
  --seeds A:B           train every seed from A to B, as TAG_seedA ... (default: the config's own, as TAG)
  --stage N --stop-stage N --skip-stages 'N ...'    which stages (default: $stage to $stop_stage)
  --nj N                jobs of stage 2, each with one GPU or none (default: 4, or --ngpu if that is more);
                        with GPUs on this machine, no more than there are
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

stages: 0 check the corpus, 1 data directories, 2 cache features, 3 train, 4 score, 5 evaluate and report,
6 analyse (layer weights, experts by attack, gates), 7 pack model, card and threshold into one file; these two
only with --stop-stage 6 or 7.
cmd.sh says where jobs run."

ARGUMENTS=("$@")
printf -v ASVTK_COMMAND '%q ' "$0" "$@"        # for the records of what was run
export ASVTK_COMMAND=${ASVTK_COMMAND% }
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$HERE/../../utils/recipe.sh"
case " $* " in *" --help "* | *" -h "*) . "$HERE/../../utils/parse_options.sh" --help ;; esac
if [ ! -e path.sh ] || [ ! -e cmd.sh ]; then
    misuse "there is no path.sh and cmd.sh here; run it in a recipe's folder: cd egs/asvspoof2019_la"
fi
. ./path.sh
. ./cmd.sh
. parse_options.sh
[ $# -eq 0 ] || misuse "${1@Q}: not an option; --help lists them"
[ -n "$tag" ] || tag=$(basename "$config" .yaml)
check 'stage stop_stage' "$WHOLE" 'a whole number, such as 3'
check skip_stages '[0-9 ]*' "numbers and spaces, such as '0 1'"
check "num_processes num_nodes num_threads ${nj:+nj} ${score_nj:+score_nj}" "$COUNT" 'a whole number, at least 1'
check ngpu "auto|$WHOLE" 'auto, 0 or a number of GPUs'
check augment_copies "($WHOLE)?" 'a whole number'
check_seeds
check 'config tag datadir dumpdir expdir' '.+' 'a name'
check tag '[^/]*' 'a name without /'
check_names corpus config init tag datadir dumpdir expdir
[[ ! $override =~ [\(\)\&\;\<\>\|\$\`\\]|SEED ]] ||
    misuse "--override ${override@Q}: holds characters of the shell"

# Is it this stage's turn?
stage() {
    if [ "$1" -lt "$stage" ] || [ "$1" -gt "$stop_stage" ] || [[ " $skip_stages " == *" $1 "* ]]; then
        return 1
    fi
    log "stage $1: $2"
}

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
[ -n "$nj" ] || nj=$((ngpu > 4 ? ngpu : 4))

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
experiments=()
for number in "${numbers[@]}"; do experiments+=("${exp//SEED/$number}"); done
[ -n "$score_nj" ] || score_nj=$((${#experiments[@]} * (ngpu > 1 ? ngpu : 1)))
again=() skip=()
[ "$force" = false ] || again=(--force)
[ "$skip_bad" = false ] || skip=(--skip-bad)
[ -z "$augment_copies" ] || override+=" augmentation.copies=$augment_copies"

training_sets=(train)
# A mistake in the configuration shows now and not after hours of features.
if [ "$stage" -le 3 ]; then
    asvtk config "$config" --override $override >/dev/null
    vocoded=$(ask '[^[:space:]]*' asvtk vocode name --config "$config" --override $override --data "$datadir/train")
    training_sets+=($vocoded)
fi

# What the trainings are told; with --check they only say what there is in the folder of an experiment.
train=(--config "$config" --dump "$dumpdir" --train-data "${training_sets[@]/#/$datadir/}"
    --dev-data "$datadir/dev" --eval-data "$datadir/eval" --ngpu "$ngpu" ${init:+--init "$init"}
    --override $override)

# Prints the experiments that are not trained yet; fails where another one stands in their folder.
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

if stage 0 "corpus $corpus"; then
    local/get_corpus.sh "$corpus" "$nj"
fi

if stage 1 "data directories -> $datadir"; then
    hold "$datadir/log/.stage1.lock"
    asvtk prepare "$corpus" "$datadir" --nj "$nj" "${again[@]}"
    for set in "$datadir"/{train,dev,eval}; do # a corpus need not have all
        [ ! -d "$set" ] || asvtk validate --no-wav "$set"
    done
    if [ -n "$vocoded" ]; then
        asvtk vocode make --config "$config" --override $override --data "$datadir/train" --nj "$nj" "${again[@]}"
    fi
fi

if stage 2 "features -> $dumpdir"; then
    [ "$stop_stage" -lt 3 ] || untrained >/dev/null # a tag that is taken shows now, and not after hours
    sets=("${training_sets[@]}" dev eval)
    for set in "${sets[@]}"; do
        hold "$dumpdir/log/.extract_$set.lock"
        extract=(--config "$config" --override $override --data "$datadir/$set" --dump "$dumpdir" --nj "$nj")
        [[ $set != train* ]] || extract+=(--training)
        then=()
        [ "$set" != train ] || then=("${sets[@]:1}")
        answer=$(ask '[0-9]+ [0-9]+' asvtk extract begin "${extract[@]}" --then "${then[@]/#/$datadir/}" \
            --ngpu "$job_gpu" "${again[@]}")
        read -r missing gpus <<<"$answer"
        if [ "$missing" -gt 0 ]; then
            jobs=$((nj < missing ? nj : missing))
            [ "$jobs" -eq "$nj" ] || log "nj: $jobs for $set, where only $missing utterances lack features"
            if [ "$gpus" -gt 0 ]; then launcher=$cuda_cmd; else launcher=$train_cmd; fi
            # On this machine more jobs than GPUs would take turns, and each needs some seconds to start.
            if [[ $gpus -gt 0 && $found != any && $jobs -gt $found ]]; then
                jobs=$found
                log "nj: $jobs for $set, a job for each GPU here"
            fi
            $launcher --gpu "$gpus" JOB=1:"$jobs" "$dumpdir/log/extract_$set.JOB.log" \
                asvtk extract job "${extract[@]}" --nj "$jobs" --job JOB --ngpu "$gpus" "${skip[@]}"
        fi
        asvtk extract join "${extract[@]}"
    done
fi

if stage 3 "train -> ${experiments[*]}"; then
    hold "$expdir/.$tag.train.lock"
    todo=$(untrained) # before anything is written: the folder may be another training's
    for folder in "${experiments[@]}"; do
        mkdir -p "$folder"
        {
            echo '#!/usr/bin/env bash'
            echo '# Runs the command that made this experiment from training on; what is finished is not done twice.'
            printf 'cd %q && exec %q' "$PWD" "$HERE/run.sh"
            printf ' %q' "${ARGUMENTS[@]}" --corpus "$corpus" --stage 3 --stop-stage 5 --force false
            echo ' "$@"'
        } >"$folder/run.sh"
        chmod +x "$folder/run.sh"
    done
    if [ -z "$todo" ]; then
        log "trained already; --force true trains anew"
    else
        log "follow it: tail -f ${exp//SEED/*}/log/train.log"
        if [ -t 1 ]; then
            tail --pid=$$ -n 0 -F "${experiments[@]/%//log/train.log}" 2>/dev/null |
                grep --line-buffered -E '^(==>|epoch|going on)' &
        fi
        $cuda_cmd "${resources[@]}" "${range[@]}" "$exp/log/train.log" \
            "${training[@]}" "${train[@]}" $seed --exp "$exp" "${again[@]}"
        [ -z "$(jobs -p)" ] || kill $(jobs -p)
    fi
fi

if stage 4 "score dev and eval"; then
    hold "$expdir/.$tag.score.lock"
    score=(--exp "${experiments[@]}" --dump "$dumpdir" --data "$datadir/dev" "$datadir/eval")
    launcher=($decode_cmd --gpu "$job_gpu" --num-threads "$num_threads")
    if [ "$score_nj" -eq 1 ]; then
        "${launcher[@]}" "$exp/log/score.log" asvtk score "${score[@]}" --ngpu "$job_gpu" "${again[@]}"
    else
        jobs=$(ask '[0-9]+' asvtk score begin "${score[@]}" --nj "$score_nj" "${again[@]}")
        if [ "$jobs" -gt 0 ]; then
            [ "$jobs" -eq "$score_nj" ] || log "score-nj: $jobs, as there are no more batches of utterances"
            "${launcher[@]}" JOB=1:"$jobs" "${experiments[0]}/log/score.JOB.log" \
                asvtk score job "${score[@]}" --nj "$jobs" --job JOB --ngpu "$job_gpu"
            asvtk score join "${score[@]}" --nj "$jobs"
        fi
    fi
fi

if stage 5 "evaluate -> ${experiments[*]}"; then
    asvtk evaluate --exp "${experiments[@]}" --data-root "$datadir" \
        --summary "$expdir/RESULTS_$tag.md" --report "$expdir/report_$tag"
    log "see $expdir/report_$tag/report.html"
fi

if stage 6 "analyse -> ${experiments[*]}"; then
    hold "$expdir/.$tag.analyse.lock"
    $decode_cmd --gpu "$job_gpu" --num-threads "$num_threads" "${range[@]}" "$exp/log/analyse.log" \
        asvtk analyse --exp "$exp" --dump "$dumpdir" --data "$datadir/dev" "$datadir/eval" --ngpu "$job_gpu" \
        "${again[@]}"
    log "see ${experiments[0]}/analysis/analysis.html"
fi

if stage 7 "pack -> ${experiments[*]}"; then
    for folder in "${experiments[@]}"; do asvtk pack --exp "$folder"; done
fi

log "Successfully finished. [elapsed=${SECONDS}s]"
exit
}
