"""`droplab regularizers`: what there is."""

from __future__ import annotations

from droplab.cli.say import say
from droplab.cli.tables import print_table


def regularizers() -> None:
    """List the regularizers beside dropout: what the strength means, the usual one, and the source.

    Example: droplab regularizers
    """
    from droplab.model.regularizers import TABLE

    layers = {"hidden": "one, or one a hidden layer", "weights": "one, or one a weight layer", "": "one"}
    print_table(
        ["name", "strength", "usual", "most", "strengths", "source"],
        [
            (entry.name, entry.meaning, f"{entry.strength:g}", f"{entry.most:g}", layers[entry.by_layer], entry.source)
            for entry in TABLE.values()
        ],
    )
    say("Dropout itself is a setting: --dropout 0.5, or a rate a hidden layer, --dropout 0.2/0.5.")
