"""What a failure of TLS means, whoever is at the other end: OpenSSL's reason, and the cure that fits it."""

import ssl

_OLD = ("UNSUPPORTED_PROTOCOL", "PROTOCOL_VERSION", "WRONG_SSL_VERSION", "VERSION_TOO_LOW")
_NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE", "UNKNOWN_PROTOCOL")
_STRICT = range(76, 95)  # OpenSSL's numbers for what Python 3.13 looks at since VERIFY_X509_STRICT is its default


def tls_failure(error: ssl.SSLError, ca: str, address: str) -> tuple[str, str]:
    """Return what is wrong, and the cure, given the names of the settings with the ``ca`` file and the ``address``."""
    if isinstance(error, ssl.SSLCertVerificationError):
        wrong = f"its certificate is not to be trusted ({error.verify_message})"
        if error.verify_code in (9, 10):  # not valid yet; expired
            return wrong, "have it renewed, or set this machine's clock"
        if error.verify_code in (62, 64):  # another's
            return wrong, f"write the name it is for in {address}"
        if error.verify_code in _STRICT:
            return wrong, "have its CA issue it anew: openssl req -x509 -addext keyUsage=critical,keyCertSign"
        own = f"where it has a CA of its own, name that CA's file in {ca}"
        if error.verify_code == 20:  # nobody vouches for the last certificate that was sent
            return wrong, f"{own}; else have it send the certificates in between, too"
        return wrong, own
    reason = error.reason or str(error)
    if any(word in reason for word in _OLD):
        return f"it speaks no TLS of today ({reason})", "switch TLS 1.2 or 1.3 on there"
    if any(word in reason for word in ("NO_SHARED_CIPHER", "HANDSHAKE_FAILURE", "NO_CIPHERS")):
        wrong = f"it has no cipher in common with us, or wants a certificate of ours ({reason})"
        return wrong, "switch one of today's on there, such as ECDHE with AES-GCM, and let this server pass without"
    if "UNRECOGNIZED_NAME" in reason:
        return f"it does not go by that name ({reason})", f"write the name that it goes by in {address}"
    if "NO_CERTIFICATE_OR_CRL" in reason or "PEM" in reason:
        return f"the file of its CA holds no certificate ({reason})", f"check {ca}"
    if "CERTIFICATE" in reason:
        return f"it wants a certificate of ours ({reason})", "let this server pass without one there"
    if any(word in reason for word in _NO_TLS):
        return f"it does not speak TLS at that port ({reason})", f"check https:// and the port in {address}"
    return f"TLS failed ({reason})", f"check the port in {address}, and what is on the way"
