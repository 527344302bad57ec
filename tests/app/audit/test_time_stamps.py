"""Time stamps by a real authority: `openssl ts` behind a small server of this machine."""

import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from app.audit.time_stamps import TimeStamps
from app.audit.trail import AuditTrail
from app.cases.store import Store
from app.cli.main import main
from fedpet.core.errors import SettingsError
from fedpet.core.settings import Settings

_CONFIG = """
[req]
distinguished_name = name
[name]
[tsa]
default_tsa = here
[here]
serial = {folder}/serial
signer_cert = {folder}/tsa.pem
signer_key = {folder}/tsa.key
certs = {folder}/tsa.pem
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
[tsa_ext]
extendedKeyUsage = critical,timeStamping
[ca_ext]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign
"""


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """Address, certificate of who signed the authority's, and that of another."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("authority")
    config = folder / "openssl.cnf"
    config.write_text(_CONFIG.format(folder=folder))
    (folder / "serial").write_text("01\n")

    def openssl(*words, **options):
        return subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True, **options).stdout

    key = ("-newkey", "rsa:2048", "-nodes", "-config", config)
    for name in ("ca", "other"):
        out = ("-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem")
        openssl("req", "-x509", "-subj", f"/CN={name}", "-extensions", "ca_ext", *key, *out)
    openssl("req", "-subj", "/CN=tsa", *key, "-keyout", folder / "tsa.key", "-out", folder / "tsa.csr")
    sign = ("-CA", folder / "ca.pem", "-CAkey", folder / "ca.key", "-CAcreateserial", "-days", "30")
    extensions = ("-extfile", config, "-extensions", "tsa_ext")
    openssl("x509", "-req", "-in", folder / "tsa.csr", "-out", folder / "tsa.pem", *sign, *extensions)

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self):
            (folder / "query").write_bytes(self.rfile.read(int(self.headers["Content-Length"])))
            reply = openssl("ts", "-reply", "-config", config, "-queryfile", folder / "query")
            self.send_response(200)
            self.send_header("Content-Type", "application/timestamp-reply")
            self.end_headers()
            self.wfile.write(reply if self.path == "/good" else b"no reply")

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", folder
    server.shutdown()
    server.server_close()


@pytest.fixture
def stamped(authority, tmp_path, monkeypatch):
    """A trail of two entries, stamped by the command."""
    address, folder = authority
    for name, value in (("HOME", tmp_path), ("AUDIT_AUTHORITY", f"{address}/good"), ("LANGUAGE", "en")):
        monkeypatch.setenv(f"FEDPET_{name}", str(value))
    monkeypatch.setenv("FEDPET_AUDIT_AUTHORITY_CERTIFICATE", str(folder / "ca.pem"))
    store = Store.open(Settings(home=tmp_path))
    audit = AuditTrail(store.engine, tmp_path, certificate=folder / "ca.pem")
    for action in ("case.created", "verdict.signed"):
        audit.record("Dr A", action)
    done = CliRunner().invoke(main, ["audit", "stamp"])
    assert done.exit_code == 0, done.output
    yield audit, store.engine, tmp_path
    store.close()


def test_a_stamped_trail_is_sound_and_openssl_verifies_the_stamp(stamped, authority):
    audit, _, home = stamped
    assert audit.verify().broken is None
    newest = audit.entries(newest=1)[0]
    words = ["openssl", "ts", "-verify", "-token_in", "-in", home / "audit-stamps" / "2.tst", "-digest", newest.digest]
    done = subprocess.run([*words, "-CAfile", authority[1] / "ca.pem"], capture_output=True, text=True, check=False)
    assert "Verification: OK" in done.stdout + done.stderr
    audit.record("Dr A", "case.opened")
    assert audit.verify().broken is None
    assert AuditTrail(stamped[1], home).verify().broken is None  # no certificate is set


def test_a_trail_rewritten_with_its_head_and_key_does_not_fit_the_stamp(stamped, authority):
    _, engine, home = stamped
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM audit"))
    for name in ("audit.head", "audit.key"):
        (home / name).unlink()
    audit = AuditTrail(engine, home, certificate=authority[1] / "ca.pem")
    audit.record("Dr A", "case.created")
    assert "One entry is missing" in str(audit.verify().broken)
    audit.record("Dr A", "verdict.withdrawn")
    assert "Entry 2 is not the one that was written" in str(audit.verify().broken)


@pytest.mark.parametrize("spoil", ["another authority", "a byte of the signature", "no token", "another name"])
def test_a_stamp_that_the_authority_did_not_make_is_found(stamped, authority, spoil):
    audit, engine, home = stamped
    path = home / "audit-stamps" / "2.tst"
    whole = path.read_bytes()
    if spoil == "another authority":
        audit = AuditTrail(engine, home, certificate=authority[1] / "other.pem")
    elif spoil == "another name":
        path.rename(path.with_name("1.tst"))
    else:
        path.write_bytes(b"no token" if spoil == "no token" else whole[:-1] + bytes([whole[-1] ^ 1]))
    assert audit.verify().broken is not None


@pytest.mark.parametrize("address", ["{}/bad", "http://127.0.0.1:9", ""])
def test_an_authority_that_gives_no_stamp_is_said(stamped, authority, monkeypatch, address):
    monkeypatch.setenv("FEDPET_AUDIT_AUTHORITY", address.format(authority[0]))
    done = CliRunner().invoke(main, ["audit", "stamp"])
    assert done.exit_code == 2
    assert "authority" in done.stderr
    assert stamped[0].verify().broken is None


def test_without_its_library_a_stamped_trail_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr("app.audit.time_stamps.find_spec", lambda _: None)
    assert TimeStamps(tmp_path).read() == {}
    (tmp_path / "audit-stamps").mkdir()
    (tmp_path / "audit-stamps" / "1.tst").write_bytes(b"")
    with pytest.raises(SettingsError, match="pyHanko, is not installed"):
        TimeStamps(tmp_path).read()
