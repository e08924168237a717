"""What onnxruntime can be told of a session, and what of it matters."""

from __future__ import annotations

from dataclasses import dataclass

from serve.errors import UsageError

MOST_THREADS = 1024


@dataclass(frozen=True, slots=True)
class Settings:
    """How a session computes. What it answers stays the same, but for the order in which float32 sums are added.

    `threads` of a batch; None is onnxruntime's choice, a thread a core. The others are onnxruntime's own defaults:

    - `arena`: memory of a batch is kept for the next one, by onnxruntime instead of the C library.
    - `mem_pattern`: for each shape of input that was met, the places of all its tensors are remembered.
    - `spinning`: threads that wait for work do so at full speed for a moment, before they sleep.
    - `prepacking`: weights are kept in the order that the processor multiplies fastest. Without, they stay as they
      are; those in a file of their own are mapped, and shared by all processes.
    """

    threads: int | None = None
    arena: bool = True
    mem_pattern: bool = True
    spinning: bool = True
    prepacking: bool = True

    def __post_init__(self) -> None:
        """Raises UsageError for a number of threads that can't be."""
        if self.threads is not None and self.threads < 1:
            raise UsageError(f"threads must be at least 1 (got {self.threads})")
        if self.threads is not None and self.threads > MOST_THREADS:
            raise UsageError(f"threads must be at most {MOST_THREADS} (got {self.threads})")


USUAL = Settings()
SINGLE = Settings(threads=1)
