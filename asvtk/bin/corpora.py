"""Corpora that asvtk knows: where they are to be had, their licences, sets and counts.

asvtk corpora ls               one line for each
asvtk corpora show NAME        all about one: its description as YAML, which also takes a file of your own
asvtk corpora files NAME       what its publisher has for download: MD5, URL
"""

import argparse

from asvtk.corpora.description import list_corpora, load_description

EXAMPLES = """\
  asvtk corpora ls
      what is known: sets, trials, licence
  asvtk corpora show in_the_wild > mine.yaml
      a description to begin one of your own with
"""


def add_arguments(parser):
    parser.add_argument("action", choices=("ls", "show", "files", "find"), help="what to do")
    parser.add_argument("name", nargs="?", metavar="NAME", help="corpus, or a description of your own (YAML)")
    parser.add_argument("folder", nargs="?", metavar="DIR", help="find: the folder of the corpus")
    parser.add_argument("--version", metavar="V", help="find: of a corpus that has several")


def run(args):
    if (args.action == "ls") != (args.name is None):
        from asvtk.bin.arguments import UsageError

        raise UsageError("ls takes no NAME" if args.name else f"{args.action} takes the NAME of a corpus")
    {"ls": _list, "show": _show, "files": _files, "find": _find}[args.action](args)


def _list(args: argparse.Namespace) -> None:
    from asvtk.report.markdown import table

    rows = []
    for name in list_corpora():
        of = load_description(name)
        rows.append([name, of.title, " ".join(of.sets), _trials(of), of.licence])
    print(table(("name", "corpus", "sets", "trials", "licence"), rows))


def _trials(description) -> str:
    version = description.versions[0] if description.versions else ""
    sizes = [description.official_set(version, name).size for name in description.sets]
    return f"{sum(filter(None, sizes)):,}" if any(sizes) else "–"


def _show(args) -> None:
    from asvtk.corpora.description import description_path
    from asvtk.io.text import read_text

    load_description(args.name)  # what is wrong with a file of one's own
    print(read_text(description_path(args.name)), end="")


def _files(args) -> None:
    for file in load_description(args.name).downloads:
        print(file.md5 or "-", file.url)


def _find(args) -> None:
    from asvtk.corpora.collection import read_collection
    from asvtk.corpora.corpus import open_corpus
    from asvtk.corpora.preparation import find_sets
    from asvtk.report.markdown import table

    if args.folder is not None:
        corpus = open_corpus(args.name, args.folder, args.version)
        print(f"{corpus.description.title} {' '.join([corpus.version, *find_sets(corpus)])}: {corpus.folder}")
        return
    rows = []
    for entry in read_collection(args.name):
        corpus = entry.open()
        sets = entry.sets or find_sets(corpus)
        title = corpus.description.title
        rows.append([entry.name, title, corpus.version, " ".join(sets), str(corpus.folder)])
    print(table(("name", "corpus", "version", "sets", "folder"), rows))
