"""Real vLLM: swapped in place it answers as a fresh engine on the written checkpoint, token by token.

An engine takes some 20 s to start, so each target has one live engine, whose visits to all candidates
are recorded first, and one fresh engine per written checkpoint, each ended in another way.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from configured import configured
from configured_engines import transformers_engine, vllm_engine
from mappers import spec_mapper
from PIL import Image
from test_child import alive, wait_until
from tiny_merges import described, published

from adamms.data.example import Example
from adamms.engines.answer import texts
from adamms.engines.transformers.live_model import before
from adamms.engines.vllm.engine import VllmEngine
from adamms.engines.vllm.messages import Reply
from adamms.errors import AdammsError
from adamms.merge.methods.linear import Linear
from adamms.merge.recipe import Recipe

SETTINGS = {"batch_size": 6, "max_new_tokens": 5, "cpu_kv_cache_gb": 1, "max_model_len": 256}

PLAIN_SETTINGS = {"batch_size": 6, "max_new_tokens": SETTINGS["max_new_tokens"], "accelerator": "cpu"}

MISSING = pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed")

# (alpha, roles that the plan keeps): half of a fused layer kept is the case that leaves holes.
Case = tuple[float, tuple[str, ...]]
PLAIN: tuple[Case, ...] = ((0.6, ()), (0.0, ()), (0.3, ()), (1.0, ()))
HALF: Case = (0.5, ("attn.q", "mlp.up", "norm"))
ORDER = (*PLAIN, HALF, (0.3, ()), (0.0, ()), HALF, (0.6, ()), (1.0, ()))


def real(test: Callable[..., object]) -> Callable[..., object]:
    """Mark a test, or a class of them, that runs the real vLLM."""
    return pytest.mark.vllm(MISSING(test))


@dataclass
class Record:
    """What one live engine did.

    Args:
        untouched: answers before any recipe was loaded.
        visits: (case, answers) in the order visited.
        encoded: images encoded: after the first answers, after the last.
        refusals: what was asked -> (answers that came before the error, its message).
        pid: of the engine's process, which is over.
    """

    untouched: dict[str, Reply]
    visits: list[tuple[Case, dict[str, Reply]]] = field(default_factory=list)
    encoded: list[int] = field(default_factory=list)
    refusals: dict[str, tuple[list[str], str]] = field(default_factory=dict)
    pid: int = 0


def recipe(pair: Path, case: Case, target: str) -> Recipe:
    first = described(pair / target)
    second = described(pair / {"target": "donor", "donor": "target"}[target])
    alpha, exclude = case
    plan = spec_mapper(exclude=exclude).plan(first, {"a": second})
    return Recipe(first.checkpoint, {"a": second.checkpoint}, plan, Linear(), {"a": alpha})


def ask(engine: VllmEngine, examples: tuple[Example, ...]) -> dict[str, Reply]:
    return {reply.example: reply for reply in engine.replies(examples)}


def refused(engine: VllmEngine, examples: tuple[Example, ...]) -> tuple[list[str], str]:
    came: list[str] = []
    with pytest.raises(AdammsError) as raised:
        came.extend(reply.example for reply in engine.replies(examples))
    return came, str(raised.value)


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> tuple[Example, ...]:
    return configured("data/digits", folder=tmp_path_factory.mktemp("digits"), per_task=2).load().examples


def record(talkative: Path, target: str, examples: tuple[Example, ...], folder: Path) -> Record:
    """Take one live engine through all candidates, and ask it what it cannot answer in between."""
    (folder / "text.png").write_text("not an image")
    Image.new("RGB", (4000, 4)).save(folder / "thin.png")
    good = examples[0]
    bad = {
        "no image": Example("bad", "t", "largest digit", folder / "text.png"),
        "long prompt": Example("bad", "t", "largest digit " * 300, good.image),
    }
    if target == "target":  # LLaVA-OneVision scales every image to the same size and refuses none
        bad["thin image"] = Example("bad", "t", "largest digit", folder / "thin.png")
    with vllm_engine(talkative / target, **SETTINGS) as engine:
        done = Record(ask(engine, examples))
        done.encoded.append(engine.images_encoded)
        for case in ORDER:
            engine.load(recipe(talkative, case, target))
            done.visits.append((case, ask(engine, examples)))
        done.encoded.append(engine.images_encoded)
        next(engine.replies(examples))  # dropped half way, which is not to disturb what follows
        for name, example in bad.items():
            done.refusals[name] = refused(engine, (good, example, examples[1]))
        text_only = tuple(Example(str(i), "t", "largest digit") for i in range(3))
        assert len({reply.ids for reply in ask(engine, text_only).values()}) == 1
        engine.load(recipe(talkative, (0.0, ()), target))
        done.visits.append(((0.0, ()), ask(engine, examples)))
        done.pid = engine.clients[0].process.pid
        assert alive(done.pid)
    return done


@pytest.fixture(scope="module")
def records(
    talkative: Path, examples: tuple[Example, ...], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Record]:
    made: dict[str, Record] = {}

    def get(target: str) -> Record:
        if target not in made:
            made[target] = record(talkative, target, examples, tmp_path_factory.mktemp(target))
        return made[target]

    return get


@real
@pytest.mark.parametrize("target", ["target", "donor"])
class TestLiveEngine:
    def test_every_visit_to_a_candidate_gives_the_same_tokens(self, records, target: str) -> None:
        done = records(target)
        first: dict[Case, dict[str, Reply]] = {(0.0, ()): done.untouched}
        for case, answers in done.visits:
            assert first.setdefault(case, answers) == answers, case
        texts = {tuple(reply.ids for reply in answers.values()) for answers in first.values()}
        assert len(texts) == len(first)  # else equal answers would say nothing

    def test_each_image_is_encoded_once_for_all_candidates(
        self, records, target: str, examples: tuple[Example, ...]
    ) -> None:
        images = {example.image.read_bytes() for example in examples if example.image is not None}
        assert records(target).encoded == [len(images), len(images)]

    def test_what_is_refused_is_named_and_earlier_answers_are_kept(
        self, records, target: str, examples: tuple[Example, ...]
    ) -> None:
        causes = {"no image": "cannot identify image", "long prompt": "256", "thin image": "aspect ratio"}
        refusals = records(target).refusals
        assert len(refusals) == (3 if target == "target" else 2)
        for what, (came, message) in refusals.items():
            assert came == [examples[0].id], what
            assert "vLLM: example 'bad' with the image" in message
            assert causes[what] in message

    def test_the_process_is_gone(self, records, target: str) -> None:
        pid = records(target).pid
        assert not alive(pid)
        with pytest.raises(ProcessLookupError):
            os.killpg(pid, 0)

    def test_the_transformers_engine_is_shown_the_same(
        self, records, target: str, talkative: Path, examples: tuple[Example, ...]
    ) -> None:
        """Other kernels, so not every answer needs to agree."""
        with transformers_engine(talkative / target, **PLAIN_SETTINGS) as engine:
            plain = dict(engine.generate(examples))
        vllm = records(target).untouched
        assert sum(vllm[id].answer.text == answer.text for id, answer in plain.items()) >= 0.8 * len(plain)


def leave(engine: VllmEngine, examples: tuple[Example, ...]) -> Iterator[str]:
    return iter(())


def raise_error(engine: VllmEngine, examples: tuple[Example, ...]) -> Iterator[str]:
    yield from (example for example, _ in engine.generate(examples[:1]))
    raise AdammsError("something else went wrong")


def time_out(engine: VllmEngine, examples: tuple[Example, ...]) -> Iterator[str]:
    """The process stands still, so that nothing can come however slow this one is."""
    os.kill(engine.clients[0].process.pid, signal.SIGSTOP)
    engine.clients[0].timeout = 0.5
    yield from (example for example, _ in engine.generate(examples))


def kill(engine: VllmEngine, examples: tuple[Example, ...]) -> Iterator[str]:
    for example, _ in engine.generate(examples):
        yield example
        os.kill(engine.clients[0].process.pid, signal.SIGKILL)


@real
@pytest.mark.parametrize(
    ("target", "case", "end", "message"),
    [
        ("target", (0.3, ()), raise_error, "something else went wrong"),
        ("target", (0.6, ()), time_out, r"vLLM: nothing came for 0\.5 s while answering 6 examples from"),
        ("target", (1.0, ()), kill, r"vLLM: its process was killed \(SIGKILL\), as the system does when mem"),
        ("target", HALF, leave, ""),
        ("donor", (0.3, ()), leave, ""),
        ("donor", (0.6, ()), leave, ""),
        ("donor", (1.0, ()), leave, ""),
        ("donor", HALF, leave, ""),
    ],
)
def test_a_fresh_engine_on_the_written_checkpoint_gives_the_same_tokens(
    records, talkative: Path, examples, tmp_path: Path, target: str, case: Case, end, message: str
) -> None:
    """alpha = 0 is the target itself, whose fresh engine is the live one before its first swap."""
    live = next(answers for visited, answers in records(target).visits if visited == case)
    written = published(recipe(talkative, case, target), tmp_path / "written")
    kept: list[str] = []
    with ExitStack() as stack:
        if message:
            stack.enter_context(pytest.raises(AdammsError, match=message))
        with vllm_engine(written, **SETTINGS) as engine:
            assert ask(engine, examples) == live
            pid = engine.clients[0].process.pid
            kept.extend(end(engine, examples))
    assert not alive(pid)
    assert len(kept) <= SETTINGS["batch_size"]
    assert bool(kept) == (end in (raise_error, kill))
    with pytest.raises(AdammsError, match="engine has ended"):
        next(engine.generate(examples))


@pytest.fixture(scope="module")
def divisible(talkative: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`talkative` with a vision tower of two heads, not three, which two devices can share."""
    pair = shutil.copytree(talkative, tmp_path_factory.mktemp("divisible") / "pair")
    file = pair / "target/config.json"
    config = json.loads(file.read_text())
    config["vision_config"]["num_heads"] = 2
    file.write_text(json.dumps(config))
    return pair


@real
def test_a_model_over_two_devices_and_two_models_at_once_give_the_same_tokens(
    divisible: Path, examples: tuple[Example, ...]
) -> None:
    answers = {}
    images = {example.image.read_bytes() for example in examples if example.image is not None}
    for parallel in ({}, {"tensor_parallel_size": 2}, {"data_parallel_size": 2}):
        visits = []
        with vllm_engine(divisible / "target", **SETTINGS, **parallel) as engine:
            for case in ((0.6, ()), HALF, (0.0, ())):
                engine.load(recipe(divisible, case, "target"))
                visits.append(ask(engine, examples))
            assert engine.images_encoded == len(images)
            pids = [client.process.pid for client in engine.clients]
        assert not any(alive(pid) for pid in pids)
        answers[str(parallel)] = visits
    plain = answers["{}"]
    assert len({str(visit) for visit in plain}) == 3
    assert all(visits == plain for visits in answers.values())


@real
def test_a_small_encoder_cache_encodes_again_and_answers_the_same(talkative: Path, tmp_path: Path) -> None:
    """Images that together need more room than vLLM keeps at the least, which is that of 2048 tokens."""
    pair = shutil.copytree(talkative, tmp_path / "pair")
    file = pair / "target/processor_config.json"
    processor = json.loads(file.read_text())
    processor["image_processor"]["size"]["longest_edge"] = 320 * 320
    file.write_text(json.dumps(processor))
    generator = torch.Generator().manual_seed(0)
    examples = []
    for number in range(6):  # of 400 tokens each
        pixels = torch.randint(256, (320, 320, 3), dtype=torch.uint8, generator=generator)
        Image.fromarray(pixels.numpy()).save(tmp_path / f"{number}.png")
        examples.append(Example(str(number), "t", "largest digit", tmp_path / f"{number}.png"))
    answers, encoded = {}, {}
    for tokens in (1, 131072):
        settings = SETTINGS | {"max_model_len": 500}
        with vllm_engine(pair / "target", **settings, encoder_cache_tokens=tokens) as engine:
            for alpha in (0.6, 0.0):
                engine.load(recipe(pair, (alpha, ()), "target"))
                answers[tokens, alpha] = ask(engine, tuple(examples))
            encoded[tokens] = engine.images_encoded
    assert encoded[131072] == len(examples) < encoded[1]
    for alpha in (0.6, 0.0):
        assert answers[1, alpha] == answers[131072, alpha]


@real
def test_an_answer_ends_before_a_stop_text(records, talkative: Path, examples: tuple[Example, ...]) -> None:
    whole = {id: reply.answer.text for id, reply in records("target").untouched.items()}
    words = [word for text in whole.values() for word in text.split()[1:]]
    stop = max(set(words), key=words.count)
    expected = {id: before([stop], text).strip() for id, text in whole.items()}
    assert expected != whole
    with vllm_engine(talkative / "target", **SETTINGS, stop=[stop]) as engine:
        assert texts(dict(engine.generate(examples))) == expected
    with transformers_engine(talkative / "target", **PLAIN_SETTINGS) as engine:
        plain = dict(engine.generate(examples))
    with transformers_engine(talkative / "target", **PLAIN_SETTINGS, stop=[stop]) as engine:
        assert texts(dict(engine.generate(examples))) == {
            id: before([stop], answer.text).strip() for id, answer in plain.items()
        }


@real
def test_log_probabilities_are_those_of_transformers(talkative: Path, examples: tuple[Example, ...]) -> None:
    """Of answers with the same text. float32 by other kernels: 1e-3 is ten times what it makes here."""
    with vllm_engine(talkative / "target", **SETTINGS, logprobs=5) as engine:
        engine.load(recipe(talkative, (0.4, ()), "target"))
        told = dict(engine.generate(examples))
    with transformers_engine(talkative / "target", **PLAIN_SETTINGS, logprobs=5) as engine:
        engine.load(recipe(talkative, (0.4, ()), "target"))
        plain = dict(engine.generate(examples))
    compared = [id for id in plain if told[id].text == plain[id].text]
    assert len(compared) > len(examples) / 2
    for id in compared:
        assert len(told[id].tokens) == len(plain[id].tokens)
        for one, other in zip(told[id].tokens, plain[id].tokens, strict=True):
            assert one.logprob == pytest.approx(other.logprob, abs=1e-3)
            assert [value for _, value in one.likeliest] == pytest.approx(
                [value for _, value in other.likeliest], abs=1e-3
            )


@real
def test_the_engine_ends_with_a_killed_job(talkative: Path) -> None:
    """SIGKILL while vLLM starts, which is when most of its processes and threads come to be."""
    job = (
        "from configured_engines import vllm_engine\nfrom pathlib import Path\nimport sys\n"
        "from adamms.data.example import Example\n"
        f"engine = vllm_engine(Path({str(talkative / 'target')!r}))\n"
        "print(engine.clients[0].process.pid, flush=True)\n"
        "next(engine.generate([Example('0', 't', 'largest digit')]))"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", job], stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        assert not wait_until(lambda: not alive(pid), seconds=8)
        process.kill()
        assert wait_until(lambda: not alive(pid))


@real
def test_a_model_that_vllm_cannot_run_is_named_with_the_cause(talkative: Path) -> None:
    with (
        vllm_engine(talkative / "ancestor", **SETTINGS) as engine,
        pytest.raises(AdammsError, match=r"vLLM failed while starting on .*ancestor.*processor") as raised,
    ):
        next(engine.generate([Example("0", "t", "largest digit")]))
    assert "Traceback" not in str(raised.value)
