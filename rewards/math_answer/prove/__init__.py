"""Computer algebra for what nothing else could decide, in a process that can be killed.

    prover ─▶ helper ══ wire: trees as JSON ══▶ algebra: sympy, in a fork for every question
    (this process)                              (a process of its own)

The way in is `prover.prove`.  Only `algebra` imports sympy.
"""
