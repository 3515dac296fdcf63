r"""Arithmetic on trees, within limits that are counts and not clocks.

    exact     rational numbers, as fractions             numeric   everything else, to as many digits as it takes
    sampling  two expressions at two precisions, and at fixed points where they have variables
    calculus  integrals, limits and infinite series, from fixed numbers of values
    sets      sets of real numbers, by their breakpoints

Each answers with a value or says that it has none (`budget`).
"""
