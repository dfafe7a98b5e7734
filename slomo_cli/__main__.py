"""Where the ``slomo`` command begins, which is ``python -m slomo_cli`` too."""

import signal

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    # Until ``main`` takes the signals, Ctrl-C ends the program without a traceback of what is being imported.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from slomo_cli.cli.main import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
