"""Several processes, devices and machines behind the verbs of an engine.

The only room that imports Ray, and only where a cluster is asked for.
"""
