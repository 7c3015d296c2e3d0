"""Ways to damage a checkpoint: in its bytes, and in what its header says, with a digest that fits what was made of it.

Written from the format alone: 8 bytes of length, a header of JSON, the arrays' bytes. Nothing of charrnn is used.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

TYPES = {"F32": "<f4", "F64": "<f8", "I64": "<i8", "U8": "|u1"}
_DEEP = 100_000


class Raw(str):
    """Text that stands in JSON as it is."""

    __slots__ = ()


Pairs = list[tuple[str, Any]]
"""An object, in which a key may occur twice."""


def spelled(value: Any) -> str:
    """JSON of a value in which lists of pairs are objects (`of_pairs`), and `Raw` stands as it is."""
    if isinstance(value, Raw):
        return value
    if isinstance(value, Object):
        return "{" + ", ".join(f"{json.dumps(key)}: {spelled(each)}" for key, each in value.pairs) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(spelled, value)) + "]"
    return json.dumps(value)


@dataclass
class Object:
    """An object of JSON that can be changed in every way."""

    pairs: Pairs

    def __getitem__(self, name: str) -> Any:
        return next(value for key, value in self.pairs if key == name)

    def put(self, name: str, value: Any) -> None:
        """Gives `name` another value, where it stands, or at the end."""
        for place, (key, _) in enumerate(self.pairs):
            if key == name:
                self.pairs[place] = key, value
                return
        self.pairs.append((name, value))


def parsed(text: str) -> Any:
    """The value of JSON, objects as `Object`."""
    return json.loads(text, object_pairs_hook=Object)


@dataclass
class Checkpoint:
    """A checkpoint taken apart."""

    header: Object
    metadata: Object
    data: bytes

    @classmethod
    def of(cls, content: bytes) -> Checkpoint:
        """Takes a whole file apart."""
        end = 8 + int.from_bytes(content[:8], "little")
        header = parsed(content[8:end].decode())
        return cls(header, parsed(header["__metadata__"]["charrnn"]), content[end:])

    def arrays(self) -> list[Object]:
        """The entries of the arrays in the header."""
        return [value for key, value in self.header.pairs if key != "__metadata__"]

    def names(self) -> list[str]:
        """The arrays' names."""
        return [key for key, _ in self.header.pairs if key != "__metadata__"]

    def bytes(self, *, is_signed: bool) -> bytes:
        """The file; with a digest that fits, where one can be had of what was made of it."""
        wrapped = dict(self.header.pairs).get("__metadata__")
        text = spelled(self.metadata)
        if isinstance(wrapped, Object):
            wrapped.put("charrnn", text)
            if is_signed:
                with contextlib.suppress(Exception):
                    wrapped.put("charrnn.sha256", self._digest(text))
        header = spelled(self.header).encode("utf-8", "surrogatepass")
        return len(header).to_bytes(8, "little") + header + self.data

    def _digest(self, text: str) -> str:
        digest = hashlib.sha256(text.encode())
        for name, entry in sorted(
            (pair for pair in self.header.pairs if pair[0] != "__metadata__"), key=lambda p: p[0]
        ):
            begin, end = entry["data_offsets"]
            digest.update(f"\n{name} {TYPES[entry['dtype']]} {tuple(entry['shape'])}\n".encode())
            digest.update(self.data[begin:end])
        return digest.hexdigest()


# Bytes.


def _span(random_: random.Random, size: int) -> tuple[int, int]:
    begin = random_.randrange(size)
    return begin, min(size, begin + 1 + int(size ** random_.random()))


def _flip(random_: random.Random, content: bytearray) -> None:
    for _ in range(random_.choice((1, 1, 1, 2, 8))):
        content[random_.randrange(len(content))] ^= 1 << random_.randrange(8)


def _flip_in_header(random_: random.Random, content: bytearray) -> None:
    end = 8 + int.from_bytes(content[:8], "little")
    content[random_.randrange(min(end, len(content)))] ^= 1 << random_.randrange(8)


def _replace(random_: random.Random, content: bytearray) -> None:
    begin, end = _span(random_, len(content))
    content[begin:end] = random_.randbytes(end - begin)


def _truncate(random_: random.Random, content: bytearray) -> None:
    del content[random_.choice((random_.randrange(len(content)), len(content) - random_.randint(1, 16))) :]


def _extend(random_: random.Random, content: bytearray) -> None:
    size = random_.choice((1, 8, 511, 4096, 1 << 16))
    content += random_.choice((bytes(size), random_.randbytes(size), bytes(content[:size])))


def _zero(random_: random.Random, content: bytearray) -> None:
    begin, end = _span(random_, len(content))
    content[begin:end] = random_.choice((b"\0", b"\xff", b" ")) * (end - begin)


def _move(random_: random.Random, content: bytearray) -> None:
    begin, end = _span(random_, len(content))
    taken = content[begin:end]
    del content[begin:end]
    place = random_.randint(0, len(content))
    content[place:place] = taken


def _drop(random_: random.Random, content: bytearray) -> None:
    begin, end = _span(random_, len(content))
    del content[begin:end]


def _double(random_: random.Random, content: bytearray) -> None:
    begin, end = _span(random_, len(content))
    place = random_.randint(0, len(content))
    content[place:place] = content[begin:end]


def _swap(random_: random.Random, content: bytearray) -> None:
    size = random_.choice((1, 4, 64, 512, 4096)) % (len(content) // 2) or 1
    first = random_.randrange(len(content) // 2 - size + 1)
    second = random_.randrange(len(content) // 2, len(content) - size + 1)
    content[first : first + size], content[second : second + size] = (
        content[second : second + size],
        content[first : first + size],
    )


def _length(random_: random.Random, content: bytearray) -> None:
    length = int.from_bytes(content[:8], "little")
    wild = random_.choice(
        (0, 1, length - 1, length + 1, length + random_.randint(-64, 64), len(content), 1 << 26, 1 << 40, 2**64 - 1)
    )
    content[:8] = max(0, wild).to_bytes(8, "little")


IN_BYTES: tuple[Callable[[random.Random, bytearray], None], ...] = (
    _flip, _flip, _flip, _flip_in_header, _flip_in_header, _replace, _replace, _truncate, _truncate, _extend, _zero,
    _zero, _move, _drop, _double, _swap, _length,
)  # fmt: skip


# What the header says.


def _wild(random_: random.Random, before: Any = None) -> Any:
    """A value of another kind, size or sign than the one before."""
    if isinstance(before, (int, float)) and not isinstance(before, bool) and random_.random() < 0.5:
        return random_.choice(
            (-before, before + 1, before - 1, before * 2, before * 10**9, float(before), int(before), 0, -1, 1)
        )
    if isinstance(before, str) and random_.random() < 0.5:
        return random_.choice((before + "x", before[:-1], before.upper(), before * 1000, "\ud800" + before, "\x1b[2J"))
    if isinstance(before, list) and before and random_.random() < 0.5:
        return random_.choice((before[:-1], before[::-1], [*before, before[-1]], before * 50, before[0]))
    return random_.choice(
        (
            None, True, False, 0, 1, 2, 3, 7, -1, 255, 256, 10**6, 10**9, 2**31, 2**53, 2**63, 2**64, 10**30, 10**400,
            Raw("1" * 10_000), 0.0, -0.0, Raw("-0"), 0.5, 1.0, 1.5, 1e-320, 1e300, -1e300, Raw("1e999"), Raw("-1e999"),
            Raw("NaN"), Raw("Infinity"), Raw("-Infinity"), "", "x", "lstm", "\ud800", "\x00", "x" * 10_000, Raw(""),
            [], [[]], Object([]), [0, 1, 2], [1] * 3000, [None], Object([("a", 1)]), Object([("a", 1), ("a", 2)]),
            Raw("[" * 2000 + "]" * 2000), Raw('"\\ud800"'), Raw('"'), Raw("}"),
        )
    )  # fmt: skip


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Each place of a value that can be given another: what it is in, and its number there."""
    found: list[tuple[Any, Any]] = []
    inner = value.pairs if isinstance(value, Object) else value if isinstance(value, list) else []
    for number, each in enumerate(inner):
        found.append((value, number))
        found += _places(each[1] if isinstance(value, Object) else each)
    return found


def _change_in(random_: random.Random, whole: Any) -> None:
    """Changes one thing in a value of JSON: a value, a name; or takes it away, doubles it, or puts one beside it."""
    places = _places(whole)
    # A list of numbers has as many places as numbers, and nothing is to be learned from most of them.
    few = [place for place in places if isinstance(place[0], Object)]
    holder, number = random_.choice(few if few and random_.random() < 0.8 else places or [(whole, 0)])
    kind = random_.random()
    if isinstance(holder, Object):
        name, before = holder.pairs[number]
        if kind < 0.7:
            holder.pairs[number] = name, _wild(random_, before)
        elif kind < 0.8:
            del holder.pairs[number]
        elif kind < 0.87:
            holder.pairs.insert(number, (name, random_.choice((before, _wild(random_, before)))))
        elif kind < 0.94:
            holder.pairs[number] = str(_wild(random_, name)), before
        else:
            holder.pairs.append((random_.choice(("new", "__metadata__", "x" * 500, "\ud800")), _wild(random_)))
    elif kind < 0.7:
        holder[number] = _wild(random_, holder[number])
    elif kind < 0.85:
        del holder[number]
    else:
        holder.insert(number, _wild(random_, holder[number]))


def _metadata(random_: random.Random, file: Checkpoint) -> None:
    _change_in(random_, file.metadata)


def _entry(random_: random.Random, file: Checkpoint) -> None:
    _change_in(random_, random_.choice(file.arrays()))


def _header(random_: random.Random, file: Checkpoint) -> None:
    _change_in(random_, file.header)


def _wrapping(random_: random.Random, file: Checkpoint) -> None:
    _change_in(random_, file.header["__metadata__"])


def _shape(random_: random.Random, file: Checkpoint) -> None:
    """Another shape of the same bytes, or of none."""
    entry = random_.choice(file.arrays())
    shape = list(entry["shape"])
    kind = random_.randrange(6)
    if kind == 0:
        shape = shape[::-1]
    elif kind == 1:
        shape = [int(np.prod(shape, dtype=object))]
    elif kind == 2:
        shape.insert(random_.randint(0, len(shape)), 1)
    elif kind == 3:
        shape = [*shape, *[1] * random_.choice((30, 40, 5000))]
    elif kind == 4:
        shape.insert(0, random_.choice((0, 10**12, 2**47, -1)))
    elif shape:
        shape[random_.randrange(len(shape))] *= random_.choice((0, 2, -1))
    entry.put("shape", shape)


def _names(random_: random.Random, file: Checkpoint) -> None:
    """Two arrays change their names, or one gets another."""
    places = [number for number, (key, _) in enumerate(file.header.pairs) if key != "__metadata__"]
    one, other = random_.choice(places), random_.choice(places)
    (name, first), (also, second) = file.header.pairs[one], file.header.pairs[other]
    if random_.random() < 0.6:
        file.header.pairs[one], file.header.pairs[other] = (also, first), (name, second)
    else:
        wild = random_.choice((name.upper(), name + ".x", "model." + name, name.removeprefix("model."), "", "\ud800"))
        file.header.pairs[one] = wild, first


def _type(random_: random.Random, file: Checkpoint) -> None:
    """Another type, of the same size or not."""
    random_.choice(file.arrays()).put("dtype", random_.choice(("F32", "F64", "I64", "U8", "I32", "BF16", "f4", "")))


def _offsets(random_: random.Random, file: Checkpoint) -> None:
    """Two arrays change places, or one lies elsewhere."""
    one, other = random_.choice(file.arrays()), random_.choice(file.arrays())
    begin, end = one["data_offsets"]
    kind = random_.randrange(4)
    if kind == 0:
        one.put("data_offsets", other["data_offsets"])
        other.put("data_offsets", [begin, end])
    elif kind == 1:
        shift = random_.choice((-8, -4, -1, 1, 4, 8, 10**9, 2**63))
        one.put("data_offsets", [begin + shift, end + shift])
    elif kind == 2:
        one.put("data_offsets", [begin, end + random_.choice((-4, 4, 2**40))])
    else:
        one.put("data_offsets", [end, begin])


def _numbers(random_: random.Random, file: Checkpoint) -> None:
    """Numbers in the arrays: none, without end, enormous, tiny, of the other sign; or random bytes."""
    entry = random_.choice(file.arrays())
    begin, end = entry["data_offsets"]
    if begin == end:
        return
    array = np.frombuffer(file.data[begin:end], TYPES[entry["dtype"]]).copy()
    place = random_.randrange(len(array))
    if array.dtype.kind == "f":
        wild = random_.choice((np.nan, np.inf, -np.inf, 3e38, -3e38, 1e30, 1e-40, -0.0, 0.0))
        array[place if random_.random() < 0.7 else slice(None)] = wild
    else:
        with contextlib.suppress(OverflowError):
            array[place] = random_.choice((0, 1, 255, -1, 2**62, 10))
    file.data = file.data[:begin] + array.tobytes() + file.data[end:]


def _array(random_: random.Random, file: Checkpoint) -> None:
    """An array goes, or one more comes: empty, of an impossible side, or of a name that others have."""
    if random_.random() < 0.4:
        place = random_.choice([n for n, (key, _) in enumerate(file.header.pairs) if key != "__metadata__"])
        begin, end = file.header.pairs.pop(place)[1]["data_offsets"]
        file.data = file.data[:begin] + file.data[end:]
        for entry in file.arrays():
            if entry["data_offsets"][0] >= end:
                entry.put("data_offsets", [offset - (end - begin) for offset in entry["data_offsets"]])
        return
    size = random_.choice((0, 0, 4, 24))
    shape = [size // 4] if size else random_.choice(([0], [0, 10**12], [2**47, 0], [2**47, 2**47, 0], [10**300, 0]))
    name = random_.choice((*file.names(), "extra", "model.extra", "optimizer.x", "\ud800"))
    entry = Object(
        [("dtype", "F32"), ("shape", shape), ("data_offsets", [len(file.data), len(file.data) + size])]
    )  # fmt: skip
    file.header.pairs.insert(random_.randint(0, len(file.header.pairs)), (name, entry))
    file.data += random_.randbytes(size)


def _size(random_: random.Random, file: Checkpoint) -> None:
    """The model's size, where nothing else says so."""
    name = random_.choice(("num_layers", "hidden_size", "embedding_size"))
    file.metadata["model"].put(name, random_.choice((0, 1, 2, 3, 5, 1000, 1001, 2**20, 10**9, 2**63, -1, 2.0, True)))


def _huge(random_: random.Random, file: Checkpoint) -> None:
    """What takes much memory or long, were it believed: seldom, since it does take some."""
    kind = random_.randrange(8)
    if kind == 0:
        file.metadata["progress"].put("history", Raw("[" + ",".join(["[1,2.5,1.5]"] * 200_000) + "]"))
    elif kind == 1:
        file.metadata["progress"].put("history", Raw("[" + ",".join(["[]"] * 5_000_000) + "]"))
    elif kind == 2:
        file.metadata["vocabulary"].put("code_points", Raw("[" + ",".join(map(str, range(1_100_000))) + "]"))
    elif kind == 3:
        file.metadata["vocabulary"].put("code_points", Raw("[" + "1," * 9_000_000 + "1]"))
    elif kind == 4:
        file.metadata.put("training", Raw("[" * _DEEP + "]" * _DEEP))
    elif kind == 5:
        file.header.put("deep", Raw('{"a":' * _DEEP + "1" + "}" * _DEEP))
    elif kind == 6:
        file.metadata["corpus"].put("name", "x" * 5_000_000)
    else:
        for number in range(20_000):
            entry = Object([("dtype", "F32"), ("shape", [0]), ("data_offsets", [len(file.data)] * 2)])
            file.header.pairs.append((f"nothing.{number}", entry))


def _nothing(_random: random.Random, file: Checkpoint) -> None:
    """The same content in other words: keys in another order."""
    file.header.pairs.reverse()


IN_THE_HEADER: tuple[Callable[[random.Random, Checkpoint], None], ...] = (
    _metadata, _metadata, _metadata, _metadata, _metadata, _metadata, _entry, _header, _wrapping, _shape, _names, _type,
    _offsets, _numbers, _numbers, _array, _size, _nothing,
)  # fmt: skip


def damaged(random_: random.Random, content: bytes) -> tuple[bytes, Checkpoint | None, str]:
    """Damages a file; returns it, what was made of its parts if its digest may fit them, and how it was damaged."""
    if random_.random() < 0.45:
        raw = bytearray(content)
        said = []
        for _ in range(random_.choice((1, 1, 1, 2))):
            if len(raw) < 16:
                break
            way = random_.choice(IN_BYTES)
            way(random_, raw)
            said.append(way.__name__)
        return bytes(raw), None, " ".join(said)
    file = Checkpoint.of(content)
    way_ = _huge if random_.random() < 0.002 else random_.choice(IN_THE_HEADER)
    is_signed = random_.random() < 0.75
    with contextlib.suppress(TypeError, AttributeError):  # what is not there to be changed
        way_(random_, file)
    return file.bytes(is_signed=is_signed), file if is_signed else None, f"{way_.__name__} {is_signed}"
