"""Write grpo/importing/defaults/*.json: every setting of TRL, verl and OpenRLHF with its default, read from sources.

    python scripts/foreign_defaults.py trl TRANSFORMERS/training_args.py TRL/trainer/base_config.py \\
        TRL/trainer/grpo_config.py TRL/trainer/model_config.py TRL/scripts/utils.py TRL/scripts/grpo.py
    python scripts/foreign_defaults.py verl VERL/trainer/config/_generated_ppo_trainer.yaml
    python scripts/foreign_defaults.py openrlhf OPENRLHF/cli/train_ppo_ray.py

Nothing of theirs is imported or run: Python is read as a tree, of which literals are taken.  A later file wins over an
earlier one, as a subclass does.  The versions stand in `VERSIONS`; whoever reads other sources changes them there.
"""

import ast
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
VERSIONS = {
    "trl": "TRL 1.16.0 with transformers 5.19.0",
    "verl": "verl 1dda039",
    "openrlhf": "OpenRLHF 0.11.0 (3c3be62)",
}
TRL_CLASSES = (
    "TrainingArguments",
    "_BaseConfig",
    "GRPOConfig",
    "ModelConfig",
    "ScriptArguments",
    "GRPOScriptArguments",
)
TRL_CLASSES += ("DatasetMixtureConfig",)
NAMES = {"default_optim": "adamw_torch", "float('inf')": "inf"}


def literal(node: ast.expr | None, prefix: str = "") -> Any:
    """What a default is where it is written as a literal; the source of it where it is not."""
    if node is None:
        return None
    if isinstance(node, ast.IfExp):  # 1e-6 if prefix == "actor" else 9e-6
        return literal(node.body if prefix in ast.unparse(node.test) else node.orelse)
    try:
        value = ast.literal_eval(node)
    except ValueError:
        source = ast.unparse(node)
        return {"list": [], "int(100000000.0)": 10**8}.get(source, NAMES.get(source, source))
    return list(value) if isinstance(value, tuple) else value


def of_dataclasses(paths: list[Path]) -> Iterator[tuple[str, Any]]:
    for path in paths:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and node.name in TRL_CLASSES:
                for field in node.body:
                    if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                        if field.target.id.startswith("_"):
                            continue
                        yield field.target.id, literal(default_of(field.value))


def default_of(value: ast.expr | None) -> ast.expr | None:
    if isinstance(value, ast.Call) and ast.unparse(value.func) == "field":
        given = {word.arg: word.value for word in value.keywords}
        return given.get("default", given.get("default_factory"))
    return value


def of_parser(path: Path) -> Iterator[tuple[str, Any]]:
    """The flags that a script gives to argparse; `f"--{prefix}.…"` stands for the actor and the critic."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "parser.add_argument":
            name = ast.unparse(node.args[0]).removeprefix("f").strip("'\"").removeprefix("--")
            given = {word.arg: word.value for word in node.keywords}
            if ast.unparse(given.get("action", ast.Constant(""))) == "'store_false'":
                continue  # turns another one off
            for prefix in ("actor", "critic") if "{prefix}" in name else ("",):
                yield name.replace("{prefix}", prefix), literal(given.get("default"), prefix)


def flat(tree: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict) and value:
            yield from flat(value, f"{before}{name}.")
        elif name != "_target_":  # the class that reads the group
            yield f"{before}{name}", value


def main(trainer: str, *paths: str) -> None:
    files = [Path(path) for path in paths]
    if trainer == "verl":
        settings = dict(flat(yaml.safe_load(files[0].read_text(encoding="utf-8"))))
    else:
        settings = dict(of_dataclasses(files) if trainer == "trl" else of_parser(files[0]))
    target = ROOT / "grpo" / "importing" / "defaults" / f"{trainer}.json"
    made = {"of": VERSIONS[trainer], "settings": settings}
    target.write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{target.relative_to(ROOT)}: {len(settings)} settings of {VERSIONS[trainer]}")


if __name__ == "__main__":
    main(*sys.argv[1:])
