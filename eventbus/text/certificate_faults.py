"""OpenSSL's error codes for a server's certificate: X509_V_ERR_… in its x509_vfy.h.

`ssl.SSLCertVerificationError.verify_code` has them; the texts differ between versions.
"""

from __future__ import annotations

UNKNOWN_AUTHORITY = frozenset({18, 19, 20, 21})
"""The chain does not end at a trusted CA: DEPTH_ZERO_SELF_SIGNED_CERT and so on."""
EXPIRED, NOT_YET_VALID = 10, 9
OTHER_NAME = frozenset({62, 64})
"""It is for another host name, or another IP address."""
