"""The math checker behind the interfaces of other projects, so that a program that has one of them changes one import.

`math_verify` has `parse` and `verify` as Math-Verify has them; `lighteval` has metrics for lighteval's tasks.
"""
