"""Mutual TLS between the services, where the settings name a certificate, its key and the CA."""

from __future__ import annotations

import ssl
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
from cryptography import x509

from services.common import metrics

if TYPE_CHECKING:
    from services.common.settings import Settings


def check(certificate: Path, key: Path, ca: Path) -> None:
    """Raises ValueError where the three cannot be used together."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(ca)
    except (OSError, ssl.SSLError) as error:
        raise ValueError(f"the certificate, its key or the CA cannot be used: {error}") from None


def server_credentials(settings: Settings) -> grpc.ServerCredentials | None:
    """What a server shows and asks of callers; a renewed file is used from the next connection."""
    if settings.tls_ca is None:
        return None
    files = _Files(settings)
    return grpc.dynamic_ssl_server_credentials(
        files.configuration(),
        files.renewed,  # type: ignore[arg-type] # None keeps what it has, says grpc
        require_client_authentication=True,
    )


def channel_credentials(settings: Settings) -> grpc.ChannelCredentials | None:
    """What a caller shows and asks of servers, as the files are now.

    `affectmesh_tls_certificate_ends_seconds` says until when: restart before then.
    """
    if settings.tls_ca is None or settings.tls_cert is None:
        return None
    files = _Files(settings)
    metrics.TLS_ENDS.set(_ends(settings.tls_cert).timestamp())
    return grpc.ssl_channel_credentials(files.ca, files.key, files.certificate)


class _Files:
    """The files of the settings, read again when they change."""

    def __init__(self, settings: Settings) -> None:
        if not (settings.tls_cert and settings.tls_key and settings.tls_ca):
            raise ValueError("TLS needs a certificate, its key and the CA.")
        self._paths = (settings.tls_cert, settings.tls_key, settings.tls_ca)
        self._read()

    def configuration(self) -> grpc.ServerCertificateConfiguration:
        """What a server needs of them."""
        return grpc.ssl_server_certificate_configuration([(self.key, self.certificate)], self.ca)

    def renewed(self) -> grpc.ServerCertificateConfiguration | None:
        """The new configuration where a file has changed; None where the old one holds."""
        try:
            if self._stamps() == self._read_at:
                return None
            check(*self._paths)
            self._read()
        except (OSError, ValueError):
            return None
        return self.configuration()

    def _read(self) -> None:
        self._read_at = self._stamps()
        self.certificate, self.key, self.ca = (path.read_bytes() for path in self._paths)

    def _stamps(self) -> tuple[int, ...]:
        return tuple(path.stat().st_mtime_ns for path in self._paths)


def _ends(certificate: Path) -> datetime:
    return x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc
