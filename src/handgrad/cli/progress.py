"""How a training run looks: a live line on a terminal, plain lines elsewhere."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.live import Live
from rich.text import Text

from handgrad.cli.console import counted, warn
from handgrad.data import TokenData
from handgrad.generation import start_of, write
from handgrad.models import LanguageModel
from handgrad.runs import Metrics, Run
from handgrad.runs.checkpoint import Progress as RunProgress
from handgrad.training import Reporter

_PLAIN_SECONDS = 2.0
_WORTH_SAYING = 0.02
"""Of the time, the share that processes wait for the slowest."""
SAMPLE_TOKENS = 200
"""Of a sample during training."""
_GAP = "  "


@dataclass(frozen=True)
class Column:
    """A part of the live line."""

    text: str
    style: str
    importance: int
    """A narrow terminal drops the least important column first."""


_BAR = Column(" " * 8, "", 5)
"""The shortest bar."""
_LONGEST_BAR = 30


class TrainingDisplay(Reporter):
    """Shows a run while it trains.

    ``best_is_sampled``: the caller prints a sample of the best checkpoint after training, so that the sample of the
    last evaluation would show the same text a second time if this is the best.
    """

    def __init__(self, run: Run, console: Console, best_is_sampled: bool = False) -> None:
        self.run, self.console, self.config, self.best_is_sampled = run, console, run.config, best_is_sampled
        self.live: Live | None = None
        self.begun = self.printed = time.monotonic()
        self.first_step = 0
        self.metrics: Metrics | None = None
        self.best: float | None = None
        """The best validation loss so far."""
        self.waiting: Column | None = None
        """If several processes train: how long they wait for the slowest."""
        self.waited_from = self.begun

    def started(self, model: LanguageModel, data: TokenData, progress: RunProgress) -> None:
        self.model = model
        self.data, self.first_step, self.best = data, progress.step, progress.best_val_loss
        self.begun = self.printed = time.monotonic()
        doing = "training" if progress.step == 0 else f"resuming at step {progress.step:,}:"
        self._print(
            f"{doing} {model.n_parameters:,} parameters on {data.meta.train_characters:,} characters of "
            f"{data.meta.source}, vocabulary of {counted(data.tokenizer.vocab_size, 'token')}, "
            f"{counted(self.run.shards, 'shard')}, in {self.run.path}"
        )
        if progress.step == 0 and self.run.baselines is not None:
            uniform, bigram = self.run.baselines.uniform, self.run.baselines.bigram
            self._print(f"validation loss to beat: {uniform:.4f} by a uniform guess, {bigram:.4f} by a bigram model")
        if (why := data.why_no_bits) is not None:
            self._print(why)
        if self.console.is_terminal:
            self.live = Live(console=self.console, get_renderable=self._live_line, refresh_per_second=5)
            self.live.start()

    def stepped(self, metrics: Metrics) -> None:
        self.metrics = metrics
        interval = self.config.sample_interval
        if interval and metrics.step % interval == 0 and not self._is_evaluated(metrics.step):
            self._print(f"step {metrics.step:,} writes:")
            self._print(write(self.model, self.data.tokenizer, SAMPLE_TOKENS, seed=self.config.seed))
        if self.live is not None or metrics.step % self.config.log_interval or self._is_evaluated(metrics.step):
            return
        if time.monotonic() - self.printed >= _PLAIN_SECONDS:
            self.printed = time.monotonic()
            self._print(_GAP.join(column.text for column in self._columns(metrics)))

    def evaluated(self, metrics: Metrics, model: LanguageModel) -> None:
        assert metrics.val_loss is not None
        improved = metrics.step > 0 and (self.best is None or metrics.val_loss < self.best)
        if improved:
            self.best = metrics.val_loss
        training = "" if metrics.loss is None else f"training loss {metrics.loss:.4f}, "
        self._print(
            Text.assemble(
                f"step {metrics.step:,}: {training}",
                (f"validation loss {metrics.val_loss:.4f}", "green" if improved else ""),
                f" nats per token, {describe_bits(metrics.bits_per_char)}",
            )
        )
        interval = self.config.sample_interval
        comes_again = self.best_is_sampled and improved and metrics.step == self.config.max_steps
        if interval and metrics.step % interval == 0 and not comes_again:
            tokenizer = self.data.tokenizer
            start = start_of(tokenizer, documents=self.run.has_documents, begins=self.run.begins)
            self._print(write(model, tokenizer, SAMPLE_TOKENS, seed=self.config.seed, start=start))

    def waited(self, seconds: Sequence[float]) -> None:
        now = time.monotonic()
        share = max(seconds) / max(now - self.waited_from, 1e-9)
        # The process for which the others wait waits least.
        slowest = seconds.index(min(seconds))
        self.waiting = (
            Column(f"{share:.0%} waiting for process {slowest}", "dim", 4) if share >= _WORTH_SAYING else None
        )
        self.waited_from = now

    def noticed(self, sentence: str) -> None:
        warn(sentence)

    def close(self) -> None:
        """Ends the live line and leaves it on the screen."""
        if self.live is not None:
            self.live.stop()

    def _is_evaluated(self, step: int) -> bool:
        return step % self.config.eval_interval == 0 or step == self.config.max_steps

    def _live_line(self) -> Text:
        if self.metrics is None:
            return Text("evaluating", "dim")
        done = self.metrics.step / self.config.max_steps
        return live_line(self._columns(self.metrics), done, self.console.width - 1)

    def _columns(self, metrics: Metrics) -> list[Column]:
        rate = (metrics.step - self.first_step) / max(time.monotonic() - self.begun, 1e-9)
        left = (self.config.max_steps - metrics.step) / max(rate, 1e-9)
        if metrics.loss is None:
            losses = [Column(f"skipped, {counted(metrics.skipped, 'step')} so far", "bold red", 8)]
            details = []
        else:
            losses = [Column(f"loss {metrics.loss:.4f}", "bold", 8)]
            details = [
                Column(f"lr {metrics.lr:.2e}", "dim", 1),
                Column(f"grad norm {metrics.grad_norm:.2f}", "dim", 2),
            ]
        if self.best is not None:
            losses.append(Column(f"best {self.best:.4f}", "green", 6))
        return [
            Column(f"{metrics.step:,}/{self.config.max_steps:,}", "cyan", 9),
            *losses,
            Column(f"{_clock(left)} left", "yellow", 7),
            Column(f"{metrics.tokens_per_second:,.0f} tokens/s", "dim", 3),
            *([] if self.waiting is None else [self.waiting]),
            *details,
        ]

    def _print(self, text: str | Text) -> None:
        self.console.print(text, markup=False, highlight=False)


def live_line(columns: Sequence[Column], done: float, width: int) -> Text:
    """A bar and the columns, in one line of at most ``width`` cells; ``done`` is a share between 0 and 1.

    What does not fit is dropped, the least important column first.
    """
    shown = [_BAR, *columns]
    while len(shown) > 1 and _width(shown) > width:
        shown.remove(min(shown, key=lambda column: column.importance))
    parts = [Text(column.text, column.style) for column in shown if column is not _BAR]
    if _BAR in shown:
        length = min(len(_BAR.text) + width - _width(shown), _LONGEST_BAR)
        full = round(length * min(max(done, 0.0), 1.0))
        parts.insert(0, Text.assemble(("━" * full, "green"), ("━" * (length - full), "bright_black")))
    return Text(_GAP, no_wrap=True, overflow="ellipsis").join(parts)


def _width(columns: Sequence[Column]) -> int:
    return len(_GAP.join(column.text for column in columns))


def describe_bits(bits: float | None) -> str:
    """Bits per character, or a note that they are not comparable."""
    return "bits per character not comparable" if bits is None else f"{bits:.4f} bits per character"


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
