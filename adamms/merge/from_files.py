"""Merges a tensor from the models' files straight into the output's: compiled passes read, compute and write.

That fits where the method is a `Combination` and all values lie in files row by row. It gives the bytes of
`Recipe.pieces`, and needs neither torch nor, while it runs, the interpreter.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from adamms.mapping.expression import Read
from adamms.mapping.file_runs import FileRun, open_files, runs_of
from adamms.mapping.plan import Slot
from adamms.merge import kernel
from adamms.merge.combination import Combination, CombiningMethod
from adamms.merge.method import ANCESTOR, TARGET, with_target
from adamms.merge.recipe import Recipe
from adamms.merge.sources import MAPPED_FILES
from adamms.system.output_file import OutputFile
from adamms.system.threads import Advance

# As kernel.c numbers dtypes: those without infinity and NaN are copied only.
NUMBERS = kernel.DTYPES | dict.fromkeys(("I64", "I32", "I16", "I8", "U8", "BOOL"), -1)
# Elements between two reports of progress.
ELEMENTS = 1 << 24
# What is written at once to a file in memory stays in a core's cache; a disk wants more.
IN_CACHE = 1 << 19


def write_from_files(
    recipe: Recipe, name: str, file: OutputFile, offset: int, buffer: memoryview, advance: Advance
) -> int:
    """Write a tensor of the recipe, or as much of it as is possible here.

    Args:
        file, offset: where its first byte goes.
        buffer: some whole pages of memory.
        advance: told how many bytes were written.

    Returns:
        How many elements are written, from the first on: what follows has to be written piece by piece. That
        begins where a value that is read or made is infinite or NaN, or up to `ELEMENTS` before it.

    Raises:
        AdammsError: a model's file cannot be read, or is shorter than its header says.
        OSError: the system refuses to write.
    """
    slot, entry = recipe.slots[name], recipe.entry(name)
    if kernel.LIBRARY is None or entry != recipe.target.tensors[name] or not entry.shape:
        return 0
    formula = _formula(recipe, slot) if recipe.computes(slot) else None
    operands = None if formula is None and recipe.computes(slot) else _operands(recipe, slot, formula)
    if operands is None:
        return 0
    done, half, itemsize = 0, len(buffer) // 2, entry.itemsize
    room, out = buffer[:half], buffer[half:][: IN_CACHE if file.in_memory else half]
    numbers = None if formula is None else formula.numbers()
    has_base = formula is not None and formula.vectors is not None
    with ExitStack() as opened:
        files = open_files([run for runs in operands for run in runs], opened)
        for runs in _together(operands):
            read = [_open_run(run, files) for run in runs]
            place = offset + done * itemsize
            to = kernel.ToFile(place, *file.descriptors, NUMBERS[entry.dtype], itemsize)
            base = read.pop() if has_base else None
            count = runs[0].count
            if not kernel.merge_file(count, to, read, base, numbers, room, out):
                break
            advance(count * itemsize)
            done += count
    return done


def _formula(recipe: Recipe, slot: Slot) -> Combination | None:
    """What the slot is merged by, if that can be said without its values."""
    method = recipe.method_of(slot.name)
    survey = method.survey()
    if survey is not None and survey.scope == "tensor":
        return None
    if not isinstance(method, CombiningMethod) or not method.by_formula_alone or slot.experts is not None:
        return None
    (unit,) = recipe.units(slot)
    return method.combination(with_target(recipe.shares(slot)), recipe.statistics_of(unit, MAPPED_FILES))


def _operands(recipe: Recipe, slot: Slot, formula: Combination | None) -> list[list[FileRun]] | None:
    """Where the values of each model of the formula lie, and last those of its task vectors' base."""
    wanted = [TARGET] if formula is None else list(formula.weights)
    vectors = None if formula is None else formula.vectors
    if vectors is not None:
        wanted.append(vectors.base)
    if len(wanted) > kernel.MAX_MODELS or (vectors is not None and vectors.factors):
        return None
    expressions = {TARGET: Read(slot.name), **slot.donors, ANCESTOR: slot.ancestor}
    found = []
    for operand in wanted:
        expression, checkpoint = expressions[operand], recipe.checkpoints.get(operand)
        if expression is None or checkpoint is None:
            return None
        runs = runs_of(expression, checkpoint, 0, slot.shape[0])
        known = kernel.DTYPES if formula is not None else NUMBERS
        if runs is None or any(run.entry.dtype not in known for run in runs):
            return None
        found.append(runs)
    return found


def _open_run(run: FileRun, files: Mapping[Path, int]) -> kernel.InFile:
    file = run.entry.file
    return kernel.InFile(file, files[file], run.offset, NUMBERS[run.entry.dtype], run.entry.itemsize)


def _together(operands: Sequence[list[FileRun]]) -> Iterator[list[FileRun]]:
    """One run of each operand at a time, all of one length."""
    ahead = [list(reversed(runs)) for runs in operands]
    while all(ahead):
        runs = [each.pop() for each in ahead]
        count = min(ELEMENTS, *(run.count for run in runs))
        for rest, run in zip(ahead, runs, strict=True):
            if run.count > count:
                rest.append(run.part(count, run.count - count))
        yield [run.part(0, count) for run in runs]
