"""Progress of a comparison for the person who waits: trainings, batches of the one at hand, and a line for each."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pipeline.compare.cell import Cell
from pipeline.compare.engine import Record


class Bars:
    """A `Watcher` on a console; as a context manager, the bars are gone at its end."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.metric = ""
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=console.quiet or not console.is_terminal,
        )
        self.all = self.progress.add_task("comparison", total=None)
        self.one = self.progress.add_task("", total=None, visible=False)

    def __enter__(self) -> Bars:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.stop()

    def watch(self, cells: int, metric: str) -> Bars:
        """Begin: so many trainings there will be at most."""
        self.metric = metric
        self.progress.update(self.all, total=cells)
        self.progress.start()
        return self

    def begin(self, cell: Cell, phase: str) -> None:
        self.progress.reset(self.one, total=None, visible=True, description=f"{_named(cell)}: {phase}")

    def step(self, done: int, total: int) -> None:
        self.progress.update(self.one, completed=done, total=total)

    def end(self, cell: Cell, record: Record, *, kept: bool) -> None:
        self.progress.update(self.one, visible=False)
        self.progress.advance(self.all)
        if record["status"] == "done":
            reached = f"{self.metric.replace('_', '-')} {record['validation'][self.metric]:.4f}"
        else:
            reached = f"! {record['reason']}"
        took = "done before, kept" if kept else f"{record['wall_seconds']:.1f} s"
        self.console.print(f"{_named(cell)}: {reached}  ({took})", highlight=False, markup=False, soft_wrap=True)

    def again(self, cell: Cell) -> None:
        self.progress.update(self.all, total=(self.progress.tasks[self.all].total or 0) + 1)
        said = f"{_named(cell)}: trained again for the test rows, as what it had learned is deleted"
        self.console.print(said, highlight=False, markup=False, soft_wrap=True)

    def skip(self, cells: int) -> None:
        self.progress.advance(self.all, cells)


def _named(cell: Cell) -> str:
    return f"{cell.method}, rate {cell.rate:g}, seed {cell.seed}"
