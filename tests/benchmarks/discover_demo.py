"""What mapper=discover finds and plan.verify=true flags on the demo's trained models, beside the truth.

    python tests/benchmarks/discover_demo.py --seeds 5

Takes one pair per seed from the cache, or trains it there as `model=demo` does (minutes each). Three tables:

    layouts      target and donor laid out anew by hand (tests/relayout.py), every name hidden: how many of
                 the language model's tensors were found, with the donor's values of the same place
    unrelated    the same layouts with the donor of the next seed, and with random weights of the donor's
                 sizes, means and deviations; the language models alone of all other seeds
    planted      the plan by specs, with nothing wrong, two heads exchanged, gate for up, another ancestor

Bounds: of every pair at least 99 % found and no wrong match called sure; all unrelated ones refused;
exactly the planted tensors flagged. Ends with status 1 if one does not hold.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass, field, fields
from itertools import permutations
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from hidden_names import COPIES, PAIRS, Hidden, discover_hidden, sketched
from hydra import compose, initialize_config_dir
from mappers import discover_mapper
from planted_faults import FAULTS, flagged, make_random, verified, with_donor
from relayout import Layout, hide, language, rest

from adamms.demo.factory import build
from adamms.errors import AdammsError

LEAST_FOUND = 0.99
LAYOUTS = PAIRS | COPIES
Models = Mapping[int, Path]


@dataclass
class Row:
    """One layout over all pairs; `least_found` is of the pair with the smallest share."""

    pairs: int = 0
    tensors: int = 0
    found: int = 0
    sure: int = 0
    wrong_sure: int = 0
    wrong: int = 0
    least_found: float = 1.0

    def add(self, hidden: Hidden) -> None:
        right = sum(hidden.right(slot) for slot in hidden.merged)
        self.pairs += 1
        self.tensors += len(hidden.expected)
        self.found += right
        self.sure += len(hidden.sure)
        self.wrong_sure += len(hidden.wrong_sure)
        self.wrong += len(hidden.wrong)
        self.least_found = min(self.least_found, right / len(hidden.expected))

    @property
    def holds(self) -> bool:
        return self.least_found >= LEAST_FOUND and not self.wrong_sure


@dataclass
class Tally:
    """How many of so many came out as they should."""

    right: int = 0
    of: int = 0
    failed: list[str] = field(default_factory=list)

    def add(self, right: bool, what: str) -> None:
        self.right += right
        self.of += 1
        if not right:
            self.failed.append(what)


def demo(seed: int) -> Path:
    """The folder of the demo's three models, in the cache of the command line; trained if missing."""
    conf = Path(__file__).resolve().parents[2] / "conf"
    with initialize_config_dir(str(conf), version_base="1.3"):
        config = compose("config", overrides=["model=demo", f"model.prepare.seed={seed}"])
    folder = Path(config.model.prepare.folder)
    build(folder, seed)
    return folder


def find(models: Models) -> dict[str, Row]:
    rows = {name: Row() for name in LAYOUTS}
    for folder in models.values():
        for name, layouts in LAYOUTS.items():
            with tempfile.TemporaryDirectory() as scratch:
                rows[name].add(discover_hidden(folder, Path(scratch), *layouts))
    return rows


def refused(target: Path, donor: Path, layouts: tuple[Layout, Layout], whole: bool = True) -> bool:
    """Whether two models are found to have no ancestor in common; `whole`: with their vision encoders."""
    with tempfile.TemporaryDirectory() as scratch:
        sketches = []
        for number, (folder, layout) in enumerate(zip((target, donor), layouts, strict=True)):
            state = layout(language(folder)) | (rest(folder) if whole else {})
            hide(state, Path(scratch) / str(number), seed=number)
            sketches.append(sketched(Path(scratch) / str(number)))
        try:
            discover_mapper().plan(sketches[0], {"a": sketches[1]})
        except AdammsError as error:
            return "no ancestor in common" in str(error)
    return False


def refuse(models: Models, random: Models) -> dict[str, Tally]:
    names = ("donor of another seed", "random weights", "every model of every other seed")
    other, noise, all_others = tallies = tuple(Tally() for _ in names)
    for seed, folder in models.items():
        stranger = (seed + 1) % len(models)
        for name, layouts in LAYOUTS.items():
            what = f"seed {seed}, {name}"
            if stranger != seed:
                donor = models[stranger] / "donor"
                other.add(refused(folder / "target", donor, layouts), f"{what}, donor of seed {stranger}")
            noise.add(refused(folder / "target", random[seed], layouts), what)
    plain = PAIRS["the demo's pair"]
    for one, two in permutations(models, 2):
        for theirs in ("ancestor", "target", "donor"):
            right = refused(models[one] / "target", models[two] / theirs, plain, whole=False)
            all_others.add(right, f"target of seed {one}, {theirs} of seed {two}")
    return dict(zip(names, tallies, strict=True))


def verify(models: Models, random: Models) -> dict[str, Tally]:
    tallies = {name: Tally() for name in ("nothing", *FAULTS, "another ancestor")}
    for seed, folder in models.items():
        pair = {"target": folder / "target", "donor": folder / "donor"}
        tallies["nothing"].add(not verified(pair).problems, f"seed {seed}")
        for name, plant in FAULTS.items():
            with tempfile.TemporaryDirectory() as scratch:
                found = verified(with_donor(folder, Path(scratch), plant.change))
            tallies[name].add(set(flagged(found)) == plant.tensors and not found.strangers, f"seed {seed}")
        others = {f"seed {other}": models[other] / "donor" for other in models if other != seed}
        for what, donor in (others | {"random weights": random[seed]}).items():
            found = verified(pair | {"donor": donor})
            tallies["another ancestor"].add(set(found.strangers) == {"a"}, f"seed {seed}, donor of {what}")
    return tallies


def show_layouts(rows: Mapping[str, Row]) -> None:
    heads = tuple(item.name.replace("_", " ") for item in fields(Row))
    print("  ".join([f"{'layouts':38}", *heads]))
    lines = [(name, [astuple(row)]) for name, row in rows.items()]
    for name, values in [*lines, ("all", [astuple(row) for row in rows.values()])]:
        *counts, least = zip(*values, strict=True)
        numbers = [*map(str, map(sum, counts)), f"{min(least):.1%}"]
        cells = [f"{number:>{len(head)}}" for head, number in zip(heads, numbers, strict=True)]
        print("  ".join([f"{name:38}", *cells]))


def show(title: str, verb: str, tallies: Mapping[str, Tally]) -> None:
    print(f"\n{title:38}  pairs  {verb}")
    for name, tally in tallies.items():
        print(f"{name:38}  {tally.of:5}  {tally.right:{len(verb)}}")


def failures(rows: Mapping[str, Row], *tables: Mapping[str, Tally]) -> Iterator[str]:
    for name, row in rows.items():
        if not row.holds:
            yield f"{name}: {row.least_found:.1%} found of one pair, {row.wrong_sure} wrong ones called sure"
    for table in tables:
        for name, tally in table.items():
            yield from (f"{name}: {what}" for what in tally.failed)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5, help="how many pairs; seeds from 0")
    seeds = range(parser.parse_args().seeds)
    models = {seed: demo(seed) for seed in seeds}
    with tempfile.TemporaryDirectory() as scratch:
        random = {
            seed: with_donor(folder, Path(scratch) / str(seed), make_random)["donor"]
            for seed, folder in models.items()
        }
        rows = find(models)
        show_layouts(rows)
        unrelated = refuse(models, random)
        show("unrelated", "refused", unrelated)
        plants = verify(models, random)
        show("planted", "flagged so", plants)
    broken = list(failures(rows, unrelated, plants))
    print("\n" + "\n".join(f"does not hold: {line}" for line in broken) if broken else "\nall bounds hold")
    sys.exit(bool(broken))


if __name__ == "__main__":
    main()
