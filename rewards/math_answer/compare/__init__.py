"""Are two answers equal?  The ladder, from the cheapest step to the dearest.

    ladder: equal trees, labels and chains, then the first kind that fits
      ├ measures    words, choices, times, bases, residues, percent, angles, units
      ├ containers  matrices, sets, lists, cases        ├ items: item by item, in order or in any
      ├ relations   equations and inequalities          │
      └ values      numbers and expressions             └ `compute`, and at last the prover

The way in is `ladder.compare`.  What the steps share while one pair of answers is compared is a `Context`; through it
they hand the parts of an answer back to the ladder, so that no step imports what stands above it.  Every step says an
`Equality`: equal, different or undecided, and why.  `forms` knows what was meant by what was written, `normal` writes
an answer as the text that majority voting counts.
"""
