"""The processes that compute a run together: a single one, or several that mpiexec started and that MPI connects.

MPI is a library of the machine; mpi4py calls it. It is imported only if mpiexec started several processes.
"""

import contextlib
import os
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeVar

from handgrad.system.errors import InputError

if TYPE_CHECKING:  # the command line reads this file before NumPy may be imported
    from handgrad.system.arrays import Array

T = TypeVar("T")

_NAMED_BY = (
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),  # Open MPI
    ("PMI_RANK", "PMI_SIZE"),  # MPICH, Intel MPI, Slurm's pmi2
    ("PMIX_RANK", "SLURM_STEP_NUM_TASKS"),  # Slurm's pmix
)
"""The environment variables by which a launcher tells a process its number and how many there are."""
_NAP = 0.002
"""Seconds between two looks at whether the others are ready, when that may take long. MPI would keep a core busy."""
_SHORT_NAP = 0.0002
"""The same within a step, if there are more processes than cores: whoever waits leaves the core to another."""
_LOOKS = 100
"""So many times, evenly spaced, a process looks whether it still waits for the same answer before it gives up."""
_HOLDING_BACK = 2.0
"""Seconds that other processes wait before they say why they fail."""


class Place(NamedTuple):
    """Which process this is, and of how many."""

    rank: int
    size: int


class EndedError(Exception):
    """Process 0 has ended the run, and has said why."""


class Processes:
    """The processes of a run. This class is a single process, which has nobody to wait for.

    All processes call the methods in the same order, unless a method says otherwise.
    """

    rank = 0
    """The number of this process. Process 0 writes the files of the run, and says what happens."""
    size = 1
    cores: int | None = None
    """The cores that this process may use; None for all that the system gives it."""
    cores_of_all: int | None = None
    """The same for all processes together."""
    on_this_machine = 1
    """How many of the processes run on this machine."""

    def __init__(self) -> None:
        self.asked = False
        """Whether this process wants the run to end. The others learn it with the next sum of gradients."""
        self.ending = False
        """Whether a process wanted the run to end when gradients were last summed: the same in all processes."""
        self.waited = 0.0
        """Seconds that this process has waited for the gradients of others."""
        self.waited_by_all: list[float] = [0.0]
        """The same of each process, until gradients were last summed."""

    @property
    def is_first(self) -> bool:
        """Whether this is process 0."""
        return self.rank == 0

    def from_first(self, make: Callable[[], T]) -> T:
        """What ``make`` returns. Process 0 alone calls it; the others wait for the result.

        If it raises, process 0 raises the same, and the others raise EndedError.
        """
        return make()

    @contextlib.contextmanager
    def invited(self, function: Callable[..., Any], *arguments: Any) -> Iterator[None]:
        """Inside ``make`` of ``from_first``: a context in which the other processes call a function, with
        ``processes=`` as its last argument. Process 0 must make the same calls inside.
        """
        yield

    def refuse(self, sentence: str) -> None:
        """Raises InputError in process 0, EndedError in the others."""
        raise InputError(sentence)

    def gathered(self, value: T, *, waits: bool = False) -> list[T]:
        """The values of all processes, in order. ``waits``: counts the time of this call as waiting."""
        return [value]

    def agree(self, flag: bool) -> bool:
        """Whether the flag is true in any process."""
        return flag

    def exchange(self, sent: Sequence[tuple["Array", int]], received: Sequence[tuple["Array", int]]) -> None:
        """Sends arrays to other processes and receives others. Two processes name their arrays in the same order."""

    def send(self, value: Any, to: int) -> None:
        """Sends a value to a process that calls ``received``."""
        raise NotImplementedError

    def received(self, source: int) -> Any:
        """What a process sends."""
        raise NotImplementedError

    def complete(self, array: "Array", parts: Sequence[slice]) -> None:
        """Makes a flat array the same in all processes: each has filled its own part, in order of the processes."""

    def copy_of_first(self, array: "Array") -> None:
        """Makes an array the same as in process 0."""

    def part(self) -> None:
        """Waits for the others, all of which end here, so that none needs to end another."""

    def watch(self, patience: float, say: Callable[[str], object]) -> None:
        """From now on this process ends, and says why, if others do not answer for so many seconds. A machine that has
        lost its power or its network closes no connection, so MPI would wait for it for ever.

        ``from_first`` still waits without end, as what process 0 makes may take long.
        """


SINGLE = Processes()
"""A single process."""


def place_among_processes(environment: Mapping[str, str] = os.environ) -> Place:
    """Which process this is, and of how many, as the launcher tells it; (0, 1) without a launcher."""
    for rank, size in _NAMED_BY:
        with contextlib.suppress(KeyError, ValueError):
            return Place(int(environment[rank]), int(environment[size]))
    return Place(0, 1)


_connected: "list[_Connected]" = []


def connected() -> "_Connected | None":
    """The processes that ``processes_of_run`` has connected; None if it has not connected several."""
    return _connected[0] if _connected else None


@cache
def processes_of_run() -> Processes:
    """The processes that mpiexec started, connected by MPI; ``SINGLE`` if there is one.

    Raises InputError, in process 0, if MPI is missing or is another than that of mpiexec; EndedError in the others.
    """
    place = place_among_processes()
    if place.size == 1:
        return SINGLE
    problem = f"mpiexec started {place.size:,} processes, but "
    try:
        import mpi4py

        mpi4py.rc.thread_level = "funneled"  # threads compute; the first one alone calls MPI
        with warnings.catch_warnings(action="ignore"):  # of another launcher, of which we say more below
            mpi: Any = import_module("mpi4py.MPI")
    except ModuleNotFoundError:
        problem += "mpi4py, with which they work together, is not installed: pip install mpi4py"
    except (ImportError, RuntimeError) as error:
        problem += f"mpi4py finds no MPI library: {' '.join(str(error).split())[:300]}"
    else:
        found = mpi.COMM_WORLD.Get_size()
        if found == place.size:
            _connected.append(_Connected(mpi))
            return _connected[0]
        problem += (
            f"the MPI library of mpi4py sees {found:,}, because it is another one: use the mpiexec of {_library(mpi)}"
        )
    if place.rank:
        raise EndedError
    raise InputError(problem)


def _library(mpi: Any) -> str:
    return str(mpi.Get_library_version()).partition("\n")[0].partition(",")[0].strip("\x00 ")[:80]


class _Connected(Processes):
    """Several processes. A process that fails ends the others by ``end``; MPI has no other way to tell them."""

    def __init__(self, mpi: Any) -> None:
        super().__init__()
        self._mpi, self._world = mpi, mpi.COMM_WORLD
        self.rank, self.size = self._world.Get_rank(), self._world.Get_size()
        self.waited_by_all = [0.0] * self.size
        self.parted = False
        """Whether all processes know that they end here."""
        self._is_apart = False
        """Whether this process has failed while the others do something else than wait for it."""
        self._expected: object | None = None
        """Another object for each answer that this process waits for; None while it waits for none."""
        mine = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
        machine = self._world.Split_type(mpi.COMM_TYPE_SHARED)
        sets = machine.allgather(mine)
        machine.Free()
        self.on_this_machine = len(sets)
        # A launcher that binds processes gives each its own cores; otherwise they share all of them.
        self.cores = max(1, int(sum(1 / sum(core in each for each in sets) for core in mine) + 1e-9))
        self.cores_of_all = sum(self._world.allgather(self.cores))
        self._nap = _SHORT_NAP if len(set().union(*sets)) < len(sets) else None

    def from_first(self, make: Callable[[], T]) -> T:
        kind, value = "ended", None
        if self.rank == 0:
            try:
                value = make()
                kind = "value"
            finally:  # the others must not wait for what has failed
                if not self._is_apart:
                    self.parted = kind == "ended"
                    self._tell(kind, value)
            return value
        while True:
            kind, told = self._tell()
            if kind == "value":
                return told
            if kind == "ended":
                self.parted = True
                raise EndedError
            function, arguments = told
            function(*arguments, processes=self)

    def _tell(self, kind: str = "", value: Any = None) -> Any:
        self._wait(self._world.Ibarrier(), _NAP)
        return self._world.bcast((kind, value), root=0)

    @contextlib.contextmanager
    def invited(self, function: Callable[..., Any], *arguments: Any) -> Iterator[None]:
        self._tell("join", (function, arguments))
        try:
            yield
        except BaseException:
            self._is_apart = True
            raise

    def refuse(self, sentence: str) -> None:
        self.parted = True
        if self.rank:
            raise EndedError
        raise InputError(sentence)

    def gathered(self, value: T, *, waits: bool = False) -> list[T]:
        begun = time.perf_counter()
        with self._expecting():
            if self._nap is not None:
                self._wait(self._world.Ibarrier(), self._nap)
            values: list[T] = self._world.allgather(value)
        if waits:
            self.waited += time.perf_counter() - begun
        return values

    def agree(self, flag: bool) -> bool:
        return any(self.gathered(flag))

    def exchange(self, sent: Sequence[tuple["Array", int]], received: Sequence[tuple["Array", int]]) -> None:
        requests = [self._world.Irecv(array, source) for array, source in received]
        requests += [self._world.Isend(array, to) for array, to in sent]
        with self._expecting():
            if self._nap is not None:
                while not self._mpi.Request.Testall(requests):
                    time.sleep(self._nap)
            else:
                self._mpi.Request.Waitall(requests)

    def send(self, value: Any, to: int) -> None:
        with self._expecting():
            self._world.send(value, to)

    def received(self, source: int) -> Any:
        with self._expecting():
            return self._world.recv(source=source)

    def complete(self, array: "Array", parts: Sequence[slice]) -> None:
        sizes, starts = [each.stop - each.start for each in parts], [each.start for each in parts]
        with self._expecting():
            if self._nap is not None:
                self._wait(self._world.Ibarrier(), self._nap)
            self._world.Allgatherv(self._mpi.IN_PLACE, [array, (sizes, starts)])

    def copy_of_first(self, array: "Array") -> None:
        with self._expecting():
            self._world.Bcast(array, root=0)

    def part(self) -> None:
        with self._expecting():
            self._wait(self._world.Ibarrier(), _NAP)
        self.parted = True

    def _wait(self, request: Any, nap: float) -> None:
        while not request.Test():
            time.sleep(nap)

    @contextlib.contextmanager
    def _expecting(self) -> Iterator[None]:
        """A context in which the others must answer in time."""
        self._expected = object()
        try:
            yield
        finally:
            self._expected = None

    def watch(self, patience: float, say: Callable[[str], object]) -> None:
        def end_if_alone() -> None:
            self._wait_until_alone(patience)
            say(
                f"the other processes have not answered for {patience:,.0f} seconds: a machine or its network is lost, "
                "or a process hangs; this process ends, and --resume continues from the last checkpoint"
            )
            os._exit(1)  # MPI takes calls from the first thread alone, which waits

        threading.Thread(target=end_if_alone, daemon=True).start()

    def _wait_until_alone(self, patience: float) -> None:
        """Returns once an answer has not come for so many seconds."""
        # Looks are counted, not seconds: a clock goes on while all processes are stopped, as by Ctrl-Z.
        same, before = 0, None
        while same < _LOOKS:
            time.sleep(patience / _LOOKS)
            expected = self._expected
            same = same + 1 if expected is not None and expected is before else 0
            before = expected

    def hold_back(self) -> None:
        """Before a process says why it fails: if process 0 fails for the same reason, it ends this one meanwhile."""
        if self.rank and not self.parted:
            time.sleep(_HOLDING_BACK)

    @property
    def name(self) -> str:
        """This process, for messages of others than process 0."""
        return f"process {self.rank} of {self.size} on {socket.gethostname()}"

    def end(self, code: int) -> NoReturn:
        """Ends all processes at once, whatever they do, with this exit code. Only one calls this."""
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        self._world.Abort(code)  # some MPI libraries come back from it
        os._exit(code)
