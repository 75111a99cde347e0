"""Pretrained detectors: what their authors publish and asvtk knows by name, and packages on the hub.

'asvtk detect', 'asvtk score' and all others that take --model, and asvtk.load in Python, take these names
too. A file is fetched once, compared with its SHA-256 and kept in the cache folder: ASVTK_HOME, by default
asvtk in XDG_CACHE_HOME or ~/.cache. ASVTK_MODELS_URL names a mirror, or a folder with the files. No weights
are part of asvtk; each has its authors' licence.
"""

from pathlib import Path

EXAMPLES = """\
  asvtk models ls
  asvtk models get aasist
      print its path, fetched if need be
  asvtk models get hf:owner/name@v1 --to models/
"""


def add_arguments(parser):
    parser.add_argument("action", choices=("ls", "get"), help="list them; or fetch one and print its path")
    parser.add_argument("name", nargs="?", metavar="NAME", help="of the list, or hf:OWNER/NAME[@REVISION]")
    parser.add_argument("--to", metavar="DIR", help="get: also write it into this folder")


def run(args):
    if (args.action == "ls") != (args.name is None) or (args.to and args.action == "ls"):
        from asvtk.bin.arguments import UsageError

        raise UsageError("expected ls alone, or get NAME [--to DIR]")
    return _list() if args.action == "ls" else _get(args.name, args.to)


def _list() -> None:
    from asvtk.inference.pretrained import list_pretrained
    from asvtk.report.markdown import table

    known, rows = list_pretrained(), []
    for name, of in known.items():
        errors = [f"{of.eer_percent:.2f}", f"{of.min_tdcf:.4f}"]
        here = "yes" if of.path.exists() else "no"
        rows.append([name, of.licence, of.trained_on, of.measured_on, *errors, f"{of.bytes / 1e6:.1f}", here])
    header = ("name", "licence", "trained on", "measured on", "EER %", "min t-DCF", "MB", "fetched")
    print(table(header, rows), end="\n\n")
    for name, of in known.items():
        print(f"{name}: {of.url}\n  figures as their authors state them: {of.source}\n  SHA-256 {of.sha256}")


def _get(name: str, folder: str | None) -> None:
    import shutil

    from asvtk.inference.package import is_package, read_package, write_package
    from asvtk.inference.pretrained import find_pretrained, list_pretrained
    from asvtk.io.atomic import atomic_path
    from asvtk.io.errors import AsvtkError
    from asvtk.io.hub import PREFIX

    if not name.startswith(PREFIX) and name.lower() not in list_pretrained():
        known = ", ".join(list_pretrained())
        raise AsvtkError(f"{name}: no such model; known are {known}, and {PREFIX}OWNER/NAME")
    # A file here of that name is not meant.
    path = find_pretrained(name) if name.startswith(PREFIX) else list_pretrained()[name.lower()].fetch()
    if folder is not None:
        into = Path(folder) / path.name
        if path.is_dir() and is_package(path):
            package = read_package(path)
            into = Path(folder) / f"{name.partition('@')[0].rpartition('/')[2]}.asvtk.tar"
            write_package(into, package.about, package.members)
        else:
            with atomic_path(into) as temporary:
                shutil.copyfile(path, temporary)
        path = into
    print(path)
