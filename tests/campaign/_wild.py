"""Values that nobody would give an option on purpose, by what the option takes."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

LONG = "long value " * 9000

NUMBERS: tuple[str, ...] = (
    "", " ", "0", "-0", "-0.0", "-1", "1", "2", "0.5", "1.5", "nan", "-nan", "inf", "-inf", "Infinity", "1e308",
    "-1e308",
    "1e309", "1e300", "1e-400", "5e-324", "1e-45", "3e38", str(2**31), str(2**31 - 1), str(2**32), str(2**53 + 1),
    str(2**63 - 1), str(2**63), str(2**64), str(-(2**63)), "1" + "0" * 400, "1" * 5000, "0x10", "0b1", "1_000", "1__0",
    " 1", "1 ", "+1", "1\n", "01", "٣", "１２", "½", "1,5", "1.", ".5", "1e3", "1e", "e1", "True", "none", "--", "-",
    "\x1b[6n1", "\x1b]0;title\x07", "1\x07", "\udcff", "\u202e1", "1\x9b", "%d", "{}", "1000", "1048576", "1048577",
    LONG,
)  # fmt: skip
TEXTS: tuple[str, ...] = (
    "", " ", "a", "abc", "\n", "\\n", "\\", "\\u", "\\ud800", "\\x00", "\\U00110000", "-", "--", "--seed", "-1", "é",
    "日本",
    "\x1b[31m", "\x1b]0;title\x07", "\x9b6n", "\u202eabc", "\r", "\x08\x08", "\u2028", "\udcff\udcfe", "%s", "{0}",
    "[red]x[/red]", "[/i]", "$HOME", "~", "'", '"', "a\tb", "\ufeff", "\U0001f600", "e\u0301", LONG,
)  # fmt: skip
NAMES: tuple[str, ...] = (
    *TEXTS, ".", "..", "...", "/", "a/b", "a\\b", "CON", "x" * 255, "x" * 300, " lead", "trail ", "a.tmp", ".hidden",
)  # fmt: skip
ENCODINGS: tuple[str, ...] = (
    *TEXTS, "utf-8", "UTF8", "latin-1", "utf-16", "utf-32-le", "utf-7", "idna", "punycode", "rot13", "hex", "base64",
    "zlib", "undefined", "unicode_escape", "raw_unicode_escape", "mbcs", "oem", "cp037", "utf_8_sig", "x" * 300, "a/b",
    "..", "os", "cp65001", "shift_jis", "hz", "iso2022_jp",
)  # fmt: skip
REGEXES: tuple[str, ...] = (
    *TEXTS, "(?a)(?u)x", "(?L)x", "(?au)x", "(?u-i:x)", "(?-i)x", "(", ")", "[", "[]", "a{99999999999}", "a{2,1}",
    "a{4294967295}", "(a{1000}){1000}", "((a{99}){99}){99}", "*", "+a", "a**", "a++", "(?P<a>x)(?P<a>y)", "(?P<1>x)",
    "(?P=no)", "(?<=a+)b", "(?<!a|bc)d", r"\9", r"(a)\2", r"\N{no such}", r"\N{BULLET}", r"\x", r"\p{L}", r"\Z", r"\b",
    "", "^", "$", "a*", "(a+)+$", "(a|a)*z", "(.*)*(.*)*(.*)*x", "(([a-z ]+)+)+0x", "(" * 200 + "a" + ")" * 200,
    "(" * 5000, "[a-" * 9, "[z-a]", "(?i)K", "(?s).*", "(?x) a # b", "(?(1)a|b)", "(?(9)a)", "(?#", "(?#x)a",
    "a|" * 9999,
    "[" + "".join(map(chr, range(0x100, 0x2000))) + "]", "\\", "(?i:s)", "[[:alpha:]]", "a{,}", "a{-1}", "ring",
    "[0-9]",
    "(?m)^a", "\x00", "(a)|b", "(?:)", "()", "[^\\x00-\\U0010ffff]", "(?>a+)b", "a{1,2}{3,4}", "(?=a)", "(?!)",
)  # fmt: skip
LABELS: tuple[str, ...] = (
    *(f"name={regex}" for regex in REGEXES), *TEXTS, "=x", " =x", "name=", "\x1b[31m=a", "word=a", "a=b=c", "\n=a",
)  # fmt: skip
UNITS: tuple[str, ...] = (
    *TEXTS, "L1.h0", "L1.c3", "L1.h4", "L2.h0", "L0.h0", "L1.h-1", "L1.z0", "L1.i0", "l1.H0", "L1.h", "L1h0", "L1.h0=1",
    f"L{10**400}.h0", f"L1.h{2**63}", "L1.h" + "9" * 5000, "L1.h٣", "L١.h0", "L1.h0 ", "L1.h1_0", "L1.h0..L1.h2",
    "L1.h*",
    "L1.h0=nan", "L1.h0=inf", "L1.h0=1e400", "L1.h0=-", "L1.h0=", "L1.c0=1e308", "L1.h0=2", "L1.h0=٣", "L1.h0,L1.h1",
    "L1.h0=+1,L1.h1=-1", "L1.h0=" + "9" * 5000, "L1.c0=*2", "word", "space", "vowel", "L-1.h0", "L1.h0x1",
)  # fmt: skip
PATHS: tuple[str, ...] = (
    "", " ", ".", "text.txt", "text.txt/more", "missing.txt", "no/such/folder/x", "checkpoints", "checkpoints/tiny",
    "checkpoints/tiny/best.safetensors", "checkpoints/tiny/", "-", "--", "~", "~nobody/x", "/dev/null", "/dev/null/x",
    "/dev/full", "/dev/stdin", "/proc/self/status", "x" * 255, "x" * 300, "a/" * 2100, "\udcff", "a\nb", "\x1b]0;t\x07",
    "\u202ex", "\x9b6n", "empty", "folder", "one", "binary", "pipe", "loop", "labels", "wild.toml", "*", "[", "日本",
    LONG,
    "file://text.txt", "http://127.0.0.1:9/x", "text.txt\r", "./text.txt", "%s", "[red]",
)  # fmt: skip
OUTPUTS: tuple[str, ...] = tuple(path for path in PATHS if not path.startswith(("/dev/", "/proc")))
"""Files that are written. What a device does to one that is written is asked elsewhere."""


def config_text(draw: random.Random, names: Sequence[str]) -> str:
    """A file of settings, TOML, which may be wrong in any way; `names` are those of settings."""
    kind = draw.randrange(12)
    if kind == 0:
        return draw.choice(
            ["", "[", "= 1", "a = ", "\x00", "[model]\nhidden = 4", "[" * 5000, "x = " + "[" * 3000, "\ufeff"]
        )
    if kind == 1:
        return "x = " + "{a = " * 500
    if kind == 2:
        return "hidden = " + "9" * draw.choice([20, 400, 5000])
    lines = []
    for _ in range(draw.randrange(1, 4)):
        name = draw.choice([*names, "corpus", "preset", "charrnn", "config", "fresh", draw.choice(TEXTS)])
        name = draw.choice([name, name.replace("-", "_"), f'"{name}"', json.dumps(name)])
        lines.append(f"{name} = {draw.choice(_TOML)(draw)}")
    return "\n".join(lines).encode("utf-8", "replace").decode()


def config_json(draw: random.Random, names: Sequence[str]) -> str:
    """A file of settings, JSON, which may be wrong in any way; `names` are those of settings."""
    kind = draw.randrange(12)
    if kind == 0:
        return draw.choice(
            [
                "",
                "[]",
                "1",
                "null",
                "{",
                "[" * 100_000,
                '{"a":' * 100_000,
                '"x"',
                "NaN",
                '{"hidden": 1' + "0" * 5000 + "}",
            ]
        )
    chosen = {
        draw.choice([*names, "corpus", "preset", "charrnn", *TEXTS]): _json_value(draw)
        for _ in range(draw.randrange(1, 4))
    }
    return json.dumps(chosen)


def _json_value(draw: random.Random) -> Any:
    return draw.choice(
        [
            None, True, False, 0, -1, 1, 4, 2**31, 2**63, 2**64, 10**400, 0.5, -0.0, float("nan"), float("inf"),
            1e308, 5e-324,
            "", "\0", "a\0b", "\ud800", draw.choice(TEXTS), draw.choice(NUMBERS), draw.choice(PATHS), [], {},
            ["text.txt"],
            [""], ["\0"], ["\ud800"], [1], [["text.txt"]], {"a": 1}, [None], "muon", "gru", "karpathy2015",
        ]
    )  # fmt: skip


_TOML = (
    lambda draw: draw.choice(
        ["true", "false", "inf", "-inf", "nan", "0", "-1", "1e400", "1_000", "0x10", "1979-05-27"]
    ),
    lambda draw: draw.choice([number for number in NUMBERS if len(number) < 99]),
    lambda draw: json.dumps(draw.choice(TEXTS)),
    lambda draw: json.dumps(draw.choice(PATHS)),
    lambda draw: draw.choice(["[]", "{}", "[[]]", '["text.txt"]', "{a = 1}", '[""]', "[1]", '["a", 1]', "07:32:00"]),
)
