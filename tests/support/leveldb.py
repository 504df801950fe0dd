"""Stores written by LevelDB itself, what its own RepairDB makes of damaged copies, and which records are right.

    leveldb.py make FOLDER           writes one store per kind and what it holds (NAME and NAME.json), prints the names
    leveldb.py score FOLDER < LINES  for each line of NAME, damaged copy and rebuilt store, by tabs, prints as JSON how
                                     many records are right after RepairDB (which works on the copy) and in the rebuilt
                                     store, and how many are missing, wrong or were never written there

Needs plyvel. LevelDB runs in children of its own: damaged files can end it.
"""
import json
import os
import pathlib
import random
import sys

import plyvel

PREFIX = b"_https://seller-us.tiktok.com\0\1"


def apart(function, *arguments):
    """Runs it in a child; None when the child died."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        try:
            result = function(*arguments)
        except Exception:
            result = None
        with os.fdopen(writing, "w") as out:
            json.dump(result, out)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as into:
        result = into.read()
    os.waitpid(child, 0)
    return json.loads(result) if result else None


def make(path, per_write, tables, compression):
    """Settings and orders, written, changed and deleted in three sessions."""
    source = random.Random(f"{per_write} {tables}")
    truth = {}
    written = set()

    def write(db, operations):
        for start in range(0, len(operations), per_write):
            with db.write_batch() as batch:
                for key, value in operations[start:start + per_write]:
                    if value is None:
                        batch.delete(key)
                        truth.pop(key, None)
                    else:
                        batch.put(key, value)
                        truth[key] = value
                        written.add(key)

    options = {"create_if_missing": True, "compression": compression}
    for session in range(3 if tables else 1):
        db = plyvel.DB(path, write_buffer_size=65536 if tables else 64 << 20, **options)
        operations = []
        for i in range(600):
            key = PREFIX + b"setting.%05d" % (i + session * 250)
            noise = bytes(source.choice(b'abcdefgh {}:",0123456789') for _ in range(source.randrange(20, 160)))
            gone = session > 0 and i % 11 == 5
            operations.append((key, None if gone else b"%d %s" % (session, noise)))
        write(db, operations)
        db.close()
    db = plyvel.DB(path, **options)
    write(db, [(PREFIX + b"order.%05d" % i, b"order %d, paid " % i * 7) for i in range(200)])
    db.close()
    return {"truth": {key.hex(): value.hex() for key, value in truth.items()}, "written": [k.hex() for k in written]}


def read(path):
    db = plyvel.DB(path)
    found = {key.hex(): value.hex() for key, value in db.iterator()}
    # A look-up goes another way than a walk and has to find the same.
    for key in list(found)[::9]:
        assert db.get(bytes.fromhex(key)).hex() == found[key]
    db.close()
    return found


def repaired(path):
    plyvel.repair_db(path)
    return read(path)


def main():
    folder = pathlib.Path(sys.argv[2])
    if sys.argv[1] == "make":
        for per_write in (1, 300):
            for tables in (False, True):
                for compression in ("snappy", None):
                    name = f"{per_write}-{'tables' if tables else 'log'}-{compression or 'plain'}"
                    made = apart(make, str(folder / name), per_write, tables, compression)
                    (folder / f"{name}.json").write_text(json.dumps(made))
                    print(name)
        return
    for line in sys.stdin:
        name, damaged, rebuilt = line.rstrip("\n").split("\t")
        made = json.loads((folder / f"{name}.json").read_text())
        truth, written = made["truth"], set(made["written"])
        theirs, ours = apart(repaired, damaged) or {}, apart(read, rebuilt)
        opened, ours = ours is not None, ours or {}
        print(json.dumps({
            "opened": opened,
            "repair_db": sum(theirs.get(k) == v for k, v in truth.items()),
            "right": sum(ours.get(k) == v for k, v in truth.items()),
            "missing": sum(k not in ours for k in truth),
            "wrong": sum(k in ours and ours[k] != v for k, v in truth.items()),
            "never_written": sum(k not in written for k in ours),
        }))


main()
