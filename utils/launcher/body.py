"""What bash is given: the same for a job of this machine and for one in a scheduler's script."""

import contextlib
import os
import shlex

#: What follows the command. The newline ends a comment in it.
CLOSING = "\n)\n} </dev/null\n"


def opening(demands: dict) -> str:
    """What stands before the command: this folder, ./path.sh if there is one, and ``demands``.

    Args:
        demands: variables to export after path.sh, which they overrule.
    """
    # In braces, so that it is read whole before any of it runs.
    lines = ["{", f"cd {shlex.quote(working_folder())} || exit 1"]
    if os.path.exists("path.sh"):
        lines.append(". ./path.sh")
    lines += [f"export {name}={shlex.quote(value)}" for name, value in demands.items()]
    # The bracket, which CLOSING closes, keeps an `exit` of the command inside.
    lines += ["set -e -o pipefail", "( "]
    return "\n".join(lines)


def working_folder() -> str:
    """The current folder by the name the user came by: a cluster's other hosts may know no other one."""
    name = os.environ.get("PWD", "")
    with contextlib.suppress(OSError):
        if os.path.isabs(name) and os.path.samefile(name, "."):
            return name
    return os.getcwd()
