"""From the words of the command line to the exit status; the same for every launcher."""

import sys

from launcher import messages
from launcher.grammar import parse
from launcher.jobs import expand, picked, report
from launcher.messages import CannotStart, UsageError, say
from launcher.signals import Signals


def main(program: str, usage: str, run, argv=None) -> int:
    """Returns the exit status.

    Args:
        program: the launcher's name, for its messages.
        usage: what --help prints.
        run: ``run(request, jobs, caught)`` runs the jobs, notes in each whether it failed, and ends
            early when a signal is caught.
        argv: the words after the program's name.
    """
    messages.program = program
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv in (["--help"], ["-h"]):
        print(usage.strip())
        return 0
    caught = Signals()
    try:
        request = parse(argv)
        jobs = expand(request)
        chosen = picked(jobs, request.pick)
        if chosen:
            run(request, chosen, caught)
    except UsageError as error:
        say(str(error))
        return 255
    except CannotStart as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:  # before any job was started
        return 130
    if caught.first:
        return 128 + caught.first
    report(request, jobs)
    return 1 if any(job.failed for job in jobs) else 0
