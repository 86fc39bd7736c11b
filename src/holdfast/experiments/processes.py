"""Worker processes: started once, each with one cell at a time and threads of its own.

Results are the same bits as in one process: a cell draws from its own random streams, and what it depends on is in its
spec. Workers load a task from its recipe, so that no rows are sent; the cells of one fold come after each other, and a
worker holds one fold at a time.
"""

from __future__ import annotations

import collections
import contextlib
import logging
import multiprocessing
import os
import signal
import threading
import traceback
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Literal

from holdfast.core.errors import HoldfastError, UserError
from holdfast.core.evaluation import Evaluation
from holdfast.core.words import count
from holdfast.experiments.executors import Outcome, Tell, make_cell
from holdfast.experiments.grid import Fold
from holdfast.experiments.spec import CellSpec
from holdfast.experiments.store import CellStore

TRIES = 2
"""How often a cell is begun whose worker is lost."""

Message = tuple[Literal["ready", "tell", "warn", "outcome", "raised"], Any]


def usual_workers(threads: int) -> int:
    """As many workers of so many threads as this process may use processors."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, processors // threads)


@dataclass(frozen=True)
class Processes:
    """Several processes on this machine.

    Attributes:
        workers: How many; never more than there are cells.
    """

    workers: int

    def run(
        self,
        jobs: Sequence[tuple[Fold, CellSpec]],
        store: CellStore,
        evaluations: Sequence[Evaluation] | None,
        tell: Tell,
    ) -> list[Outcome]:
        """See :class:`~holdfast.experiments.executors.Executor`.

        Raises:
            HoldfastError: A worker was lost twice on one cell.
        """
        if getattr(multiprocessing.current_process(), "_inheriting", False):
            os._exit(0)  # in the main script of a worker that is just starting: the parent says what is missing
        queue = _Queue.of([spec for _, spec in jobs])
        with _pool(min(self.workers, len(queue.waiting)), store, evaluations) as pool:
            found = pool.finish(queue, tell)
        return [found[spec.key] for _, spec in jobs]


@dataclass
class _Queue:
    """Cells that wait, are worked on, or are done; those that others start from come first.

    Attributes:
        waiting: In order.
        asked: Keys of the cells that were asked for; the others are the beginnings of chains.
        open: Keys of all that are not done.
    """

    waiting: collections.deque[CellSpec]
    asked: set[str]
    open: set[str]

    @staticmethod
    def of(specs: Sequence[CellSpec]) -> _Queue:
        ordered: dict[str, CellSpec] = {}
        for spec in specs:
            for one in reversed(list(_chain(spec))):
                ordered.setdefault(one.key, one)
        return _Queue(collections.deque(ordered.values()), {spec.key for spec in specs}, set(ordered))

    def next(self) -> CellSpec | None:
        """The first cell whose beginning is done; None where all that are left wait for one."""
        for _ in range(len(self.waiting)):
            spec = self.waiting.popleft()
            if spec.prefix is None or spec.prefix.key not in self.open:
                return spec
            self.waiting.append(spec)
        return None


def _chain(spec: CellSpec) -> Iterator[CellSpec]:
    """A cell, the one it starts from, and so on."""
    one: CellSpec | None = spec
    while one is not None:
        yield one
        one = one.prefix


@dataclass
class _Worker:
    """A process, the connection to it, and the cell it has."""

    process: BaseProcess
    pipe: Connection
    spec: CellSpec | None = None
    ready: bool = False


@dataclass
class _Pool:
    """Workers, and what they need to know."""

    store: CellStore
    evaluations: Sequence[Evaluation] | None
    workers: list[_Worker] = field(default_factory=list)
    lost: collections.Counter[str] = field(default_factory=collections.Counter)

    def start(self) -> None:
        """One worker more."""
        context = multiprocessing.get_context("spawn")
        pipe, other = context.Pipe()
        process = context.Process(target=_work, args=(other, self.store, self.evaluations), daemon=True)
        process.start()
        other.close()
        self.workers.append(_Worker(process, pipe))

    def finish(self, queue: _Queue, tell: Tell) -> dict[str, Outcome]:
        """Have everything in the queue done."""
        found: dict[str, Outcome] = {}
        while queue.open:
            for worker in self.workers:
                if worker.ready and worker.spec is None and (spec := queue.next()) is not None:
                    worker.spec = spec
                    worker.pipe.send((spec, spec.key in queue.asked))
            for pipe in wait([worker.pipe for worker in self.workers]):
                worker = next(w for w in self.workers if w.pipe is pipe)
                try:
                    message: Message = worker.pipe.recv()
                except (EOFError, ConnectionResetError):
                    self._replace(worker, queue)
                    continue
                self._hear(worker, message, queue, tell, found)
        return found

    def _hear(self, worker: _Worker, message: Message, queue: _Queue, tell: Tell, found: dict[str, Outcome]) -> None:
        what, content = message
        if what == "ready":
            worker.ready = True
        elif what == "warn":
            warnings.warn(content, stacklevel=2)
        elif what == "raised":
            raise content
        elif worker.spec is not None and what == "tell":
            stage, part = content
            tell(worker.spec, stage, part)
        elif worker.spec is not None:
            found[worker.spec.key] = content
            queue.open.discard(worker.spec.key)
            worker.spec = None

    def _replace(self, worker: _Worker, queue: _Queue) -> None:
        """A worker is lost: another one begins its cell again, once.

        Raises:
            UserError: It never started.
            HoldfastError: Its cell has cost several workers.
        """
        worker.process.join()
        self.workers.remove(worker)
        if not worker.ready:
            raise UserError(
                "worker processes cannot start: in a script, put what it runs under if __name__ == '__main__':, or use "
                "the executor inline"
            )
        if worker.spec is not None:
            self.lost[worker.spec.key] += 1
            if self.lost[worker.spec.key] >= TRIES:
                raise HoldfastError(
                    f"{count(TRIES, 'worker')} were lost on {worker.spec.case} (exit code {worker.process.exitcode}): "
                    "too little memory? Use fewer workers; finished cells are kept"
                )
            warnings.warn(f"a worker was lost on {worker.spec.case}: it is begun again", stacklevel=2)
            queue.waiting.appendleft(worker.spec)
        self.start()


@contextlib.contextmanager
def _pool(workers: int, store: CellStore, evaluations: Sequence[Evaluation] | None) -> Iterator[_Pool]:
    """So many workers; they are gone at the end, whatever happens."""
    pool = _Pool(store, evaluations)
    try:
        for _ in range(workers):
            pool.start()
        yield pool
    finally:
        for worker in pool.workers:
            worker.process.kill()
        for worker in pool.workers:
            worker.process.join()
            worker.pipe.close()


def _work(pipe: Connection, store: CellStore, evaluations: Sequence[Evaluation] | None) -> None:
    """What a worker does: cells, until its parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's
    logging.disable(logging.INFO)
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    folds: dict[Any, Fold] = {}
    with contextlib.suppress(EOFError, BrokenPipeError):
        pipe.send(("ready", None))
        while True:
            spec, measured = pipe.recv()
            with _warnings_to(pipe):
                pipe.send(_answer(spec, store, evaluations if measured else None, folds, pipe))


def _answer(
    spec: CellSpec,
    store: CellStore,
    evaluations: Sequence[Evaluation] | None,
    folds: dict[Any, Fold],
    pipe: Connection,
) -> Message:
    try:
        if spec.task not in folds:
            folds.clear()
            folds[spec.task] = _loaded(spec)
        fold = folds[spec.task]
        told = make_cell(fold, spec, store, evaluations, lambda _, stage, part: pipe.send(("tell", (stage, part))))
        return "outcome", told
    except Exception as error:
        error.add_note(f"in a worker process:\n{traceback.format_exc()}")
        return "raised", error


def _loaded(spec: CellSpec) -> Fold:
    """The fold of a cell, loaded from its recipe.

    Raises:
        UserError: It is not what it was when the run began.
    """
    data = spec.task.load()
    if data.fingerprint() != spec.data:
        raise UserError(f"the data of {spec.task.title} changed while the run was going on: run it again")
    return Fold(spec.task, spec.fold, data)


@contextlib.contextmanager
def _warnings_to(pipe: Connection) -> Iterator[None]:
    """Warnings of this library go to the parent, which tells each once; others go nowhere."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        pipe.send(("warn", str(message)))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("always", module=r"holdfast(\.|$)")
        warnings.showwarning = show
        yield


def _leave_with_parent() -> None:
    """End this process when the parent does, in whatever it is doing: what is on disk is whole at any time."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
