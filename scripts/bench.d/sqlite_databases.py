"""Writes a SQLite database of about a given size with three to five indexes a table.

Keys are random, so that an index is in another order than its table, as in a database that has lived. The content is
made by SQLite itself and is the same kind for every size.
"""
import sqlite3

SCHEMA = """
CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT UNIQUE, country TEXT, age INT);
CREATE TABLE events(id INTEGER PRIMARY KEY, user INT NOT NULL, kind TEXT, at INT, amount REAL, note TEXT);
CREATE TABLE docs(id INTEGER PRIMARY KEY, title TEXT, body TEXT, owner INT);
CREATE TABLE kv(k TEXT PRIMARY KEY, v TEXT, n INT) WITHOUT ROWID;
"""
INDEXES = """
CREATE INDEX users_name ON users(name);
CREATE INDEX users_country ON users(country, age);
CREATE INDEX events_user ON events(user, at);
CREATE INDEX events_kind ON events(kind, amount);
CREATE INDEX events_at ON events(at);
CREATE INDEX events_big ON events(amount) WHERE amount > 50;
CREATE INDEX docs_title ON docs(title);
CREATE INDEX docs_owner ON docs(owner);
CREATE INDEX kv_n ON kv(n);
CREATE INDEX kv_v ON kv(v);
"""
SERIES = "WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < {}) "


def write(path, megabytes):
    """Makes the database at `path`, which must not exist."""
    db = sqlite3.connect(path, isolation_level=None)
    for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-400000"):
        db.execute(f"PRAGMA {pragma}")
    db.executescript(SCHEMA)
    events = megabytes * 4400
    db.execute("BEGIN")
    db.execute(SERIES.format(events // 8) + """INSERT INTO users SELECT i, 'name' || (random() & 0xfffffff),
        'mail' || i || '@' || (random() & 0xffff) || '.example', 'c' || (random() & 63), random() & 127 FROM s""")
    db.execute(SERIES.format(events) + f"""INSERT INTO events SELECT i, abs(random()) % {events // 8 + 1},
        'kind' || (random() & 31), 1600000000 + (random() & 0xfffffff), (random() & 0xffff) / 100.0,
        'note ' || hex(randomblob(16)) FROM s""")
    db.execute(SERIES.format(megabytes * 45) + """INSERT INTO docs SELECT i, 'title' || hex(randomblob(8)),
        hex(randomblob(600 + (random() & 0x7ff))), random() & 0xfffff FROM s""")
    db.execute(SERIES.format(events // 6) + """INSERT INTO kv SELECT hex(randomblob(12)), 'v' || hex(randomblob(6)),
        random() & 0xffffff FROM s""")
    db.executescript(INDEXES)
    db.close()


if __name__ == "__main__":
    import sys
    write(sys.argv[1], int(sys.argv[2]))
