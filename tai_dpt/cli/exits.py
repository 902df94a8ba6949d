"""How every command ends: one line on stderr and an exit code, whatever went wrong.

0 done; 1 something broke (a full disk, no memory); 2 the input is wrong; 128 + n ended by signal n
(130 for Ctrl-C, 143 for SIGTERM). A fault of this project still shows its traceback.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import click

from tai_dpt.errors import ENDING_SIGNALS, InputError, Stopped
from tai_dpt.io.console import lenient_streams, open_closed_streams, silence, told
from tai_dpt.io.output import os_error

_BROKE, _WRONG_INPUT = 1, 2
_MEMORY = "not enough memory: close other programs, or lower what is held at once (a batch size, "
_MEMORY += "FEATURES.CACHE disk in place of memory, DATALOADER.NUM_WORKERS)"
_HELPER = "a process that helped was killed, as systems do where memory runs out: close other "
_HELPER += "programs, or have fewer (--workers, DATALOADER.NUM_WORKERS; taskset for captions)"


def exit_code(prog: str, work: Callable[[], int | None]) -> int:
    """Do ``work``, which returns an exit code (None: 0); what it raises becomes one line."""
    open_closed_streams()
    stdout = sys.stdout
    stopped: list[Stopped] = []
    try:
        with lenient_streams(), _signals(stopped), _quiet_threads():
            try:
                code = work() or 0
            except Exception:
                if not stopped:
                    raise
                raise stopped[0] from None  # a library made another error of it
            sys.stdout.flush()  # here, where a full device can still be told
        return code
    except InputError as error:
        return _say(prog, f"error: {error}", _WRONG_INPUT)
    except click.ClickException as error:
        text = error.format_message()
        if isinstance(error, click.UsageError) and error.ctx is not None and "\n" not in text:
            command = error.ctx.command_path
            return _say(command, f"error: {text} ({command} --help says more)", error.exit_code)
        with suppress(OSError):
            error.show()  # the help, where nothing was asked for
        return error.exit_code
    except click.exceptions.Exit as error:
        return error.exit_code
    except BrokenPipeError:
        return _unread()
    except SystemExit:
        if sys.stdout is stdout:
            raise
        return _unread()  # click made an exit of it, and another stream
    except Stopped as stop:
        return _say(prog, str(stop), 128 + stop.number)
    except (KeyboardInterrupt, click.Abort):
        return _say(prog, "interrupted", 128 + signal.SIGINT)
    except OSError as error:
        code = _say(prog, f"error: {os_error(error)}", _BROKE)
        silence(sys.stdout)
        return code
    except Exception as error:
        if not (way := _way_out(error)):
            raise
        return _say(prog, f"error: {way}", _BROKE)


def _unread() -> int:
    """The reader of stdout, `head` say, has what it wanted."""
    silence(sys.stdout)
    return 128 + signal.SIGPIPE if hasattr(signal, "SIGPIPE") else _BROKE


@contextmanager
def _quiet_threads() -> Iterator[None]:
    """A thread that cannot write (tensorboard's) prints no traceback: who uses it is told."""
    before = threading.excepthook

    def told(args: threading.ExceptHookArgs) -> None:
        if not isinstance(args.exc_value, OSError):
            before(args)

    threading.excepthook = told
    try:
        yield
    finally:
        threading.excepthook = before


def _say(prog: str, text: str, code: int) -> int:
    with suppress(OSError, ValueError, AttributeError):  # stderr may be closed, too
        print(f"{prog}: {told(text)}", file=sys.stderr, flush=True)
    return code


def _way_out(error: Exception) -> str:
    """What is said of an error that the machine is to blame for; empty for a fault of ours."""
    kind = type(error).__name__
    said = str(error) if isinstance(error, RuntimeError) else ""
    # Python's, CUDA's, and the CPU allocator's, which is a bare RuntimeError in one of two wordings
    lacking = "not enough memory" in said or "DefaultCPUAllocator: can't allocate memory" in said
    if isinstance(error, MemoryError) or kind == "OutOfMemoryError" or lacking:
        return _MEMORY
    # Python's pool and torch's loader; by name, for a command may need neither
    if kind == "BrokenProcessPool" or said.startswith("DataLoader worker (pid"):
        return _HELPER
    return ""


@contextmanager
def _signals(stopped: list[Stopped]) -> Iterator[None]:
    """Turn the first signal that ends a command into ``Stopped``; the second ends it at once.

    The second is seen by a thread of its own, so that it also works while a call hangs. A signal
    that is ignored (``nohup``, a job in the background of a script) stays so.

    Args:
        stopped: gets what is raised.
    """
    plain = (signal.SIG_DFL, signal.default_int_handler)
    numbers = [number for number in ENDING_SIGNALS if signal.getsignal(number) in plain]
    if threading.current_thread() is not threading.main_thread() or not numbers:
        yield
        return
    process = os.getpid()

    def stop(number: int, _: Any) -> None:
        if os.getpid() != process:  # a worker: the parent, told by the same Ctrl-C, ends it
            raise KeyboardInterrupt
        stopped.append(Stopped(number))
        raise stopped[-1]

    with ExitStack() as stack:
        stack.enter_context(_second_signal(process, numbers))
        for number in numbers:
            stack.callback(signal.signal, number, signal.signal(number, stop))
        yield


@contextmanager
def _second_signal(process: int, numbers: list[int]) -> Iterator[None]:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)

    def watch() -> None:
        seen = 0
        while byte := os.read(reading, 1):
            seen += byte[0] in numbers
            if seen > 1:
                os._exit(128 + byte[0])
        os.close(reading)

    threading.Thread(target=watch, daemon=True, name="second signal").start()
    try:
        yield
    finally:
        if os.getpid() == process:
            signal.set_wakeup_fd(before)
            os.close(writing)
