"""Encrypted connections: certificates are checked, and encryption is not given up on the way."""

import contextlib
import socket
import ssl
import threading
from datetime import datetime, timedelta, timezone

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from medimg.archive.transport.errors import TransferError, Unreachable
from tests.unit.archive.transport.servers import (
    CLOCK,
    FileServer,
    is_right,
    serving,
    talking,
    transfer,
)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Of localhost and archive.example.org, signed by itself; with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(timezone.utc)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.DNSName("archive.example.org")])
    signed = (
        x509.CertificateBuilder(
            name,
            name,
            key.public_key(),
            x509.random_serial_number(),
            now - timedelta(days=1),
            now + timedelta(days=1),
        )
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(signed.public_bytes(serialization.Encoding.PEM) + private)
    return path


@pytest.fixture
def tls_server(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    class Encrypted(FileServer):
        def setup(self):
            self.request = context.wrap_socket(self.request, server_side=True)
            super().setup()

        def do_GET(self):
            if self.path == "/stall":
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
                with CLOCK.going():
                    self.rfile.read(1)
            super().do_GET()

    with serving(Encrypted) as url:
        yield url.replace("http://127.0.0.1", "https://localhost")


def test_encrypted_files_come_whole(tmp_path, tls_server, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    fetching = transfer(tls_server, tmp_path)
    assert is_right(fetching.download(f"{tls_server}/file"))
    with pytest.raises(TransferError, match=r"silent for 0.6 s"):
        fetching.download(f"{tls_server}/stall")


def test_a_certificate_of_nobody_is_refused_at_once(tmp_path, tls_server):
    lines = []
    with pytest.raises(Unreachable, match="certificate verify failed"):
        transfer(tls_server, tmp_path, on_retry=lines.append).download(f"{tls_server}/file")
    assert lines == []


def test_encryption_is_not_given_up(tmp_path, server, tls_server, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with pytest.raises(
        TransferError, match=r"redirect to http://127.0.0.1:\d+/file, expected an https address"
    ):
        transfer(tls_server, tmp_path, origins=(tls_server, server)).download(
            f"{tls_server}/to/{server}/file"
        )


def test_a_tunnel_through_a_proxy_of_the_environment_works(tmp_path, tls_server, certificate, monkeypatch):
    asked = []

    def tunnel(connection):
        asked.append(connection.recv(65536).split(b"\r\n")[0])
        with socket.create_connection(("127.0.0.1", int(tls_server.rpartition(":")[2]))) as upstream:
            connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=pump, args=(upstream, connection), daemon=True)
            back.start()
            pump(connection, upstream)

    def pump(source, target):
        with contextlib.suppress(OSError):
            while block := source.recv(65536):
                target.sendall(block)

    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with talking(tunnel, listens_first=False) as proxy:
        monkeypatch.setenv("https_proxy", proxy)
        monkeypatch.delenv("no_proxy", raising=False)
        fetching = transfer("https://archive.example.org", tmp_path)
        assert is_right(fetching.download("https://archive.example.org/file"))
    assert [line.rpartition(b" ")[0] for line in asked] == [b"CONNECT archive.example.org:443"]
