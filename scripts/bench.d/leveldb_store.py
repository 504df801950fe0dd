"""Writes a sound LevelDB folder of a given size, as Chromium's IndexedDB and Local Storage leave them.

Blocks of 4 KiB, half of them text that Snappy packs and half noise that LevelDB stores as it is. One table of 2 MB is
made and laid down as often as it takes: the checks read every copy.
"""
import pathlib
import random
import struct

TABLE_MAGIC = 0xDB4775248B80FB57
BLOCK = 4096
TABLE = 2 << 20


def _crc_table():
    out = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        out.append(value)
    return out


CRC = _crc_table()


def masked(data):
    """LevelDB's CRC-32C of the data."""
    value = 0xFFFFFFFF
    for byte in data:
        value = CRC[(value ^ byte) & 255] ^ value >> 8
    value ^= 0xFFFFFFFF
    return ((value >> 15 | value << 17 & 0xFFFFFFFF) + 0xA282EAD8) & 0xFFFFFFFF


def varint(value):
    out = bytearray()
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def prefixed(data):
    return varint(len(data)) + data


def internal(key, sequence):
    return key + struct.pack("<Q", sequence << 8 | 1)


def block(pairs):
    """Entries with every key whole."""
    data = b"".join(varint(0) + varint(len(k)) + varint(len(v)) + k + v for k, v in pairs)
    return data + struct.pack("<II", 0, 1)


def snappy(data):
    """A plain encoder: what was seen at the last place with the same four bytes is copied."""
    out, seen, start, at = bytearray(varint(len(data))), {}, 0, 0

    def literal(end):
        for begin in range(start, end, 60):
            part = data[begin:min(begin + 60, end)]
            out.append(len(part) - 1 << 2)
            out.extend(part)

    while at + 4 <= len(data):
        before = seen.get(data[at:at + 4])
        seen[data[at:at + 4]] = at
        if before is None:
            at += 1
            continue
        length = 4
        while length < 64 and at + length < len(data) and data[before + length] == data[at + length]:
            length += 1
        literal(at)
        out.append(length - 1 << 2 | 2)
        out.extend(struct.pack("<H", at - before))
        at += length
        start = at
    literal(len(data))
    return bytes(out)


def table(source, noise):
    """A table of about TABLE bytes, and its first and last key."""
    out, index, number = bytearray(), [], 0
    first = last = None

    def add(plain, packed):
        stored = snappy(plain) if packed else plain
        if packed and len(stored) >= len(plain) * 7 // 8:
            stored, packed = plain, False
        handle = (len(out), len(stored))
        part = stored + bytes([packed])
        out.extend(part + struct.pack("<I", masked(part)))
        return handle

    while len(out) < TABLE:
        pairs, size, text = [], 0, len(index) % 2 == 0
        while size < (3 * BLOCK if text else BLOCK):
            if text:
                value = b"".join(b'{"id":%d,"buyer":"buyer%d","paid":true,"state":"to ship"}' % (number, source.randrange(10**6))
                                 for _ in range(3))
            else:
                at = source.randrange(len(noise) - 700)
                value = noise[at:at + 700]
            last = internal(b"_https://seller.example\0\1order.%09d" % number, number + 1)
            first = first or last
            pairs.append((last, value))
            size += len(last) + len(value)
            number += 1
        index.append((last, add(block(pairs), text)))
    meta = add(block([]), False)
    root = add(block([(k, varint(o) + varint(n)) for k, (o, n) in index]), False)
    footer = b"".join(varint(n) for n in meta + root)
    return bytes(out) + footer.ljust(40, b"\0") + struct.pack("<Q", TABLE_MAGIC), first, last, number


def record(data):
    part = b"\1" + data
    return struct.pack("<IH", masked(part), len(data)) + part


def write(folder, total_bytes):
    """Fills `folder`, which must not exist."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True)
    source = random.Random(total_bytes)
    content, first, last, records = table(source, source.randbytes(8 << 20))
    count = max(1, total_bytes // len(content))
    edit = b"\1" + prefixed(b"leveldb.BytewiseComparator")
    edit += bytes([2]) + varint(4) + bytes([9, 0, 3]) + varint(count + 10) + bytes([4]) + varint(records + 10)
    edits = [edit]
    for i in range(count):
        number = 5 + i
        (folder / f"{number:06}.ldb").write_bytes(content)
        edits.append(bytes([7, 0]) + varint(number) + varint(len(content)) + prefixed(first) + prefixed(last))
    manifest = bytearray()
    for edit in edits:
        left = 32768 - len(manifest) % 32768
        if left < len(edit) + 7:
            manifest.extend(bytes(left))
        manifest.extend(record(edit))
    (folder / "MANIFEST-000001").write_bytes(manifest)
    (folder / "000004.log").write_bytes(b"")
    (folder / "CURRENT").write_text("MANIFEST-000001\n")
    (folder / "LOCK").write_bytes(b"")
