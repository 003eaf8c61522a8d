"""Real vLLM: swapped in place it answers as a fresh engine on the written checkpoint, token by token.

Starting engines takes nearly all of the time. So one live engine per target visits all candidates, and what
it did is recorded for many tests; every other engine is a fresh one that shows several things.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path

import forked_children
import pytest
import torch
from configured import configured
from configured_engines import transformers_engine, vllm_engine
from mappers import spec_mapper
from PIL import Image
from processes import alive, wait_until
from safetensors.torch import load_file, save_file
from tiny_merges import described, published

from adamms.data.example import Example
from adamms.engines.answer import Answer
from adamms.engines.base import Engine
from adamms.engines.swaps import ProvenSwaps
from adamms.engines.transformers.live_model import before
from adamms.engines.vllm.engine import VllmEngine
from adamms.engines.vllm.messages import Reply
from adamms.errors import AdammsError
from adamms.merge.methods.linear import Linear
from adamms.merge.recipe import Recipe

SETTINGS = {"batch_size": 6, "max_new_tokens": 5, "cpu_kv_cache_gb": 1, "max_model_len": 256}
LOGPROBS = 2
MORE_ENDS = (2, 3)  # <|vision_start|>, <|vision_end|>: rarely likely

MISSING = pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed")

# (alpha, roles that the plan keeps): half of a fused layer kept is the case that leaves holes.
Case = tuple[float, tuple[str, ...]]
PLAIN: tuple[Case, ...] = ((0.6, ()), (0.0, ()), (0.3, ()), (1.0, ()))
HALF: Case = (0.5, ("attn.q", "mlp.up", "norm"))
SCORED: Case = (0.3, ())
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
        sums: checksums before any recipe was loaded, at HALF, and after the last alpha 0.
        scored: what the case SCORED says of `given_texts`, in that order and in the reverse one.
        refusals: what was asked -> (answers that came before the error, its message).
        pid: of the engine's process, which is over.
    """

    untouched: dict[str, Reply]
    visits: list[tuple[Case, dict[str, Reply]]] = field(default_factory=list)
    encoded: list[int] = field(default_factory=list)
    sums: list[dict[str, str]] = field(default_factory=list)
    scored: list[list[Answer]] = field(default_factory=list)
    refusals: dict[str, tuple[list[str], str]] = field(default_factory=dict)
    pid: int = 0

    def at(self, case: Case) -> dict[str, Reply]:
        """The answers of the first visit."""
        return next(replies for visited, replies in self.visits if visited == case)


def recipe(pair: Path, case: Case, target: str) -> Recipe:
    first = described(pair / target)
    second = described(pair / {"target": "donor", "donor": "target"}[target])
    alpha, exclude = case
    plan = spec_mapper(exclude=exclude).plan(first, {"a": second})
    return Recipe(first.checkpoint, {"a": second.checkpoint}, plan, Linear(), {"a": alpha})


def ask(engine: VllmEngine, examples: tuple[Example, ...]) -> dict[str, Reply]:
    return {reply.example: reply for reply in engine.replies(examples)}


def given_texts(examples: tuple[Example, ...]) -> list[tuple[Example, str]]:
    asked = (*examples[:5], replace(examples[5], image=None))
    return [(example, text) for text in ("two one", "largest", "") for example in asked]


def scores(engine: Engine, said: list[tuple[Example, str]]) -> list[Answer]:
    found = dict(engine.score(said))
    return [found[place] for place in range(len(said))]


def tokens(replies: dict[str, Reply]) -> dict[str, tuple[int, ...]]:
    return {example: reply.ids for example, reply in replies.items()}


def refused(engine: VllmEngine, examples: tuple[Example, ...]) -> tuple[list[str], str]:
    came: list[str] = []
    with pytest.raises(AdammsError) as raised:
        came.extend(reply.example for reply in engine.replies(examples))
    return came, str(raised.value)


@pytest.fixture(scope="module")
def pair(talkative: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`talkative` with a vision tower of two heads, not three, which two devices can share.

    Its answers have three ends, of which the tokenizer knows one.
    """
    pair = shutil.copytree(talkative, tmp_path_factory.mktemp("divisible") / "pair")
    file = pair / "target/config.json"
    config = json.loads(file.read_text())
    config["vision_config"]["num_heads"] = 2
    file.write_text(json.dumps(config))
    for file in pair.glob("*/generation_config.json"):
        file.write_text(json.dumps(json.loads(file.read_text()) | {"eos_token_id": [1, *MORE_ENDS]}))
    return pair


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> tuple[Example, ...]:
    return configured("data/digits", folder=tmp_path_factory.mktemp("digits"), per_task=2).load().examples


def record(pair: Path, target: str, examples: tuple[Example, ...], folder: Path) -> Record:
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
    with vllm_engine(pair / target, **SETTINGS, logprobs=LOGPROBS) as engine:
        done = Record(ask(engine, examples))
        done.encoded.append(engine.images_encoded)
        done.sums.append(engine.checksums())
        for case in ORDER:
            engine.load(recipe(pair, case, target))
            done.visits.append((case, ask(engine, examples)))
            if case == HALF and len(done.sums) == 1:
                done.sums.append(engine.checksums())
            if case == SCORED and not done.scored:
                said = given_texts(examples)
                done.scored = [scores(engine, said), scores(engine, said[::-1])[::-1]]
        done.encoded.append(engine.images_encoded)
        next(engine.replies(examples))  # dropped half way, which is not to disturb what follows
        for name, example in bad.items():
            done.refusals[name] = refused(engine, (good, example, examples[1]))
        text_only = tuple(Example(str(i), "t", "largest digit") for i in range(3))
        assert len(set(tokens(ask(engine, text_only)).values())) == 1
        engine.load(recipe(pair, (0.0, ()), target))
        done.visits.append(((0.0, ()), ask(engine, examples)))
        done.sums.append(engine.checksums())
        done.pid = engine.clients[0].process.pid
        assert alive(done.pid)
    return done


@pytest.fixture(scope="module")
def records(
    pair: Path, examples: tuple[Example, ...], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Record]:
    made: dict[str, Record] = {}

    def get(target: str) -> Record:
        if target not in made:
            made[target] = record(pair, target, examples, tmp_path_factory.mktemp(target))
        return made[target]

    return get


def images(examples: tuple[Example, ...]) -> int:
    """How many different images they have."""
    return len({example.image.read_bytes() for example in examples if example.image is not None})


@real
@pytest.mark.parametrize("target", ["target", "donor"])
class TestLiveEngine:
    def test_every_visit_to_a_candidate_gives_the_same_tokens(self, records, target: str) -> None:
        done = records(target)
        first = {(0.0, ()): tokens(done.untouched)}
        for case, replies in done.visits:
            assert first.setdefault(case, tokens(replies)) == tokens(replies), case
        assert len({str(own) for own in first.values()}) == len(first)  # else equal answers would say nothing

    def test_checksums_change_with_the_language_model_and_come_back(self, records, target: str) -> None:
        before, half, after = records(target).sums
        assert before == after
        changed = {name for name in before if half[name] != before[name]}
        assert changed
        assert all("language_model" in name for name in changed)
        assert not any("norm" in name for name in changed)  # HALF keeps them

    def test_each_image_is_encoded_once_for_all_candidates(self, records, target: str, examples) -> None:
        assert records(target).encoded == [images(examples)] * 2

    def test_what_is_refused_is_named_and_earlier_answers_are_kept(self, records, target, examples) -> None:
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

    def test_answers_and_log_probabilities_are_those_of_transformers(
        self, records, target: str, pair: Path, examples: tuple[Example, ...]
    ) -> None:
        """Other kernels: not every answer needs to agree, and 1e-3 is ten times what they make in float32."""
        settings = {key: SETTINGS[key] for key in ("batch_size", "max_new_tokens")}
        with transformers_engine(pair / target, **settings, logprobs=LOGPROBS, accelerator="cpu") as engine:
            plain = dict(engine.generate(examples))
            engine.load(recipe(pair, (0.3, ()), target))
            merged = dict(engine.generate(examples))
        done = records(target)
        assert sum(done.untouched[id].answer.text == one.text for id, one in plain.items()) >= 0.8 * len(
            plain
        )
        told = {
            id: reply.answer
            for id, reply in done.at((0.3, ())).items()
            if reply.answer.text == merged[id].text
        }
        assert len(told) > len(examples) / 2
        for id, answer in told.items():
            assert answer.cut is merged[id].cut
            assert answer.cut is not None
            for one, other in zip(answer.tokens, merged[id].tokens, strict=True):
                assert one.logprob == pytest.approx(other.logprob, abs=1e-3)
                assert [value for _, value in one.likeliest] == pytest.approx(
                    [value for _, value in other.likeliest], abs=1e-3
                )

    def test_scores_of_given_texts_are_those_of_transformers(
        self, records, target: str, pair: Path, examples: tuple[Example, ...]
    ) -> None:
        """1e-3 as above. The images were encoded before, see `test_each_image_is_encoded_once_...`."""
        settings = {key: SETTINGS[key] for key in ("batch_size", "max_new_tokens")}
        with transformers_engine(pair / target, **settings, logprobs=LOGPROBS, accelerator="cpu") as engine:
            engine.load(recipe(pair, SCORED, target))
            plain = scores(engine, given_texts(examples))
        for found in records(target).scored:
            assert [answer.text for answer in found] == [answer.text for answer in plain]
            for answer, other in zip(found, plain, strict=True):
                pairs = list(zip(answer.tokens, other.tokens, strict=True))
                assert len(pairs) == len(answer.text.split()) + 1
                for one, same in pairs:
                    assert one.logprob == pytest.approx(same.logprob, abs=1e-3)
                    assert [value for _, value in one.likeliest] == pytest.approx(
                        [value for _, value in same.likeliest], abs=1e-3
                    )


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
        ("target", HALF, kill, r"vLLM: its process was killed \(SIGKILL\), as the system does when mem"),
        ("donor", (0.6, ()), time_out, r"vLLM: nothing came for 0\.5 s while answering example '"),
        ("donor", HALF, leave, ""),
    ],
)
def test_a_fresh_engine_on_the_written_checkpoint_gives_the_same_tokens(
    records, pair: Path, examples, tmp_path: Path, target: str, case: Case, end, message: str
) -> None:
    """However it ends, its process is gone. At alpha 0 the live engine was fresh before its first swap."""
    written = published(recipe(pair, case, target), tmp_path / "written")
    kept: list[str] = []
    with ExitStack() as stack:
        if message:
            stack.enter_context(pytest.raises(AdammsError, match=message))
        with vllm_engine(written, **SETTINGS) as engine:
            assert tokens(ask(engine, examples)) == tokens(records(target).at(case))
            pid = engine.clients[0].process.pid
            kept.extend(end(engine, examples))
    assert not alive(pid)
    assert len(kept) <= SETTINGS["batch_size"]
    assert bool(kept) == (end in (raise_error, kill))
    with pytest.raises(AdammsError, match="engine has ended"):
        next(engine.generate(examples))


@real
@pytest.mark.parametrize("parallel", ["tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size"])
def test_two_devices_give_the_tokens_of_one(
    records, pair: Path, examples: tuple[Example, ...], parallel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One model over two, cut along its tensors or its layers, or a model on each.

    The workers of the first are new processes, as vLLM starts them; those of the second are forks. The last
    ends answers before a text, as asked.
    """
    if parallel == "pipeline_parallel_size":
        monkeypatch.setenv(forked_children.WORKERS, "1")
    words = [
        w for _, own in records("target").visits for r in own.values() for w in r.answer.text.split()[1:]
    ]
    stop = [max(sorted(set(words)), key=words.count)] if parallel == "data_parallel_size" else []
    cut = 0
    with vllm_engine(pair / "target", **SETTINGS, stop=stop, **{parallel: 2}) as engine:
        at_start, read = engine.checksums(), []
        for case in ((0.6, ()), HALF, (0.0, ())):
            engine.load(recipe(pair, case, "target"))
            replies, whole = ask(engine, examples), records("target").at(case)
            assert set(replies) == set(whole)
            for id, reply in replies.items():
                assert reply.answer.text == before(stop, whole[id].answer.text).strip()
                assert reply.ids == whole[id].ids[: len(reply.ids)]
                cut += len(reply.ids) < len(whole[id].ids)
            read.append(sum(engine.bytes_read.values()))
        assert engine.images_encoded == images(examples)
        assert engine.checksums() == at_start
        # The target alone is read at alpha 0, and by workers that share a model only what they keep.
        assert (read[-1] < 0.45 * read[0]) == (parallel != "data_parallel_size")
        copies_and_ranks = {name.split()[0] for name in at_start}
        assert copies_and_ranks == ({"0.0", "1.0"} if parallel == "data_parallel_size" else {"0.0", "0.1"})
        pids = [client.process.pid for client in engine.clients]
    assert not any(alive(pid) for pid in pids)
    assert bool(cut) == bool(stop)


@real
def test_a_tied_head_that_is_stored_may_become_another(pair: Path, examples, tmp_path: Path) -> None:
    """It is loaded as one of its own, as vLLM does where it differs from the start."""
    tied = shutil.copytree(pair, tmp_path / "pair")
    config, weights = tied / "target/config.json", tied / "target/model.safetensors"
    content = json.loads(config.read_text())
    content["text_config"]["tie_word_embeddings"] = content["tie_word_embeddings"] = True
    config.write_text(json.dumps(content))
    state = load_file(weights)
    save_file(
        state | {"lm_head.weight": state["model.embed_tokens.weight"].clone()}, weights, {"format": "pt"}
    )
    merged = recipe(tied, (0.6, ()), "target")
    assert {"lm_head.weight", "model.embed_tokens.weight"} <= set(merged.mapped)
    with vllm_engine(tied / "target", **SETTINGS) as engine:
        swaps = ProvenSwaps(engine)
        swaps.load(merged)
        live = tokens(ask(engine, examples))
        swaps.load(recipe(tied, (0.0, ()), "target"))
        assert tokens(ask(engine, examples)) != live
        swaps.prove()
    with vllm_engine(published(merged, tmp_path / "written"), **SETTINGS) as engine:
        assert tokens(ask(engine, examples)) == live


@real
def test_a_small_encoder_cache_encodes_again_and_answers_the_same(pair: Path, tmp_path: Path) -> None:
    """Images that together need more room than vLLM keeps at the least, which is that of 2048 tokens."""
    large = shutil.copytree(pair, tmp_path / "pair")
    file = large / "target/processor_config.json"
    processor = json.loads(file.read_text())
    processor["image_processor"]["size"]["longest_edge"] = 320 * 320
    file.write_text(json.dumps(processor))
    generator = torch.Generator().manual_seed(0)
    examples = []
    for number in range(6):  # of 400 tokens each
        pixels = torch.randint(256, (320, 320, 3), dtype=torch.uint8, generator=generator)
        Image.fromarray(pixels.numpy()).save(tmp_path / f"{number}.png")
        examples.append(Example(str(number), "t", "largest digit", tmp_path / f"{number}.png"))
    said = []
    settings = SETTINGS | {"max_model_len": 500, "encoder_cache_tokens": 1}
    with vllm_engine(large / "target", **settings) as engine:
        for alpha in (0.6, 0.0, 0.6):
            engine.load(recipe(large, (alpha, ()), "target"))
            said.append(tokens(ask(engine, tuple(examples))))
        assert engine.images_encoded > len(examples)
    assert said[0] == said[2] != said[1]


@real
def test_the_engine_ends_with_a_killed_job(pair: Path) -> None:
    """SIGKILL while vLLM starts, which is when most of its processes and threads come to be."""
    job = (
        "from configured_engines import vllm_engine\nfrom pathlib import Path\nimport sys\n"
        "from adamms.data.example import Example\n"
        f"engine = vllm_engine(Path({str(pair / 'target')!r}))\n"
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
def test_a_model_that_vllm_cannot_run_is_named_with_the_cause(pair: Path) -> None:
    with (
        vllm_engine(pair / "ancestor", **SETTINGS) as engine,
        pytest.raises(AdammsError, match=r"vLLM failed while starting on .*ancestor.*processor") as raised,
    ):
        next(engine.generate([Example("0", "t", "largest digit")]))
    assert "Traceback" not in str(raised.value)
