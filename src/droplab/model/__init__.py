"""Networks: initial weights, layers, regularizers, and the file a network is kept in."""
