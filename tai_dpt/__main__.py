"""``python -m tai_dpt`` is ``tai-dpt``."""

import signal

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    # Ctrl-C on the way to ``exit_code`` ends it as plainly: no traceback of an import
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from tai_dpt.io.module_alias import hide_checkout

hide_checkout()

from tai_dpt.cli.main import main  # noqa: E402

if __name__ == "__main__":
    main()
