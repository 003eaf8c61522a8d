"""mode=explore from the command line: what stops it at once. The commands of its docs: test_docs_run."""

import getpass
import importlib.metadata as metadata
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from command import ROOT, Outcome, pair, write_jsonl

from adamms.app.explorer import server
from adamms.app.modes import explore

Run = Callable[..., Outcome]


def unknown(name: str = "") -> str:
    raise metadata.PackageNotFoundError(name)


def unopened(*_: object) -> None:
    raise AssertionError("the models were opened")


def test_what_stops_it_shows_before_anything_is_loaded(
    run: Run, miniature: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(explore, "opened", unopened)
    command = ["mode=explore", *pair(miniature), "data=jsonl", f"data.path={write_jsonl(tmp_path)}"]
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        taken = run(*command, f"mode.port={port}")
    assert taken.status == 2
    assert f"mode.port={port} on mode.host=127.0.0.1: Address already in use; give another port" in taken.err
    nowhere = run(*command, "mode.host=no.such.host.invalid")
    assert "mode.host=no.such.host.invalid: " in nowhere.err
    assert "expected an address of this machine" in nowhere.err
    assert "mode.host=192.0.2.1: expected an address" in run(*command, "mode.host=192.0.2.1").err
    monkeypatch.setattr(metadata, "version", lambda _: "6.23.0")
    assert "mode=explore needs gradio>=6.24, and 6.23.0 is installed: pip" in run(*command).err
    assert f'explore = ["{server.GRADIO}"]' in (ROOT / "pyproject.toml").read_text()
    monkeypatch.setattr(metadata, "version", unknown)
    absent = run(*command)
    assert absent.status == 2
    assert "mode=explore needs gradio: pip install -e '" in absent.err
    assert "[explore]'" in absent.err
    assert "mode=explore does not look at evaluate=none" in run(*command, "evaluate=none").out


def test_the_default_port_may_be_taken_and_strangers_are_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    user = getpass.getuser()
    with server.listen("127.0.0.1", None) as first, server.listen("127.0.0.1", None) as second:
        ports = [each.getsockname()[1] for each in (first, second)]
        assert len(set(ports)) == 2
        here, tunnel = server.addresses(first, "/secret")
        assert here.startswith(f"explore: http://127.0.0.1:{ports[0]}/secret ")
        assert f"ssh -N -L {ports[0]}:127.0.0.1:{ports[0]} {user}@" in tunnel
        monkeypatch.setattr(getpass, "getuser", {}.popitem)  # a container under a number without a name
        assert server.addresses(first, "/secret")[1] == tunnel.replace(f"{user}@", "")
    with server.listen("0.0.0.0", None) as third:
        assert "everybody with this address" in server.addresses(third, "/secret")[1]
