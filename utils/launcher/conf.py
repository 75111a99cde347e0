"""Kaldi's slurm.conf and queue.conf: how options become those of sbatch or qsub.

    command sbatch --export=ALL          the program that submits, and what it always gets
    option mem=* --mem-per-cpu $0        --mem 4G becomes --mem-per-cpu 4G
    option mem=0                         ... but --mem 0 becomes nothing: an exact value beats *
    default gpu=0                        as if --gpu 0 stood first, when there is no --gpu

Text after # is a comment, $NAME and ${NAME} an environment variable.

Settings of a site, which no repository should hold, come from files beside the recipe's. All of them are
read in this order, each line replacing an equal one before it, and a file with a `command` line, as
Kaldi's have it, replacing all before it:

    what the launcher knows by itself
    conf/slurm.conf, or the file of --config
    ~/.config/asvtk/slurm.conf
    conf/slurm.local.conf                git ignores it
    the file that $ASVTK_SLURM_CONF names
"""

import os
import re
import shlex

from launcher.grammar import Request
from launcher.messages import UsageError

# Options that the launcher obeys itself; Kaldi's conf files describe some of them.
OWN = ("max_jobs_run", "pick", "config")


class Conf:
    """What the files say. ``source`` names the last one that was read."""

    def __init__(self, builtin: str) -> None:
        self.source = "the built-in settings"
        self.clear()
        self.read(builtin.splitlines())

    def clear(self) -> None:
        self.command: list[str] = []
        self.options: dict[tuple[str, str], list[str]] = {}
        self.defaults: dict[str, str] = {}

    def read(self, lines) -> None:
        """Take the lines of one file.

        Raises:
            UsageError: a line is none of a conf file; told with its number.
        """
        parsed = [(number, self._words(number, line)) for number, line in enumerate(lines, 1)]
        if any(words[0] == "command" for _, words in parsed if words):
            self.clear()
        for number, words in parsed:
            if not words:
                continue
            kind, rest = words[0], words[1:]
            name, equals, value = rest[0].partition("=") if rest else ("", "", "")
            if kind == "command" and rest:
                self.command = rest
            elif kind == "option" and name and equals and value:
                self.options[name, value] = rest[1:]
            elif kind == "default" and name and equals and value and len(rest) == 1:
                self.defaults[name] = value
            else:
                self._refuse(number, " ".join(words))

    def _words(self, number: int, line: str) -> list[str]:
        try:
            return [os.path.expandvars(word) for word in shlex.split(line, comments=True)]
        except ValueError:  # an open quote
            return self._refuse(number, line.strip())

    def _refuse(self, number: int, line: str):
        raise UsageError(
            f"{self.source}:{number}: expected 'command PROGRAM ...', 'option NAME=VALUE|* WORDS ...' or "
            f"'default NAME=VALUE', found {line!r}"
        )

    def words(self, name: str, value: str) -> list[str]:
        """The scheduler's words for one option.

        Raises:
            UsageError: no file describes it.
        """
        template = self.options.get((name, value), self.options.get((name, "*")))
        if template is None:
            known = sorted({f"--{known.replace('_', '-')}" for known, _ in self.options if known not in OWN})
            raise UsageError(
                f"Command line option {name} not described in {self.source} "
                f"(or value '{value}' not allowed); described are {' '.join(known) or 'none'}"
            )
        return [word.replace("$0", value) for word in template]

    def translate(self, request: Request, pass_on) -> list[str]:
        """The scheduler's words for all options: defaults first, then in the order of the command line.

        The last of repeated options counts.

        Args:
            pass_on: ``pass_on(option, values)`` gives the words for one with a single dash, which is the
                scheduler's own.
        """
        given = {}
        for option, values in request.options:
            if option.startswith("--"):
                name = option[2:].replace("-", "_")
                given.pop(name, None)  # to stand where it was given last
                given[name] = values[-1]
            else:
                given[option, len(given)] = values
        words = []
        for name, value in self.defaults.items():
            if name not in given and name not in OWN:
                words += self.words(name, value)
        for name, value in given.items():
            words += self.words(name, value) if isinstance(name, str) else pass_on(name[0], value)
        return words


def load(name: str, builtin: str, config: str | None) -> Conf:
    """Everything that is said about the scheduler ``name`` (``slurm``): see the top of this file.

    Args:
        config: the file of --config; None: conf/NAME.conf, if there is one.

    Raises:
        UsageError: a file that was asked for is missing, or says something that cannot be understood.
    """
    conf = Conf(builtin)
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    variable = f"ASVTK_{name.upper()}_CONF"
    named = os.environ.get(variable)
    files = [
        (config or f"conf/{name}.conf", "--config" if config else None),
        (f"{home}/asvtk/{name}.conf", None),
        (f"conf/{name}.local.conf", None),
    ]
    if named:
        files.append((named, f"${variable}"))
    for path, asked_by in files:
        if not asked_by and not os.path.exists(path):
            continue
        try:
            with open(path, encoding="utf-8") as stream:
                lines = stream.read().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "is no UTF-8 text"
            by = f" ({asked_by})" if asked_by else ""
            raise UsageError(f"{path}{by}: cannot be read: {reason}") from None
        conf.source = path
        conf.read(lines)
    if not re.search(r"\S", " ".join(conf.command)):
        raise UsageError(f"{conf.source}: has no 'command' line, such as 'command sbatch'")
    return conf
