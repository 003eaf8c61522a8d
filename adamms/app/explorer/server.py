"""Serves the explorer's page until Ctrl-C. Knows sockets and the server, not the page."""

import errno
import getpass
import importlib.metadata as metadata
import os
import secrets
import signal
import socket
from collections.abc import Mapping
from contextlib import suppress
from tempfile import TemporaryDirectory
from typing import Any

from packaging.requirements import Requirement

from adamms.app.explorer.explorer import Explorer
from adamms.data.example import Label
from adamms.errors import AdammsError, install

FIRST, TRIED = 7860, 100  # gradio's usual port, and how many from there on are tried
LOCAL = ("127.0.0.1", "::1")
GRADIO = Requirement("gradio>=6.24")  # the first that can be told to keep no history of runs
SECONDS = 2  # that browsers have to let go at the end


def check_gradio() -> None:
    """Raise AdammsError if there is no gradio, or an older one, before anything is loaded."""
    try:
        found = metadata.version(GRADIO.name)
    except metadata.PackageNotFoundError:
        raise AdammsError(f"mode=explore needs gradio: {install('explore')}") from None
    if not GRADIO.specifier.contains(found, prereleases=True):
        raise AdammsError(f"mode=explore needs {GRADIO}, and {found} is installed: {install('explore')}")


def listen(host: str, port: int | None) -> socket.socket:
    """A socket that listens there; of port None on the first that is free.

    Raises:
        AdammsError: the port is taken, or the host is no address of this machine.
    """
    tried = range(FIRST, FIRST + TRIED) if port is None else (port,)
    for each in tried:
        try:
            family, *_, place = socket.getaddrinfo(host, each, type=socket.SOCK_STREAM)[0]
            listener = socket.socket(family, socket.SOCK_STREAM)
        except OSError as error:
            raise AdammsError(
                f"mode.host={host}: {error.strerror}; expected an address of this machine"
            ) from error
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(place)
            listener.listen()
            return listener
        except OSError as error:
            listener.close()
            if error.errno == errno.EADDRNOTAVAIL:
                raise AdammsError(f"mode.host={host}: expected an address of this machine") from error
            if port is not None:
                reason = "it is taken, or not allowed" if error.strerror is None else error.strerror
                raise AdammsError(
                    f"mode.port={port} on mode.host={host}: {reason}; give another port, or mode.port=null "
                    f"for the first free one from {FIRST} on"
                ) from error
    raise AdammsError(
        f"none of the ports {FIRST} to {FIRST + TRIED - 1} is free on {host}; name one: mode.port=N"
    )


def serve(explorer: Explorer, listener: socket.socket, labels: Mapping[str, Label]) -> None:
    """Say where the page is, and serve it until Ctrl-C or SIGTERM. In the main thread.

    Args:
        labels: example id -> the right answer, to be shown.
    """
    with TemporaryDirectory(prefix="adamms-explore-") as folder, listener:
        os.environ["GRADIO_TEMP_DIR"] = folder  # uploads; gone at the end
        place = f"/{secrets.token_urlsafe(12)}"  # a machine has other users
        server = server_of(explorer, labels, place)
        for line in addresses(listener, place):
            explorer.console.say(line)
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C; the server hands it on
        with suppress(KeyboardInterrupt):
            server.run(sockets=[listener])
        explorer.console.say("explore: ended")


def server_of(explorer: Explorer, labels: Mapping[str, Label], place: str) -> Any:
    """The page with uvicorn's server. There is nothing at any other place, such as "/secret"."""
    import uvicorn

    from adamms.app.explorer.page import application

    page = application(explorer, labels, place)
    return uvicorn.Server(
        uvicorn.Config(page, log_level="warning", timeout_graceful_shutdown=SECONDS, ws="none")
    )


def addresses(listener: socket.socket, place: str) -> list[str]:
    """What a person needs to open the page, here or from another machine."""
    host, port = listener.getsockname()[:2]
    here = f"[{host}]" if ":" in host else host
    name = socket.gethostname()
    if host in LOCAL:
        return [
            f"explore: http://{here}:{port}{place}  (Ctrl-C ends it)",
            f"from another machine: ssh -N -L {port}:{here}:{port} {_user()}{name}",
        ]
    return [
        f"explore: http://{name}:{port}{place}  (Ctrl-C ends it)",
        "everybody with this address can ask the models, upload pictures and have the merge written",
    ]


def _user() -> str:
    """ "NAME@", or "" where the system has no name for us, as in some containers."""
    try:
        return f"{getpass.getuser()}@"
    except (KeyError, OSError):
        return ""
