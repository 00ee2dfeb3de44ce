"""The yardstick: droplab beside other programs that do the same work, turn by turn in one run on one machine.

    make bench ARGS="five-layer --recipe adam"

What is measured is in `cases` (training), `commands` (whole commands) and `classifier` (scikit-learn's face). All that
is known of droplab's inside is in `measure`.
"""
