"""A list of stages, each one of the commands that exist, run one after the other: `grpo pipeline`.

    plan        from TOML to stages               records    stage.json: what a stage was made from and what it left
    kinds       the commands that can be stages   process    a stage's command in a process of its own
    checks      before the first expensive hour   runner     skip, go on, refuse
    estimate    what would run: --dry-run         figures, page   what the stages came to, side by side

There is no graph: stages run in the order in which they are written, and a stage may read what any before it made.
"""
