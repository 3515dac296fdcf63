r"""Which part of a completion is the answer?

    completion ─▶ extract: think blocks and other turns cut ─▶ anchors: boxes and announcing phrases, in order
                                                            ─▶ sentences: where a sentence ends, where formulas stand
               ─▶ payload: what an announcement announces
               ─▶ rivals: whether a later answer replaces an earlier one, joins it, or is offered beside it
               ─▶ extract: the last announcement, read; or the reason why there is none

`languages` is a table of announcements that are not English.  The choice never looks at the gold answer.  Two
announcements are held against each other by `compare`.
"""
