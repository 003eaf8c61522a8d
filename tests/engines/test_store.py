"""The store: what makes two answers the same, damaged files, and that nothing given is ever lost."""

import errno
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from slow_engine import BrokenEngine, SlowEngine, answer_at, processes, write_answers

from adamms.data.example import Example
from adamms.engines.answer import Answer, Token
from adamms.engines.digest import example_digest
from adamms.engines.store import AnswerStore
from adamms.engines.stored_engine import StoredEngine
from adamms.errors import AdammsError

WRITERS = 5
SUBJECT = {"recipe": "r", "inputs": "i", "engine": "e"}


@dataclass
class Model:
    """As much of a checkpoint and a recipe as the store looks at."""

    folder: Path
    fingerprint: str = "weights"
    alpha: float = 0.25

    @property
    def coefficients(self) -> dict[str, float]:
        return {"a": self.alpha}


@pytest.fixture
def model(tmp_path: Path) -> Model:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    return Model(folder)


@pytest.fixture
def examples(tmp_path: Path) -> list[Example]:
    image = tmp_path / "image.png"
    image.write_bytes(b"pixels")
    return [Example(str(i), "t", f"question {i}", image if i % 2 else None) for i in range(10)]


def stored(engine: object, model: Model, store: Path, recipe: Model | None = None) -> StoredEngine:
    wrapped = StoredEngine(engine, store, model)
    if recipe is not None:
        wrapped.load(recipe)
    return wrapped


class TestStoredEngine:
    def test_the_second_run_starts_no_engine(self, model, examples, tmp_path: Path) -> None:
        first = dict(stored(SlowEngine(model.folder), model, tmp_path / "s", model).generate(examples))
        assert first == {e.id: Answer(answer_at(0.25, e.question)) for e in examples}
        again = stored(BrokenEngine(model.folder), model, tmp_path / "s", model)
        assert dict(again.generate(examples)) == first
        assert (again.found, again.generated) == (10, 0)

    def test_generates_what_is_missing_and_loads_once(self, model, examples, tmp_path: Path) -> None:
        list(stored(SlowEngine(model.folder), model, tmp_path / "s", model).generate(examples[:6]))
        engine = SlowEngine(model.folder)
        wrapped = stored(engine, model, tmp_path / "s", model)
        assert dict(wrapped.generate(examples[:6]))
        assert engine.loads == 0
        assert len(dict(wrapped.generate(examples[:8]))) == 8
        assert len(dict(wrapped.generate(examples))) == 10
        assert (engine.loads, wrapped.found, wrapped.generated) == (1, 6 + 6 + 8, 4)

    def test_ids_and_tasks_are_no_part_of_the_key_but_ids_come_back(self, model, tmp_path: Path) -> None:
        list(
            stored(SlowEngine(model.folder), model, tmp_path / "s", model).generate([Example("1", "t", "q")])
        )
        again = stored(BrokenEngine(model.folder), model, tmp_path / "s", model)
        asked = [Example("x", "other", "q"), Example("y", "t", "q")]
        assert dict(again.generate(asked)) == dict.fromkeys(("x", "y"), Answer(answer_at(0.25, "q")))

    def test_the_same_question_twice_is_generated_once(self, model, tmp_path: Path) -> None:
        wrapped = stored(SlowEngine(model.folder), model, tmp_path / "s", model)
        given = list(wrapped.generate([Example("x", "t", "q"), Example("y", "t", "q")]))
        assert given == [("x", Answer(answer_at(0.25, "q"))), ("y", Answer(answer_at(0.25, "q")))]
        assert [len(f.read_text().splitlines()) for f in (tmp_path / "s").rglob("*.jsonl")] == [1]

    @pytest.mark.parametrize(
        "change",
        ["recipe", "engine", "settings", "template", "question", "image", "no recipe"],
    )
    def test_whatever_decides_an_answer_is_in_the_key(self, model, examples, tmp_path, change: str) -> None:
        list(stored(SlowEngine(model.folder), model, tmp_path / "s", model).generate(examples))
        engine, recipe, asked = SlowEngine(model.folder), model, examples[1]
        if change == "recipe":
            recipe = replace(model, fingerprint="other weights")
        elif change == "engine":
            engine.identity = engine.identity.replace("slow 1", "slow 2")
        elif change == "settings":
            engine = SlowEngine(model.folder, max_new_tokens=5)
        elif change == "template":
            (model.folder / "chat_template.jinja").write_text("{{ messages }}!")
        elif change == "question":
            asked = replace(asked, question=asked.question + " Answer in one word.")
        elif change == "image":
            asked.image.write_bytes(b"other pixels")
        else:
            recipe = None
        wrapped = stored(engine, model, tmp_path / "s", recipe)
        assert len(dict(wrapped.generate([asked]))) == 1
        assert (wrapped.found, wrapped.generated) == (0, 1)

    def test_documents_and_the_place_of_things_are_not(self, model, examples, tmp_path: Path) -> None:
        list(stored(SlowEngine(model.folder), model, tmp_path / "s", model).generate(examples))
        moved = replace(model, folder=Path(shutil.copytree(model.folder, tmp_path / "moved")))
        (moved.folder / "NOTES.md").write_text("hello")
        shutil.copy(examples[1].image, tmp_path / "copy.png")
        asked = [replace(e, image=e.image and tmp_path / "copy.png") for e in examples]
        assert (
            len(dict(stored(BrokenEngine(moved.folder), moved, tmp_path / "s", moved).generate(asked))) == 10
        )

    def test_a_model_as_it_is_goes_by_its_weights(self, model, examples, tmp_path: Path) -> None:
        native = dict(stored(SlowEngine(model.folder), model, tmp_path / "s").generate(examples))
        assert dict(stored(BrokenEngine(model.folder), model, tmp_path / "s").generate(examples)) == native
        other = replace(model, fingerprint="other weights")
        with pytest.raises(AssertionError, match="was started"):
            list(stored(BrokenEngine(model.folder), other, tmp_path / "s").generate(examples))

    def test_without_a_store_nothing_is_kept(self, model, examples, tmp_path: Path) -> None:
        wrapped = StoredEngine(SlowEngine(model.folder), None, model)
        wrapped.load(model)
        assert len(dict(wrapped.generate(examples))) == 10
        assert len(dict(wrapped.generate(examples))) == 10
        assert (wrapped.found, wrapped.generated) == (0, 20)
        assert not list(tmp_path.rglob("*.jsonl"))

    def test_an_engine_that_dies_leaves_what_it_gave(self, model, examples, tmp_path: Path) -> None:
        class Dying(SlowEngine):
            def generate(self, examples):
                for given, item in enumerate(super().generate(examples)):
                    if given == 7:
                        raise AdammsError("out of memory")
                    yield item

        with pytest.raises(AdammsError, match="out of memory"):
            list(stored(Dying(model.folder), model, tmp_path / "s", model).generate(examples))
        wrapped = stored(SlowEngine(model.folder), model, tmp_path / "s", model)
        assert len(dict(wrapped.generate(examples))) == 10
        assert (wrapped.found, wrapped.generated) == (7, 3)

    def test_an_answer_is_on_disk_before_it_is_seen(self, model, examples, tmp_path: Path) -> None:
        answers = stored(SlowEngine(model.folder), model, tmp_path / "s", model).generate(examples)
        for count in range(1, 4):
            next(answers)
            (file,) = (tmp_path / "s").rglob("*.jsonl")
            assert len(file.read_text().splitlines()) == count
        answers.close()

    def test_damaged_lines_are_counted_and_asked_again(self, model, examples, tmp_path: Path) -> None:
        first = dict(stored(SlowEngine(model.folder), model, tmp_path / "s", model).generate(examples))
        (file,) = (tmp_path / "s").rglob("*.jsonl")
        file.write_bytes(file.read_bytes().replace(b"question 3: 0", b"question 3: 7"))
        wrapped = stored(SlowEngine(model.folder), model, tmp_path / "s", model)
        assert dict(wrapped.generate(examples)) == first
        assert dict(wrapped.generate(examples)) == first
        assert (wrapped.found, wrapped.generated, wrapped.damaged) == (9 + 10, 1, 1)

    def test_an_image_that_is_gone_is_named(self, model, tmp_path: Path) -> None:
        wrapped = stored(SlowEngine(model.folder), model, tmp_path / "s", model)
        with pytest.raises(AdammsError, match=r"gone\.png: No such file"):
            list(wrapped.generate([Example("1", "t", "q", tmp_path / "gone.png")]))


class TestFiles:
    def test_the_key_says_what_it_is_of(self, tmp_path: Path) -> None:
        store = AnswerStore(tmp_path, SUBJECT)
        store.add("e", Answer("a"))
        store.close()
        assert json.loads((store.folder / "key.json").read_text()) == {"format": "1", **SUBJECT}

    @pytest.mark.parametrize(
        "text", ["", "two\nlines", "\u2028\x00 \ud800", "ü 漢 🙂", '{"a": "b"}', "x" * 200_000]
    )
    def test_any_text_comes_back(self, tmp_path: Path, text: str) -> None:
        store = AnswerStore(tmp_path, SUBJECT)
        store.add("e", Answer(text))
        store.add("f", Answer("next"))
        assert AnswerStore(tmp_path, SUBJECT).read() == {"e": Answer(text), "f": Answer("next")}
        store.close()

    def test_the_first_writer_wins_and_a_later_one_never_changes_an_answer(self, tmp_path: Path) -> None:
        for answer in ("first", "second", "third"):
            store = AnswerStore(tmp_path, SUBJECT)
            store.add("e", Answer(answer))
            store.add("e", Answer(answer + " again"))
            store.close()
            assert store.read() == {"e": Answer("first")}

    def test_log_probabilities_come_back(self, tmp_path: Path) -> None:
        answer = Answer("a", (Token(-0.25, ((3, -0.25), (7, -1.5))), Token(-1e-5, ((0, -1e-5),))))
        store = AnswerStore(tmp_path, SUBJECT)
        store.add("e", answer)
        store.close()
        assert store.read() == {"e": answer}

    @pytest.mark.parametrize("cut", [1, 2, 20, 39])
    def test_a_torn_last_line_counts_as_not_answered(self, tmp_path: Path, cut: int) -> None:
        store = AnswerStore(tmp_path, SUBJECT)
        store.add("e", Answer("whole"))
        store.add("f", Answer("an answer that is torn"))
        store.close()
        (file,) = store.folder.glob("*.jsonl")
        file.write_bytes(file.read_bytes()[:-cut])
        assert store.read() == {"e": Answer("whole")}
        later = AnswerStore(tmp_path, SUBJECT)
        later.add("f", Answer("anew"))
        later.close()
        assert store.read() == {"e": Answer("whole"), "f": Answer("anew")}

    @pytest.mark.parametrize(
        "damage", [b"\x00" * 50, b"\xff\xfe", b"[1]", b"{}", b'{"example": "f", "answer": 1}', b"[" * 100_000]
    )
    def test_damage_in_the_middle_costs_only_its_line(self, tmp_path: Path, damage: bytes) -> None:
        store = AnswerStore(tmp_path, SUBJECT)
        store.add("e", Answer("whole"))
        (file,) = store.folder.glob("*.jsonl")
        with file.open("ab") as stream:
            stream.write(damage + b"\n")
        store.add("g", Answer("after"))
        store.close()
        assert store.read() == {"e": Answer("whole"), "g": Answer("after")}

    def test_every_flipped_bit_costs_its_line_and_never_changes_an_answer(self, tmp_path: Path) -> None:
        store = AnswerStore(tmp_path, SUBJECT)
        given = {name: Answer(f"answer {name}") for name in ("e", "f")}
        for name, answer in given.items():
            store.add(name, answer)
        store.close()
        assert (store.read(), store.damaged) == (given, 0)
        (file,) = store.folder.glob("*.jsonl")
        whole = file.read_bytes()
        for bit in range(8 * len(whole)):
            damaged = bytearray(whole)
            damaged[bit // 8] ^= 1 << bit % 8
            file.write_bytes(damaged)
            found = store.read()
            assert found.items() < given.items()
            assert store.damaged >= 1

    def test_lines_without_a_check_are_read_from_old_files_only(self, tmp_path: Path) -> None:
        store = AnswerStore(tmp_path, SUBJECT)
        store.add("e", Answer("new"))
        store.close()
        (file,) = store.folder.glob("*.jsonl")
        with file.open("ab") as stream:
            stream.write(b'{"example": "f", "answer": "unchecked"}\n')
        (store.folder / "0-old.jsonl").write_text('{"example": "g", "answer": "old"}\n{"torn')
        assert store.read() == {"e": Answer("new"), "g": Answer("old")}
        assert store.damaged == 2

    def test_a_file_of_another_models_answers_is_not_believed(self, tmp_path: Path) -> None:
        theirs = AnswerStore(tmp_path, SUBJECT | {"recipe": "another"})
        theirs.add("e", Answer("theirs"))
        theirs.close()
        ours = AnswerStore(tmp_path, SUBJECT)
        shutil.copytree(theirs.folder, ours.folder)
        assert (ours.read(), ours.damaged) == ({}, 1)

    def test_a_full_disk_is_said_and_what_was_kept_stays(self, tmp_path: Path, monkeypatch) -> None:
        store = AnswerStore(tmp_path, SUBJECT)
        store.add("e", Answer("whole"))
        real = os.write
        monkeypatch.setattr(os, "write", lambda file, line: real(file, line[:9]))
        with pytest.raises(AdammsError, match="is the disk full"):
            store.add("f", Answer("torn"))
        monkeypatch.setattr(os, "write", real)
        store.add("f", Answer("anew"))
        store.close()
        assert store.read() == {"e": Answer("whole"), "f": Answer("anew")}

    @pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EROFS])
    def test_a_torn_line_before_an_error_does_not_cost_the_next_answer(
        self, tmp_path: Path, monkeypatch, number: int
    ) -> None:
        store = AnswerStore(tmp_path, SUBJECT)
        store.add("e", Answer("whole"))
        real = os.write

        def failing(file: int, line: bytes) -> int:
            real(file, line[:9])
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "write", failing)
        with pytest.raises(AdammsError, match=rf"store: .*{os.strerror(number)}"):
            store.add("f", Answer("torn"))
        monkeypatch.setattr(os, "write", real)
        store.add("f", Answer("anew"))
        store.close()
        assert store.read() == {"e": Answer("whole"), "f": Answer("anew")}
        assert store.damaged == 1

    def test_a_store_that_cannot_be_written_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "store").write_text("a file where the folder should be")
        with pytest.raises(AdammsError, match=r"store: .*store.*Not a directory"):
            AnswerStore(tmp_path / "store", SUBJECT).add("e", Answer("a"))


def together(work: Callable[[int], tuple[Callable[..., None], tuple[object, ...]]]) -> None:
    """Run `WRITERS` processes at the same time; all must end well."""
    context = processes()
    jobs = []
    for number in range(WRITERS):
        function, arguments = work(number)
        jobs.append(context.Process(target=function, args=arguments))
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert [job.exitcode for job in jobs] == [0] * WRITERS


class TestConcurrentWriters:
    def test_writers_of_different_answers_lose_none(self, tmp_path: Path) -> None:
        names = [[f"{writer:02x}{index:06x}" for index in range(300)] for writer in range(WRITERS)]
        together(lambda n: (write_answers, (tmp_path, SUBJECT, names[n], n)))
        found = AnswerStore(tmp_path, SUBJECT).read()
        assert sorted(found) == sorted(name for some in names for name in some)
        assert all(answer.text.startswith(f"answer to {name} ") for name, answer in found.items())

    def test_writers_of_the_same_answers_leave_one_each(self, tmp_path: Path) -> None:
        names = [f"{index:06x}" for index in range(300)]
        together(lambda n: (write_answers, (tmp_path, SUBJECT, names, n)))
        store = AnswerStore(tmp_path, SUBJECT)
        assert len(list(store.folder.glob("*.jsonl"))) == WRITERS
        found = store.read()
        assert sorted(found) == names
        assert all(found[n].text == f"answer to {n} " + "x" * (int(n, 16) % 5000) for n in names)


def test_an_answer_to_an_image_that_was_read_wrongly_is_not_taken(tmp_path: Path) -> None:
    """Their digests are no longer those of version 0.3; of other images and of questions alone they are."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (2, 1)).save(tmp_path / "rotated.jpg", exif=exif)
    Image.new("RGBA", (2, 1)).save(tmp_path / "clear.png")
    Image.fromarray(np.array([[0, 9000]], np.uint16)).save(tmp_path / "deep.png")
    Image.new("RGBA", (2, 1), "red").save(tmp_path / "opaque.png")
    Image.new("RGB", (2, 1), "red").save(tmp_path / "plain.jpg")

    def before(content: bytes | None) -> str:
        digest = None if content is None else blake2b(content, digest_size=16).hexdigest()
        return blake2b(json.dumps(["q", digest]).encode(), digest_size=16).hexdigest()

    assert example_digest(Example("1", "t", "q")) == before(None)
    for name, valid in {
        "rotated.jpg": False,
        "clear.png": False,
        "deep.png": False,
        "opaque.png": True,
        "plain.jpg": True,
    }.items():
        file = tmp_path / name
        assert (example_digest(Example("1", "t", "q", file)) == before(file.read_bytes())) == valid, name


def test_labels_are_not_in_reach_of_the_keys(tmp_path: Path) -> None:
    """An example with anything else attached to it has the same digest."""
    plain = Example("1", "t", "q")
    labelled = SimpleNamespace(
        id="2", task="u", question="q", images=(), video=None, answer="right", label="right"
    )
    assert example_digest(plain) == example_digest(labelled)  # type: ignore[arg-type]
