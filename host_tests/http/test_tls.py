"""An https server is who it says it is, or it learns nothing. Real TLS, on OpenSSL (CPython) and mbedTLS (the VM)."""

import datetime
import ssl

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from host_tests.fakes.server import HOLD, NEXT, RESET, UNWRAP, Server, answer

KEY = "0123456789abcdef0123456789abcdef"
NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)
GOOD = answer(b'{"id": "abc"}')


@pytest.fixture(scope="module")
def ca():
    return trustme.CA()


@pytest.fixture(scope="module")
def ca_file(ca, tmp_path_factory):
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    path.write_bytes(b"# our CA\n" + ca.cert_pem.bytes())
    return str(path)


def context(certificate, highest=None) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(made)
    if highest:
        made.minimum_version = made.maximum_version = highest
    return made


def self_signed(folder, host="localhost", key=None, **validity) -> tuple[ssl.SSLContext, str]:
    """A server's own certificate, which nobody has signed, and its file."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(NOW - DAY).not_valid_after(NOW + DAY)
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
    certificate = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "own.pem").write_bytes(certificate)
    (folder / "own.key").write_bytes(private)
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(folder / "own.pem", folder / "own.key")
    return made, str(folder / "own.pem")


def call(driver, server, ca_file, host="localhost", **order):
    url = f"https://{host}:{server.port}/v1/x.json"
    result = driver.call(url, ca=ca_file, headers={"X-ApiKey": KEY}, **order)
    assert "crash" not in result, result
    assert KEY not in str(result)
    return result


@pytest.mark.parametrize("kind", ["ECDSA", "RSA"])
@pytest.mark.parametrize("intermediate", [False, True])
def test_chain_that_leads_to_the_ca(driver, tmp_path, kind, intermediate):
    key_type = trustme.KeyType[kind]
    root = trustme.CA(key_type=key_type)
    issuer = root.create_child_ca(key_type=key_type) if intermediate else root
    root.cert_pem.write_to_path(tmp_path / "ca.pem")
    with Server([GOOD], tls=context(issuer.issue_cert("localhost", key_type=key_type))) as server:
        result = call(driver, server, str(tmp_path / "ca.pem"))
        assert result.get("json") == {"id": "abc"}, result


def test_missing_intermediate_is_unknown(driver, tmp_path):
    root = trustme.CA()
    issued = root.create_child_ca().issue_cert("localhost")
    root.cert_pem.write_to_path(tmp_path / "ca.pem")
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    (tmp_path / "leaf.pem").write_bytes(issued.cert_chain_pems[0].bytes())
    issued.private_key_pem.write_to_path(tmp_path / "leaf.key")
    made.load_cert_chain(tmp_path / "leaf.pem", tmp_path / "leaf.key")
    with Server([GOOD], tls=made) as server:
        assert call(driver, server, str(tmp_path / "ca.pem"))["code"] == "unknown_ca"


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3", "TLSv1_1"])
def test_versions_of_tls(driver, ca, ca_file, version):
    made = context(ca.issue_cert("localhost"), ssl.TLSVersion[version])
    if version == "TLSv1_1":
        made.set_ciphers("ALL:@SECLEVEL=0")
    with Server([GOOD], tls=made) as server:
        result = call(driver, server, ca_file)
    # mbedTLS as MicroPython builds it speaks 1.2 only.
    understood = version == "TLSv1_2" or (version == "TLSv1_3" and driver.runtime == "cpython")
    assert result.get("json") == {"id": "abc"} if understood else result["code"] == "tls_failed", result


@pytest.mark.parametrize(
    "names, validity, code",
    [
        (["localhost"], {"not_before": NOW - 9 * DAY, "not_after": NOW - DAY}, "cert_expired"),
        (["localhost"], {"not_before": NOW + DAY, "not_after": NOW + 9 * DAY}, "cert_not_yet_valid"),
        (["example.org", "localhost.example.org", "ocalhost"], {}, "wrong_host"),
        (["127.0.0.1"], {}, "wrong_host"),
        (["*.localhost"], {}, "wrong_host"),
    ],
)
def test_certificate_that_does_not_do(driver, ca, ca_file, names, validity, code):
    with Server([GOOD], tls=context(ca.issue_cert(*names, **validity))) as server:
        result = call(driver, server, ca_file)
        assert (result["code"], result["permanent"]) == (code, False)
        assert server.heard == [], "something was said to a server that is not the right one"


def test_address_instead_of_a_name(driver, ca, ca_file):
    with Server([GOOD], tls=context(ca.issue_cert("127.0.0.1"))) as server:
        assert call(driver, server, ca_file, "127.0.0.1")["json"] == {"id": "abc"}
    for names in (["localhost"], ["127.0.0.2"], ["127.0.0.1.example.org"]):
        with Server([GOOD], tls=context(ca.issue_cert(*names))) as server:
            assert call(driver, server, ca_file, "127.0.0.1")["code"] == "wrong_host"


def test_unknown_ca(driver, ca_file):
    with Server([GOOD], tls=context(trustme.CA().issue_cert("localhost"))) as server:
        assert call(driver, server, ca_file)["code"] == "unknown_ca"
        assert server.heard == []


def test_self_signed_is_unknown_unless_pinned(driver, ca_file, tmp_path):
    for key in (None, rsa.generate_private_key(65537, 2048)):
        made, own_file = self_signed(tmp_path, key=key)
        with Server([GOOD], tls=made) as server:
            assert call(driver, server, ca_file)["code"] == "unknown_ca"
            assert call(driver, server, own_file)["json"] == {"id": "abc"}
            assert call(driver, server, own_file, "127.0.0.1")["code"] == "wrong_host"


def test_certificate_with_any_letter_at_the_start_of_a_line(driver, ca, tmp_path):
    text = ca.cert_pem.bytes().decode()
    begin, *_, end = text.splitlines()
    body = "".join(text.splitlines()[1:-1])
    at = body.index("0", 2)  # also what DER begins with
    (tmp_path / "ca.pem").write_text("\n".join([begin, body[:at], body[at:], end, ""]))
    with Server([GOOD], tls=context(ca.issue_cert("localhost"))) as server:
        assert call(driver, server, str(tmp_path / "ca.pem")).get("json") == {"id": "abc"}


def test_bundle_and_der(driver, ca, ca_file, tmp_path):
    bundle = b"".join(b"# one of many\n" + trustme.CA().cert_pem.bytes() for _ in range(3)) + ca.cert_pem.bytes()
    (tmp_path / "bundle.pem").write_bytes(bundle.replace(b"\n", b"\r\n"))
    der = x509.load_pem_x509_certificate(ca.cert_pem.bytes()).public_bytes(serialization.Encoding.DER)
    (tmp_path / "ca.der").write_bytes(der)
    with Server([GOOD], tls=context(ca.issue_cert("localhost"))) as server:
        assert call(driver, server, str(tmp_path / "bundle.pem"))["json"] == {"id": "abc"}
        assert call(driver, server, str(tmp_path / "ca.der"))["json"] == {"id": "abc"}


def test_certificates_as_people_paste_them(driver, ca, tmp_path):
    text = ca.cert_pem.bytes()
    indented = b"".join(b"    " + line + b"  \r\n" for line in text.splitlines())
    with Server([GOOD], tls=context(ca.issue_cert("localhost"))) as server:
        for content in (
            indented,
            b"\xef\xbb\xbf" + text,
            b"\xef\xbb\xbf\t" + indented.replace(b"\r", b""),
            text.strip(),
        ):
            (tmp_path / "ca.pem").write_bytes(content)
            assert call(driver, server, str(tmp_path / "ca.pem")).get("json") == {"id": "abc"}, content


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"",
        b"hello\n",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\n****\n-----END CERTIFICATE-----\n",
        b"-----END CERTIFICATE-----\n",
        b"0\x82\x01\x00\n",
    ],
)
def test_ca_file_that_is_none(driver, tmp_path, content):
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    result = driver.call("https://localhost:1/", ca=str(path))
    assert (result["code"], result["permanent"]) == ("bad_ca", True), result
    assert result["values"][0] == str(path)


def test_https_without_ca_says_nothing_to_anybody(driver, ca):
    with Server([GOOD], tls=context(ca.issue_cert("localhost"))) as server:
        result = call(driver, server, "")
        assert (result["code"], result["permanent"]) == ("no_ca", True)
        assert server.connections == 0


@pytest.mark.parametrize(
    "script, code",
    [
        ([HOLD], "tls_stalled"),
        ([b"\x16", HOLD], "tls_stalled"),
        ([0.05, RESET], "tls_failed"),
        ([], "tls_failed"),
        ([b"HTTP/1.1 400 Bad Request\r\n\r\n", HOLD], "tls_failed"),
        ([bytes(3000), HOLD], "tls_failed"),
    ],
)
def test_handshake_that_comes_to_nothing(driver, ca_file, script, code):
    with Server(script, greet=True) as server:
        assert call(driver, server, ca_file, waits="hasty" if code == "tls_stalled" else "own")["code"] == code


def test_handshake_that_dribbles(driver, ca_file):
    record = b"\x16\x03\x03\x40\x00" + bytes(300)
    acts = [act for at in range(len(record)) for act in (record[at : at + 1], 0.05)]
    with Server(acts, greet=True) as server:
        assert call(driver, server, ca_file, waits="hasty")["code"] in ("tls_stalled", "tls_failed")


def test_nobody_listens(driver, ca_file):
    result = driver.call("https://localhost:1/", ca=ca_file)
    assert (result["code"], result["values"]) == ("no_answer", ["localhost", "ECONNREFUSED"])


def test_body_cut_inside_tls(driver, ca, ca_file):
    body = bytes(100_000)
    whole = answer(body, kind="application/octet-stream")
    with Server([whole[:50_000]], tls=context(ca.issue_cert("localhost"))) as server:
        assert call(driver, server, ca_file, read="body")["code"] == "body_cut"
        server.play([whole[:50_000], RESET])
        assert call(driver, server, ca_file, read="body")["code"] == "body_cut"
        server.play([whole[:50_000], HOLD])
        assert call(driver, server, ca_file, read="body", waits="hasty")["code"] == "stalled"
        server.play([whole])
        assert call(driver, server, ca_file, read="body")["body"] == [100_000, 0]


@pytest.mark.parametrize("ends", [[], [UNWRAP]])
def test_body_that_ends_with_the_connection(driver, ca, ca_file, ends):
    body = b'{"id": "' + b"x" * 3000 + b'"}'
    with Server([b"HTTP/1.1 200 OK\r\n\r\n" + body, *ends], tls=context(ca.issue_cert("localhost"))) as server:
        result = call(driver, server, ca_file)
        assert result.get("json") == {"id": "x" * 3000}, result
        assert call(driver, server, ca_file, read="body")["body"][0] == len(body)


# One connection for the calls of one link


def test_calls_of_one_link_use_one_connection(driver, ca, ca_file):
    with Server([GOOD, NEXT], tls=context(ca.issue_cert("localhost"))) as server:
        for number in range(5):
            assert call(driver, server, ca_file, keep=number > 0)["json"] == {"id": "abc"}
        call(driver, server, ca_file, keep=True, method="PUT", data="21.5")
        assert (server.connections, len(server.heard)) == (1, 6)
        assert b"Connection: close" not in server.heard[0]
        call(driver, server, ca_file, keep=False)
        assert server.connections == 2


@pytest.mark.parametrize(
    "first",
    [
        [answer(b"{}", headers=["Connection: close"])],
        [answer(b"{}", headers=["Connection: Close"]), NEXT],
        [answer(b"{}").replace(b"HTTP/1.1", b"HTTP/1.0"), NEXT],
        [b"HTTP/1.1 200 OK\r\n\r\n{}"],
        [answer(b"{}")],
        [answer(b"{}"), 0.05, RESET],
        [answer(b"{}") + GOOD, HOLD],
        [answer(b"{}"), GOOD, HOLD],
    ],
)
def test_connection_that_cannot_be_used_again_is_not(driver, ca, ca_file, first):
    with Server(first, [answer(b"[1]"), NEXT], tls=context(ca.issue_cert("localhost"))) as server:
        assert call(driver, server, ca_file)["json"] == {}
        server.wait_until_said()
        assert call(driver, server, ca_file, keep=True)["json"] == [1]
        assert server.connections == 2


def test_kept_connection_closed_instead_of_an_answer_is_tried_once_more(driver, ca, ca_file):
    with Server([GOOD, NEXT], [], [GOOD, NEXT], tls=context(ca.issue_cert("localhost"))) as server:
        assert "json" in call(driver, server, ca_file)
        assert "json" in call(driver, server, ca_file, keep=True)
        assert (server.connections, len(server.heard)) == (2, 3)
        server.play([GOOD, NEXT], [])
        assert "json" in call(driver, server, ca_file, keep=True)
        assert call(driver, server, ca_file, keep=True)["code"] == "no_answer"
        assert len(server.heard) == 3, "tried more than once"


def test_kept_connection_cut_in_an_answer_is_no_reason_to_ask_twice(driver, ca, ca_file):
    with Server([GOOD, NEXT], [b"H"], tls=context(ca.issue_cert("localhost"))) as server:
        assert "json" in call(driver, server, ca_file)
        assert call(driver, server, ca_file, keep=True)["code"] == "body_cut"
        assert len(server.heard) == 2


def test_answer_left_unread_ends_the_connection(driver, ca, ca_file):
    with Server([GOOD, NEXT], tls=context(ca.issue_cert("localhost"))) as server:
        call(driver, server, ca_file, read="none")
        assert "json" in call(driver, server, ca_file, keep=True)
        assert server.connections == 2
