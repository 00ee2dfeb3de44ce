"""The yardstick: droplab against other programs that train the same networks, turn by turn in one run on one machine.

`cases` says what is trained, `rivals` and `jax_program` are the other programs, `measure` is droplab itself on the way
that `droplab study` takes, `roofline` the limit that matrix products set, `memory` what a worker takes, `turns` lets
them all have their turns, and `show` says what came of it.
"""
