"""CURVE keys (https://rfc.zeromq.org/spec/26/) and their files. Knows nothing of sockets.

A key is 32 bytes, written as 40 characters of Z85 (https://rfc.zeromq.org/spec/32/). A key file is JSON with
``public_key`` and, owner-only, ``secret_key``. A list of clients is a text file of lines ``KEY [ROLE] [# comment]``: a
public key, and one of `ROLES`. Anything else is an error, so that a misspelt role grants nothing.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import NamedTuple

from sidecar.protocol.errors import KeyFileError

READER, WRITER = "reader", "writer"
ROLES = (READER, WRITER)
"""What a client may do: a reader looks at runs, a writer also writes to them and edits them. Default: writer."""

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
_KEY = re.compile(f"[{re.escape(_DIGITS)}]{{40}}")


class KeyPair(NamedTuple):
    """A public key and its secret key, in Z85."""

    public: str
    secret: str


class Security(NamedTuple):
    """The keys of a client: the sidecar's public key, and the client's own pair."""

    server: str
    own: KeyPair


def valid_key(text: object) -> bool:
    """Whether `text` is a key in Z85. Each group of five characters must be a number below 2**32."""
    if not isinstance(text, str) or _KEY.fullmatch(text) is None:
        return False
    return all(_number(text[start : start + 5]) < 1 << 32 for start in range(0, 40, 5))


def _number(five: str) -> int:
    number = 0
    for digit in five:
        number = number * 85 + _DIGITS.index(digit)
    return number


def write_key_pair(name: Path, pair: KeyPair) -> tuple[Path, Path]:
    """Write ``<name>.key`` (owner-only) and ``<name>.pub``; return both paths.

    Raises:
        KeyFileError: one of them exists; a key is never overwritten. OSError: they cannot be written.
    """
    secret, public = name.with_name(name.name + ".key"), name.with_name(name.name + ".pub")
    made: list[Path] = []
    try:
        for path, mode, keys in (
            (secret, 0o600, {"public_key": pair.public, "secret_key": pair.secret}),
            (public, 0o644, {"public_key": pair.public}),
        ):
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
            made.append(path)
            with os.fdopen(fd, "w") as file:
                json.dump(keys, file, indent=1)
                file.write("\n")
    except OSError as error:
        for path in made:  # half a pair is of no use
            path.unlink(missing_ok=True)
        if isinstance(error, FileExistsError):
            raise KeyFileError(f"{error.filename} exists; a key is never overwritten, choose another name") from error
        raise
    return secret, public


def read_public_key(text_or_path: str) -> str:
    """Return a public key, given as text or as the path of a key file or a connection file.

    Raises:
        KeyFileError: it is none of these.
    """
    if valid_key(text_or_path) and not os.path.exists(text_or_path):
        return text_or_path
    key = _read(Path(text_or_path)).get("public_key")
    if not valid_key(key):
        raise KeyFileError(f"{text_or_path}: 'public_key' must be 40 characters of Z85, not {key!r}")
    return str(key)


def read_key_pair(path: str | os.PathLike[str]) -> KeyPair:
    """Return the pair in the key file at `path`.

    Raises:
        KeyFileError: it cannot be read, or contains no secret key.
    """
    content = _read(Path(path))
    pair = KeyPair(content.get("public_key", ""), content.get("secret_key", ""))
    if not (valid_key(pair.public) and valid_key(pair.secret)):
        raise KeyFileError(f"{path} contains no secret key; give the file that ends in .key")
    return pair


def read_clients(path: str | os.PathLike[str]) -> dict[str, str]:
    """Return the public keys in a list of clients, each with its role.

    Raises:
        KeyFileError: it cannot be read, or a line is neither ``KEY [ROLE] [# comment]`` nor a comment nor empty, or a
        key has two roles.
    """
    try:
        lines = Path(path).read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise KeyFileError(f"list of clients {path}: {error}") from error
    keys: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        first, *others = line.split() or [""]
        where = f"{path}, line {number}"
        if not valid_key(first):
            if first and not first.startswith("#"):
                raise KeyFileError(f"{where}: a public key must be 40 characters of Z85, not {first!r}")
            continue
        role = others.pop(0) if others and others[0] in ROLES else WRITER
        if others and not others[0].startswith("#"):
            raise KeyFileError(
                f"{where}: after a key come its role ({' or '.join(map(repr, ROLES))}, if any) and a comment that "
                f"begins with '#', not {others[0]!r}"
            )
        if keys.setdefault(first, role) != role:
            raise KeyFileError(f"{where}: key {first} has another role in an earlier line; remove one of the lines")
    return keys


def _read(path: Path) -> dict[str, str]:
    try:
        content = json.loads(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise KeyFileError(f"{str(path)!r} is neither 40 characters of Z85 nor a key file: {reason}") from error
    except ValueError as error:
        raise KeyFileError(f"key file {path} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise KeyFileError(f"key file {path} must contain a JSON object")
    return content
