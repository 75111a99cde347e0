"""Serve detection: a page to drop files on or to record, POST /detect, a WebSocket for live audio.

MODEL is what 'asvtk detect' takes; it is loaded once, and windows of all requests and streams are scored
together. Nothing that is sent here is kept: uploads live in memory, decoders run in processes that can write
no file. Logs are JSON on standard error, a line a request. SIGTERM finishes what runs, then exits with 0.
"""

from asvtk.bin.arguments import UsageError, between, whole_number
from asvtk.bin.detect import add_model_arguments, detector_opener
from asvtk.io.errors import AsvtkError

EXAMPLES = """\
  asvtk serve --model aasist
      http://127.0.0.1:8000/, for this machine alone
  asvtk serve --model lfcc_moe_mamba.asvtk.tar --host 0.0.0.0 --token-file token.txt
      for others, who must know the token
"""


def add_arguments(parser):
    add_model_arguments(parser)
    where = parser.add_argument_group("who may use it")
    where.add_argument("--host", default="127.0.0.1", help="to listen at (default 127.0.0.1)")
    where.add_argument(
        "--port", type=whole_number(0, 65_535), default=8000, help="0: any that is free (default 8000)"
    )
    token = where.add_mutually_exclusive_group()
    token.add_argument("--token", metavar="T", help="that clients must know; other users can read it in ps")
    token.add_argument("--token-file", metavar="F", help="a file whose first line is the token")
    token.add_argument("--no-token", action="store_true", help="let all who reach --host use it")
    limits = parser.add_argument_group("limits")
    limits.add_argument(
        "--max-mb", type=between(0.001, 2000, ends=True), default=50.0, metavar="MIB",
        help="of an upload (default 50)",
    )  # fmt: skip
    limits.add_argument(
        "--max-seconds", type=between(1, 86_400, ends=True), default=3600.0, metavar="S",
        help="of a recording or a stream (default 3600)",
    )  # fmt: skip
    limits.add_argument(
        "--timeout", type=between(0.1, 3600, ends=True), default=60.0, metavar="S",
        help="for an upload, then for its judgement; without audio on a stream (default 60)",
    )  # fmt: skip
    limits.add_argument(
        "--parallel", type=whole_number(1, 64), default=16, metavar="N",
        help="recordings judged at once (default 16)",
    )  # fmt: skip
    limits.add_argument(
        "--queue", type=whole_number(0, 10_000), default=16, metavar="N",
        help="further ones that wait; more get 429 (default 16)",
    )  # fmt: skip
    limits.add_argument(
        "--streams", type=whole_number(1, 1000), default=16, metavar="N", help="at once (default 16)"
    )
    limits.add_argument(
        "--batch", type=whole_number(1, 1024), default=16, metavar="N",
        help="windows scored together (default 16)",
    )  # fmt: skip


def run(args):
    from asvtk.inference.pretrained import require_model
    from asvtk.serve.config import ServeConfig
    from asvtk.serve.listener import bind, is_loopback

    token = _token(args)
    require_model(args.model)
    if token is None and not args.no_token and not is_loopback(args.host):
        raise UsageError(f"--host {args.host}: others can reach it; give --token-file F, or say --no-token")
    config = ServeConfig(
        token=token,
        max_mb=args.max_mb,
        max_seconds=args.max_seconds,
        timeout=args.timeout,
        parallel=args.parallel,
        queue=args.queue,
        streams=args.streams,
        batch=args.batch,
    )
    with bind(args.host, args.port) as listener:  # a port in use must not wait for the model
        try:
            from asvtk.serve.server import serve
        except ImportError as error:
            raise AsvtkError(
                f"asvtk serve needs more packages ({error}): pip install 'asvtk[serve]'"
            ) from None
        serve(detector_opener(args)(), config, listener)


def _token(args) -> str | None:
    from asvtk.io.text import read_text

    if args.token_file is None:
        return args.token
    first, *_ = [*read_text(args.token_file).splitlines(), ""]
    if not first.strip():
        raise AsvtkError(f"{args.token_file}: expected the token on the first line, which is empty")
    return first.strip()
