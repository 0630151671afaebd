"""Starts services, waits for them, restarts them, and stops them in a bounded time."""

import contextlib
import itertools
import selectors
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from types import FrameType

from rauskuclaw.stack.child import Child, Service
from rauskuclaw.stack.console import Console
from rauskuclaw.stack.errors import StackError, StopRequested
from rauskuclaw.stack.processes import sweep
from rauskuclaw.stack.state import StateFile

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_TICK_SECONDS = 0.5
_FATAL_FAILURES = 3
"""So many deaths of one service while the stack starts end the start: it will not get better in a minute."""
_HURRIED_SECONDS = 3.0
"""What a second Ctrl-C leaves to the servers for a clean shutdown, which takes them a fraction of it."""


class Supervisor:
    """One loop in the main thread: output, deaths, restarts, signals.

    sweep_orphans: also end every process that a dead descendant left behind (this process must be the one that adopts
    them, see `processes.adopt_orphans`).
    """

    def __init__(self, console: Console, state_file: StateFile, *, sweep_orphans: bool = True) -> None:
        self.children: list[Child] = []
        self._console = console
        self._state_file = state_file
        self._sweep_orphans = sweep_orphans
        self._state = "starting"
        self._stop_requests = 0
        self._selector = selectors.DefaultSelector()
        self._wake_up, wake_end = socket.socketpair()
        self._wake_up.setblocking(False)
        wake_end.setblocking(False)
        self._wake_end = wake_end
        self._selector.register(self._wake_up, selectors.EVENT_READ)

    def listen_for_signals(self) -> None:
        """Take Ctrl-C, SIGTERM and SIGHUP as requests to stop, and wake up when a child dies. Main thread only."""
        signal.set_wakeup_fd(self._wake_end.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        for number in _SIGNALS:
            if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # nohup stays nohup
                signal.signal(number, self._on_signal)

    def start(self, service: Service) -> Child:
        """Start a service and supervise it from now on. Raises StackError when it cannot even be started."""
        child = Child(service)
        self.children.append(child)
        try:
            self._launch(child)
        except (OSError, subprocess.SubprocessError) as error:
            raise StackError(f"{service.name} cannot be started: {error}") from None
        return child

    def wait_ready(self, children: Sequence[Child], *, seconds: float) -> None:
        """Wait until all of `children` answer, saying so of each as it does.

        Raises StackError with the last lines of one that does not, StopRequested on Ctrl-C.
        """
        began = time.monotonic()
        waiting = list(children)

        def all_ready() -> bool:
            for child in [child for child in waiting if child.is_ready()]:
                waiting.remove(child)
                self.mark_running(child)
                self._console.step(child.service.name, f"ready in {time.monotonic() - began:.2f} s (pid {child.pid})")
            return not waiting

        self.wait_for(all_ready, seconds=seconds, what=lambda: f"{waiting[0].service.name} is not ready", of=waiting)

    def run_to_end(self, service: Service, *, seconds: float) -> None:
        """Run a one-off task. Raises StackError with its output when it fails or takes too long."""
        child = self.start(service)
        try:
            self._wait(lambda: child.returncode is not None, seconds=seconds, tick=False)
            self._read(child)
            if child.returncode:
                raise StackError(_report(f"{service.name} failed ({child.how_it_ended()})", child))
            if child.returncode is None:
                raise StackError(_report(f"{service.name} did not end in {seconds:.0f} s", child))
        finally:
            child.kill()
            self._forget(child)
            self.children.remove(child)

    def wait_for(
        self,
        condition: Callable[[], bool],
        *,
        seconds: float,
        what: Callable[[], str],
        of: Sequence[Child] = (),
    ) -> None:
        """Supervise until `condition` holds.

        Raises StackError, worded by `what`, when it does not within `seconds`, with the last lines of the first of `of`
        (or of a service that is not running); StackError too when a service died three times; StopRequested.
        """
        if not self._wait(condition, seconds=seconds, tick=True):
            blamed = next(itertools.chain((c for c in self.children if c.state == "restarting"), of), None)
            raise StackError(_report(f"{what()} after {seconds:.0f} s", blamed))

    def watch(self) -> None:
        """Supervise until somebody asks to stop."""
        self._state = "ready"
        self._publish()
        with contextlib.suppress(StopRequested):
            self._wait(lambda: False, seconds=float("inf"), tick=True)

    def mark_running(self, child: Child) -> None:
        """Note that a service answers."""
        child.state = "running"
        self._publish()

    def stop(self) -> None:
        """End everything, stage by stage, each in its bounded time; then whatever is left.

        Never raises StopRequested: one more Ctrl-C makes it kill instead of ask.
        """
        self._state = "stopping"
        self._publish()
        stages = sorted({child.service.stage for child in self.children}, reverse=True)
        for stage in stages:
            self._stop_together([child for child in self.children if child.service.stage == stage])
        if self._sweep_orphans:
            sweep(())
        self._publish()

    def close(self) -> None:
        """Give back what the loop holds. The signals stay quietened, so that a late Ctrl-C leaves no traceback."""
        signal.set_wakeup_fd(-1)
        self._selector.close()
        self._wake_up.close()
        self._wake_end.close()

    def _stop_together(self, children: list[Child]) -> None:
        began = time.monotonic()
        hurried_at: float | None = began if self._stop_requests > 1 else None
        waiting = [child for child in children if child.returncode is None and child.pid]
        for child in waiting:
            child.state = "stopping"
            with contextlib.suppress(ProcessLookupError):
                child.ask_to_stop()
        self._publish()
        while waiting:
            self._turn(0.05)
            now = time.monotonic()
            if hurried_at is None and self._stop_requests > 1:
                hurried_at = now
                self._console.event("killing, as asked by a second Ctrl-C")
            for child in list(waiting):
                deadline = began + child.service.stop_seconds
                if hurried_at is not None:
                    deadline = min(deadline, hurried_at + (_HURRIED_SECONDS if child.service.is_ready else 0.0))
                if child.returncode is None and now < deadline:
                    continue
                waiting.remove(child)
                killed = child.returncode is None
                child.kill()
                self._read(child)
                text = "killed after" if killed else "stopped in"
                self._console.step(child.service.name, f"{text} {time.monotonic() - began:.2f} s")
        for child in children:
            child.kill()  # what the stopped process left in its group
            self._forget(child)
            child.state = "stopped"
        if self._sweep_orphans:
            sweep(self._known())
        self._publish()

    def _wait(self, condition: Callable[[], bool], *, seconds: float, tick: bool) -> bool:
        end = time.monotonic() + seconds
        pause = 0.02 if seconds != float("inf") else _TICK_SECONDS
        while not condition():
            if time.monotonic() > end:
                return False
            self._turn(pause)
            if self._stop_requests:
                raise StopRequested
            if tick:
                self._tend()
        return True

    def _turn(self, seconds: float) -> None:
        """Sleep until something happens, for at most `seconds`; pass on what the services wrote."""
        for key, _ in self._selector.select(seconds):
            if isinstance(key.data, Child):
                self._read(key.data)
            else:
                with contextlib.suppress(BlockingIOError):
                    self._wake_up.recv(4096)

    def _tend(self) -> None:
        """Notice deaths, restart what is due, end orphans."""
        deaths = [child for child in self.children if child.returncode is not None and child.retry_at is None]
        for child in deaths:
            self._bury(child)
        if self._sweep_orphans:
            sweep(self._known())
        for child in self.children:
            if child.retry_at is not None and time.monotonic() >= child.retry_at:
                self._revive(child)
            elif child.state == "starting" and self._state == "ready" and child.is_ready():
                self.mark_running(child)

    def _bury(self, child: Child) -> None:
        child.kill()
        self._read(child)
        self._forget(child)
        delay = child.plan_restart()
        name = child.service.name
        if self._state == "starting" and child.failures >= _FATAL_FAILURES:
            raise StackError(_report(f"{name} died {child.failures} times ({child.how_it_ended()})", child))
        self._console.event(f"{name} died ({child.how_it_ended()}); restart {child.restarts} in {delay:g} s", name)
        self._publish()

    def _revive(self, child: Child) -> None:
        try:
            self._launch(child)
        except (OSError, subprocess.SubprocessError) as error:
            delay = child.plan_restart()
            name = child.service.name
            self._console.event(f"{name} cannot be started ({error}); again in {delay:g} s", name)
            self._publish()

    def _launch(self, child: Child) -> None:
        child.start()
        assert child.output is not None
        self._selector.register(child.output, selectors.EVENT_READ, child)
        self._publish()

    def _read(self, child: Child) -> None:
        for line in child.read():
            self._console.output(child.service.name, line)
        if child.at_end and child.output is not None:
            self._selector.unregister(child.output)
            child.close_output()

    def _forget(self, child: Child) -> None:
        """Stop reading from a process that is gone."""
        if child.output is not None:
            self._selector.unregister(child.output)
            child.close_output()

    def _known(self) -> set[int]:
        return {child.pid for child in self.children if child.pid is not None}

    def _publish(self) -> None:
        self._state_file.write(self._state, [child.record() for child in self.children])

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._stop_requests += 1


def _report(what: str, child: Child | None) -> str:
    if child is None:
        return what
    lines = list(child.tail)[-15:]
    said = "\n".join(f"    {line}" for line in lines) or "    (nothing)"
    return f"{what}. The last lines of {child.service.name}:\n{said}"
