"""Cut a speech encoder after some of its blocks, and write what is left as a transformers folder.

Layers 0 to N are those of the whole model to the bit, and share its caches.
transformers loads the folder too.
"""

EXAMPLES = """\
  asvtk truncate microsoft/wavlm-large --layers 12 models/wavlm-large-12
  asvtk truncate models/whisper-large-v3 --layers 8 models/whisper-large-v3-8
"""


def add_arguments(parser):
    parser.add_argument("model", metavar="MODEL", help="folder that save_pretrained() wrote, or a hub name")
    parser.add_argument("folder", metavar="OUT", help="folder to write; must not exist, or be empty")
    parser.add_argument("--layers", metavar="N", type=int, required=True, help="blocks to keep")
    parser.add_argument("--revision", help="of a hub's repository: a tag, branch or commit")


def run(args):
    from pathlib import Path

    from asvtk.frontends.ssl.folder import find_model

    model = find_model(args.model, args.revision)  # a wrong name must not wait for torch
    from asvtk.frontends.ssl.truncation import truncate

    cut = truncate(model, args.layers, Path(args.folder))
    print(
        f"{args.folder}: {cut.layers} of {cut.full_depth} blocks, {cut.bytes_after / 1e6:.1f} MB of "
        f"{cut.bytes_before / 1e6:.1f}, sha256 {cut.sha256}"
    )
