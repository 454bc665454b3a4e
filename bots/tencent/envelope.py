"""How callbacks of Official Accounts and of WeCom are signed, sealed and written."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
import struct
from collections.abc import Mapping
from xml.etree.ElementTree import ParseError

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from chatgpt2.adapter import ConfigError

LARGEST_BODY = 64 * 1024  # bytes of a callback; the platform's own are far below
_BLOCK = 32  # bytes that the text is padded to, twice what AES needs
_NOT_IN_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Forged(Exception):
    """A callback that the platform did not write, or not for this account."""


def signature(*parts: str) -> str:
    """The platform's signature of these parts, in whatever order: SHA-1 in hexadecimal digits."""
    return hashlib.sha1("".join(sorted(parts)).encode()).hexdigest()


def is_signed(given: str, *parts: str) -> bool:
    """Whether `given` is the signature, compared in constant time."""
    return hmac.compare_digest(given.encode(), signature(*parts).encode())


class Envelope:
    """Opens and seals messages: AES-256-CBC around 16 random bytes, the length, the text and who it is for.

    token     signs
    aes_key   the 43 characters that the platform calls EncodingAESKey
    receiver  an app id, a corp id, or "" for a smart bot

    Raises ConfigError for a key that is none.
    """

    def __init__(self, token: str, aes_key: str, receiver: str) -> None:
        self._token, self._receiver = token, receiver.encode()
        try:
            key = base64.b64decode(aes_key + "=", validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if len(aes_key) != 43 or len(key) != 32:
            raise ConfigError(
                "aes_key must be the 43 letters and digits that the platform shows as EncodingAESKey"
            )
        self._cipher = Cipher(algorithms.AES(key), modes.CBC(key[:16]))

    def open(self, sealed: str, given: str, timestamp: str, nonce: str) -> str:
        """The text of a sealed message. Raises Forged when the signature, the seal or the receiver is wrong."""
        if not is_signed(given, self._token, timestamp, nonce, sealed):
            raise Forged("the signature is wrong")
        return self._decrypt(sealed)

    def seal(self, text: str, timestamp: str, nonce: str, *, salt: bytes | None = None) -> tuple[str, str]:
        """The sealed text and its signature. `salt`: 16 bytes that are random unless a test gives them."""
        sealed = self._encrypt(text.encode(), salt or secrets.token_bytes(16))
        return sealed, signature(self._token, timestamp, nonce, sealed)

    def _encrypt(self, text: bytes, salt: bytes) -> str:
        plain = salt + struct.pack(">I", len(text)) + text + self._receiver
        padding = _BLOCK - len(plain) % _BLOCK
        encryptor = self._cipher.encryptor()
        return base64.b64encode(encryptor.update(plain + bytes([padding]) * padding)).decode()

    def _decrypt(self, sealed: str) -> str:
        try:
            plain = self._cipher.decryptor().update(base64.b64decode(sealed, validate=True))
            padding, end = plain[-1], 20 + struct.unpack(">I", plain[16:20])[0]
            text = plain[20:end].decode()
        except (ValueError, IndexError, struct.error):
            raise Forged("the message cannot be decrypted") from None
        if len(plain) % 16 or not 1 <= padding <= _BLOCK or end > len(plain) - padding:
            raise Forged("the message cannot be decrypted")
        if not hmac.compare_digest(plain[end:-padding], self._receiver):
            raise Forged("the message is for another account")
        return text


def read_xml(body: bytes | str) -> dict[str, str]:
    """The elements of a flat XML message. Raises ValueError for what is none, or brings a DTD or entities."""
    try:
        return {each.tag: each.text or "" for each in fromstring(body, forbid_dtd=True)}
    except (ParseError, DefusedXmlException, LookupError) as error:
        raise ValueError(f"not an XML message: {type(error).__name__}") from None


def write_xml(fields: Mapping[str, str | int]) -> str:
    """A flat XML message; characters that XML has no place for are left out."""
    return (
        "<xml>" + "".join(f"<{name}>{_written(value)}</{name}>" for name, value in fields.items()) + "</xml>"
    )


def _written(value: str | int) -> str:
    if isinstance(value, int):
        return str(value)
    return "<![CDATA[" + _NOT_IN_XML.sub("", value).replace("]]>", "]]]]><![CDATA[>") + "]]>"
