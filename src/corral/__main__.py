"""Start the command line: ``python -m corral``.

A Ctrl-C while modules are being loaded ends the process without a word, for nothing has begun.
"""

import signal

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not for who ignores it
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from corral.cli.main import main

if __name__ == "__main__":
    main()
