"""What an estimator calls after each epoch."""

from __future__ import annotations

from typing import Protocol


class OnEpoch(Protocol):
    """Something to call after each epoch of each network: a function will do.

    It serves pruning, logging, checkpoints, limits. Meanwhile the estimator is fitted, as it is after this epoch: it
    predicts, scores, can be saved, and `history_` tells all epochs. What is raised ends `fit`, which then leaves the
    estimator as it was. One that is to be pickled or cloned with its estimator is a function of a module, or an object
    of a class of one, with `__call__`.

    Example:
        >>> from droplab import DropoutMLPClassifier
        >>> def on_epoch(network, epoch, loss, score):
        ...     return epoch == 3
        >>> clf = DropoutMLPClassifier((8,), callbacks=[on_epoch], random_state=0)
        >>> clf.fit([[0.0], [1.0]], [0, 1]).n_iter_
        3
    """

    def __call__(self, network: int, epoch: int, loss: float, score: float | None, /) -> bool | None:
        """Tell of an epoch, and ask whether the network is to stop.

        Args:
            network: its place in `networks_`.
            epoch: from 1, as in `history_`.
            loss: on the rows held out; without early stopping what was minimized, the mean over the epoch.
            score: accuracy or R² on the rows held out; `None` without early stopping.

        Returns:
            Whether this network stops; with early stopping its best weights are kept.
        """
