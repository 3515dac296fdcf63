"""Python processes of our own, which can be killed: the algebra helper (`prove.helper`) and the workers of `batch`."""

from __future__ import annotations

import os
import subprocess
import sys

START = 30.0  # seconds that one may take to start, with sympy to import, where nobody waits for it in between


def start_python(module: str) -> subprocess.Popen[bytes]:
    """A Python process that runs `module` of this package, wherever the package lies."""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    # gmpy2, where sympy and mpmath find it, aborts the process on numbers that are too large.
    plain = {"SYMPY_GROUND_TYPES": "python", "MPMATH_NOGMPY": "1"}
    return subprocess.Popen(
        [sys.executable, "-P", "-m", f"rewards.math_answer.{module}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | plain | {"PYTHONPATH": os.pathsep.join([root, *filter(None, sys.path)])},
    )
