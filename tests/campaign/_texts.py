"""Hostile texts, the forms in which they reach a command, and what they hold, told without charrnn."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import struct
import warnings
import zipfile
import zlib
from dataclasses import dataclass
from random import Random

from tests.kit.packing import PACK

KNOWN = "\t\n\r\x1b !\"&',-./0123456789<>?ABCDEHIKLMNORST[]abcdefghijklmnopqrstuvwxyz{}éß–’\u0301\u202e\u2028\ufeff漢😀"
"""The characters of the model that texts are given to."""

_PIECES = [
    "\x1b[7777m", "\x1b]0;title\x07", "\x1bP+q\x1b\\", "\x9b7777m", "\x1b[?1049h", "\x1b[2J", "\r", "\r\n", "\n\r",
    "\n", "\x00", "\x07", "\x08" * 9, "\x7f", "\x85", "\x0b", "\x0c", "\u2028", "\u2029", "\u202eevil\u202c",
    "\u2066\u2067", "\u200e\u061c", "\ufeff", "\ufffe", "\uffff",
    "\U0010ffff", "\ufffd", "e" + "\u0301" * 40, "\u200d\u200b",
    "\t\t", "\U000e0041\U000e007f", "👩‍👩‍👧‍👦", "🏳️‍🌈", "漢字かな", "עברית", "العربية", "[bold]",
    "[/]", "[red]x[/red]", "[link=x]", "{0}%s%n",
    "<script>alert(1)</script>", "&amp;&#0;", "]]>", "--", "'\"`$(id)", "\\n\\u0000\\x", "../../etc/passwd", "{\"a\":[",
    "[" * 300, "ﬁﬂ", "İıßẞ", "\u0000", "\ue000", "\U000f0000", "x" * 500, " " * 90,
]  # fmt: skip
_BYTES = [
    b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf", b"\xff", b"\x80", b"\xc0\x80", b"\xc3", b"\xe2\x82", b"\xf0\x9f\x98",
    b"\xed\xa0\x80", b"\xed\xa0\xbd\xed\xb8\x80", b"\xf4\x90\x80\x80", b"\xf8\x88\x80\x80\x80", b"\xe0\x80\xaf", b"\0",
    b"+2AA-", b"\\ud800", b"\x1b$B", b"~{", b"\x00\xd8", b"\x1a", b"\x89PNG\r\n", b"PK\x03\x04", b"\x1f\x8b\x08",
]  # fmt: skip
ENCODINGS = [
    "latin-1", "cp1252", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig", "UTF8", "utf_7", "shift_jis",
    "big5", "euc-kr", "gb18030", "iso2022_jp", "hz", "cp037", "cp437", "koi8-r", "ascii", "unicode_escape",
    "raw_unicode_escape", "idna",
]  # fmt: skip
NO_ENCODINGS = [
    "punycode",
    "rot13",
    "base64",
    "zlib",
    "hex",
    "undefined",
    "",
    "nonsense",
    "utf-8\n",
    "\x1b[7777m",
    "../utf-8",
    "a" * 999,
]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How a command reads bytes as text."""

    encoding: str = "utf-8"
    errors: str = "strict"
    newlines: str = "keep"
    as_bytes: bool = False


def characters(random: Random, *, most: int = 1200) -> str:
    """Returns a text of up to about `most` characters, of known, hostile and random ones."""
    kind = random.randrange(8)
    if kind == 0:
        return random.choice(["", "a", "\n", "a" * random.randrange(most), random.choice(_PIECES) * 30])
    known = random.choice([KNOWN, "ab \n", KNOWN[:60]])
    text = ""
    length = random.randrange(1, most)
    while len(text) < length:
        pick = random.random()
        if pick < (0.2 if kind < 5 else 0.01):
            text += random.choice(_PIECES)
        elif pick < (0.3 if kind < 3 else 0.0):
            point = random.choice([random.randrange(0x110000), random.randrange(0x3000), random.randrange(256)])
            text += chr(point) if not 0xD800 <= point < 0xE000 else "?"
        else:
            text += "".join(random.choices(known, k=random.randrange(1, 60)))
    return text.replace("\0", "") if kind != 2 else text


def content(random: Random, reading: Reading, *, most: int = 1200) -> bytes:
    """Returns the bytes of a text in the encoding, as far as it has the characters, often with damage."""
    text = characters(random, most=most)
    try:
        raw = text.encode(reading.encoding, random.choice(["ignore", "replace", "surrogatepass"]))
    except (LookupError, ValueError):
        raw = text.encode("utf-8")
    if random.random() < 0.15:
        raw = random.choice([codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_LE]) + raw
    if random.random() < 0.3:
        place = random.choice([0, len(raw), random.randrange(len(raw) + 1)])
        raw = raw[:place] + random.choice(_BYTES) + raw[place:]
    if random.random() < 0.05:
        raw = raw[: random.randrange(len(raw) + 1)]
    return raw if random.random() > 0.03 else random.randbytes(random.randrange(600))


def text_of(raw: bytes, reading: Reading) -> str | None:
    """Returns the text that the bytes of one file hold; None where they hold none. In byte mode, a character a byte."""
    if reading.as_bytes:
        text = raw.decode("latin-1")
        return text if reading.newlines == "keep" else text.replace("\r\n", "\n").replace("\r", "\n")
    name = codecs.lookup(reading.encoding).name
    try:
        text = codecs.getincrementaldecoder(name)(reading.errors).decode(raw, final=True)
        text.encode()
    except UnicodeError:
        return None
    if name not in ("utf-8-sig", "utf-16", "utf-32"):  # which take one off themselves
        text = text.removeprefix("\ufeff")
    if reading.newlines == "lf":
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return None if "\0" in text else text


def looks_like_text(raw: bytes, reading: Reading) -> bool:
    """Returns whether a file of a folder (of less than 8 KiB) is taken for text there."""
    try:
        return "\0" not in codecs.getincrementaldecoder(reading.encoding)(reading.errors).decode(raw, final=True)
    except UnicodeError:
        return False


def is_encoding(name: str) -> bool:
    """Returns whether Python has an encoding of text of this name that can be read in pieces."""
    try:
        "".encode(name)
        codecs.getincrementaldecoder(name)
        return codecs.lookup(name).name != "punycode"  # whose pieces are decoded each by itself
    except (LookupError, ValueError):
        return False


def packed(random: Random, raw: bytes, suffix: str) -> bytes:
    """Returns the bytes packed, sometimes damaged, in several parts, with other members, or packed twice."""
    if suffix == ".zip":
        made = _zipped(random, raw)
    elif random.random() < 0.2 and suffix:  # several parts one behind the other are one file, as `cat` makes it
        place = random.randrange(len(raw) + 1)
        made = PACK[suffix](raw[:place]) + PACK[suffix](raw[place:])
    else:
        made = PACK[suffix](raw)
    if suffix and random.random() < 0.1:
        made = PACK[suffix](made)
    kind = random.randrange(12) if suffix else 12
    if kind == 0:
        made = made[: random.randrange(len(made) + 1)]
    elif kind == 1:
        changed = bytearray(made)
        for _ in range(random.randrange(1, 4)):
            changed[random.randrange(len(changed))] = random.randrange(256)
        made = bytes(changed)
    elif kind == 2:
        made += random.choice([b"\0", b"\0" * 700, b"more", made[: len(made) // 2]])
    return made


def _zipped(random: Random, raw: bytes) -> bytes:
    buffer = io.BytesIO()
    names = [
        random.choice(["a.txt", "../../a.txt", "/etc/a.txt", "\x1b[7777m", "ü", "a" * 3000, "C:\\a.txt", "x\0y", " "])
    ]
    names += random.choice([[], [], [], ["b.txt"], ["__MACOSX/._a"], ["folder/"], names])
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w") as file:
        warnings.simplefilter("ignore")  # it says that a name stands in it twice
        for name in names:
            file.writestr(zipfile.ZipInfo(name), b"" if name.endswith("/") else raw, random.choice([0, 8, 12, 14]))
    return buffer.getvalue()


def unpacked(raw: bytes, suffix: str) -> bytes | None:
    """Returns what a file of this ending holds; None where it is damaged, or holds not one file."""
    try:
        if suffix == ".zip":
            with zipfile.ZipFile(io.BytesIO(raw)) as archive:
                names = [
                    name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX/")
                ]
                return archive.open(names[0]).read() if len(names) == 1 else None
        return {"": bytes, ".gz": gzip.decompress, ".bz2": bz2.decompress, ".xz": lzma.decompress}[suffix](raw)
    except (OSError, EOFError, ValueError, RuntimeError, NotImplementedError, zlib.error, lzma.LZMAError, struct.error):
        return None
    except zipfile.BadZipFile:
        return None
