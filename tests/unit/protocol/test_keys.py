"""Keys and their files: content, permissions, valid and invalid keys, messages."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from sidecar.protocol.channels import new_key_pair
from sidecar.protocol.errors import KeyFileError
from sidecar.protocol.keys import KeyPair, read_clients, read_key_pair, read_public_key, valid_key, write_key_pair

PAIR = KeyPair("a" * 40, "b" * 40)
"""Keys of a valid form."""


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_pair_is_read_back_from_its_files(tmp_path: Path) -> None:
    pair = new_key_pair()
    secret, public = write_key_pair(tmp_path / "server", pair)
    assert (secret, public) == (tmp_path / "server.key", tmp_path / "server.pub")
    assert read_key_pair(secret) == pair
    assert read_public_key(str(public)) == read_public_key(str(secret)) == read_public_key(pair.public) == pair.public
    assert pair.secret not in public.read_text()


def test_a_name_may_have_a_dot_in_it(tmp_path: Path) -> None:
    assert [path.name for path in write_key_pair(tmp_path / "gpu.lab", PAIR)] == ["gpu.lab.key", "gpu.lab.pub"]


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_the_secret_key_is_readable_by_its_owner_only(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        secret, public = write_key_pair(tmp_path / "server", PAIR)
    finally:
        os.umask(before)
    assert mode(secret) == 0o600
    assert mode(public) == 0o644 & ~umask


@pytest.mark.parametrize("existing", ["server.key", "server.pub"])
def test_a_key_is_never_overwritten(tmp_path: Path, existing: str) -> None:
    (tmp_path / existing).write_text("precious")
    with pytest.raises(KeyFileError, match=rf"{existing} exists"):
        write_key_pair(tmp_path / "server", PAIR)
    assert [path.name for path in tmp_path.iterdir()] == [existing], "half of a pair was written"
    assert (tmp_path / existing).read_text() == "precious"


def test_a_key_is_not_written_through_a_symbolic_link(tmp_path: Path) -> None:
    (tmp_path / "server.key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(KeyFileError, match="exists; a key is never overwritten"):
        write_key_pair(tmp_path / "server", PAIR)
    assert not (tmp_path / "elsewhere").exists()


def test_a_directory_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        write_key_pair(tmp_path / "nowhere" / "server", PAIR)


def test_valid_and_invalid_keys() -> None:
    for _ in range(20):
        pair = new_key_pair()
        assert valid_key(pair.public) and valid_key(pair.secret)
    for invalid in (
        "",
        "a" * 39,
        "a" * 41,
        "a" * 40 + "\n",
        "a" * 39 + " ",
        "a" * 39 + "~",
        "ä" * 40,
        None,
        5,
        b"a" * 40,
    ):
        assert not valid_key(invalid), invalid
    assert valid_key("%nSc0" * 8)  # ff ff ff ff
    assert not valid_key("%nSc1" * 8), "five characters exceed 32 bits"
    assert not valid_key("#" * 40)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", ["not valid JSON"]),
        ("a" * 40, ["not valid JSON"]),
        ("[]", ["JSON object"]),
        ("{}", ["'public_key'", "None", "Z85"]),
        (json.dumps({"public_key": "short"}), ["'short'", "Z85"]),
        (json.dumps({"public_key": 5}), ["5", "Z85"]),
        (b"\xff\xfe", ["not text"]),
        (None, ["No such file", "Z85"]),
    ],
)
def test_a_file_without_a_public_key(tmp_path: Path, content: str | bytes | None, words: list[str]) -> None:
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(KeyFileError) as caught:
        read_public_key(str(path))
    for word in [str(path), *words]:
        assert word in str(caught.value)
    with pytest.raises(KeyFileError):
        read_key_pair(path)


def test_a_public_file_instead_of_a_secret_one(tmp_path: Path) -> None:
    _, public = write_key_pair(tmp_path / "server", PAIR)
    with pytest.raises(KeyFileError, match=r"contains no secret key; give the file that ends in \.key"):
        read_key_pair(public)


def test_a_connection_file_has_the_key_too(tmp_path: Path) -> None:
    path = tmp_path / "serve.json"
    path.write_text(json.dumps({"door": "tcp://127.0.0.1:1", "public_key": PAIR.public}))
    assert read_public_key(str(path)) == PAIR.public


def test_a_list_of_clients(tmp_path: Path) -> None:
    path = tmp_path / "clients.txt"
    hashed = "#" + "0" * 39
    path.write_text(f"# who may attach\n\n{'a' * 40}\n  {'b' * 40} # anna\n# {'c' * 40}\n{hashed} # a key\n")
    assert set(read_clients(path)) == {"a" * 40, "b" * 40} | ({hashed} if valid_key(hashed) else set())
    path.write_text("")
    assert read_clients(path) == {}


def test_the_roles_in_a_list_of_clients(tmp_path: Path) -> None:
    path = tmp_path / "clients.txt"
    path.write_text(f"{'a' * 40}\n{'b' * 40}\treader  #the wall\n{'c' * 40} writer\n{'d' * 40} # a reader\n")
    roles = {"a" * 40: "writer", "b" * 40: "reader", "c" * 40: "writer", "d" * 40: "writer"}
    assert read_clients(path) == roles


@pytest.mark.parametrize("word", ["raeder", "Reader", "reader,", "anna", "writer#", "//"])
@pytest.mark.parametrize("before", ["", "reader ", "writer "])
def test_a_word_that_is_neither_a_role_nor_a_comment(tmp_path: Path, before: str, word: str) -> None:
    path = tmp_path / "clients.txt"
    path.write_text(f"{'a' * 40}\n\n{'b' * 40} {before}{word} # comment\n")
    with pytest.raises(KeyFileError) as raised:
        read_clients(path)
    assert str(raised.value).startswith(f"{path}, line 3: ") and str(raised.value).endswith(f"not {word!r}")
    assert "'reader' or 'writer'" in str(raised.value)


def test_a_key_has_one_role(tmp_path: Path) -> None:
    path = tmp_path / "clients.txt"
    path.write_text(f"{'a' * 40} reader\n{'a' * 40} reader # again\n")
    assert read_clients(path) == {"a" * 40: "reader"}
    path.write_text(f"{'a' * 40} reader\n{'a' * 40}\n")
    with pytest.raises(KeyFileError, match=r"line 2: key a+ has another role in an earlier line"):
        read_clients(path)


def test_an_invalid_list_of_clients(tmp_path: Path) -> None:
    path = tmp_path / "clients.txt"
    path.write_text(f"{'a' * 40}\nanna {'b' * 40}\n")
    with pytest.raises(KeyFileError, match="line 2: a public key must be 40 characters of Z85, not 'anna'"):
        read_clients(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(KeyFileError, match=r"clients\.txt"):
        read_clients(path)
    with pytest.raises(KeyFileError, match="missing"):
        read_clients(tmp_path / "missing.txt")
