"""Certificates for listeners of the tests: an authority, and what it signs."""

from __future__ import annotations

import datetime as dt
import ipaddress
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = dt.timedelta(days=1)


class Certificate(NamedTuple):
    """A certificate and its key, in PEM."""

    certificate: str
    key: str


class Authority:
    """Signs certificates; who is to trust it takes `file`."""

    def __init__(self, folder: Path, name: str = "saga-tests") -> None:
        self._folder = folder
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        basic = x509.BasicConstraints(ca=True, path_length=None)
        made = self._builder(self._name, self._key, 30 * DAY).add_extension(basic, critical=True)
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(made.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str, host: str = "127.0.0.1", days: int = 30, password: bytes = b"") -> tuple[Path, Path]:
        """Return the files of such a certificate (see `sign`) and of its key."""
        signed = self.sign(host, days, password)
        files = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        for file, text in zip(files, signed, strict=True):
            file.write_text(text, encoding="ascii")
        return files

    def sign(self, host: str, days: int = 30, password: bytes = b"") -> Certificate:
        """Return a certificate for this host that ends in so many days; it has expired where that is less than 0."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        name = x509.IPAddress(ipaddress.ip_address(host)) if host[0].isdigit() else x509.DNSName(host)
        names = x509.SubjectAlternativeName([name])
        made = self._builder(subject, key, days * DAY).add_extension(names, critical=False)
        pem = serialization.Encoding.PEM
        how = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
        return Certificate(
            made.sign(self._key, hashes.SHA256()).public_bytes(pem).decode(),
            key.private_bytes(pem, serialization.PrivateFormat.PKCS8, how).decode(),
        )

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, valid: dt.timedelta
    ) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self._name)
        builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
        return builder.not_valid_before(now - 60 * DAY).not_valid_after(now + valid)
