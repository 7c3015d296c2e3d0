"""How fast a page writes that holds a model: characters a second in Chromium, and what its arithmetic reaches.

python -m tests.benchmarks.page              an lstm of 576 units, and one of 2 layers with 512
python -m tests.benchmarks.page --runs RUN   a trained run instead

Weights of chance are as fast as trained ones. The page computes in one thread, so its speed is given twice: by the
clock, as a person sees it, and by the seconds of a core that its thread took, which is what a core without other work
would reach. The limit is that of the product alone, on the matrix of the model's own size: multiplications, each with
an addition, a second.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
import time
from pathlib import Path

import numpy as np

from charrnn.cells.parameters import parameter_shapes
from charrnn.checkpoints.checkpoint import load, save
from charrnn.checkpoints.folder import find_checkpoint
from charrnn.cli.page import PageSettings
from charrnn.settings.config import ModelConfig
from charrnn.settings.sampling import SamplingConfig
from charrnn.text.fitting import Reader
from charrnn.text.vocabulary import Vocabulary
from tests.kit.browser import Browser
from tests.kit.tiny import tiny

SIZES = ((1, 576, 64), (2, 512, 64))
"""Layers, units and embedding of what is measured."""
CHARACTERS = 65
WRITTEN = 1500
_ALONE = """(() => {
  const {recurrent, exact, rounded} = page.model.stack[0];
  for (let k = 0; k < %d; k++) recurrent.times(exact, rounded);
  return recurrent.rows * recurrent.inputs;
})()"""


def made(layers: int, hidden: int, embedding: int, folder: Path) -> Path:
    """A run with weights of chance."""
    model = ModelConfig(num_layers=layers, hidden_size=hidden, embedding_size=embedding)
    vocabulary = Vocabulary([10, *range(32, 31 + CHARACTERS)])
    random = np.random.default_rng(1)
    arrays = {
        name: (random.normal(size=shape) / np.sqrt(shape[-1])).astype(np.float32)
        for name, shape in parameter_shapes(model, len(vocabulary)).items()
    }
    run = folder / f"lstm-{layers}x{hidden}" / "best.safetensors"
    run.parent.mkdir()
    save(run, dataclasses.replace(tiny(), model=model, vocabulary=vocabulary, parameters=arrays))
    return run


class Measured:
    """A page in a browser."""

    def __init__(self, browser: Browser, page: Path) -> None:
        self._browser = browser
        began = time.perf_counter()
        browser.open(page, width=1280)
        self._wait("document.body.dataset.state === 'ready'")
        self.opening = time.perf_counter() - began

    def _wait(self, condition: str) -> None:
        while not self._browser.evaluate(condition):
            time.sleep(0.02)

    def _seconds(self) -> float:
        """Seconds of a core that the page's thread has taken."""
        metrics = self._browser.call("Performance.getMetrics")["metrics"]
        return float(next(one["value"] for one in metrics if one["name"] == "ThreadTime"))

    def writing(self) -> tuple[float, float]:
        """Characters a second by the clock, and a second of a core."""
        self._browser.evaluate(f"at('length').value = {WRITTEN}")
        self._browser.evaluate("at('write').click()")
        self._wait("at('status').textContent.startsWith('Wrote')")  # the program is compiled by now
        self._browser.evaluate("at('status').textContent = ''")
        began, before = time.perf_counter(), self._seconds()
        self._browser.evaluate("at('again').click()")
        self._wait("at('status').textContent.startsWith('Wrote')")
        return WRITTEN / (time.perf_counter() - began), WRITTEN / (self._seconds() - before)

    def limit(self) -> float:
        """Multiply-adds a second of a core, of the product alone."""
        times = 200
        before = self._seconds()
        size = self._browser.evaluate(_ALONE % times)
        return float(times * size / (self._seconds() - before))

    def cost(self) -> int:
        """Multiply-adds of a character."""
        return int(self._browser.evaluate("page.model.cost"))


def main() -> None:
    """Prints a line for each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", nargs="*", type=Path, default=[], help="trained runs to measure instead")
    parser.add_argument("--page-weights", default="int8", choices=["int8", "float32"])
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        runs = [find_checkpoint(run) for run in asked.runs] or [made(*size, folder) for size in SIZES]
        (folder / "browser").mkdir()
        with Browser(folder / "browser") as browser:
            browser.call("Performance.enable", timeDomain="threadTicks")
            for run in runs:
                loaded = load(run)
                page = folder / "page.html"
                options = PageSettings(page=page, page_weights=asked.page_weights)
                reader = Reader.of(loaded.data, loaded.vocabulary, loaded.corpus)
                options.write(loaded, run, loaded.vocabulary.encode(""), SamplingConfig(), reader)
                measured = Measured(browser, page)
                (clock, core), cost = measured.writing(), measured.cost()
                print(
                    f"{loaded.shape_in_words}: opens in {measured.opening:.2f} s; {clock:,.0f} characters a second, "
                    f"{core:,.0f} a second of a core, which are {core * cost / 1e6:,.0f} million multiply-adds; the "
                    f"product alone reaches {measured.limit() / 1e6:,.0f} million"
                )


if __name__ == "__main__":
    main()
