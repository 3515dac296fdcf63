"""The command itself: every source through its filters onto disk, then the mix of what is left into the file.

    FILE                     the rows
    FILE.card.md, FILE.json  sources, settings, funnel, mix, evaluation sets, lengths, examples
    FILE.overlaps.jsonl      what was dropped for being in an evaluation set, beside what it is in

Nothing is refused late that could be known early, and nothing is under its name before it is whole.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

from grpo import DISTRIBUTION
from grpo.config import Place, Select, SelectConfig
from grpo.errors import ConfigError, DataError
from grpo.run.wording import percent
from grpo.selection import card, mix, workers, writing
from grpo.selection.candidates import CountTokens, Group, Opened, checksum, open_sources
from grpo.selection.decontaminate import Decontaminator, read_sets
from grpo.selection.filters import Context, Funnel, chain, together
from grpo.selection.workers import Part, Sieve
from rewards import language

LEAST = 0.01  # of a source must be left, or something is wrong with it
SAID_EVERY = 250_000  # rows

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Kept:
    """A source, and what its filters left of it in the file `rows`."""

    source: Opened
    funnel: Funnel
    sha256: str
    rows: Path


def select(config: SelectConfig, out: Path, say: Say) -> None:
    """Raises `ConfigError` or `DataError`, and then there is no file."""
    settings, seed = config.select, config.run.seed
    writing.check_target(out)
    mix.check_weights(settings.source)
    _check_apart(settings.source, settings.decontaminate)
    _check_language(settings.language)
    sources = open_sources(settings.source, _counter(settings.tokenizer) if settings.tokenizer else None)
    _check_lengths(settings, sources)
    detector = Decontaminator(read_sets(settings.decontaminate), settings.ngram)
    with writing.room(out) as folder:
        listed = folder / f"{out.name}.overlaps.jsonl"
        with listed.open("w", encoding="utf-8") as file:
            context = Context(settings, seed)
            kept = [
                _filtered(source, context, detector, file, folder / str(number), say)
                for number, source in enumerate(sources)
            ]
        for line in card.set_lines(detector.report):
            say(line)
        tally = _mixed(kept, settings, seed, folder / out.name)
        facts = _facts(folder / out.name, config, kept, tally, detector)
        (folder / f"{out.name}.json").write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", "utf-8")
        (folder / f"{out.name}.card.md").write_text(card.card(facts), "utf-8")
        beside = ("overlaps.jsonl", "json", "card.md") if settings.decontaminate else ("json", "card.md")
        writing.put([folder / name for name in [*(f"{out.name}.{end}" for end in beside), out.name]], out.parent)
    for line in card.mix_lines(tally, {one.source.name: one.funnel.kept for one in kept}):
        say(line)
    say(f"{out}: {tally.samples.total():,} rows; what they are, and why: {out}.card.md")


def _check_apart(sources: Sequence[Place], sets: Sequence[Place]) -> None:
    """An evaluation set that is a source whole, too, would take all of it away."""

    def where(place: Place, split: str) -> object:
        path = Path(place.use).expanduser()
        return path.resolve() if path.is_file() else (place.use, place.subset, place.split or split)

    trained = {where(source, "train") for source in sources}
    if both := [one.use for one in sets if where(one, "test") in trained]:
        raise ConfigError(
            f"select.decontaminate: {both[0]} is a source, too, and all of it would go; leave one of them out"
        )


def _check_language(wanted: str | None) -> None:
    try:
        language.share("", "en" if wanted is None else wanted)
    except ValueError as error:
        raise ConfigError(f"select.{error}") from None


def _check_lengths(settings: Select, sources: Sequence[Opened]) -> None:
    trusted = [source for source in sources if not source.judged]
    if settings.max_tokens is not None and settings.tokenizer is None and trusted:
        raise ConfigError(
            f"select.max_tokens: how many tokens a row of {trusted[0].settings.use} has is not known; name the model "
            "that counts them, select.tokenizer"
        )


def _counter(model: str) -> CountTokens:
    """Tokens of a text, with the end token that a model writes after it."""
    from grpo.assemble import open_model

    tokenizer = open_model(model).tokenizer
    return lambda text: len(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]) + 1


def _filtered(
    source: Opened, context: Context, detector: Decontaminator, listed: IO[str], place: Path, say: Say
) -> Kept:
    """Raises `DataError` where next to nothing is left."""
    first, then, digest = Funnel(), Funnel(), hashlib.sha256()
    sieve = Sieve(context.settings, context.seed, detector, source.judged)
    parts = workers.sifted(sieve, _watched(source, digest, say))
    kept = then.through(together(chain(context, judged=source.judged)), _counted(parts, first, detector, listed))
    writing.write_jsonl(place, (row.row() for group in kept for row in group))
    funnel = first.then(then)
    for line in card.funnel_lines(source, funnel):
        say(line)
    if funnel.passed < LEAST * funnel.seen or not funnel.passed:
        raise _too_little(source, funnel)
    return Kept(source, funnel, source.sha256 or digest.hexdigest(), place)


def _counted(parts: Iterable[Part], funnel: Funnel, detector: Decontaminator, listed: IO[str]) -> Iterator[Group]:
    """What is left of the problems; what was dropped is counted, and listed where it is of an evaluation set."""
    for part in parts:
        funnel.add(part.funnel)
        for row, found in part.found:
            detector.count(found)
            listed.writelines(json.dumps(overlap.row(row), ensure_ascii=False) + "\n" for overlap in found)
        yield from part.kept


def _watched(source: Opened, digest: Any, say: Say) -> Iterator[Group]:
    """Says now and then how far it is, and takes the checksum of a source that is no file."""
    seen = 0
    for group in source.groups():
        for row in group if source.sha256 is None else ():
            digest.update(json.dumps(row.row(), ensure_ascii=False).encode())
        if (seen + len(group)) // SAID_EVERY > seen // SAID_EVERY:
            say(f"{source.name}: {seen + len(group):,} rows read")
        seen += len(group)
        yield group


def _too_little(source: Opened, funnel: Funnel) -> DataError:
    loss, share = funnel.biggest_loss, percent(funnel.passed / funnel.seen)
    return DataError(
        f"{source.settings.use}: {funnel.passed:,} of {funnel.seen:,} rows are left ({share}); "
        f'most were dropped as "{loss}" ({funnel.dropped[loss]:,}): {CURES[loss]}'
    )


CURES = {
    "not judged": "look at the failures in the table's scores, and collect again with a reward that can judge them",
    "wrong": "collect from a better model or with more samples, or lower select.min_reward",
    "solved too often or too rarely": "widen select.solved, or collect more samples per problem",
    "truncated": "collect again with a larger sampling.max_tokens",
    "no layout": 'set select.layout = "any", or collect from a model that keeps the layout',
    "looping": "set select.drop_looping = false, or collect from a better model",
    "mixed language": "lower select.min_language_share, or leave out select.language",
    "too long": "raise select.max_tokens",
    "contaminated": "what is trained on is what select.decontaminate evaluates on; take other data for one of them",
    "duplicate": "the source repeats itself, or one before it; name each once",
    "near duplicate": "raise select.max_similarity, or collect at a higher temperature",
}


def _mixed(kept: Sequence[Kept], settings: Select, seed: int, path: Path) -> card.Tally:
    counts = [one.funnel.kept for one in kept]
    wanted = mix.parts(settings.source, counts, settings.rows)
    known = settings.tokenizer is not None or all(one.source.judged for one in kept)
    tally = card.Tally("tokens" if known else "words", sum(wanted))
    rows = mix.mixed([partial(writing.read_jsonl, one.rows) for one in kept], counts, wanted, seed)
    writing.WRITERS[path.suffix](path, tally.count(rows))
    return tally


def _facts(
    path: Path, config: SelectConfig, kept: Sequence[Kept], tally: card.Tally, detector: Decontaminator
) -> Mapping[str, Any]:
    """What FILE.json holds."""
    return {
        "file": {"name": path.name, "rows": tally.samples.total(), "sha256": checksum(path)},
        "grpo": version(DISTRIBUTION),
        "unit": tally.unit,
        "settings": {**config.select.model_dump(mode="json", exclude_none=True), "seed": config.run.seed},
        "sources": [card.source_facts(one.source, one.funnel, one.sha256, tally) for one in kept],
        "decontamination": [card.set_facts(name, report) for name, report in detector.report.items()],
        "lengths": sorted(tally.histogram.items()),
        "examples": tally.examples,
    }
