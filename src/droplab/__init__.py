"""droplab: a laboratory for the regularization of fully-connected classifiers."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from droplab.api import Study, StudyResult

__version__ = "0.1.0"
__all__ = ["Study", "StudyResult"]


def __getattr__(name: str) -> Any:
    """Import the public names, and with them PyTorch, only when they are used."""
    if name in __all__:
        from droplab import api

        return getattr(api, name)
    raise AttributeError(f"module 'droplab' has no attribute {name!r}")
