"""Lists of numbers as schedulers write them: 1-3,7."""

import re


def compress(numbers) -> str:
    """``[1, 2, 3, 7]`` as ``1-3,7``; the numbers must ascend."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(f"{first}-{last}" if last > first else str(first) for first, last in runs)


def expand(text: str) -> list[int]:
    """``1-3,7`` as ``[1, 2, 3, 7]``; also with a step (``1-7:2``) and a throttle (``1-7%2``)."""
    numbers = []
    for part in text.partition("%")[0].split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+)(?::(\d+))?)?", part.strip())
        if match:
            first, last, step = (int(group) if group else None for group in match.groups())
            numbers += range(first, (last if last is not None else first) + 1, step or 1)
    return numbers
