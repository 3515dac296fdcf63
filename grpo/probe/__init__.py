"""`grpo rewards probe`: what the rewards of a recipe would teach, before anything is trained.

run       the first problems of the run, sampled from the model that it would start from, and scored
study     of what these completions earned: distributions, who has how much of the variance, who has a signal
gaming    what texts earn that nobody wants: nothing at all, twenty guesses, another problem's answer, …
weights   under which correctness outranks every combination of the other rewards
page      all that as text
"""
