#!/usr/bin/env bash
# From the corpus to a results table, in numbered stages. Run it in a recipe's folder.
#
#   0 check the corpus    1 data directories    2 cache features
#   3 train               4 score dev and eval  5 calibrate, evaluate, report
#   6 analyse             7 pack (both only when asked for: --stop-stage 6 or 7)
#
# Each stage can be stopped, killed and run again on its own: it goes on where it was, and what is
# finished is not done twice. Other recipes call this file; they bring their corpus, conf/ and local/.
set -euo pipefail
{ # bash reads to the closing brace before it runs anything: this file may be edited meanwhile

stage=0
stop_stage=5
skip_stages=                        # such as "0 1"
corpus=                             # the folder of the database; here LA/
database=asvspoof2019_la            # which one it is: asvtk corpora ls
database_options=                   # more for asvtk prepare: '--version v9 --also m_ailabs=DIR'
corpora=                            # several databases and tables instead: a YAML file, see docs/corpora.md
download=false                      # fetch the database where it is not there and may be fetched
train_sets=train                    # data directories to train on, as one
dev_sets=dev                        # those that choose the epoch, the threshold and the calibration
test_sets=eval                      # those that are scored besides; empty: none
experiment=                         # finished experiments to score and evaluate, instead of training one
config=conf/lfcc_moe_mamba.yaml     # front-end, model, loss, training
override=                           # changes to the config: "training.epochs=10 model.experts=8"
init=                               # begin training with these weights: an experiment, package, file or a name
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

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$HERE/../../utils/recipe.sh"       # log, ask, hold
. "$HERE/../../utils/recipe_setup.sh" # --help, checks; how many jobs, GPUs and experiments there are

training_sets=("${train_sets[@]}") vocoded=
# A mistake in the configuration, all of which vocode checks, shows now and not after hours of features.
if [ "$stage" -le 3 ] && [ -z "$experiment" ]; then
    vocoded=$(ask '[^[:space:]]*' asvtk vocode name --config "$config" --override $override --data "$datadir/$train_sets")
    training_sets+=($vocoded)
fi

# What the trainings are told; with --check they only say what there is in the folder of an experiment.
train=(--config "$config" --dump "$dumpdir" --train-data "${training_sets[@]/#/$datadir/}"
    --dev-data "${dev_sets[@]/#/$datadir/}" ${test_sets:+--eval-data "${test_sets[@]/#/$datadir/}"} --ngpu "$ngpu"
    ${init:+--init "$init"} --override $override)

if stage 0 "corpus $corpus$corpora"; then
    if [ -n "$corpora" ]; then
        asvtk corpora find "$corpora"
    elif [ -e local/get_corpus.sh ]; then # a recipe that makes its own
        local/get_corpus.sh "$corpus" "$nj"
    else
        get_corpus.sh "$database" "$corpus" "$download" $database_options
    fi
fi

if stage 1 "data directories -> $datadir"; then
    hold "$datadir/log/.stage1.lock"
    asvtk prepare "${prepare[@]}" "$datadir" --nj "$nj" "${again[@]}" "${skip[@]}"
    for set in "${train_sets[@]}" "${dev_sets[@]}" "${test_sets[@]}"; do # a corpus need not have all
        [ ! -d "$datadir/$set" ] || asvtk validate --no-wav "$datadir/$set"
    done
    if [ -n "$vocoded" ]; then
        asvtk vocode make --config "$config" --override $override --data "$datadir/$train_sets" --nj "$nj" "${again[@]}"
    fi
fi

if stage 2 "features -> $dumpdir"; then
    # A tag that is taken shows now, and not after hours.
    [ "$stop_stage" -lt 3 ] || [ -n "$experiment" ] || untrained >/dev/null
    sets=("${training_sets[@]}" "${dev_sets[@]}" "${test_sets[@]}")
    locks=("${sets[@]/#/$dumpdir/log/.extract_}")
    hold "${locks[@]/%/.lock}"
    for from in "${configs[@]}"; do # of several finished experiments each has its own
        extract=(--config "$from" --override $override --dump "$dumpdir" --data "${evaluated[@]}")
        [ -n "$experiment" ] || extract+=(--train-data "${training_sets[@]/#/$datadir/}")
        answer=$(ask '[0-9]+ [0-9]+' asvtk extract begin "${extract[@]}" --nj "$nj" --ngpu "$job_gpu" "${again[@]}")
        read -r jobs gpus <<<"$answer"
        [ "$jobs" -gt 0 ] || continue
        plan_extraction
        $launcher --gpu "$gpus" JOB=1:"$jobs" "$dumpdir/log/extract_$(IFS=_ && echo "${sets[*]}").JOB.log" \
            asvtk extract job "${extract[@]}" --nj "$jobs" --job JOB --ngpu "$gpus" "${skip[@]}"
        asvtk extract join "${extract[@]}"
    done
fi

if stage 3 "train -> ${experiments[*]}"; then
    hold "$expdir/.$tag.train.lock"
    todo=$(untrained) # before anything is written: the folder may be another training's
    for folder in "${experiments[@]}"; do write_run_script "$folder"; done
    if [ -z "$todo" ]; then
        log "trained already; --force true trains anew"
    else
        log "follow it: tail -f ${exp//SEED/*}/log/train.log"
        show_epochs
        $cuda_cmd "${resources[@]}" "${range[@]}" "$exp/log/train.log" \
            "${training[@]}" "${train[@]}" $seed --exp "$exp" "${again[@]}"
        [ -z "$(jobs -p)" ] || kill $(jobs -p)
    fi
fi

if stage 4 "score ${dev_sets[*]} ${test_sets[*]}"; then
    hold "$expdir/.$tag.score.lock"
    score=(--exp "${experiments[@]}" --dump "$dumpdir" --data "${evaluated[@]}")
    launcher=($decode_cmd --gpu "$job_gpu" --num-threads "$num_threads")
    if [ "$score_nj" -eq 1 ]; then
        "${launcher[@]}" "${exp//SEED/${numbers[0]}}/log/score.log" asvtk score "${score[@]}" --ngpu "$job_gpu" "${again[@]}"
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

if stage 5 "calibrate and evaluate -> ${experiments[*]}"; then
    hold "$expdir/.$tag.evaluate.lock"
    if [ -z "$experiment" ]; then
        sets=(--dev-data "${dev_sets[@]/#/$datadir/}" ${test_sets:+--eval-data "${test_sets[@]/#/$datadir/}"}
            --train-data "${train_sets[@]/#/$datadir/}" "${again[@]}")
        todo=$(asvtk calibrate --check --exp "${experiments[@]}" "${sets[@]}")
        if [ -n "$todo" ]; then
            $decode_cmd --gpu "$job_gpu" --num-threads "$num_threads" "${range[@]}" "$exp/log/calibrate.log" \
                asvtk calibrate --exp "$exp" "${sets[@]}" --ngpu "$job_gpu"
        fi
    fi
    asvtk evaluate --exp "${experiments[@]}" --sets "${evaluated[@]}" \
        --summary "$expdir/RESULTS_$tag.md" --report "$expdir/report_$tag"
    log "see $expdir/report_$tag/report.html"
fi

if stage 6 "analyse -> ${experiments[*]}"; then
    hold "$expdir/.$tag.analyse.lock"
    $decode_cmd --gpu "$job_gpu" --num-threads "$num_threads" "${range[@]}" "$exp/log/analyse.log" \
        asvtk analyse --exp "$exp" --dump "$dumpdir" --data "${evaluated[@]}" --ngpu "$job_gpu" \
        "${again[@]}"
    log "see ${experiments[0]}/analysis/analysis.html"
fi

if stage 7 "pack -> ${experiments[*]}"; then
    for folder in "${experiments[@]}"; do asvtk pack --exp "$folder"; done
fi

log "Successfully finished. [elapsed=${SECONDS}s]"
exit
}
