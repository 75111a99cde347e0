"""Search space of hyper-parameters: dotted keys of a configuration, each with a range or choices, in YAML.

training.lr: {low: 1.0e-5, high: 1.0e-3, log: true}
model.blocks: {low: 1, high: 4}                    # whole numbers, as both ends are
model.dropout: {low: 0.0, high: 0.5, step: 0.1}
loss:                                              # choices may be lists or whole sections
  choices:
    - {name: oc_softmax}
    - {name: wce, bonafide_weight: 0.9, spoof_weight: 0.1}
"""

import copy
import json
import math
from dataclasses import dataclass

from asvtk.io.config import load_yaml, set_value, to_mapping
from asvtk.io.errors import AsvtkError
from asvtk.io.text import parse_float
from asvtk.training.config import build_config

__all__ = ["Choices", "Range", "check_space", "configured_point", "read_space", "with_values"]

#: keys that a search sets itself, and why
_REFUSED = {
    "seed": "the seeds of a trial are those of --seeds",
    "training.eval_all_best": "a search looks at dev alone",
}


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``, both included; whole ones where both ends and the step are."""

    low: float
    high: float
    log: bool = False
    step: float | None = None

    @property
    def whole(self) -> bool:
        return all(isinstance(number, int) for number in (self.low, self.high, self.step or 0))

    def examples(self) -> list:
        return [self.low, self.high]

    def grid(self) -> list | None:
        """All values; None where there is no step between them."""
        step = self.step or (1 if self.whole and not self.log else None)
        if step is None:
            return None
        count = 1 + math.floor((self.high - self.low) / step + 1e-9)
        return [self.low + number * step for number in range(count)]

    def holds(self, value) -> bool:
        if isinstance(value, bool) or not isinstance(value, int if self.whole else (int, float)):
            return False
        values = self.grid() if self.step else None
        on_step = values is None or any(math.isclose(value, each) for each in values)
        return self.low <= value <= self.high and on_step


@dataclass(frozen=True)
class Choices:
    """Values of any kind. Optuna knows them by ``labels``: lists and mappings are JSON there."""

    values: tuple

    @property
    def labels(self) -> list:
        return [json.dumps(of) if isinstance(of, (list, dict)) else of for of in self.values]

    def examples(self) -> list:
        return list(self.values)

    def value(self, label):
        return copy.deepcopy(self.values[self.labels.index(label)])


def read_space(path) -> dict[str, Range | Choices]:
    """Read a search space.

    Raises:
        AsvtkError: it is empty or not of the form above; the message names file and key.
    """
    space = {}
    for key, content in load_yaml(path).items():
        where = f"{path}: {key}"
        if not isinstance(key, str) or not all(key.split(".")):
            raise AsvtkError(f"{where}: expected a key of a configuration, such as training.lr")
        for refused, reason in _REFUSED.items():
            if key == refused:
                raise AsvtkError(f"{where}: {reason}")
        if key.split(".")[0] == "vocoded" and key != "vocoded.share":
            raise AsvtkError(f"{where}: vocoded data are made once, before the search")
        for other in space:
            if f"{key}.".startswith(f"{other}.") or f"{other}.".startswith(f"{key}."):
                raise AsvtkError(f"{where}: overlaps {other}; one of them would undo the other")
        if not isinstance(content, dict) or ("choices" in content) == ("low" in content):
            raise AsvtkError(f"{where}: expected {{low: A, high: B}} or {{choices: [A, B, ...]}}")
        space[key] = _choices(content, where) if "choices" in content else _range(content, where)
    if not space:
        raise AsvtkError(f"{path}: holds no key to search over")
    return space


def _choices(content: dict, where: str) -> Choices:
    values = content["choices"]
    if set(content) != {"choices"} or not isinstance(values, list) or not values:
        raise AsvtkError(f"{where}: expected {{choices: [A, B, ...]}} with one value at least")
    choices = Choices(tuple(values))
    if twice := [label for label in choices.labels if choices.labels.count(label) > 1]:
        raise AsvtkError(f"{where}: the choice {twice[0]!r:.80} stands twice")
    return choices


def _range(content: dict, where: str) -> Range:
    if unknown := set(content) - {"low", "high", "log", "step"}:
        raise AsvtkError(
            f"{where}: unknown key {sorted(map(str, unknown))[0]!r}; a range has low, high, log, step"
        )
    if not isinstance(content.get("log", False), bool):
        raise AsvtkError(f"{where}.log: {content['log']!r:.80} does not fit; expected true or false")
    numbers = {name: _number(content.get(name), f"{where}.{name}") for name in ("low", "high")}
    if content.get("step") is not None:
        numbers["step"] = _number(content["step"], f"{where}.step")
    found = Range(log=content.get("log", False), **numbers)
    if found.low >= found.high:
        raise AsvtkError(f"{where}: low {found.low} is not below high {found.high}")
    if found.log and (found.low <= 0 or found.step is not None):
        raise AsvtkError(f"{where}: log: true needs a low above 0, and no step")
    if found.step is not None:
        steps = (found.high - found.low) / found.step if found.step > 0 else 0
        if steps < 1 or not math.isclose(steps, round(steps), rel_tol=1e-6):
            raise AsvtkError(f"{where}: step {found.step} does not lead from {found.low} to {found.high}")
    return found


def _number(value, where: str) -> float:
    if isinstance(value, str):  # YAML reads 1e-4, without a point, as text
        try:
            value = parse_float(value)
        except ValueError:
            value = None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise AsvtkError(f"{where}: expected a number")
    return value


def with_values(content: dict, values: dict, where: str) -> dict:
    """A loaded configuration with other values of some keys, ``{section.key: value}``; a copy.

    Raises:
        AsvtkError: a section on the way is a value.
    """
    content = copy.deepcopy(content)
    for key, value in values.items():
        set_value(content, key, copy.deepcopy(value), f"{where}: {key}")
    return content


def check_space(space: dict, path, content: dict, config) -> None:
    """Check that a configuration takes both ends of each range, and each choice, in place of its own value.

    Args:
        space: of `read_space`.
        path: its file, for messages.
        content: the loaded configuration, from the file ``config``.

    Raises:
        AsvtkError: it does not.
    """
    build_config(content, str(config))
    for key, of in space.items():
        for value in of.examples():
            try:
                build_config(with_values(content, {key: value}, str(path)), str(config))
            except AsvtkError as error:
                raise AsvtkError(f"{path}: {key}: {value!r:.80} does not go into {error}") from None


def configured_point(space: dict, content: dict) -> dict | None:
    """The configuration's own values as labels of the space; None where the space does not hold them all."""
    resolved, point = to_mapping(build_config(content, "")), {}
    for key, of in space.items():
        if isinstance(of, Range):
            value = resolved
            for section in key.split("."):
                value = value.get(section) if isinstance(value, dict) else None
            if not of.holds(value):
                return None
            point[key] = value
        else:
            same = [
                label
                for label, value in zip(of.labels, of.values, strict=True)
                if to_mapping(build_config(with_values(content, {key: value}, ""), "")) == resolved
            ]
            if not same:
                return None
            point[key] = same[0]
    return point
