"""Where work runs that may wait for a disk or keep a processor busy: in threads, by its kind.

The worker serves all connections in one thread, which must never wait. What may has threads
elsewhere, a few for each kind, so that no kind waits for another: twenty seconds of checking hold
up no listing, and a hundred listings no upload. Where another server runs the application, in
threads of its own, work is done where it is called.
"""

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any


class Lane:
    """Threads for one kind of work; ``open`` starts them, and until then there are none."""

    def __init__(self, name: str, threads: int):
        self._name = name
        self._threads = threads
        self._call: Callable | None = None

    def __call__(self, work: Callable, *args: Any) -> Any:
        """Do some work in a thread, and wait for it; return what it returns, raise what it raises.

        Flask's ``request`` and ``current_app`` are not there for it.
        """
        return self._call(work, args) if self._call else work(*args)

    def open(self) -> None:
        """Start the threads. Only this thread, which runs gevent's loop, may give them work."""
        from gevent import get_hub
        from gevent.event import AsyncResult

        tasks: SimpleQueue = SimpleQueue()
        tell = get_hub().loop.run_callback_threadsafe

        def call(work: Callable, args: tuple) -> Any:
            result = AsyncResult()
            tasks.put((work, args, result))
            value, error = result.get()
            try:
                if error is not None:
                    raise error
                return value
            finally:
                # This frame is in the error's traceback: it would keep itself alive, and with it
                # the upload that it ended, and the room that this takes on a full disk.
                del result, error

        def serve() -> None:
            while True:
                work, args, result = tasks.get()
                try:
                    outcome = work(*args), None
                except BaseException as error:
                    outcome = None, error
                tell(result.set, outcome)
                del work, args, result, outcome

        for number in range(self._threads):
            name = f"{self._name}-{number}"
            threading.Thread(target=serve, name=name, daemon=True).start()
        self._call = call


#: A few system calls each: health, keys, small uploads. Only two, since more would hand the
#: interpreter's lock to each other more often.
storing = Lane("storing", 2)
#: Keeping large uploads while they arrive.
receiving = Lane("receiving", 2)
#: Checking and storing them, which may take many seconds.
checking = Lane("checking", 2)
#: Opening, listing, sending and deleting what is stored, for which a file may be parsed whole.
reading = Lane("reading", 4)

LANES = (storing, receiving, checking, reading)
