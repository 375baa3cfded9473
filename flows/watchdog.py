"""Run a module as `python -m` does, and end with the parent: `python flows/watchdog.py MODULE ARGUMENTS`.

The parent holds the other end of the pipe on stdin. When it dies, however it dies, the pipe closes.
"""

import contextlib
import os
import runpy
import signal
import sys
import threading


def main() -> None:
    """Run the module that the arguments name."""
    threading.Thread(target=_follow_parent, daemon=True).start()
    # As `python -m`: modules come from the current folder, not from beside this file.
    sys.path[0] = os.getcwd()  # noqa: PTH109
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


def _follow_parent() -> None:
    """Terminate this process once stdin closes; on Windows, where that asks nobody, its children before it."""
    # Unbuffered: a thread that holds the lock of `sys.stdin` aborts the interpreter at its end.
    while os.read(0, 1024):
        pass
    if os.name == "nt":
        import psutil

        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                child.terminate()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
