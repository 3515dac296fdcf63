r"""Which part of a completion is the answer?

    completion ─▶ extract: think blocks and other turns cut ─▶ anchors: boxes and announcing phrases, in order
                                                            ─▶ sentences: where a sentence ends, where formulas stand
               ─▶ extract: the last announcement, read; or the reason why there is none

The choice never looks at the gold answer.  Two announcements are held against each other by `compare`.
"""
