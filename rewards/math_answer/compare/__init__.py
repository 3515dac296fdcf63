"""Are two answers equal?  The ladder, from the cheapest step to the dearest.

    ladder        equal trees, labels and chains; then the step for the first kind that fits
      choices     multiple choice
      measures    words, times, bases, residues, percent, angles, units
      containers  matrices, sets, lists, cases
      relations   equations and inequalities
      items       one by one in their order, or each with a match somewhere
      values      numbers and expressions, by `compute`

The way in is `ladder.compare`.  What the steps share while one pair of answers is compared is a `Context`; through it
they hand the parts of an answer back to the ladder, so that no step imports what stands above it.  Every step says an
`Equality`: equal, different or undecided, and why.  `forms` knows what was meant by what was written, `normal` writes
an answer as the text that majority voting counts.
"""
