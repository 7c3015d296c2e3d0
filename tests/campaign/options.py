"""Wild values of options: every command, every option that it has, alone and together."""

from __future__ import annotations

import functools
import os
import random
import re
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from charrnn.checkpoints import checkpoint as checkpoints
from tests.campaign import _wild as wild
from tests.campaign.campaign import Campaign
from tests.kit.command import Result, check_hints, commands, flags
from tests.kit.forked import Job, run_signalled
from tests.kit.nasty import is_dangerous
from tests.kit.text import make_text
from tests.kit.tiny import tiny

_MEBIBYTES, _LIMIT, _PATIENCE = 1500, 90, 4.0
"""What a command may take beyond what it begins with; seconds after which it hangs, and after which it is asked to
end, as what may well take long."""
_MOST_LINES, _MOST_CHARACTERS = 60, 5000
_TEXT_KINDS: dict[str, tuple[str, ...]] = {
    "select": wild.REGEXES, "label": wild.LABELS, "patch": (*wild.LABELS, "(e).=a"), "filter": wild.REGEXES,
    "glob": wild.REGEXES, "unit": wild.UNITS, "clamp": wild.UNITS,
    "probe": (*wild.UNITS, "word,space", "name=a", ","), "encoding": wild.ENCODINGS, "name": wild.NAMES,
    "temperature": (*wild.NUMBERS, "1,2", ",", "1,,2", "0,nan", "1," * 3000, "0.5, 1"), "prime": wild.TEXTS,
    "stop": wild.TEXTS, "separator": wild.TEXTS,
    "topic": (*wild.TEXTS, "options", "../../errors"),
}  # fmt: skip
"""What a text is taken for, by the option's name. An option that is not here gets all texts and paths."""
_PATHS = (
    "text",
    "corpus",
    "checkpoint",
    "prime_file",
    "prime_lines",
    "validation",
    "init_from",
    "distill_from",
    "statistics",
    "tune_on",
    "label_file",
    "probe_file",
)
_OUTPUTS = ("out", "html", "svg", "npz")
_EAGER = ("--help", "-h", "--help-all", "--version")
_BASE: dict[str, tuple[list[str], dict[str, str]]] = {
    "train": (["text.txt"], {"--hidden": "4", "--batch": "2", "--bptt": "8", "--steps": "1", "--threads": "1"}),
    "sample": ([], {"--length": "20"}),
    "eval": (["text.txt"], {}),
    "inspect": (["text.txt"], {"--length": "40"}),
    "help": ([], {}),
}
_BUDGETS = ("--steps", "--epochs", "--minutes")
_TEMPORARY = re.compile(r"\.tmp|\.partial|\.new")
_STYLE = re.compile(r"\x1b\[(?:[\d;]*m|\?25[lh]|[\d;]*[AKGJ])")


class _Drawn(NamedTuple):
    """A command line."""

    command: str
    words: list[str]
    given: set[str]
    """The options that were drawn."""
    wrong: set[str]
    """Those among them whose value no option of its kind takes."""
    is_dry: bool


class _Place(NamedTuple):
    """What all trials share."""

    template: Path
    """The folder that every command runs in a copy of."""


def _prepare(folder: Path) -> _Place:
    template = folder / "work"
    (template / "checkpoints/tiny").mkdir(parents=True)
    (template / "text.txt").write_text("abc def gh\n" * 200, "utf-8")
    (template / "one").write_text("a", "utf-8")
    (template / "empty").write_bytes(b"")
    (template / "binary").write_bytes(bytes(range(256)) * 9)
    (template / "folder").mkdir()
    (template / "folder/a.txt").write_text(make_text(400), "utf-8")
    (template / "labels").write_text("# labels\na=a\n\nb=(?a)(?u)x\n", "utf-8")
    (template / "loop").symlink_to("loop")
    for kind in ("best", "last"):
        checkpoints.save(template / f"checkpoints/tiny/{kind}.safetensors", tiny(kind))
    return _Place(template)


def _draw(draw: random.Random) -> _Drawn:
    command = draw.choices([*commands()], [6, 3, 3, 6, 0.3])[0]
    words, base = list(_BASE[command][0]), dict(_BASE[command][1])
    own = [each for each in commands()[command].params if each.param_type_name == "option" and each.name != "config"]
    chosen = draw.choices(own, k=draw.choice([1, 1, 1, 2, 2, 3, 4]))
    if draw.random() < 0.9:  # an option twice is refused at once
        chosen = list(dict.fromkeys(chosen))
    if command == "inspect" and draw.random() < 0.7:
        chosen += _view(draw, own, chosen)
    is_dry = command == "train" and draw.random() < 0.6
    more: list[str] = []
    given, wrong = set[str](), set[str]()
    for param in chosen:
        flag, value = draw.choice([*param.opts, *param.secondary_opts]), _value(draw, param)
        given |= {*param.opts, *param.secondary_opts}
        if value is None:
            more.append(flag)
            continue
        if _is_wrong(param, value):
            wrong |= {*param.opts, *param.secondary_opts}
        more += [f"{flag}={value}"] if flag.startswith("--") and draw.random() < 0.5 else [flag, value]
    if command == "train":
        if given & set(_BUDGETS):
            del base["--steps"]
        if draw.random() < 0.15:
            more += ["--config", draw.choice(["wild.toml", "wild.json", draw.choice(wild.PATHS)])]
            given.add("--config")
            base = {flag: value for flag, value in base.items() if draw.random() < 0.7}
        is_dry = is_dry or "--dry-run" in given
        if is_dry and "--dry-run" not in given:
            more.append("--dry-run")
    if command in ("train", "eval", "inspect", "help") and draw.random() < 0.12:
        words = draw.sample(wild.PATHS if command != "help" else wild.TEXTS, draw.choice([0, 1, 1, 2]))
    for flag, value in base.items():
        if flag not in given:
            more += [flag, value]
    return _Drawn(command, [*words, *more], given, wrong, is_dry)


def _view(draw: random.Random, own: Sequence[Any], chosen: Sequence[Any]) -> list[Any]:
    """A view of inspect, or none, that the options drawn may go with."""
    names = (
        "predictions", "gates", "horizon", "find", "card", "ablate", "patch", "select", "probe", "circuit", "follow",
        "browse", "unit",
    )  # fmt: skip
    name = draw.choice(names)
    return [each for each in own if each.name == name and each not in chosen]


def _value(draw: random.Random, param: Any) -> str | None:
    """A value for an option; None for a switch."""
    if getattr(param, "is_flag", False):
        return None
    choices = getattr(param.type, "choices", None)
    if choices is not None:
        words = [str(getattr(word, "value", word)) for word in choices]
        return draw.choice(words) if draw.random() < 0.6 else draw.choice([*wild.TEXTS, words[0].upper(), words[0][:2]])
    if param.type.name.split()[0] in ("integer", "int", "float"):
        return draw.choice(wild.NUMBERS)
    if param.name in _PATHS:
        return draw.choice(wild.PATHS)
    if param.name in _OUTPUTS:
        return draw.choice(wild.OUTPUTS)
    return draw.choice(_TEXT_KINDS.get(param.name, (*wild.TEXTS, *wild.PATHS)))


def _is_wrong(param: Any, value: str) -> bool:
    """Whether no option of this kind takes the value: words that are none of a choice, and what is no number."""
    choices = getattr(param.type, "choices", None)
    if choices is not None:
        return value.lower() not in [str(getattr(word, "value", word)).lower() for word in choices]
    kind = param.type.name.split()[0]
    try:
        if kind in ("integer", "int"):
            return int(value) < 0
        if kind == "float":
            return not abs(float(value)) < float("inf")
    except ValueError:
        return True
    return False


@functools.cache
def _names() -> list[str]:
    return sorted(flag.lstrip("-") for flag in flags()["train"])


def _tree(folder: Path) -> dict[str, bytes | None]:
    """Every path below a folder, with the content of files."""
    found: dict[str, bytes | None] = {}
    for where, folders, files in os.walk(folder):
        for name in folders:
            found[os.path.join(where, name)] = None
        for name in files:
            path = os.path.join(where, name)
            found[path] = Path(path).read_bytes() if os.path.isfile(path) else None
    return found


def _trial(place: _Place, seed: int, folder: Path) -> str | None:
    draw = random.Random(seed)
    drawn = _draw(draw)
    here = folder / "work"
    shutil.copytree(place.template, here, symlinks=True)
    (here / "wild.toml").write_text(wild.config_text(draw, _names()), "utf-8", errors="replace")
    (here / "wild.json").write_text(wild.config_json(draw, _names()), "utf-8", errors="replace")
    os.mkfifo(here / "pipe")
    before = _tree(here)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("CHARRNN")},
        "HOME": str(folder / "home"), "CHARRNN_CACHE": str(folder / "cache"), "COLUMNS": "80", "TERM": "xterm-256color",
    }  # fmt: skip
    is_terminal = draw.random() < 0.4
    words = [
        "tests.campaign._limited",
        str(_MEBIBYTES),
        str(_LIMIT),
        str(int(is_terminal)),
        drawn.command,
        *drawn.words,
    ]
    given = draw.choice(["", "", "a\n", "abc def\n" * 40, "q\n", "1\n2\nu\n"])
    job = Job(words, here, environment, given=given, signal=signal.SIGTERM, after=_PATIENCE)
    (ended,) = run_signalled([job])
    said = _fault(drawn, ended.result, before, _tree(here), was_asked_to_end=ended.lasted is not None)
    if said is None:
        return None
    return f"{said} | charrnn {drawn.command} {' '.join(map(ascii, drawn.words))[:600]}"


def _fault(
    drawn: _Drawn,
    result: Result,
    before: dict[str, bytes | None],
    after: dict[str, bytes | None],
    *,
    was_asked_to_end: bool,
) -> str | None:
    """What is wrong with how a command ended; None where nothing is."""
    status, out, err = result
    last = " / ".join(err.strip().splitlines()[-2:])[:400]
    if "Traceback" in err or "Traceback" in out:
        return f"a traceback: {last}"
    if status == -signal.SIGALRM:
        return f"it hangs: {last}"
    allowed = (0, 2, 3, 4, 5, 6, *((-signal.SIGTERM, 128 + signal.SIGTERM) if was_asked_to_end else ()))
    if status not in allowed:
        return f"status {status}: {last}"
    shown = _STYLE.sub("", err)
    if driving := {each for each in shown if is_dangerous(each) and each not in "\n\t\r"}:
        return f"stderr holds {driving}"
    is_eager = bool(drawn.given & set(_EAGER) or set(_EAGER) & set(drawn.words))
    # Behind -- no word is an option, but where it is itself the value of one.
    if drawn.wrong and not is_eager and "--" not in drawn.words and status != -signal.SIGTERM:
        if status != 2:
            return f"status {status} for a wrong {sorted(drawn.wrong)[0]}: {last}"
        # A command without its text says that first.
        if not any(flag in err for flag in drawn.given) and " needs " not in err:
            return f"the message names none of the options: {last}"
    if status in (2, 3, 4):
        if (lacking := _message_fault(drawn.command, result, shown)) is not None:
            return lacking
    elif status == 0 and re.search(r"[A-Z]\w+Warning|^error: ", shown, re.MULTILINE):
        return f"a warning: {last}"
    if status in (2, 3, 4) or drawn.is_dry or is_eager:
        changed = [path for path in {**before, **after} if before.get(path, "") != after.get(path, "")]
        # A run that is there is locked before it is read.
        changed = [path for path in changed if not path.endswith("/tiny/.lock")]
        if changed:
            return f"status {status}, and changed {[os.path.basename(path) for path in changed]}: {last}"
    if lost := [path for path in before if path not in after]:
        return f"{lost[0]} is gone"
    # A run may be called so.
    named = [os.path.basename(path) for path in after if path not in before]
    if left := [name for name in named if _TEMPORARY.search(name) and name not in " ".join(drawn.words)]:
        return f"left {left}"
    return None


def _message_fault(command: str, result: Result, shown: str) -> str | None:
    errors = [line for line in shown.splitlines() if line.startswith("error: ")]
    if len(errors) != 1:
        return f"{len(errors)} errors: {shown[-300:]}"
    if len(shown) > _MOST_CHARACTERS or shown.count("\n") > _MOST_LINES:
        return f"{shown.count(chr(10))} lines and {len(shown):,} characters: {shown[:200]}"
    if re.search(r"[A-Z]\w+(?:Warning|Exception|Error)\b", re.sub(r"'[^']*'", "", shown)):
        return f"it speaks of Python: {shown[-300:]}"
    try:
        check_hints(result, command)
    except AssertionError as error:
        return str(error)
    return None


CAMPAIGNS = {
    "options": Campaign(
        summary="Every command with wild values of its options: done, or refused in a sentence that names the option, "
        "with status 2, 3, 4 or 6 and nothing changed on the disk; never a traceback, a hang or more memory than it "
        "may take.",
        prepare=_prepare,
        trial=_trial,
        in_suite=25,
    ),
}
