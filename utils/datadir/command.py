"""The command lines of the tools: Kaldi's options."""


class Usage(Exception):
    """The command line is wrong."""


def options(words: list[str], values: tuple = (), switches: tuple = ()) -> tuple[dict, list[str]]:
    """Take the options off the front of the words, as Kaldi's parse_options.sh and its older tools do.

    Args:
        values: names of options with a value: ``--a-b v``, ``--a_b v`` or ``--a-b=v``.
        switches: names of options that stand alone; ``true`` or ``false`` may follow.

    Returns:
        the options by name (with dashes), and the other words.

    Raises:
        Usage: an option is not known or lacks its value.
    """
    words, given = list(words), {}
    while words and words[0].startswith("--"):
        name, equals, value = words.pop(0)[2:].partition("=")
        name = name.replace("_", "-")
        if name in switches:
            if not equals and words and words[0] in ("true", "false"):
                value = words.pop(0)
            given[name] = value != "false"
        elif name not in values:
            raise Usage(f"invalid option --{name}")
        elif equals:
            given[name] = value
        elif words:
            given[name] = words.pop(0)
        else:
            raise Usage(f"option --{name} needs a value")
    return given, words


def positive(word: str, what: str) -> int:
    """Raises Usage unless the word is a whole number from 1 on."""
    if not word.isdigit() or int(word) < 1:
        raise Usage(f"{what} must be a whole number >= 1, not {word!r}")
    return int(word)
