"""Look after the feature caches of a dump folder.

asvtk cache ls                        what is there: a line per front-end and data set
asvtk cache verify [NAME[/SET]]       read everything; name what is damaged, and what to delete
asvtk cache prune                     remove what nobody can use: lost parts, temporary files
asvtk cache prune NAME[/SET[/layer_NN]] ...    remove whole caches or layers
asvtk cache size --config C --data DIR ...     the bytes that stage 2 would write, and the room there is
asvtk cache import --config C --data DIR FILE ...    features from elsewhere: Kaldi arks and scp files

prune only prints what would go, until it is given --yes. verify exits with 1 when anything is wrong,
size when it does not fit. import takes all that it is given, or nothing.
"""

import contextlib
import sys
import time

import yaml

from asvtk.bin.arguments import UsageError, whole_number
from asvtk.frontends import build_frontend, build_frontend_spec, load_frontend_config
from asvtk.frontends.cache.contents import (
    bytes_by_layer,
    contents,
    find_caches,
    human_bytes,
    read_manifest,
    require_space,
    size_on_disk,
)
from asvtk.frontends.cache.prune import CacheInUse, find_named, hold, remove, unused_files
from asvtk.io.datadir import DataDirectory
from asvtk.io.errors import AsvtkError, readable
from asvtk.report.markdown import table

EXAMPLES = """\
  asvtk cache ls
  asvtk cache size --config conf/wavlm_moe_mamba.yaml --data data/train data/dev data/eval
  asvtk cache prune wavlm-24x1024-0123456789ab/eval --yes
"""


def add_arguments(parser):
    actions = parser.add_subparsers(
        dest="action", required=True, metavar="ls | verify | prune | size | import"
    )

    def action(name, run, help):
        sub = actions.add_parser(name, help=help, description=help, allow_abbrev=False)
        sub.set_defaults(run=run)
        sub.add_argument(
            "--dump", default="dump", metavar="DIR", help="folder of the feature caches (default dump)"
        )
        return sub

    sub = action("ls", _list, "what the caches hold")
    sub.add_argument("--long", action="store_true", help="also what each fingerprint stands for")

    sub = action("verify", _verify, "read every matrix; exit 1 when anything is wrong")
    sub.add_argument("name", nargs="*", metavar="NAME[/SET]", help="only these (default: all)")
    sub.add_argument("--quick", action="store_true", help="read headers only, and no numbers")

    sub = action("prune", _prune, "remove what nobody can use, or what is named")
    sub.add_argument("name", nargs="*", metavar="NAME[/SET[/layer_NN]]", help="whole caches or layers")
    sub.add_argument("--yes", action="store_true", help="do it; without, only print what would go")

    def configured(name, run, help):
        sub = action(name, run, help)
        sub.add_argument("--config", required=True, help="experiment configuration (YAML)")
        sub.add_argument(
            "--override", nargs="*", default=[], metavar="KEY=VALUE", help="change the configuration"
        )
        return sub

    sub = configured("size", _size, "how many bytes stage 2 would write; exit 1 when they do not fit")
    sub.add_argument("--data", nargs="+", required=True, metavar="DIR", help="such as data/train data/dev")
    sub.add_argument(
        "--training",
        default="train",
        metavar="SET",
        help="the data set that the configuration augments, if it does (default train)",
    )

    sub = configured("import", _import, "take features that other programs made, as Kaldi arks and scp files")
    sub.add_argument("--data", required=True, metavar="DIR", help="whose features they are: data/train ...")
    sub.add_argument(
        "--layer", type=whole_number(), help="which layer (default: the configuration's only one)"
    )
    sub.add_argument(
        "--checks",
        type=whole_number(),
        default=3,
        metavar="N",
        help="compute the features of N utterances too, and compare (default 3)",
    )
    sub.add_argument(
        "files", nargs="+", metavar="FILE", help="NAME.ark or NAME.scp; or ark:NAME, scp:NAME; no commands"
    )


def run(args):
    return args.run(args)


def _list(args) -> None:
    rows, manifests = [], {}
    for cache in find_caches(args.dump):
        held = contents(cache)
        label, _, fingerprint = cache.root.name.rpartition("-")
        changed = time.strftime("%Y-%m-%d %H:%M", time.localtime(held.changed))
        rows.append(
            [label, fingerprint, cache.folder.name, _ranges(held.layers), held.utterances]
            + [_completeness(held), human_bytes(held.size), changed]
        )
        manifests[cache.root.name] = read_manifest(cache) if args.long else None
    columns = (
        "front-end",
        "fingerprint",
        "data set",
        "layers",
        "utterances",
        "complete",
        "bytes",
        "last change",
    )
    print(table(columns, rows) if rows else f"{args.dump}: no caches")
    if args.long:
        for name, manifest in manifests.items():
            print(f"\n{name}:\n{yaml.safe_dump(manifest, sort_keys=False, indent=2)}", end="")


def _ranges(layers) -> str:
    """(0, 1, 2, 3, 12) -> ``0-3 12``."""
    runs = []
    for layer in layers:
        if runs and layer == runs[-1][1] + 1:
            runs[-1][1] = layer
        else:
            runs.append([layer, layer])
    return " ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def _completeness(held) -> str:
    wanted = held.utterances * len(held.layers)
    if held.done < wanted:
        return f"{1000 * held.done // wanted / 10} %"  # rounded down: 100 % must mean all
    notes = [] if held.joined else ["not joined"]
    notes += [f"{held.skipped} skipped"] if held.skipped else []
    return ", ".join(["100 %", *notes])


def _verify(args) -> int:
    from asvtk.frontends.cache.check import verify

    named = [find_named(args.dump, name) for name in args.name]
    if any(folder != cache.folder for found in named for cache, folder in found):
        raise AsvtkError("verify compares layers with each other: expected NAME or NAME/SET")
    caches = [cache for found in named for cache, _ in found] if args.name else find_caches(args.dump)
    status = 0
    for cache in caches:
        try:
            count, problems = verify(cache, args.quick)
        except AsvtkError as error:  # a bad cache must not hide the verdict on another
            count, problems = 0, [str(error)]
        for problem in problems:
            print(readable(problem), file=sys.stderr)
        how = "headers of" if args.quick else "all numbers of"
        verdict = f"{len(problems)} problems" if problems else "sound"
        print(f"{cache.root.name}/{cache.folder.name}: {verdict} ({how} {count} matrices read)", flush=True)
        status |= bool(problems)
    return status


def _prune(args) -> None:
    seen, total = set(), 0
    for cache, paths in _candidates(args):
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(hold(cache))
            except CacheInUse as busy:
                if args.name:
                    raise
                print(f"left alone: {busy}", file=sys.stderr)
                continue
            for path in unused_files(cache) if paths is None else paths:
                if path in seen:
                    continue
                seen.add(path)
                size = size_on_disk(path)
                total += size
                print(
                    f"{'removing' if args.yes else 'would remove'} {path}  ({human_bytes(size)})", flush=True
                )
                if args.yes:
                    remove(cache, path)
    if not seen:
        print(f"{args.dump}: nothing to remove")
    else:
        print(f"{human_bytes(total)} {'are free now' if args.yes else 'in all; --yes removes them'}")


def _candidates(args):
    """Caches with the folders that were named, or with None for what nobody can use."""
    if args.name:
        for name in args.name:
            for cache, folder in find_named(args.dump, name):
                yield cache, [folder]
    else:
        for cache in find_caches(args.dump):
            yield cache, None


def _size(args) -> None:
    from asvtk.frontends.cache.extraction import find_sources

    config, augmentation = load_frontend_config(args.config, args.override)
    frontend = build_frontend_spec(config)
    rows, total = [], 0
    for directory in args.data:
        data = DataDirectory.read(directory)
        for source in find_sources(
            data, args.dump, frontend, augmentation if data.name == args.training else None
        ):
            needed = bytes_by_layer(source, frontend)
            total += sum(needed.values())
            for size in sorted(set(needed.values()), reverse=True):
                layers = [layer for layer in needed if needed[layer] == size]
                rows.append(
                    [source.cache.folder.name, _ranges(layers), len(data.utterances)]
                    + [human_bytes(size), human_bytes(size * len(layers)), size * len(layers)]
                )
    print(table(("data set", "layers", "utterances", "each layer", "together", "bytes"), rows))
    print(f"\nstage 2 would write {human_bytes(total)} ({total} bytes) to {args.dump}")
    require_space(args.dump, total)


def _import(args) -> None:
    from asvtk.frontends.cache.extraction import find_sources
    from asvtk.frontends.cache.extractor import Extractor
    from asvtk.frontends.cache.foreign import import_features
    from asvtk.frontends.cache.store import description

    config, _ = load_frontend_config(args.config, args.override)
    frontend = build_frontend(config)
    layers = " ".join(map(str, frontend.stored))
    if not frontend.stored:
        raise AsvtkError(
            f"{args.config}: front-end {frontend.label} caches no features; set frontend.cache to true"
        )
    if args.layer is None and len(frontend.stored) > 1:
        raise UsageError(f"--layer: expected one of the configuration's layers, {layers}")
    layer = frontend.stored[0] if args.layer is None else args.layer
    if layer not in frontend.stored:
        raise UsageError(f"--layer {layer}: expected one of the configuration's layers, {layers}")
    data = DataDirectory.read(args.data)
    (source,) = find_sources(data, args.dump, frontend)
    extractor = Extractor(frontend)

    def compute(utterance):
        audio = frontend.prepare(source.read(utterance, frontend.crop.samples))
        return extractor([audio], (layer,))[0][layer]

    result = import_features(
        args.files,
        source.cache,
        layer,
        data,
        description(frontend),
        frontend.storage,
        lambda utterance: frontend.shape(data.num_samples[utterance]),
        compute,
        args.checks,
    )
    print(f"{source.cache.layer_folder(layer)}: features of {result.added} utterances imported")
    if result.cached:
        print(f"{result.cached} were there already and stay (asvtk cache prune removes a layer)")
    if result.unknown:
        print(f"{result.unknown} are of no utterance of {data.path} and were left out")
    if result.missing:
        print(f"{result.missing} utterances of {data.path} still have none: import them too, or run stage 2")
