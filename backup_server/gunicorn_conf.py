"""The shipped settings of gunicorn, ``python:backup_server.gunicorn_conf``; flags come on top."""

import logging
import os
import signal
import stat
from functools import partial

from .connection import limit_waits
from .settings import Settings

_settings = Settings.from_environ()

# Where nobody reads the log's pipe any more, lines are lost; otherwise every request would wait.
for _output in (1, 2):
    if stat.S_ISFIFO(os.fstat(_output).st_mode):
        os.set_blocking(_output, False)
logging.raiseExceptions = False

bind = f"[{_settings.host}]:{_settings.port}"  # gunicorn takes brackets around any host
# A second one uses a second processor, and is there while the first one starts anew.
workers = _settings.web_concurrency or min(2, len(os.sched_getaffinity(0)))
worker_class = "gthread"
# A client that stalls keeps one busy for 20 s.
threads = 32
# gunicorn ends a worker that runs out of descriptors; systems give a process 1,024.
worker_connections = 700
# Longer than proxies keep idle connections (60 s in nginx), or they might send on a closing one.
keepalive = 75
# An upload in flight when the server stops has so many seconds to end.
graceful_timeout = 60
preload_app = True
accesslog = "-"
# The request line as it was sent: a decoded one could have line breaks in it.
access_log_format = "%(m)s %({raw_uri}e)s %(s)s %(B)s %(M)s"
# The heartbeat file; on a disk, a slow one would get the worker killed.
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
control_socket_disable = True
# No header may change the path that is asked for.
forwarder_headers = ""

_STOPPING = {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT}
_release_signals = partial(signal.pthread_sigmask, signal.SIG_UNBLOCK, _STOPPING)
os.register_at_fork(after_in_parent=_release_signals)


def pre_fork(server, worker):
    """Hold back signals until the worker handles them; gunicorn would wait a minute for it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)


def post_worker_init(worker):
    """Limit the waits for heads, and remove what a killed worker left behind."""
    _release_signals()
    for listener in worker.sockets:
        limit_waits(listener.sock)
    worker.wsgi.extensions["backup_storage"].directory.sweep()
