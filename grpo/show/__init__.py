"""`grpo show`: run folders in a browser, live, on this machine alone.

    server.py       who may ask, and what each address answers
    catalogue.py    which folders are runs, and how each stands
    index.py        a million completions by step, problem, reward, text
    curves.py       metrics of several runs over steps, tokens or time
    evaluations.py  results by column, and the problems won and lost between two of them
    static/         the pages: HTML, CSS and modules of JavaScript as they are, without a build step

It reads the folders and nothing else, and writes nothing.
"""
