"""Writes a home with a Chromium profile whose HTTP cache holds a given number of sound entries.

The format is that of Chromium's Simple cache; contents are the same for the same arguments.
"""
import hashlib
import json
import os
import pathlib
import random
import struct
import time
import zlib

HEADER_MAGIC = 0xFCFB6D1BA7725C30
END_MAGIC = 0xF4FA6F45970D41D8
HAS_CRC, HAS_KEY_HASH = 1, 2
OLD = time.time() - 400 * 24 * 3600


def key_hash(data):
    """Paul Hsieh's SuperFastHash, which the header holds of the key."""
    mask = 0xFFFFFFFF
    value = len(data)
    whole = len(data) // 4 * 4
    for low, high in struct.iter_unpack("<HH", data[:whole]):
        value = (value + low) & mask
        mixed = ((high << 11) & mask) ^ value
        value = ((value << 16) & mask) ^ mixed
        value = (value + (value >> 11)) & mask
    rest = data[whole:]

    def signed(byte):
        return byte - 256 if byte > 127 else byte

    if len(rest) == 3:
        value = (value + struct.unpack("<H", rest[:2])[0]) & mask
        value ^= (value << 16) & mask
        value ^= (signed(rest[2]) << 18) & mask
        value = (value + (value >> 11)) & mask
    elif len(rest) == 2:
        value = (value + struct.unpack("<H", rest)[0]) & mask
        value ^= (value << 11) & mask
        value = (value + (value >> 17)) & mask
    elif len(rest) == 1:
        value = (value + signed(rest[0])) & mask
        value ^= (value << 10) & mask
        value = (value + (value >> 1)) & mask
    for left, right in ((3, 5), (4, 17), (25, 6)):
        value ^= (value << left) & mask
        value = (value + (value >> right)) & mask
    return value


def entry(key, body, headers):
    """File name and content of one entry."""
    name = f"{int.from_bytes(hashlib.sha1(key).digest()[:8], 'little'):016x}_0"
    content = b"".join([
        struct.pack("<QIIII", HEADER_MAGIC, 5, len(key), key_hash(key), 0), key,
        body, struct.pack("<QIIII", END_MAGIC, HAS_CRC, zlib.crc32(body), 0, 0),
        headers, hashlib.sha256(key).digest(),
        struct.pack("<QIIII", END_MAGIC, HAS_CRC | HAS_KEY_HASH, zlib.crc32(headers), len(headers), 0),
    ])
    return name, content


def write(home, files, total_bytes):
    """Fills `home`, which must not exist; everything in the cache is 400 days old."""
    home = pathlib.Path(home)
    profile = home / ".config/chromium/Default"
    cache = home / ".cache/chromium/Default/Cache/Cache_Data"
    profile.mkdir(parents=True)
    cache.mkdir(parents=True)
    (profile / "Preferences").write_text(json.dumps({"profile": {"exit_type": "Normal", "name": "Person 1"}}))
    (profile.parent / "Local State").write_text(json.dumps({"profile": {"last_used": "Default"}}))
    (cache / "index").write_bytes(struct.pack("<QIIII", HEADER_MAGIC, 9, 0, 0, 0)[:24])
    source = random.Random(files)
    noise = source.randbytes(8 << 20)
    headers = b"HTTP/1.1 200\0content-type:image/png\0cache-control:max-age=31536000\0\0"
    # A few large bodies and many small ones, as caches hold; the mean is exact enough.
    mean = max(total_bytes // files - 400, 16)
    for number in range(files):
        size = min(int(source.expovariate(1 / mean)) + 1, len(noise) - 1)
        start = source.randrange(len(noise) - size)
        key = f"1/0/_dk_https://tiktok.com https://tiktok.com https://p16.tiktokcdn.com/img/{number}.png".encode()
        name, content = entry(key, noise[start:start + size], headers)
        path = cache / name
        with open(path, "wb", buffering=0) as file:
            file.write(content)
        os.utime(path, (OLD, OLD))
    for path in (cache / "index", cache):
        os.utime(path, (OLD, OLD))
    return cache
