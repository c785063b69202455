"""What a failure of TLS means, whoever is at the other end: OpenSSL's reason, and the cure that fits it."""

import ssl

_STRICT = range(76, 95)  # OpenSSL's numbers for what Python 3.13 looks at since VERIFY_X509_STRICT is its default
_OWN_CA = "where it has a CA of its own, name that CA's file in {ca}"
_BY_NUMBER = {
    **dict.fromkeys((9, 10), "have it renewed, or set this machine's clock"),  # not valid yet; expired
    **dict.fromkeys((62, 64), "write the name it is for in {address}"),  # another's
    **dict.fromkeys(_STRICT, "have its CA issue it anew: openssl req -x509 -addext keyUsage=critical,keyCertSign"),
    20: f"{_OWN_CA}; else have it send the certificates in between, too",  # nobody vouches for the last one sent
}
_BY_WORD = (  # the first that the reason holds
    ("PROTOCOL VERSION_TOO_LOW SIGALG", "it speaks no TLS of today", "switch TLS 1.2 or 1.3 on there"),
    ("CIPHER HANDSHAKE_FAILURE", "it has no cipher in common with us, or wants a certificate of ours",
        "switch one of today's on there, such as ECDHE with AES-GCM, and let this server pass without"),
    ("UNRECOGNIZED_NAME", "it does not go by that name", "write the name that it goes by in {address}"),
    ("CERTIFICATE_OR_CRL PEM", "the file of its CA holds no certificate", "check {ca}"),
    ("CERTIFICATE", "it wants a certificate of ours", "let this server pass without one there"),
    ("WRONG_VERSION HTTP PACKET RECORD", "it does not speak TLS at that port",
        "check https:// and the port in {address}"),
    ("", "TLS failed", "check the port in {address}, and what is on the way"),
)  # fmt: skip


def tls_failure(error: ssl.SSLError, ca: str, address: str) -> tuple[str, str]:
    """Return what is wrong, and the cure, given the names of the settings with the ``ca`` file and the ``address``."""
    if isinstance(error, ssl.SSLCertVerificationError):
        wrong = f"its certificate is not to be trusted ({error.verify_message})"
        return wrong, _BY_NUMBER.get(error.verify_code, _OWN_CA).format(ca=ca, address=address)
    reason = error.reason or str(error)  # Python has no name for some of OpenSSL's, and then its words
    said = reason.upper().replace(" ", "_")
    wrong, cure = next((wrong, cure) for words, wrong, cure in _BY_WORD if any(w in said for w in words.split(" ")))
    return f"{wrong} ({reason})", cure.format(ca=ca, address=address)
