"""How does a helper process stay alive until its parent wants it to end?"""

from __future__ import annotations

import os
import signal
import threading


def heed_only_parent() -> None:
    """Ignore Ctrl+C, and every SIGTERM that does not come from the parent.

    A terminal and a cluster's scheduler signal all processes of a job at once. The parent then
    finishes its step and saves it; a loader that died meanwhile would end it with an error. Where
    senders cannot be told apart (not Linux), only Ctrl+C is ignored.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)
