"""Files changed at random, but not beyond recognition: what a reader has to refuse in one line, or to read.

`mutate(content, rng)` takes any file; what is JSON, a safetensors file or a zip archive is also changed inside, so that
more of the readers' code is reached than the first check of a header.
"""

from __future__ import annotations

import io
import json
import random
import zipfile
from typing import Any

_NUMBERS = (0, 1, -1, 2, 7, 255, 65535, 2**31 - 1, 2**32, 2**53, -(2**63), 10**19, 10**30)
_VALUES: tuple[Any, ...] = (
    None, True, False, "", "x", "a\nb", "\x1b[31m", "../../x", "/dev/zero", "x" * 10_000, "\ud800", [], {}, [[]],
    [1, 2], {"a": 1}, 0.5, -0.0, 1e308, float("nan"), float("inf"), *_NUMBERS,
)  # fmt: skip


def mutate(content: bytes, rng: random.Random) -> bytes:
    """A changed copy of a file's content.

    Args:
        content: of any file. rng: decides what is changed.
    """
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        inside = rng.random() < 0.7
        if inside and content[:4] == b"PK\x03\x04":
            content = _mutate_archive(content, rng)
        elif inside and _header_of(content) is not None:
            content = _mutate_safetensors(content, rng)
        elif inside and content[:1] in (b"{", b"["):
            content = _mutate_json_text(content, rng)
        elif inside and content.isascii():
            content = _mutate_text(content, rng)
        else:
            content = _mutate_bytes(content, rng)
    return content


def mutate_json(value: Any, rng: random.Random) -> Any:
    """A copy of a value, as JSON has it, with one of its parts changed."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        changed = dict(value)
        key = rng.choice(list(changed))
        match rng.randrange(8):
            case 0:
                del changed[key]
            case 1:
                changed[rng.choice(("", "x", "a\nb", key + "x", key[:-1]))] = changed.pop(key)
            case 2:
                changed[key] = changed[rng.choice(list(changed))]
            case _:
                changed[key] = mutate_json(changed[key], rng)
        return changed
    if isinstance(value, list) and value and rng.random() < 0.85:
        items = list(value)
        index = rng.randrange(len(items))
        match rng.randrange(6):
            case 0:
                del items[index]
            case 1:
                items.insert(index, items[index])
            case 2:
                items = items * rng.choice((2, 50))
            case _:
                items[index] = mutate_json(items[index], rng)
        return items
    if rng.random() < 0.05:
        return _nested(rng)
    if isinstance(value, int | float) and not isinstance(value, bool) and rng.random() < 0.5:
        return value + rng.choice((1, -1, 0.5, value))
    return rng.choice(_VALUES)


def _nested(rng: random.Random) -> Any:
    value: Any = 1
    for _ in range(rng.choice((10, 70, 400))):
        value = [value] if rng.random() < 0.5 else {"a": value}
    return value


def _mutate_bytes(content: bytes, rng: random.Random) -> bytes:
    data = bytearray(content)
    if not data:
        return rng.randbytes(rng.randrange(1, 64))
    start = _place(len(data), rng)
    stop = min(len(data), start + rng.choice((1, 1, 2, 4, 8, 64, 1024)))
    match rng.randrange(8):
        case 0 | 1:
            for _ in range(rng.choice((1, 1, 4, 32))):
                data[_place(len(data), rng)] ^= 1 << rng.randrange(8)
        case 2:
            data[start:stop] = rng.randbytes(stop - start)
        case 3:
            size = rng.choice((2, 4, 8))
            number = rng.choice(_NUMBERS) % (1 << 8 * size)
            data[start : start + size] = number.to_bytes(size, rng.choice(("little", "big")))
        case 4:
            del data[start:stop]
        case 5:
            data[start:start] = data[start:stop]
        case 6:
            del data[start:]
        case _:
            data[start:stop] = bytes([rng.choice((0, 255))]) * (stop - start)
    return bytes(data)


def _place(length: int, rng: random.Random) -> int:
    """A position; the first bytes, where formats say what they are, are chosen as often as all others."""
    return rng.randrange(min(length, 64)) if rng.random() < 0.5 else rng.randrange(length)


def _mutate_text(content: bytes, rng: random.Random) -> bytes:
    lines = content.decode().split("\n")
    index = rng.randrange(len(lines))
    words = lines[index].split(" ")
    match rng.randrange(6):
        case 0:
            del lines[index]
        case 1:
            lines.insert(index, rng.choice(lines))
        case 2:
            lines[index] = lines[index].replace("=", rng.choice(("==", "", ":", ".a =")), 1)
        case 3:
            words[rng.randrange(len(words))] = rng.choice(
                ("[" * 100, "-1", "1e999", '"', "nan", "[]", "{}", "'x'", "9" * 5000)
            )
            lines[index] = " ".join(words)
        case 4:
            lines[index] = "a." * rng.choice((3, 200)) + lines[index]
        case _:
            words[rng.randrange(len(words))] = json.dumps(rng.choice(_VALUES))
            lines[index] = " ".join(words)
    return "\n".join(lines).encode()


def _mutate_json_text(content: bytes, rng: random.Random) -> bytes:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return _mutate_bytes(content, rng)
    return json.dumps(mutate_json(value, rng)).encode()


def _header_of(content: bytes) -> dict[str, Any] | None:
    """Of a safetensors file."""
    if len(content) < 10:
        return None
    length = int.from_bytes(content[:8], "little")
    if not 2 <= length <= len(content) - 8:
        return None
    try:
        header = json.loads(content[8 : 8 + length])
    except (ValueError, RecursionError):
        return None
    return header if isinstance(header, dict) else None


def _mutate_safetensors(content: bytes, rng: random.Random) -> bytes:
    """Its header, of which texts may be JSON themselves; or its numbers."""
    header, length = _header_of(content), int.from_bytes(content[:8], "little")
    assert header is not None
    if rng.random() < 0.3:
        return content[: 8 + length] + _mutate_bytes(content[8 + length :], rng)
    texts = header.get("__metadata__")
    if isinstance(texts, dict) and texts and rng.random() < 0.5:
        key = rng.choice(list(texts))
        changed = _mutate_json_text(str(texts[key]).encode(errors="replace"), rng).decode(errors="replace")
        header = header | {"__metadata__": texts | {key: changed}}
    else:
        header = mutate_json(header, rng)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + content[8 + length :]


def _mutate_archive(content: bytes, rng: random.Random) -> bytes:
    """One part of a zip archive, whose checksums are right again."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
    except Exception:  # already damaged
        return _mutate_bytes(content, rng)
    if not parts:
        return _mutate_bytes(content, rng)
    name = next((each for each in parts if each.endswith(".pkl") and rng.random() < 0.7), rng.choice(list(parts)))
    match rng.randrange(8):
        case 0:
            del parts[name]
        case 1:
            parts[rng.choice(("x", name + "x", "../" + name))] = parts[name]
        case _:
            parts[name] = _mutate_bytes(parts[name], rng)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", rng.choice((zipfile.ZIP_STORED,) * 5 + (zipfile.ZIP_DEFLATED,))) as archive:
        for each, part in parts.items():
            archive.writestr(each, part)
    return stream.getvalue()
