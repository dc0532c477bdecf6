"""How a training run looks: a live line on a terminal, plain lines elsewhere."""

import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from handgrad.cli.console import warn
from handgrad.data import TokenData
from handgrad.generation import write
from handgrad.models import LanguageModel
from handgrad.runs import Metrics, Run
from handgrad.runs.checkpoint import Progress as RunProgress
from handgrad.training import Reporter

_PLAIN_SECONDS = 2.0
_SAMPLE_TOKENS = 200
_WIDTH_FOR_A_BAR = 110


class TrainingDisplay(Reporter):
    """Shows a run as it goes."""

    def __init__(self, run: Run, console: Console) -> None:
        self.run, self.console, self.config = run, console, run.config
        self.live: Progress | None = None
        self.begun = self.printed = time.monotonic()
        self.first_step = 0

    def started(self, model: LanguageModel, data: TokenData, progress: RunProgress) -> None:
        self.data, self.first_step = data, progress.step
        self.begun = self.printed = time.monotonic()
        doing = "training" if progress.step == 0 else f"resuming at step {progress.step:,}:"
        self._print(
            f"{doing} {model.n_parameters:,} parameters on {data.meta.train_characters:,} characters of "
            f"{data.meta.source}, {data.tokenizer.vocab_size} tokens known, "
            f"{_counted(self.run.replicas, 'replica')}, in {self.run.path}"
        )
        if self.console.is_terminal:
            bar = [BarColumn(bar_width=20)] if self.console.width >= _WIDTH_FOR_A_BAR else []
            self.live = Progress(*bar, TextColumn("{task.description}"), console=self.console)
            self.task = self.live.add_task("", total=self.config.max_steps, completed=progress.step)
            self.live.start()

    def stepped(self, metrics: Metrics) -> None:
        if self.live is not None:
            self.live.update(self.task, completed=metrics.step, description=self._line(metrics))
        elif metrics.step % self.config.log_interval == 0 and time.monotonic() - self.printed >= _PLAIN_SECONDS:
            self.printed = time.monotonic()
            self._print(self._line(metrics))

    def evaluated(self, metrics: Metrics, model: LanguageModel) -> None:
        training = "" if metrics.loss is None else f"training loss {metrics.loss:.4f}, "
        self._print(
            f"step {metrics.step:,}: {training}validation loss {metrics.val_loss:.4f} nats per token, "
            f"{describe_bits(metrics.bits_per_char)}"
        )
        interval = self.config.sample_interval
        if interval and metrics.step % interval == 0:
            self._print(write(model, self.data.tokenizer, _SAMPLE_TOKENS, seed=self.config.seed))

    def noticed(self, sentence: str) -> None:
        warn(sentence)

    def close(self) -> None:
        """Ends the live line, leaving it as it is."""
        if self.live is not None:
            self.live.stop()

    def _line(self, metrics: Metrics) -> str:
        rate = (metrics.step - self.first_step) / max(time.monotonic() - self.begun, 1e-9)
        left = (self.config.max_steps - metrics.step) / rate
        if metrics.loss is None:
            what = f"skipped, {_counted(metrics.skipped, 'step')} so far"
        else:
            what = f"loss {metrics.loss:.4f}  lr {metrics.lr:.2e}  grad norm {metrics.grad_norm:.2f}"
        return (
            f"{metrics.step:,}/{self.config.max_steps:,}  {what}  "
            f"{metrics.tokens_per_second:,.0f} tokens/s  {_clock(left)} left"
        )

    def _print(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False)


def describe_bits(bits: float | None) -> str:
    """Bits per character, or that there are none to speak of."""
    return "bits per character not comparable" if bits is None else f"{bits:.4f} bits per character"


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}" + ("" if number == 1 else "s")


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
