"""Studies: planned, trained, kept, and what they come to.

`droplab.study("wine.csv", target="class", dropout=[0.2, 0.5])` declares one: the package can be called, as
`droplab.Study.of`.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


class _Package(ModuleType):
    def __call__(self, *data: Any, **settings: Any) -> Any:
        """A study of these settings, as `droplab.Study.of` makes it."""
        return import_module("droplab.api").Study.of(*data, **settings)


sys.modules[__name__].__class__ = _Package
