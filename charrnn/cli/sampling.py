"""What `charrnn sample` is asked for beside the settings of drawing, and what does not go together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from charrnn.cli import steering
from charrnn.cli.escapes import as_expected, unescaped
from charrnn.cli.options import refuse_beside
from charrnn.cli.page import PageSettings
from charrnn.errors import UsageError
from charrnn.settings.checks import FLAG, SIZE, TEXT, one_of, whole
from charrnn.settings.choices import DeviceName, UnknownPolicy, WeightsName
from charrnn.settings.fields import Record, setting, settings_of
from charrnn.settings.sampling import SamplingConfig, Selection

if TYPE_CHECKING:
    from charrnn.text.vocabulary import Vocabulary

_text = partial(setting, panel="Text")
_output = partial(setting, panel="Output")
_run = partial(setting, panel="Run")


@dataclass(frozen=True, kw_only=True, slots=True)
class Prime(Record):
    """What the model goes on from."""

    prime: str | None = _text(None, TEXT, "--prime", "-p", level="everyday", shown="none: a new line")
    """Text to go on from, which the model reads first, as the beginning of a line."""
    prime_file: str | None = _text(None, TEXT, "--prime-file", level="everyday", metavar="FILE")
    """File with the text to go on from, - for standard input."""
    prime_lines: str | None = _text(None, TEXT, "--prime-lines", metavar="FILE")
    """File with a text to go on from in each line, - for standard input; each is gone on from by itself."""
    escapes: bool = _text(False, FLAG, "--escapes", "-e")
    r"""Read every escape (\n, \t, \\, \uXXXX) in --prime, --stop and --logit-bias exactly, where without this option
    \n and \t are a line end and a tab unless the model's text has backslashes."""
    unknown: UnknownPolicy = _text("error", one_of(UnknownPolicy), "--unknown", level="everyday")
    """What to do with characters of the prime that the model does not know: error, skip, or replace by the nearest."""

    def check_together(self) -> None:
        """Raises UsageError where there are several places to take the text from."""
        names = {"--prime": self.prime, "--prime-file": self.prime_file, "--prime-lines": self.prime_lines}
        given = [name for name, value in names.items() if value is not None]
        if len(given) > 1:
            all_ = "both" if len(given) == 2 else "all"
            raise UsageError(f"{' and '.join(given)} are {all_} given", "give one of them")


@dataclass(frozen=True, kw_only=True, slots=True)
class Output(Record):
    """How samples are written."""

    count: int = _text(1, SIZE, "--count", level="everyday", shown=f"1, with --compare {steering.COUNT}")
    """Samples to write of each prime and temperature; with --num-beams, the best texts."""
    interactive: bool = _output(False, FLAG, "--interactive", "-i", level="everyday")
    """Write together with the model, which proposes characters and words, while you choose, type and undo."""
    color: bool = _output(False, FLAG, "--color")
    """Colour each character by how little the model expected it (on a terminal)."""
    as_json: bool = _output(False, FLAG, "--json", level="everyday")
    """Print a line for each sample, a JSON object with the log-probability of every character."""
    novelty: bool = _output(False, FLAG, "--novelty")
    """With --json, add how much of each sample stands word for word in the text that the run was trained on."""
    no_prime: bool = _output(False, FLAG, "--no-prime")
    """Leave the text that the model went on from out of the output."""
    separator: str | None = _output(None, TEXT, "--separator", shown="a line end; on a terminal a rule")
    r"""Text between samples, in which \n, \t and other escapes stand for what they mean."""
    weights: WeightsName = _run("float32", one_of(WeightsName), "--weights")
    """Recurrent weights: float32; float16, which takes half the room and costs nothing that shows; or int8, a quarter,
    at a cost of about a thousandth of a bit. Both are faster where the model is wide."""
    threads: int | None = _run(None, whole(1, 64), "--threads", shown="by the model's size")
    """CPU threads, on which the text does not depend."""
    device: DeviceName = _run("cpu", one_of(DeviceName), "--device", level="everyday")
    """Where to compute: the CPU, which auto takes too and which starts at once, or cuda, for many samples."""


@dataclass(frozen=True, slots=True)
class Asked:
    """All that a command asks for."""

    begin: Prime
    drawing: dict[str, Any]
    """The settings of drawing that were given, by name."""
    configs: Sequence[SamplingConfig]
    """One for each temperature."""
    choice: Selection
    output: Output
    steered: steering.Steering
    paged: PageSettings

    def check(self) -> None:
        """Raises UsageError where options do not go together."""
        endless = self.configs[0].repeat_until_stop and not self.configs[0].has_stop
        several = self.output.count > 1 or len(self.configs) > 1 or self.begin.prime_lines is not None
        if endless and (self.output.as_json or several or self.choice.is_choosy):
            raise UsageError(
                "--repeat-until-stop without --stop writes one sample, as text, until Ctrl-C",
                "say where to stop with --stop",
            )
        if self.output.interactive:
            self._check_session()
        self.paged.check_beside(self._beside_a_page(), self.drawing)
        self._check_choice()
        self._check_beams()
        texts_only = {
            "--interactive": self.output.interactive,
            "--color": self.output.color,
            "a second temperature": len(self.configs) > 1,
            "--repeat-until-stop without --stop": endless,
            "--prime-lines": self.begin.prime_lines is not None,
            "--num-beams": self.configs[0].num_beams is not None,
            **self._choices(),
            **self._layout(),
        }
        self.steered.check_beside(texts_only, self.configs[0])

    def _choices(self) -> dict[str, bool]:
        choice = self.choice
        return {"--unique": choice.unique, "--novel": choice.novel, "--filter": choice.filter is not None}

    def _layout(self) -> dict[str, bool]:
        return {"--no-prime": self.output.no_prime, "--separator": self.output.separator is not None}

    def _beside_a_page(self) -> dict[str, bool]:
        """Returns the options that were given, but for those of drawing, that a page has no use for."""
        output = self.output
        return {
            "--interactive": output.interactive,
            "--json": output.as_json,
            "--color": output.color,
            "--count": output.count > 1,
            "a second temperature": len(self.configs) > 1,
            "--prime-lines": self.begin.prime_lines is not None,
            "--novelty": output.novelty,
            "--clamp": bool(self.steered.clamp),
            "--compare": self.steered.compare,
            "--weights": output.weights != "float32",
            "--threads": output.threads is not None,
            "--device": output.device != "cpu",
            "--tries": self.choice.tries != Selection().tries,
            **self._choices(),
            **self._layout(),
        }

    def _check_session(self) -> None:
        given = {
            "--json": self.output.as_json,
            "--color": self.output.color,
            "--count": self.output.count > 1,
            "further temperatures": len(self.configs) > 1,
            "--prime-lines": self.begin.prime_lines is not None,
            **{settings_of(SamplingConfig)[name].flag: name in self.drawing for name in _NOT_IN_A_SESSION},
            **self._choices(),
            **self._layout(),
        }
        if senseless := [option for option, is_given in given.items() if is_given]:
            raise UsageError(
                "--interactive writes one text and ends when you say so", f"leave {', '.join(senseless)} out"
            )
        if self.begin.prime_file == "-":
            raise UsageError("--interactive reads your choices from standard input", "give the prime in a file")

    def _check_choice(self) -> None:
        if not self.choice.is_choosy:
            if self.choice.tries != Selection().tries:
                raise UsageError("--tries is about samples that are not kept", "add --unique, --novel or --filter")
            return
        if certain := [config for config in self.configs if config.is_certain]:
            is_search = certain[0].num_beams is not None
            why = (
                "--num-beams writes the likeliest texts"
                if is_search
                else "a temperature of 0, or --top-k 1, writes one text"
            )
            raise UsageError(
                f"{why}, so that there is nothing to choose from",
                f"leave {' '.join(self._given())} out",
            )

    def _given(self) -> list[str]:
        return [name for name, is_given in self._choices().items() if is_given]

    def _check_beams(self) -> None:
        beams = self.configs[0].num_beams
        if beams is None:
            return
        refuse_beside(
            "--num-beams searches for the likeliest text and draws nothing",
            {"--temperature": "temperature" in self.drawing, "--seed": "seed" in self.drawing},
        )
        if self.output.count > beams:
            raise UsageError(
                f"--count is {self.output.count}, and --num-beams {beams} finds at most {beams} texts",
                "give a larger --num-beams or a smaller --count",
            )


_NOT_IN_A_SESSION = (
    "length", "stop", "stop_at", "repeat_until_stop", "repetition_penalty", "logit_bias", "num_beams",
)  # fmt: skip
"""Settings that a session, which the person ends, does not have."""


def temperatures(text: str | None) -> list[dict[str, float]]:
    """Returns what `--temperature` says of each sample to write: one temperature or several, or nothing."""
    if text is None:
        return [{}]
    try:
        return [{"temperature": float(word)} for word in text.split(",")]
    except ValueError:
        raise UsageError(
            f"--temperature is {text!r}", "give a number of at least 0, or several with commas between them"
        ) from None


def read_exactly(begin: Prime, drawing: dict[str, Any]) -> tuple[Prime, dict[str, Any]]:
    """Returns what was given with every escape in its texts read."""
    prime = None if begin.prime is None else unescaped("--prime", begin.prime)
    texts = {"stop": "--stop", "logit_bias": "--logit-bias"}
    read = {name: [unescaped(flag, one) for one in drawing[name]] for name, flag in texts.items() if name in drawing}
    return replace(begin, prime=prime), {**drawing, **read}


def read_as_expected(begin: Prime, drawing: dict[str, Any], vocabulary: Vocabulary) -> tuple[Prime, dict[str, Any]]:
    r"""Returns what was given with \n and \t in its texts read as people expect, and says where that is in doubt."""
    has_backslashes, notices = "\\" in vocabulary, dict[str, None]()

    def read(flag: str, text: str) -> str:
        text, notice = as_expected(flag, text, has_backslashes=has_backslashes)
        if notice is not None:
            notices[notice] = None
        return text

    prime = None if begin.prime is None else read("--prime", begin.prime)
    texts = {"stop": "--stop", "logit_bias": "--logit-bias"}
    found = {name: [read(flag, one) for one in drawing[name]] for name, flag in texts.items() if name in drawing}
    if notices:
        from charrnn.display.notice import say

        for notice in notices:
            say(f"note: {notice}")
    return replace(begin, prime=prime), {**drawing, **found}
