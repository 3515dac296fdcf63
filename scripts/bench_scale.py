"""How a run on a cluster scales.  `scripts/bench scale overhead | transfer | driver | validate | published | model`

overhead   a step with one learner and one sampler through Ray beside the same step in one process, in turns
transfer   weights of 100 MB and 1 GB from learners to samplers, by each way, against the memory's bandwidth
driver     what the one process that directs a run spends on a sampled token
validate   parts measured here, the step time that the model makes of them, and real steps
published  the model with the assumptions for H100s beside steps that NeMo-RL has published
model      the same for 8 to 4,096 GPUs: the best division, what it reaches, where it stops scaling

The last two compute; the others measure, and want a machine that has nothing else to do.  docs/cluster.md has the
results, "How far does it scale?".
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.benchmark.running import SideFailed, positive


def main() -> None:
    given = arguments()
    try:
        given.run(given)
    except SideFailed as error:
        sys.exit(f"scripts/bench scale {given.what}: {error}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/bench scale", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_subparsers(dest="what", required=True, metavar="WHAT")

    one = what.add_parser("overhead", help="one learner and one sampler through Ray beside one process")
    one.add_argument("workload", nargs="*", default=["prompt-heavy", "long"])
    one.add_argument("--rounds", type=positive, default=5, help="of both sides; default 5")
    one.add_argument("--steps", type=positive, default=2, help="timed steps of each process; default 2")
    one.add_argument("--local", action="store_true", help="both sides in one process: shows what differs by chance")
    one.set_defaults(run=overhead)

    one = what.add_parser("transfer", help="weights from learners to samplers, by each way")
    one.add_argument("--megabytes", type=positive, nargs="*", default=[100, 1000])
    one.add_argument("--rounds", type=positive, default=3, help="default 3")
    one.set_defaults(run=transfer)

    one = what.add_parser("driver", help="seconds per sampled token in the directing process")
    one.add_argument("--completions", type=positive, default=512)
    one.set_defaults(run=driver)

    one = what.add_parser("validate", help="predicted and measured step times on this machine")
    one.add_argument("--learners", type=int, default=0, help="through Ray with so many; default 0: in one process")
    one.add_argument("--samplers", type=int, default=0)
    one.add_argument("--steps", type=positive, default=2, help="of each kind; default 2")
    one.set_defaults(run=validate)

    one = what.add_parser("published", help="the model beside what NeMo-RL has published")
    one.set_defaults(run=published)

    one = what.add_parser("model", help="8 to 4,096 GPUs")
    one.add_argument("--gpus", type=positive, nargs="*", default=[8, 64, 512, 4096])
    one.add_argument("--models", nargs="*", default=["1.5B", "7B", "32B"])
    one.add_argument("--longest", type=positive, default=16_384, help="tokens of a completion; default 16,384")
    one.add_argument("--problems", type=positive, default=512, help="of a step, 16 completions each; default 512")
    one.add_argument("--grow", action="store_true", help="the step grows with the GPUs: --problems are those on 64")
    one.set_defaults(run=model)
    return parser.parse_args()


def overhead(given: argparse.Namespace) -> None:
    from scripts.benchmark import overhead as bench

    bench.compare(given.workload, rounds=given.rounds, steps=given.steps, local=given.local)


def transfer(given: argparse.Namespace) -> None:
    from scripts.benchmark import transfer as bench

    bench.report(given.megabytes, rounds=given.rounds)


def driver(given: argparse.Namespace) -> None:
    from scripts.benchmark import driver as bench

    bench.report(given.completions)


def validate(given: argparse.Namespace) -> None:
    from scripts.benchmark import validation

    validation.report(given.learners, given.samplers, given.steps)


def published(given: argparse.Namespace) -> None:
    from scripts.benchmark import scaling

    print(scaling.published())


def model(given: argparse.Namespace) -> None:
    from scripts.benchmark import scaling

    scaling.report(given.models, given.gpus, longest=given.longest, problems=given.problems, grow=given.grow)


if __name__ == "__main__":
    main()
