"""Damaged stores: no answer is ever taken for another one, and what is whole is not lost."""

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path

from fault import Fault, Lost, Wrong

from adamms.engines.answer import Answer, Token
from adamms.engines.store import AnswerStore
from adamms.errors import AdammsError

SHARE = 20
SUBJECT = {"recipe": "r", "inputs": "i", "engine": "e"}
# the bytes of a file -> damaged bytes
Damage = Callable[[bytes, random.Random], bytes]


def faults(seed: int, count: int, material: Path) -> Iterator[Fault]:
    for number in range(count):
        rng = random.Random(f"{seed} {number}")
        damage = DAMAGES[number % len(DAMAGES)]
        yield Fault(
            damage.__name__.replace("_", " "),
            lambda folder, rng=rng, damage=damage: trial(folder, rng, damage),
        )


def trial(folder: Path, rng: random.Random, damage: Damage) -> None:
    """Fill a store by one to three writers, damage one's file, read, ask again."""
    given: dict[str, Answer] = {}
    for _ in range(rng.randint(1, 3)):
        store = AnswerStore(folder, SUBJECT)
        for _ in range(rng.randint(1, 8)):
            name = f"{rng.getrandbits(128):032x}"
            given[name] = an_answer(rng)
            store.add(name, given[name])
        store.close()
    file = rng.choice(sorted(store.folder.glob("*.jsonl")))
    before = file.read_bytes()
    after = damage(before, rng)
    file.write_bytes(after)
    found = store.read()
    for name, answer in found.items():
        if answer != given.get(name):
            raise Wrong(f"{name}: {answer}, given was {given.get(name)}")
    whole = after.split(b"\n")
    for line in before.split(b"\n")[:-1]:
        name = json.loads(line)["example"]
        if line in whole[:-1] and name not in found:
            raise Lost(f"{name}: its line is whole, and is not read")
    damaged = store.damaged
    if found != given and not damaged and after.count(b"\n") >= before.count(b"\n"):
        raise Wrong("answers are gone, and no line counts as damaged")
    later = AnswerStore(folder, SUBJECT)
    for name in given.keys() - found.keys():
        later.add(name, given[name])
    later.close()
    if store.read() != given:
        raise Lost("answers that were given again are not read")
    if damaged:
        raise AdammsError(f"{damaged} lines were damaged")


def an_answer(rng: random.Random) -> Answer:
    text = "".join(rng.choice('abc \n"\\ü漢\ud800\x00') for _ in range(rng.randint(0, 30)))
    tokens = tuple(
        Token(-rng.random(), ((rng.randrange(99), -rng.random()),)) for _ in range(rng.randint(0, 3))
    )
    return Answer(text, tokens)


def a_flipped_bit(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def a_cut(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content))]


def a_block_of_zeros(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(content))
    length = rng.randint(1, 64)
    return content[:start] + bytes(len(content[start : start + length])) + content[start + length :]


def bytes_that_are_gone(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(content))
    return content[:start] + content[start + rng.randint(1, 40) :]


def bytes_twice(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(content))
    return content[:start] + content[start : start + rng.randint(1, 40)] + content[start:]


def lines_twice_and_in_another_order(content: bytes, rng: random.Random) -> bytes:
    lines = content.splitlines(keepends=True)
    lines += rng.choices(lines, k=2)
    rng.shuffle(lines)
    return b"".join(lines)


def lines_mixed(content: bytes, rng: random.Random) -> bytes:
    """The start of one line with the end of another, as two writers of one file would leave them."""
    lines = content.split(b"\n")[:-1]
    one, other = rng.choice(lines), rng.choice(lines)
    mixed = one[: rng.randrange(len(one) + 1)] + other[rng.randrange(len(other) + 1) :]
    return content + mixed + b"\n"


def garbage_between(content: bytes, rng: random.Random) -> bytes:
    lines = content.splitlines(keepends=True)
    lines.insert(rng.randrange(len(lines) + 1), rng.randbytes(rng.randint(0, 60)) + b"\n")
    return b"".join(lines)


DAMAGES: tuple[Damage, ...] = (
    a_flipped_bit,
    a_cut,
    a_block_of_zeros,
    bytes_that_are_gone,
    bytes_twice,
    lines_twice_and_in_another_order,
    lines_mixed,
    garbage_between,
)
