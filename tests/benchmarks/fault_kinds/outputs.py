"""What a command may find in its output folder: torn, foreign and linked files.

Each fault puts something there and runs the command. It must end with the files of an undisturbed run, or
tell of the fault; and no model that went in may ever be changed.
"""

import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from fault import Fault, Wrong
from scenes import Scene, contents, scenes

from adamms.errors import AdammsError

SHARE = 4
# The place in the output folder, the models' folder, chance: something is done to what is there.
Damage = Callable[[Path, Path, random.Random], None]


def faults(seed: int, count: int, material: Path) -> Iterator[Fault]:
    known, models = scenes(material), material / "models"
    before = contents(models)
    for number in range(count):
        rng = random.Random(f"{seed} {number}")
        scene, damage, before_model = rng.choice(known), rng.choice(DAMAGES), rng.random() < 0.3
        names = [
            name for name in contents(scene.right / "out") if not (before_model and name[:6] == "model/")
        ]
        names += ["model", ".model.partial", ".model.partial/model.safetensors", ".model.partial/sub"]
        name = rng.choice(names)

        def trial(
            folder: Path,
            scene: Scene = scene,
            damage: Damage = damage,
            name: str = name,
            before_model: bool = before_model,
            rng: random.Random = rng,
        ) -> None:
            again(scene, folder, before_model)
            damage(folder / "out" / name, models, rng)
            how, why = scene.run(folder)
            if contents(models) != before:
                raise Wrong("a model that went in was changed")
            if how == "traceback":
                raise RuntimeError(why)
            if how == "told":
                raise AdammsError(why)
            found = contents(folder / "out").items()  # a model that is kept leaves a partial one alone
            if {k: v for k, v in found if k[:14] != ".model.partial"} != contents(scene.right / "out"):
                raise Wrong("the files are not those of an undisturbed run")

        words = damage.__name__.replace("_", " ")
        yield Fault(f"{scene.name}{' before the model' * before_model}: {words}: {name}", trial)


def again(scene: Scene, folder: Path, before_model: bool) -> None:
    """The output folder of an undisturbed run, as if it had run in `folder`."""
    shutil.copytree(scene.right, folder, dirs_exist_ok=True)
    for file in folder.rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes().replace(str(scene.right).encode(), str(folder).encode()))
    if before_model:
        shutil.rmtree(folder / "out/model")


def remove(place: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)
    place.parent.mkdir(parents=True, exist_ok=True)


def content_of(place: Path) -> bytes:
    return place.read_bytes() if place.is_file() else b"something"


def replaced(place: Path, content: bytes) -> None:
    remove(place)
    place.write_bytes(content)


def a_bit_flipped(place: Path, models: Path, rng: random.Random) -> None:
    content = bytearray(content_of(place))
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    replaced(place, bytes(content))


def torn(place: Path, models: Path, rng: random.Random) -> None:
    content = content_of(place)
    replaced(place, content[: rng.randrange(len(content))])


def zeros(place: Path, models: Path, rng: random.Random) -> None:
    replaced(place, bytes(len(content_of(place))))


def garbage(place: Path, models: Path, rng: random.Random) -> None:
    replaced(place, rng.choice([rng.randbytes(50), b"[]", b"null", b"{}", b"\xff", b"[" * 10_000]))


def gone(place: Path, models: Path, rng: random.Random) -> None:
    remove(place)


def a_folder(place: Path, models: Path, rng: random.Random) -> None:
    remove(place)
    (place / "sub").mkdir(parents=True)
    (place / "sub/file").write_text("mine")


def a_link_to_a_file_of_a_model(place: Path, models: Path, rng: random.Random) -> None:
    remove(place)
    place.symlink_to(rng.choice([path for path in models.rglob("*") if path.is_file()]))


def a_file_of_a_model_under_another_name(place: Path, models: Path, rng: random.Random) -> None:
    remove(place)
    os.link(rng.choice([path for path in models.rglob("*") if path.is_file()]), place)


def a_link_to_a_model(place: Path, models: Path, rng: random.Random) -> None:
    remove(place)
    place.symlink_to(rng.choice([models, models / "target", models / "donor"]))


def a_link_to_nothing(place: Path, models: Path, rng: random.Random) -> None:
    remove(place)
    place.symlink_to(rng.choice(["nowhere", place.name, str(models / "target/new")]))


def a_copy_of_a_model(place: Path, models: Path, rng: random.Random) -> None:
    """With hard links, as `cp -rl` makes it."""
    remove(place)
    shutil.copytree(models / rng.choice(["target", "donor"]), place, copy_function=os.link)


DAMAGES: tuple[Damage, ...] = (
    a_bit_flipped,
    torn,
    zeros,
    garbage,
    gone,
    a_folder,
    a_link_to_a_file_of_a_model,
    a_file_of_a_model_under_another_name,
    a_link_to_a_model,
    a_link_to_nothing,
    a_copy_of_a_model,
)
