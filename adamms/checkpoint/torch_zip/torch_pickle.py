"""The pickle in a torch archive, read as headers: what it says of tensors and where they lie.

A machine for the few opcodes that torch.load(weights_only=True) knows. It calls nothing but the functions
of `torch_headers`, hashes nothing but names and small numbers, and takes time and memory in proportion to the
pickle. Knows no files.
"""

import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any

from adamms.checkpoint.tensor_entry import brief
from adamms.checkpoint.torch_zip.torch_headers import GLOBALS, Storage, StorageType, refuse

# What torch.save takes is 2; torch.load(weights_only=True) reads no more either.
MAX_PROTOCOL = 3
# torch writes about 45 for a tensor, and a record for each storage; many tensors may be views of one storage.
MAX_OPCODES, MAX_OPCODES_PER_RECORD = 1_000_000, 200
# An optimizer, whose state a training framework saves beside the weights, numbers its parameters.
MAX_NUMBERED = 1 << 20


def load_headers(pickled: bytes, records: Mapping[str, range]) -> object:
    """What was pickled, with headers in the tensors' places.

    Args:
        pickled: the archive's data.pkl.
        records: name -> the bytes of the file; storages are those under `data/`.

    Raises:
        pickle.UnpicklingError: it asks for more than tensors; the message says what.
        ValueError, IndexError, KeyError, TypeError: no pickle, or one that contradicts itself.
    """
    machine = _Machine(records)
    most = MAX_OPCODES + MAX_OPCODES_PER_RECORD * len(records)
    for count, (opcode, argument, _) in enumerate(pickletools.genops(pickled)):
        if opcode.name == "STOP":
            break
        if count == most:
            refuse(f"more than {most} opcodes")
        if opcode.name not in _OPCODES:
            refuse(f"the opcode {opcode.name}")
        _OPCODES[opcode.name](machine, argument)
    return machine.stack.pop()


@dataclass
class _Machine:
    """The state of an unpickling: the stack, those below its marks, and the memo."""

    records: Mapping[str, range]
    stack: list[Any] = field(default_factory=list)
    below: list[list[Any]] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)
    storages: dict[str, Storage] = field(default_factory=dict)

    def push(self, value: object) -> None:
        self.stack.append(value)

    def push_global(self, name: str) -> None:
        self.push(GLOBALS[name] if name in GLOBALS else refuse(name[:120].replace(" ", ".")))

    def check_protocol(self, version: int) -> None:
        if version > MAX_PROTOCOL:
            refuse(f"pickle_protocol={version}, and torch.save without it writes what is read")

    def mark(self) -> None:
        self.below.append(self.stack)
        self.stack = []

    def marked(self) -> list[Any]:
        items, self.stack = self.stack, self.below.pop()
        return items

    def popped(self, count: int) -> list[Any]:
        if len(self.stack) < count:
            raise IndexError("the pickle takes more than there is")
        items = self.stack[-count:]
        del self.stack[-count:]
        return items

    def put(self, index: int) -> None:
        if index > len(self.memo) + 1:  # some writers count from 1
            raise ValueError(f"the pickle numbers its parts with gaps: {index} after {len(self.memo)} parts")
        self.memo[index] = self.stack[-1]

    def extend(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise TypeError("the pickle appends to what is no list")
        self.stack[-1].extend(items)

    def set_items(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not dict:
            raise TypeError("the pickle puts items into what is no dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            # The hash of a deep tuple would overflow the stack; large numbers can be made to collide.
            if type(key) is not str and not (type(key) is int and 0 <= key < MAX_NUMBERED):
                refuse(f"a dict with the key {brief(key)}, which is no name")
            self.stack[-1][key] = value

    def load_storage(self) -> None:
        reference = self.stack.pop()
        match reference:
            case ("storage", StorageType(dtype), str(key), str(), int(count)):
                record = self.records.get(f"data/{key}")
            case _:
                raise ValueError(f"a malformed reference to a storage: {brief(reference)}")
        if record is None:
            raise ValueError(f"no record of the archive holds the storage {brief(key)}")
        storage = Storage(record.start, count * dtype.itemsize, dtype)
        if storage.nbytes != len(record) or self.storages.setdefault(key, storage) != storage:
            raise ValueError(
                f"the pickle lies about the storage {brief(key)}: {brief(count)} elements of {dtype} "
                f"in {len(record)} bytes"
            )
        self.push(storage)

    def call(self) -> None:
        function, arguments = self.popped(2)
        if not isinstance(function, FunctionType) or type(arguments) is not tuple:
            refuse(f"a call of {brief(function)}")
        self.push(function(*arguments))

    def build(self) -> None:
        """Set attributes: of an OrderedDict, such as a module's `_metadata`, they are left out."""
        state = self.stack.pop()
        if type(self.stack[-1]) is not dict or type(state) is not dict:
            refuse(f"to set the state of {brief(self.stack[-1])}")


# What each opcode does, given its argument. torch.load(weights_only=True) knows no others but NEWOBJ, sets
# and byte strings, which no state dict needs.
_OPCODES: dict[str, Callable[[_Machine, Any], None]] = {
    "PROTO": lambda machine, version: machine.check_protocol(version),
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE"), _Machine.push),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "MARK": lambda machine, _: machine.mark(),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.marked())),
    "TUPLE1": lambda machine, _: machine.push(tuple(machine.popped(1))),
    "TUPLE2": lambda machine, _: machine.push(tuple(machine.popped(2))),
    "TUPLE3": lambda machine, _: machine.push(tuple(machine.popped(3))),
    "APPEND": lambda machine, _: machine.extend(machine.popped(1)),
    "APPENDS": lambda machine, _: machine.extend(machine.marked()),
    "SETITEM": lambda machine, _: machine.set_items(machine.popped(2)),
    "SETITEMS": lambda machine, _: machine.set_items(machine.marked()),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), lambda machine, index: machine.push(machine.memo[index])),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT"), _Machine.put),
    "GLOBAL": _Machine.push_global,
    "BINPERSID": lambda machine, _: machine.load_storage(),
    "REDUCE": lambda machine, _: machine.call(),
    "BUILD": lambda machine, _: machine.build(),
}
