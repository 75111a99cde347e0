"""Registries: what a configuration's ``name`` stands for, in this package or in another."""

import importlib
import re
import sys
from collections.abc import Iterator
from dataclasses import is_dataclass

from asvtk.io.config import build_named
from asvtk.io.errors import AsvtkError

__all__ = ["Registry"]

_OUTSIDE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


class Registry:
    """Classes by name, imported when they are built: a configuration is read and checked without torch.

    Each has its configuration's dataclass as ``Config``, and takes such a configuration first. A name like
    ``my_pkg.my_mod:MyModel`` stands for a class outside this package, which is imported for its ``Config``.

    Args:
        kind: what they are, for messages.
        configs: the module with the dataclasses of their configurations, each with its ``name``.
        known: name -> ``module:Class``.
    """

    def __init__(self, kind: str, configs: str, known: dict[str, str]):
        self.kind, self._configs, self._known = kind, configs, known
        self._classes: dict[type, type] = {}  # of a configuration -> what it describes
        self._outside: dict[str, type] = {}  # name of a class outside this package -> its configuration

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def config(self, content, where: str, imports: bool = True):
        """The configuration that a section describes.

        Args:
            content: the section, with its ``name``.
            where: file and section, for messages.
            imports: whether modules outside this package may be imported for it; if not, they count only
                where that was done already: a file from anybody must not choose what runs.

        Raises:
            AsvtkError: the name is missing or unknown, cannot be imported, or does not fit; or the section
                holds what is unknown or impossible.
        """
        name = content.get("name") if isinstance(content, dict) else None
        if isinstance(name, str) and (name in self._known or _OUTSIDE.fullmatch(name)):
            known = name in self._known
            config = self._config(name) if known else self._import(name, where, imports)
            return build_named({name: config}, content, where)
        return build_named(dict.fromkeys(self._known, type(None)), content, where)  # says what is wrong

    def build(self, config, *arguments):
        """What a configuration describes, made with it and further arguments."""
        return self.class_of(config)(config, *arguments)

    def class_of(self, config) -> type:
        if type(config) not in self._classes:  # made in Python, not from YAML
            self._import(config.name, self.kind, True)
        return self._classes[type(config)]

    def _config(self, name: str) -> type:
        """The configuration of a class of this package."""
        classes = vars(importlib.import_module(self._configs)).values()
        return next(cls for cls in classes if is_dataclass(cls) and getattr(cls, "name", None) == name)

    def _import(self, name: str, where: str, imports: bool) -> type:
        """The configuration of what a name stands for."""
        module, _, attribute = self._known.get(name, name).partition(":")
        if name not in self._known and not imports and module not in sys.modules:
            raise AsvtkError(
                f"{where}.name: {name} is code outside asvtk, which is not run because a file names it; "
                f"import {module} first if you trust it"
            )
        try:
            cls = getattr(importlib.import_module(module), attribute)
        except ImportError as error:
            raise AsvtkError(
                f"{where}.name: {module} cannot be imported ({error}); expected a module on Python's path"
            ) from None
        except AttributeError:
            raise AsvtkError(f"{where}.name: {module} has no {attribute}") from None
        config = getattr(cls, "Config", None)
        if not isinstance(config, type):
            raise AsvtkError(f"{where}.name: {name} has no Config, the dataclass of its configuration")
        if name not in self._known:
            # Of its own: the class may have its Config from another one, which keeps its name.
            config = self._outside.setdefault(name, type(config.__name__, (config,), {"name": name}))
        self._classes[config] = cls
        return config
