"""Stage 7: a finished experiment -> one file that others can score with.

It holds configuration, weights, model card, results and the threshold at the EER of dev; nothing in it is
executed when it is read. 'asvtk score --model FILE --audio FOLDER' uses it, 'asvtk unpack' opens it.
"""

EXAMPLES = """\
  asvtk pack --exp exp/lfcc_moe_mamba --licence 'CC BY 4.0'
"""


def add_arguments(parser):
    parser.add_argument("--exp", required=True, metavar="DIR", help="folder of the experiment")
    parser.add_argument(
        "--out", metavar="FILE", help="file to write or replace (default: DIR/NAME.asvtk.tar)"
    )
    parser.add_argument(
        "--precision", choices=("float32", "float16"), default="float32", help="of the weights in the file"
    )
    parser.add_argument("--licence", metavar="TEXT", help="of the weights, for the model card")


def run(args):
    from asvtk.training.experiment import Experiment

    experiment = Experiment(args.exp)
    experiment.config()  # something was trained here, which must not wait for torch
    from asvtk.report.card import model_card
    from asvtk.training.trained import pack, threshold_on_dev

    out = args.out or experiment.package
    card = model_card(experiment, threshold_on_dev(experiment), args.licence)
    pack(experiment, out, card, args.licence, args.precision)
    print(f"{out}: packed")
