"""A PACS that breaks off, refuses, is busy or cuts its answers short: what is tried again, and what is said."""

from __future__ import annotations

import copy
import datetime as dt
import http.server
import json
import socket
import ssl
import threading
import urllib.error
import urllib.request
from contextlib import ExitStack, contextmanager

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, JPEG2000Lossless, SegmentationStorage
from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from app.pacs.dicomweb import WebPacs
from app.pacs.dimse import DimsePacs
from app.pacs.errors import certificate_refused
from app.pacs.query import Query
from app.pacs.storage_scp import storage_scp
from app.pacs.transfer import fetch_study, send_files
from fedpet.core.errors import PacsError, PacsUnavailableError, UnreadableStudyError
from fedpet.core.pacs_settings import PacsListenSettings, PacsSettings
from fedpet.imaging.dicom.files import InputLimits

SLICES = 6


class Flaky:
    """A PACS with one series, written with pynetdicom, that does not do everything it is asked.

    `fail(attempt, index)` says what happens to the index-th object of the attempt: None, a status, or "abort".
    """

    def __init__(self, slices, fail):
        self.slices, self.fail = slices, fail
        self.attempts = self.index = 0
        self.stored = []

    def find(self, event):
        asked = event.identifier
        for one in self.slices[:1] if asked.QueryRetrieveLevel == "SERIES" else self.slices:
            answer = Dataset()
            answer.QueryRetrieveLevel = asked.QueryRetrieveLevel
            answer.StudyInstanceUID, answer.SeriesInstanceUID = one.StudyInstanceUID, one.SeriesInstanceUID
            answer.Modality, answer.SOPInstanceUID = "CT", one.SOPInstanceUID
            yield 0xFF00, answer

    def get(self, event):
        attempt, self.attempts = self.attempts, self.attempts + 1
        yield len(self.slices)
        for index, one in enumerate(self.slices):
            what = self.fail(attempt, index)
            if what == "abort":
                event.assoc.abort()
                return
            if what is None:
                yield 0xFF00, one
            elif what == "other":
                other = copy.deepcopy(one)
                other.StudyInstanceUID = "1.2.3"
                yield 0xFF00, other
            else:
                yield what, None
                return

    def move(self, _):
        self.attempts += 1
        yield None, None  # unknown destination

    def store(self, event):
        index, self.index = self.index, self.index + 1
        what = self.fail(0, index)
        if what == "abort":
            event.assoc.abort()
            return 0x0000
        if what is None:
            self.stored.append(event.request.AffectedSOPInstanceUID)
        return what or 0x0000


@contextmanager
def served(flaky, *, syntaxes=(ExplicitVRLittleEndian,)):
    ae = AE("FLAKY")
    for model in (
        StudyRootQueryRetrieveInformationModelFind,
        StudyRootQueryRetrieveInformationModelGet,
        StudyRootQueryRetrieveInformationModelMove,
    ):
        ae.add_supported_context(model)
    ae.add_supported_context(CTImageStorage, list(syntaxes), scu_role=True, scp_role=True)
    handlers = [
        (evt.EVT_C_FIND, flaky.find),
        (evt.EVT_C_GET, flaky.get),
        (evt.EVT_C_MOVE, flaky.move),
        (evt.EVT_C_STORE, flaky.store),
    ]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        yield server.socket.getsockname()[1]
    finally:
        ae.shutdown()


@pytest.fixture
def slices(dicom, tmp_path):
    dicom.save(dicom.ct(dicom.thorax((SLICES, 8, 8))[1]), tmp_path / "source")
    return [dcmread(path) for path in sorted((tmp_path / "source").iterdir())]


def dimse(port, **changed):
    quick = {"timeout_s": 5, "retries": 1, "backoff_s": 0.01}
    return DimsePacs(
        "flaky", PacsSettings(**{"host": "127.0.0.1", "port": port, "called_ae": "FLAKY"} | quick | changed)
    )


def fetched(pacs, slices, tmp_path):
    return fetch_study(pacs, slices[0].StudyInstanceUID, tmp_path / "fetched", limits=InputLimits())


@pytest.mark.parametrize("failure", ["abort", 0xA702])
def test_a_study_half_received_is_fetched_again_and_whole(slices, tmp_path, failure):
    flaky = Flaky(slices, lambda attempt, index: failure if (attempt, index) == (0, 3) else None)
    with served(flaky) as port:
        done = fetched(dimse(port), slices, tmp_path)
    assert (done.images, done.attempts, flaky.attempts) == (SLICES, 2, 2)
    assert sorted(path.name for path in (tmp_path / "fetched").iterdir()) == [f"{n:06d}" for n in range(SLICES)]


def test_a_failure_that_will_not_pass_is_not_tried_again(slices, tmp_path):
    flaky = Flaky(slices, lambda *_: 0xC001)
    with served(flaky) as port, pytest.raises(PacsError, match="C-GET with status C001"):
        fetched(dimse(port), slices, tmp_path)
    assert flaky.attempts == 1


def test_a_study_that_never_comes_whole_leaves_nothing_and_says_how_many_came(slices, tmp_path):
    flaky = Flaky(slices, lambda attempt, index: "abort" if index == 2 + attempt else None)
    with (
        served(flaky) as port,
        pytest.raises(PacsError, match=r"Only 4 of 6 images came .*broke during C-GET") as caught,
    ):
        fetched(dimse(port, retries=2), slices, tmp_path)
    assert flaky.attempts == 3
    assert "a part of it is not used" in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_an_image_of_another_study_does_not_come_in(slices, tmp_path):
    flaky = Flaky(slices, lambda _, index: "other" if index == 0 else None)
    with served(flaky) as port, pytest.raises(PacsError, match=r"Only 5 of 6 images .* 1 failed and 0 remaining"):
        fetched(dimse(port), slices, tmp_path)


def test_a_wait_between_attempts_doubles(slices, tmp_path, monkeypatch):
    waits = []
    monkeypatch.setattr("app.pacs.transfer.time.sleep", waits.append)
    flaky = Flaky(slices, lambda *_: 0xA701)
    with served(flaky) as port, pytest.raises(PacsError):
        fetched(dimse(port, retries=2, backoff_s=7.0), slices, tmp_path)
    assert [wait for wait in waits if wait >= 7.0] == [7.0, 14.0]


def test_an_unknown_move_destination_is_said_and_not_tried_again(slices, tmp_path, orthanc):
    flaky = Flaky(slices, lambda *_: None)
    with served(flaky) as port, pytest.raises(PacsError, match="C-MOVE with status A801") as caught:
        fetched(dimse(port, retrieve="move", move_port=orthanc.free_port()), slices, tmp_path)
    assert "register our AE title with our address" in str(caught.value)
    assert flaky.attempts == 1


@pytest.mark.parametrize("failure", ["abort", 0xA700, 0xC000])
def test_a_refused_object_is_sent_again_alone(slices, tmp_path, failure):
    flaky = Flaky(slices, lambda _, index: failure if index == 2 else None)
    with served(flaky) as port:
        sent = send_files(dimse(port), tmp_path / "source")
    assert (sent.objects, sent.attempts) == (SLICES, 2)
    assert sorted(flaky.stored) == sorted(one.SOPInstanceUID for one in slices)
    assert len(flaky.stored) == SLICES


@pytest.mark.parametrize(("failure", "status"), [("abort", "–"), (0xA700, "A700"), (0x0124, "0124")])
def test_objects_that_are_always_refused_are_counted(slices, tmp_path, failure, status):
    refused = slices[-1].SOPInstanceUID
    flaky = Flaky(slices, lambda *_: None)
    flaky.fail = lambda *_: failure if flaky.index >= SLICES else None
    with served(flaky) as port, pytest.raises(PacsError, match=rf"did not store 1 of 6 objects \(status {status}\)"):
        send_files(dimse(port), tmp_path / "source")
    assert flaky.index == SLICES + 1  # one more try
    assert refused not in flaky.stored


def test_a_warning_counts_as_stored(slices, tmp_path):
    flaky = Flaky(slices, lambda *_: 0xB000)
    with served(flaky) as port:
        assert send_files(dimse(port), tmp_path / "source").objects == len(slices)


def test_kinds_that_are_not_accepted_are_counted_and_the_others_stored(slices, tmp_path):
    odd = copy.deepcopy(slices[0])
    odd.SOPClassUID = odd.file_meta.MediaStorageSOPClassUID = SegmentationStorage
    odd.save_as(tmp_path / "source" / "0-first", enforce_file_format=True)
    flaky = Flaky(slices, lambda *_: None)
    with served(flaky) as port, pytest.raises(PacsError, match=r"did not store 1 of 7 objects \(status 0122\)"):
        send_files(dimse(port), tmp_path / "source")
    assert len(flaky.stored) == SLICES


def test_a_kind_that_is_not_accepted_is_said_without_another_try(slices, tmp_path):
    flaky = Flaky(slices, lambda *_: None)
    with served(flaky, syntaxes=(JPEG2000Lossless,)) as port, pytest.raises(PacsError, match="does not offer this"):
        send_files(dimse(port), tmp_path / "source")
    assert flaky.index == 0


def test_a_pacs_without_c_get_is_said(slices, tmp_path):
    def nothing(*_):
        return 0x0000

    keep = storage_scp(nothing, ae_title="FLAKY", address=("127.0.0.1", 0), max_bytes=2**20, timeout_s=5)
    with keep as port, pytest.raises(PacsError, match="does not offer this operation"):
        fetched(dimse(port), slices, tmp_path)


# DICOMweb


class Proxy(http.server.BaseHTTPRequestHandler):
    """Passes requests on to Orthanc; `spoil(path, body)` changes an answer."""

    orthanc = None
    spoil = None

    def do_GET(self):
        self._pass(None)

    def do_POST(self):
        self._pass(self.rfile.read(int(self.headers["Content-Length"])))

    def _pass(self, data):
        address = f"http://127.0.0.1:{self.orthanc.http_port}{self.path}"
        headers = {
            key: value for key, value in self.headers.items() if key not in {"Host", "Connection", "Accept-Encoding"}
        }
        try:
            with urllib.request.urlopen(urllib.request.Request(address, data, headers)) as answer:
                status, body, kind = answer.status, answer.read(), answer.headers["Content-Type"]
        except urllib.error.HTTPError as error:
            status, body, kind = error.code, error.read(), error.headers["Content-Type"]
        status, body, extra = self.spoil(self.path, status, body)
        self.send_response(status)
        for key, value in {"Content-Type": kind or "text/plain", **extra}.items():
            self.send_header(key, value)
        if "Location" in extra or "Content-Length" in extra:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)  # without its length, as HTTP 1.0: the end of the connection is the end of the answer

    def log_message(self, *_):
        pass


@pytest.fixture
def proxy(orthanc, monkeypatch):
    """Start a proxy that spoils answers; gives a PACS that is reached through it, and its secret to no other."""
    monkeypatch.setenv("ORTHANC_SECRET", orthanc.credentials)
    with ExitStack() as stack:

        def start(spoil, **changed):
            kind = type("Spoiling", (Proxy,), {"orthanc": orthanc, "spoil": staticmethod(spoil)})
            server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), kind)
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
            stack.callback(server.server_close)
            stack.callback(server.shutdown)
            url = f"http://127.0.0.1:{server.server_port}/dicom-web"
            quick = {"timeout_s": 5, "retries": 1, "backoff_s": 0.01, "secret_env": "ORTHANC_SECRET"}
            return WebPacs("proxy", PacsSettings(**quick | {"url": url} | changed))

        yield start


@pytest.fixture
def held(dicom, tmp_path, proxy):
    """A study that Orthanc holds, as slices."""
    study = f"1.2.826.0.1.{dt.datetime.now(dt.UTC):%Y%m%d%H%M%S%f}"
    built = dicom.ct(dicom.thorax((SLICES, 8, 8))[1], series=study, StudyInstanceUID=study)
    dicom.save(built, tmp_path / "source")
    send_files(proxy(unspoiled), tmp_path / "source")
    return built


def unspoiled(_, status, body):
    return status, body, {}


def only_at_first(spoil):
    """Spoil the first answer that `spoil` changes, and none after it."""
    done = []

    def first(path, status, body):
        changed = spoil(path, status, body)
        if done or changed == unspoiled(path, status, body):
            return status, body, {}
        done.append(path)
        return changed

    return first


def cut(path, status, body):
    return status, body[: len(body) * 6 // 10] if "/series/" in path and "instances" not in path else body, {}


def busy(path, status, body):
    return (503, b"", {}) if "instances" in path else (status, body, {})


@pytest.mark.parametrize("spoil", [cut, busy])
def test_a_dicomweb_study_half_received_is_fetched_again_and_whole(held, proxy, tmp_path, spoil):
    done = fetched(proxy(only_at_first(spoil)), held, tmp_path)
    assert (done.images, done.attempts) == (SLICES, 2)
    for path in (tmp_path / "fetched").iterdir():
        assert len(dcmread(path).PixelData) == 8 * 8 * 2


def test_a_dicomweb_answer_that_always_ends_early_leaves_nothing(held, proxy, tmp_path):
    with pytest.raises(PacsError, match=r"Only \d of 6 images came .* 1 failed and 0 remaining"):
        fetched(proxy(cut), held, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_busy_dicomweb_service_is_said(held, proxy, tmp_path):
    with pytest.raises(PacsUnavailableError, match="HTTP 503"):
        fetched(proxy(busy), held, tmp_path)


def test_the_secret_follows_no_redirection(proxy):
    seen = []

    def watch(path, status, body):
        seen.append(path)
        return status, body, {}

    other = proxy(watch).settings.url
    with pytest.raises(PacsError, match="does not redirect"):
        proxy(lambda *_: (302, b"", {"Location": f"{other}/studies"})).echo()
    assert seen == []


@pytest.mark.parametrize("answer", [b"<html>Welcome</html>", b"[1, 2", b'[{"0020000D": 3}]', b'"text"'])
def test_an_answer_that_is_not_dicomweb_is_said(proxy, answer):
    kind = {"Content-Type": "application/json; charset=utf-8"}
    with pytest.raises(PacsError, match="cannot be used"):
        proxy(lambda *_: (200, answer, kind)).find(Query(patient_id="1"), "study", 5)


def test_an_answer_without_end_is_broken_off(held, proxy, tmp_path, monkeypatch):
    monkeypatch.setattr("app.pacs.dicomweb._MAX_TEXT", 2**12)

    def pad(path, status, body):
        return (status, body + b"x" * 2**20, {}) if "/series/" in path else (status, body, {})

    with pytest.raises(PacsError, match="cannot be used"):
        fetch_study(proxy(pad), held[0].StudyInstanceUID, tmp_path / "fetched", limits=InputLimits(max_bytes=2**18))


def test_a_service_that_gives_the_same_page_for_ever_is_asked_twice(proxy):
    asked = []
    one = {"0020000E": {"vr": "UI", "Value": ["1.3"]}, "00080018": {"vr": "UI", "Value": ["1.2.3"]}}

    def same(path, *_):
        asked.append(path)
        return 200, json.dumps([one]).encode(), {}

    assert proxy(same).images("1.2") == {"1.3": {"1.2.3": ""}}
    assert len(asked) == 3


def refuse_one(path, status, body):
    """Orthanc's answer to STOW-RS, but for its first object."""
    answer = json.loads(body) if path.endswith("/studies") else {}
    if "00081199" not in answer:
        return status, body, {}
    refused = answer["00081199"]["Value"].pop()
    refused["00081197"] = {"vr": "US", "Value": [0xA700]}
    answer["00081198"] = {"vr": "SQ", "Value": [refused]}
    return 202, json.dumps(answer).encode(), {}


def refuse_all(path, status, body):
    return (409, *refuse_one(path, status, body)[1:]) if path.endswith("/studies") else (status, body, {})


def say_nothing(path, status, body):
    return (200, b"", {}) if path.endswith("/studies") else (status, body, {})


@pytest.mark.parametrize("spoil", [refuse_one, refuse_all, say_nothing])
def test_an_object_that_stow_does_not_confirm_is_sent_again(held, proxy, tmp_path, spoil):
    assert len(held) == SLICES
    assert send_files(proxy(only_at_first(spoil)), tmp_path / "source").attempts == 2


@pytest.mark.parametrize(
    ("spoil", "words"), [(refuse_one, "1 of 6 objects (status A700)"), (say_nothing, "6 of 6 objects (status –)")]
)
def test_objects_that_stow_never_confirms_are_counted(held, proxy, tmp_path, spoil, words):
    assert len(held) == SLICES
    with pytest.raises(PacsError) as caught:
        send_files(proxy(spoil), tmp_path / "source")
    assert words in str(caught.value)


# TLS


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """Two authorities, each with a certificate for this machine: (ca, certificate, key)."""
    folder = tmp_path_factory.mktemp("certificates")
    return [_certified(folder, name) for name in ("ours", "theirs")]


def _certified(folder, name):
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    def certificate(subject, key, issuer, issuer_key, extension):
        names = [x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, one)]) for one in (subject, issuer)]
        now = dt.datetime.now(dt.UTC)
        builder = x509.CertificateBuilder(names[1], names[0], key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=1))
        return builder.add_extension(extension, critical=True).sign(issuer_key, hashes.SHA256())

    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    authority = certificate(name, keys[0], name, keys[0], x509.BasicConstraints(ca=True, path_length=None))
    host = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    leaf = certificate("localhost", keys[1], name, keys[0], host)
    pem = serialization.Encoding.PEM
    written = {
        "ca": authority.public_bytes(pem),
        "cert": leaf.public_bytes(pem),
        "key": keys[1].private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    }
    for part, content in written.items():
        (folder / f"{name}.{part}").write_bytes(content)
    return {f"{part}_file": folder / f"{name}.{part}" for part in written}


@contextmanager
def encrypted(listening):
    tls = certificate_refused("pacs_listen", PacsListenSettings(**listening).listener_context)
    assert isinstance(tls, ssl.SSLContext)
    with storage_scp(
        lambda *_: 0, ae_title="FLAKY", address=("127.0.0.1", 0), max_bytes=2**20, timeout_s=5, tls=tls
    ) as port:
        yield port


def test_tls_trusts_the_configured_authority_only(certificates):
    ours, theirs = certificates
    listening = {"cert_file": ours["cert_file"], "key_file": ours["key_file"]}
    with encrypted(listening) as port:
        dimse(port, host="localhost", tls=True, ca_file=ours["ca_file"]).echo()
        for wrong in ({"ca_file": theirs["ca_file"]}, {}, {"host": "127.0.0.1", "ca_file": ours["ca_file"]}):
            with pytest.raises(PacsUnavailableError, match="certificates"):
                dimse(port, **{"host": "localhost", "tls": True} | wrong).echo()
        with pytest.raises(PacsUnavailableError):
            dimse(port, host="localhost", timeout_s=1).echo()


def test_a_silent_connection_does_not_hold_up_the_handshakes_of_others(certificates):
    ours, _ = certificates
    listening = {"cert_file": ours["cert_file"], "key_file": ours["key_file"]}
    with encrypted(listening) as port, socket.create_connection(("127.0.0.1", port)):
        dimse(port, host="localhost", tls=True, ca_file=ours["ca_file"]).echo()


def test_a_receiver_can_ask_for_certificates(certificates):
    ours, theirs = certificates
    shown = {key: ours[key] for key in ("cert_file", "key_file")}
    with encrypted(ours) as port:
        dimse(port, host="localhost", tls=True, **ours).echo()
        stranger = {key: theirs[key] for key in ("cert_file", "key_file")}
        for wrong in ({}, stranger):
            with pytest.raises(PacsUnavailableError):
                dimse(port, host="localhost", tls=True, ca_file=ours["ca_file"], timeout_s=1, **wrong).echo()
        dimse(port, host="localhost", tls=True, ca_file=ours["ca_file"], **shown).echo()


def test_certificates_that_are_missing_or_damaged_are_said(certificates, tmp_path, proxy):
    damaged = tmp_path / "damaged"
    damaged.write_text("no certificate")
    for wrong in ({"ca_file": tmp_path / "none"}, {"ca_file": damaged}, {"cert_file": damaged}):
        with pytest.raises(PacsError, match="certificates of the PACS"):
            dimse(1, tls=True, **wrong).echo()
    with pytest.raises(PacsError):
        proxy(unspoiled, url="https://localhost:1", ca_file=tmp_path / "none").echo()
    with pytest.raises(PacsError, match="certificates"), encrypted({"cert_file": damaged}):
        pass
    assert certificates


def test_a_host_that_has_no_address_is_said(monkeypatch, proxy):
    monkeypatch.setattr("socket.getaddrinfo", no_address)
    for pacs in (dimse(104, host="pacs.invalid"), proxy(unspoiled, url="https://pacs.invalid")):
        with pytest.raises(PacsUnavailableError, match="does not answer"):
            pacs.echo()


def no_address(*_, **__):
    raise socket.gaierror


def test_an_object_larger_than_a_study_may_be_is_cut_off_at_once(slices, tmp_path):
    slices[2].PixelData = bytes(2**19)
    flaky = Flaky(slices, lambda *_: None)
    with served(flaky) as port, pytest.raises(UnreadableStudyError):
        fetch_study(dimse(port), slices[0].StudyInstanceUID, tmp_path / "x", limits=InputLimits(max_bytes=2**18))
    assert flaky.attempts == 1
