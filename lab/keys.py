"""SSH keys of a stack, all derived from one random secret that rests in the Pulumi state.

Derivation (HKDF, RFC 5869) makes a rebuilt machine keep its host key, and a new machine leave every
other key alone.
"""

import base64
import struct
from dataclasses import dataclass

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_KEY_TYPE = b"ssh-ed25519"


@dataclass(frozen=True)
class KeyPair:
    """An ed25519 key in the forms that OpenSSH reads."""

    private: str
    """openssh-key-v1 PEM, unencrypted, with a final newline."""
    public: str
    """``ssh-ed25519 AAAA… comment`` on one line, without a newline."""


def derive(secret: str, purpose: str) -> KeyPair:
    """Key pair for ``purpose`` (such as ``login`` or ``host server1``).

    Args:
        secret: the stack's secret, 64 hex digits.
        purpose: becomes the key's comment; another purpose gives an unrelated key.

    Raises:
        ValueError: ``secret`` is not hex.
    """
    seed = HKDF(algorithm=hashes.SHA256(), length=32, salt=b"lvs-dr-lab ssh", info=purpose.encode()).derive(
        bytes.fromhex(secret)
    )
    public = (
        Ed25519PrivateKey.from_private_bytes(seed)
        .public_key()
        .public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    )
    comment = "lvs-dr-lab-" + purpose.replace(" ", "-")
    blob = _string(_KEY_TYPE) + _string(public)
    return KeyPair(
        private=_openssh_private(seed, public, blob, comment.encode()),
        public=f"{_KEY_TYPE.decode()} {base64.b64encode(blob).decode()} {comment}",
    )


def _string(data: bytes) -> bytes:
    """RFC 4251 section 5, ``string``."""
    return struct.pack(">I", len(data)) + data


def _openssh_private(seed: bytes, public: bytes, blob: bytes, comment: bytes) -> str:
    """Serialise as OpenSSH's PROTOCOL.key describes.

    The ``cryptography`` package would draw the two check integers at random, and then every run would
    render other user-data and rebuild every machine. Here they come from the public key.
    """
    check = public[:4] * 2
    secret = check + _string(_KEY_TYPE) + _string(public) + _string(seed + public) + _string(comment)
    secret += bytes(range(1, 1 + -len(secret) % 8))
    body = (
        b"openssh-key-v1\0"
        + _string(b"none")
        + _string(b"none")
        + _string(b"")
        + struct.pack(">I", 1)
        + _string(blob)
        + _string(secret)
    )
    text = base64.b64encode(body).decode()
    lines = "\n".join(text[start : start + 70] for start in range(0, len(text), 70))
    return f"-----BEGIN OPENSSH PRIVATE KEY-----\n{lines}\n-----END OPENSSH PRIVATE KEY-----\n"
