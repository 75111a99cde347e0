"""Layer probing: which cached layer tells bona fide speech from spoofs, by logistic regression.

Reads the layers that stage 2 cached, pooled over time; pooled vectors are computed once and kept beside
the cache. --pooling attentive learns the weights of the frames, and reads them several times. The penalty is
chosen by cross-validation on the training set, whose folds share no speaker (--group), or on dev (--choose
dev). Writes probe.md, probe.json and probe.html: EER by layer, set and attack.
"""

import functools
import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # layers share the cores already

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from asvtk.bin.arguments import UsageError, whole_number

EXAMPLES = """\
  asvtk probe --config conf/wavlm_moe_mamba.yaml --dump dump --train-data data/train --dev-data data/dev \\
      --test-data data/eval --out exp/probe_wavlm
"""

#: utterances whose frames stay in memory, of a layer: of a small set all
_KEPT = 1000
#: option -> what is classified
POOLINGS = {
    "mean": "the mean over time",
    "mean_std": "mean and deviation over time",
    "attentive": "a mean over time with learned weights (attention)",
}


def add_arguments(parser):
    def option(name, help, metavar=None, **more):
        parser.add_argument(name, help=help, metavar=metavar, **more)

    option("--config", "whose front-end was cached", "FILE", required=True)
    option("--override", "change the configuration", "KEY=VALUE", nargs="*", default=[])
    option("--dump", "folder of the feature caches", "DIR", required=True)
    option("--train-data", "to fit on, as one", "DIR", required=True, nargs="+")
    option("--dev-data", "to judge on, and to choose a layer by", "DIR", required=True)
    option("--test-data", "to judge on", "DIR", nargs="*", default=[])
    option("--out", "folder to write", "DIR", required=True)
    option("--layers", "these (default: all that are cached)", "N", nargs="+", type=whole_number())
    parser.add_argument("--all", action="store_true", help="also a row of all these layers side by side")
    option("--pooling", "over time (default: %(default)s)", choices=POOLINGS, default="mean_std")
    option("--choose", "what C is chosen on (default: cv)", choices=("cv", "dev"), default="cv")
    grouped = "folds share no value of this column, as source_repo; or none (default: %(default)s)"
    option("--group", grouped, "COLUMN", default="speaker")
    resamples = "resamples of intervals (default: %(default)s)"
    option("--bootstrap", resamples, "N", type=whole_number(0, 100_000), default=200)
    option("--seed", "of folds and resamples (default: %(default)s)", "S", type=whole_number(), default=1)
    option("--nj", "threads (default: %(default)s)", "N", type=whole_number(1), default=2)


def run(args):
    from asvtk.frontends import build_frontend_spec, load_frontend_config
    from asvtk.frontends.cache.pooled import cached_layers
    from asvtk.frontends.cache.store import FeatureCache, cache_name
    from asvtk.io.datadir import DataDirectory, refuse_same_names
    from asvtk.report.probe import probe_table, write_probe

    if args.pooling == "attentive" and args.choose == "dev":
        raise UsageError("--choose dev does not go with --pooling attentive, whose C is fixed")
    config, _ = load_frontend_config(args.config, args.override)
    name = cache_name(build_frontend_spec(config))
    parts = [DataDirectory.read(path) for path in args.train_data]
    judged = [DataDirectory.read(path) for path in (args.dev_data, *args.test_data)]
    refuse_same_names([*parts, *judged])
    caches = {data.name: FeatureCache(args.dump, name, data.name) for data in (*parts, *judged)}
    layers = args.layers or cached_layers(caches[parts[0].name])
    rows = [[layer] for layer in layers] + ([list(layers)] if args.all and len(layers) > 1 else [])

    def probe(chosen: list[int]):
        return _probe(chosen, parts, judged, caches, args)

    with ThreadPoolExecutor(args.nj) as pool:
        found = list(pool.map(probe, rows))
    names = ["all" if len(row) > 1 else str(row[0]) for row in rows]
    result = {
        "features": name,
        "pooling": POOLINGS[args.pooling],
        "choice": _choice(args),
        "resamples": args.bootstrap,
        "sets": [data.name for data in judged],
        "layers": dict(zip(names, found, strict=True)),
    }
    write_probe(args.out, result)
    print(probe_table(result))
    print(f"see {Path(args.out) / 'probe.html'}")


def _probe(layers: list[int], parts: list, judged: list, caches: dict, args) -> dict:
    """C and the results of one layer, or of several side by side."""
    import numpy as np

    from asvtk.frontends.cache.pooled import pooled_features
    from asvtk.io.datadir import BONAFIDE
    from asvtk.io.scores import ScoreTable
    from asvtk.metrics import evaluate
    from asvtk.training.probe import fit_probe

    def features(data) -> np.ndarray:
        pooled = [pooled_features(caches[data.name], data, layer) for layer in layers]
        kept = [of if args.pooling == "mean_std" else of[:, :1] for of in pooled]
        return np.concatenate([of.reshape(len(of), -1) for of in kept], axis=1)

    def labels(data) -> np.ndarray:
        return np.array([data.label[u] == BONAFIDE for u in data.utterances])

    train = np.concatenate([features(data) for data in parts])
    bonafide = np.concatenate([labels(data) for data in parts])
    if args.pooling == "attentive":
        from asvtk.training.attentive_probe import fit_attentive_probe

        opened = {data.name: caches[data.name].open(data, layers) for data in (*parts, *judged)}
        places = [(opened[data.name], utterance) for data in parts for utterance in data.utterances]
        read = functools.lru_cache(_KEPT)(lambda number: _frames(*places[number]))
        attentive = fit_attentive_probe(train, read, bonafide, args.seed)
        fitted = attentive.linear

        def score(data) -> np.ndarray:
            return attentive.score(_frames(opened[data.name], utterance) for utterance in data.utterances)
    else:
        groups = None
        if args.group != "none":
            groups = np.array([value for data in parts for value in _column(data, args.group)])
        dev = (features(judged[0]), labels(judged[0])) if args.choose == "dev" else None
        fitted = fit_probe(train, bonafide, groups=groups, dev=dev, seed=args.seed)

        def score(data) -> np.ndarray:
            return fitted.score(features(data))

    sets = {}
    for data in judged:
        table = ScoreTable(
            utterances=np.array(data.utterances, dtype=object),
            bonafide=labels(data),
            attacks=np.array([data.attack[u] for u in data.utterances], dtype=object),
            scores=score(data),
            source=str(data.path),
        )
        results = evaluate(table, bootstrap=args.bootstrap, seed=args.seed)
        sets[data.name] = {
            "eer_percent": results["eer_percent"],
            "intervals": results.get("intervals", {}),
            "per_attack": {attack: row["eer_percent"] for attack, row in results["per_attack"].items()},
        }
    chosen_by = {f"{strength:g}": rate for strength, rate in fitted.chosen_by.items()}
    return {"strength": fitted.strength, "chosen_by": chosen_by, "sets": sets}


def _frames(features, utterance: str):
    """Frames of several layers side by side, float32 (frames, dimensions of all layers)."""
    stacked = features[utterance].transpose(1, 0, 2)
    return stacked.reshape(len(stacked), -1)


def _choice(args) -> str:
    """What C is, or how it was chosen, as a predicate."""
    if args.pooling == "attentive":
        return "is 1"
    if args.choose == "dev":
        return "is chosen by the least EER on dev, whose own column it flatters"
    groups = "" if args.group == "none" else f" whose folds share no {args.group}"
    return f"is chosen by cross-validation within the training set{groups}"


def _column(data, name: str) -> list[str]:
    """Speaker, attack or any other column of the utterances of a set, in their order."""
    values = data.speaker if name == "speaker" else data.column(name)
    return [values[utterance] for utterance in data.utterances]
