"""`charrnn sample`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from charrnn.cli import novelty as copying
from charrnn.cli import steering
from charrnn.cli.chosen import say_chosen
from charrnn.cli.escapes import unescaped
from charrnn.cli.options import CHECKPOINT, with_options
from charrnn.cli.page import PageSettings
from charrnn.cli.reading import read_prime, read_prime_lines
from charrnn.cli.sampling import Asked, Output, Prime, read_as_expected, read_exactly, temperatures
from charrnn.errors import RecordingFailed, UsageError
from charrnn.settings.sampling import RANDOM, SamplingConfig, Selection, drawn_seed
from charrnn.wording import NOT_UTF_8, not_utf_8

if TYPE_CHECKING:
    from charrnn.checkpoints.checkpoint import Checkpoint
    from charrnn.cli.written import Written
    from charrnn.sampling.choosing import Judge
    from charrnn.sampling.sampler import SampledPiece, SampleRequest
    from charrnn.text.fitting import Reader
    from charrnn.text.vocabulary import Ids


@with_options()
def sample(
    checkpoint: Annotated[Path | None, CHECKPOINT] = None,
    *,
    begin: Prime,
    drawing: Annotated[dict[str, Any], SamplingConfig],
    choice: Selection,
    output: Output,
    steered: steering.Steering,
    paged: PageSettings,
) -> None:
    """Write text with a trained model, streamed as it is drawn. The same seed gives the same text.

    \b
    charrnn sample --prime "KING" --temperature 0.8 --length 500
    charrnn sample --prime "KING" --temperature 0.2,0.6,1
    charrnn sample -c checkpoints/names --count 50 --stop "\\n" --unique
    echo "Once upon" | charrnn sample --prime-file - --unknown replace
    charrnn sample --prime "My " --interactive
    charrnn sample --clamp L2.c318=+1                   with a unit held; inspect --find finds some
    """
    from charrnn.checkpoints import checkpoint as checkpoints
    from charrnn.checkpoints.folder import find_checkpoint
    from charrnn.cli.written import Layout, print_json, stream
    from charrnn.display.notice import say
    from charrnn.network.open_engine import open_engine
    from charrnn.sampling.known_form import in_known_form
    from charrnn.sampling.sampler import SampleRequest
    from charrnn.text.fitting import Reader

    if output.separator is not None and (broken := not_utf_8(output.separator)) is not None:
        raise UsageError(f"--separator {broken}", NOT_UTF_8)
    separator = None if output.separator is None else unescaped("--separator", output.separator)
    is_random = drawing.get("seed") == RANDOM
    if is_random:
        drawing = {**drawing, "seed": drawn_seed()}
    if begin.escapes:
        begin, drawing = read_exactly(begin, drawing)
    asked = Asked(begin, drawing, _configs(drawing), choice, output, steered, paged)
    asked.check()
    if output.novelty:
        copying.check_sampling(as_json=output.as_json, compare=steered.compare)
    path = find_checkpoint(checkpoint)
    loaded = checkpoints.load(path)
    if checkpoint is None:
        say_chosen(path, loaded)
    held = steered.clamped(loaded)
    if not begin.escapes:
        begin, drawing = read_as_expected(begin, drawing, loaded.vocabulary)
    reader = Reader.of(loaded.data, loaded.vocabulary, loaded.corpus)
    configs, notes = in_known_form(_configs(drawing), reader)
    for note in notes:
        say(f"note: {note}")
    primes = _primes(begin, loaded, reader)
    if paged.page is not None:
        paged.write(loaded, path, primes[0], configs[0], reader)
        return
    open_it = partial(open_engine, device=output.device, weights=output.weights, threads=output.threads)
    engine = open_it(held)
    seed = configs[0].seed_number
    if is_random:
        say(f"the seed is {seed}: --seed {seed} writes the same again")
    if steered.compare:
        count = output.count if output.count > 1 else steering.COUNT
        pairs = [SampleRequest(configs[0], number) for number in range(count)]
        steered.show(open_it(loaded), engine, loaded, primes[0], pairs, as_json=output.as_json)
        return
    if output.interactive:
        from charrnn.cli.interactive import run

        run(engine, loaded.vocabulary, primes[0], configs[0], unknown=begin.unknown, reader=reader)
        return
    if "seed" not in drawing and not output.as_json and sys.stderr.isatty() and not configs[0].is_certain:
        say(f"seed {seed}, which writes the same text again; --seed {seed + 1} writes another", is_dim=True)
    groups = [(prime, config) for prime in primes for config in configs]
    if output.device != "cuda":
        _say_what_is_missed(held, output.count * sum(config.length for _, config in groups))
    compare = copying.with_own_text(path, loaded) if output.novelty else None
    if choice.is_choosy:
        pieces = _chosen(engine, loaded, path, groups, choice, output.count)
    else:
        requests = [SampleRequest(config, number, prime) for prime, config in groups for number in range(output.count)]
        pieces = _drawn(engine, loaded, requests)
    if output.as_json:
        print_json(_begun(pieces), loaded.vocabulary, compare)
        return
    layout = Layout(
        is_several=output.count * len(groups) > 1,
        is_row=len(configs) > 1,
        has_prime=not output.no_prime,
        separator=separator,
        color=output.color,
    )
    stream(_begun(pieces), loaded.vocabulary, layout)


def _configs(drawing: dict[str, Any]) -> list[SamplingConfig]:
    """Returns the settings for each temperature."""
    return [SamplingConfig(**{**drawing, **one}) for one in temperatures(drawing.get("temperature"))]


def _primes(begin: Prime, loaded: Checkpoint, reader: Reader) -> list[Ids]:
    """Returns the ids of each text to go on from, in the form that the model knows, and says what was changed."""
    from charrnn.display.notice import say

    if begin.prime_lines is not None:
        return read_prime_lines(begin.prime_lines, loaded, begin.unknown)
    if begin.prime_file is not None:
        return [read_prime(begin.prime_file, loaded, begin.unknown)]
    prime, notes = reader.text(begin.prime or "", "--prime")
    for note in notes:
        say(f"note: {note}")
    return [loaded.vocabulary.encode(prime, begin.unknown)]


def _drawn(engine: Any, loaded: Checkpoint, requests: list[SampleRequest]) -> Iterator[Written]:
    """Yields the pieces of each sample with its request, one sample after the other."""
    from charrnn.sampling.sampler import write

    common = loaded.vocabulary.encode("")
    pieces = _in_order(write(engine, loaded.vocabulary, common, requests), len(requests))
    return ((requests[piece.sample], piece) for piece in pieces)


def _chosen(
    engine: Any,
    loaded: Checkpoint,
    path: Path,
    groups: list[tuple[Ids, SamplingConfig]],
    choice: Selection,
    count: int,
) -> Iterator[Written]:
    """Yields samples that are kept, `count` for each prime and temperature; says so where there are fewer."""
    from charrnn.display.notice import say
    from charrnn.sampling.choosing import Judge, choose
    from charrnn.sampling.training_text import read_training_text

    text = None
    if choice.novel:
        text, notice = read_training_text(loaded, path)
        if notice is not None:
            say(f"note: {notice}")
    judge, kept = Judge(choice, text), 0
    for prime, config in groups:
        for written in choose(engine, loaded.vocabulary, prime, config, judge, count):
            kept += 1
            yield written
    if kept < (wanted := count * len(groups)):
        say(f"note: {_told(judge, kept, wanted)}")


def _told(judge: Judge, kept: int, wanted: int) -> str:
    """Returns what to say where fewer samples were kept than were wanted."""
    why = ", ".join(f"{number:,} {reason}" for reason, number in judge.refused.most_common())
    tried = kept + judge.refused.total()
    return (
        f"{kept:,} of {wanted:,} samples were found in {tried:,} tries, of which the others were not kept ({why}); "
        "--tries allows more of them, and a higher --temperature makes samples more different"
    )


def _say_what_is_missed(loaded: Checkpoint, characters: int) -> None:
    from charrnn.cli.uncompiled import missed_in_sampling
    from charrnn.display.notice import say

    if (missed := missed_in_sampling(loaded.model, len(loaded.vocabulary), loaded.members * characters)) is not None:
        say(f"note: {missed}")


def _begun(pieces: Iterator[Written]) -> Iterator[Written]:
    """Returns the pieces with the first of them made already: until one is shown, another process can begin anew."""
    from charrnn.cli.without_graphs import without_graphs

    try:
        first = list(islice(pieces, 1))
    except RecordingFailed as failed:
        without_graphs(failed)
    return chain(first, pieces)


def _in_order(pieces: Iterator[SampledPiece], count: int) -> Iterator[SampledPiece]:
    """Yields the pieces of sample 0 as they come, then those of sample 1, and so on; what comes too soon waits."""
    waiting: list[list[SampledPiece]] = [[] for _ in range(count)]
    current = 0
    for piece in pieces:
        waiting[piece.sample].append(piece)
        while current < count and waiting[current]:
            here, waiting[current] = waiting[current], []
            yield from here
            if not here[-1].is_last:
                break
            current += 1
