"""Everything that can go wrong, as one tree.

    GrpoError
    ├── ConfigError       a setting, a flag or a combination of them        exit 2
    ├── DataError         a file, a row, a column, an answer                exit 2
    ├── RewardError       a reward that cannot be loaded, raises, hangs     exit 2 before the first step, else 1
    ├── ModelError        a model or tokenizer that cannot be used          exit 2
    ├── SamplerError      the sampler died or serves the wrong weights      exit 1
    ├── LearningError     loss or gradients that cannot be used             exit 1
    │   └── OutOfMemory   … as the device has no room for them
    ├── ClusterError      machines, devices or actors that are not there    exit 2 on opening, else 1
    │   └── LearnerLost   … of which a run goes on from its last checkpoint
    ├── CheckpointError   a checkpoint or run folder that cannot be used    exit 2 on opening, else 1
    ├── StageError        a stage of a pipeline that ended badly            exit code of its command
    └── Interrupted       Ctrl-C, a signal, a deadline; all is saved        exit 75, 130 or 143

Raise one where the fact is known; only `grpo.cli` turns it into words on the terminal.  A message has the form
*place: what is wrong (what was given); what is allowed or what to do*.  Anything that is not a `GrpoError` is a bug
in `grpo` and keeps its traceback.
"""

EXIT_HUNG = 70  # the watchdog ended it; it goes on with --resume
EXIT_AGAIN = 75  # sysexits.h's EX_TEMPFAIL: stopped for a deadline or by SIGUSR1; run it again, with --resume


class GrpoError(Exception):
    """A failure with a message for the user.  `exit_code` is what the process ends with."""

    exit_code = 1


class ConfigError(GrpoError):
    exit_code = 2


class DataError(GrpoError):
    exit_code = 2


class ModelError(GrpoError):
    exit_code = 2


class RewardError(GrpoError):
    """A reward that cannot be used.  `exit_code` is 2 for what start-up can see, 1 once the run is under way."""

    def __init__(self, message: str, *, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class SamplerError(GrpoError):
    pass


class LearningError(GrpoError):
    pass


class OutOfMemory(LearningError):
    pass


class ClusterError(GrpoError):
    def __init__(self, message: str, *, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class LearnerLost(ClusterError):
    """The learners' weights are gone; what can be had again is the last checkpoint."""


class CheckpointError(GrpoError):
    def __init__(self, message: str, *, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class StageError(GrpoError):
    """The command of a pipeline's stage has failed, and has said why."""

    def __init__(self, message: str, *, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Interrupted(GrpoError):
    """The user or the machine asked the run to stop.  `exit_code` is 128 + the signal's number, or `EXIT_AGAIN`."""

    def __init__(self, message: str, *, exit_code: int = 130) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def first_line(error: BaseException) -> str:
    """What others' errors say, which may be paragraphs, or nothing: then their type."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
