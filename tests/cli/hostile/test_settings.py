"""What is wrong on this machine is told before the first intent: nothing is sent, and no job is in doubt for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli.hostile.helpers import desk

#: A name that leads nowhere; no row gets so far as to look it up.
NET = {"RIVYA_BASE_URL": "https://rivya.invalid"}
#: Variables ({url} is that of an API on loopback), more words of the command, and what is told.
FAULTS: dict[str, tuple[dict[str, str], list[str], str]] = {
    "a base URL with a path": ({"RIVYA_BASE_URL": "{url}/api/v1"}, [], "API's base URL"),
    "a base URL with a login": ({"RIVYA_BASE_URL": "http://me:word@127.0.0.1:9"}, [], "API's base URL"),
    "a SOCKS proxy without a host": (NET | {"ALL_PROXY": "socks5://"}, [], "ALL_PROXY"),
    "a key log in no folder": (NET | {"SSLKEYLOGFILE": "nowhere/keys"}, [], "SSLKEYLOGFILE"),
    "a certificate file that is not there": (NET | {"SSL_CERT_FILE": "nowhere.pem"}, [], "SSL_CERT_FILE"),
    "a SOCKS proxy without a host, the API on loopback": ({"ALL_PROXY": "socks5://"}, [], "ALL_PROXY"),
    "a key log in no folder, the API on loopback": ({"SSLKEYLOGFILE": "nowhere/keys"}, [], "SSLKEYLOGFILE"),
    "a certificate file that is none, the API on loopback": ({"SSL_CERT_FILE": "m.yaml"}, [], "SSL_CERT_FILE"),
    "a network that is none": ({"BATCHER_ALLOW_NET": "198.18.0.0/99"}, [], "BATCHER_ALLOW_NET"),
    "a network that is none, as an option": ({}, ["--allow-net", "198.18.0.0/99"], "--allow-net"),
    "a short key": ({"RIVYA_API_KEY": "k"}, [], "8 characters"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_local_faults_are_told_before_the_first_intent(tmp_path: Path, name: str) -> None:
    variables, words, told = FAULTS[name]
    with desk(tmp_path) as (api, place):
        place.write(["boat"])
        found = {variable: value.format(url=api.url) for variable, value in variables.items()}
        assert place.run("run", "m.yaml", *words, **found) == 2, place.said
        assert told in place.said
        assert api.asked == []
        if (place.state / "ledger.db").exists():
            assert place.rows("SELECT * FROM attempts") == []


def test_a_socks_proxy_that_is_not_there_puts_no_job_in_doubt(tmp_path: Path) -> None:
    with desk(tmp_path) as (_, place):
        place.write(["boat", "ship"], "retries: {times: 2, outage: 1s}")
        for _ in range(2):
            assert place.run(**NET, ALL_PROXY="socks5://127.0.0.1:9") == 6, place.said
            assert "SOCKS" in place.said
        assert {job["status"] for job in place.jobs().values()} == {"planned"}
        assert place.rows("SELECT * FROM attempts") == []
