use super::*;
use proptest::prelude::*;
use rusqlite::Connection;

/// What SQLite makes of a schema, against what the parser reads from the same texts.
fn agree(statements: &[&str]) {
    let db = Connection::open_in_memory().unwrap();
    for sql in statements {
        db.execute_batch(sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
    }
    let rows: Vec<(String, String, String)> = db
        .prepare("SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'")
        .unwrap()
        .query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let mut tables = Vec::new();
    for (kind, name, sql) in &rows {
        let parsed = parse(sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
        match parsed {
            Statement::Table(t) => {
                assert_eq!((kind.as_str(), name), ("table", &t.name));
                table_agrees(&db, &t, sql);
                tables.push(t);
            }
            Statement::Index(i) => {
                assert_eq!((kind.as_str(), name), ("index", &i.name));
                let table = tables.iter().find(|t| t.name.eq_ignore_ascii_case(&i.table)).unwrap();
                index_agrees(&db, &i.bind(table), table, sql);
            }
            Statement::View(v) => assert_eq!((kind.as_str(), name), ("view", &v.name)),
            Statement::Trigger(t) => assert_eq!((kind.as_str(), name), ("trigger", &t.name)),
            Statement::VirtualTable(v) => assert_eq!(name, &v.name),
        }
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn table_agrees(db: &Connection, t: &Table, sql: &str) {
    let info: Vec<(String, String, bool, i64, i64)> = db
        .prepare(&format!("PRAGMA table_xinfo({})", quoted(&t.name)))
        .unwrap()
        .query_map([], |r| Ok((r.get(1)?, r.get(2)?, r.get(3)?, r.get(5)?, r.get(6)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(info.len(), t.columns.len(), "{sql}");
    for (i, ((name, declared, not_null, pk, hidden), column)) in info.iter().zip(&t.columns).enumerate() {
        assert_eq!(name, &column.name, "{sql}");
        assert_eq!(declared.to_ascii_lowercase(), column.declared_type.to_ascii_lowercase(), "{sql}");
        assert_eq!(*not_null, column.not_null, "{name} in {sql}");
        let in_key = t.primary_key.iter().any(|k| k.source == KeySource::Column(i));
        assert_eq!(*pk > 0, in_key, "{name} in {sql}");
        let expected = match hidden {
            2 => Some(Generated::Virtual),
            3 => Some(Generated::Stored),
            _ => None,
        };
        assert_eq!(expected, column.generated, "{sql}");
    }
    let lists: Vec<(String, bool, String)> = db
        .prepare(&format!("SELECT name, \"unique\", origin FROM pragma_index_list({})", quoted(&t.name)))
        .unwrap()
        .query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let mut autos = 0;
    for (name, _, origin) in &lists {
        if origin == "c" {
            continue;
        }
        if t.without_rowid && origin == "pk" {
            let layout: Vec<usize> = index_xinfo(db, name).iter().map(|f| f.0 as usize).collect();
            assert_eq!(layout, t.record_layout(), "{sql}");
            continue;
        }
        autos += 1;
        let index = t
            .bound_auto_indexes()
            .into_iter()
            .find(|i| &i.name == name)
            .unwrap_or_else(|| panic!("{name} of {sql} not in {:?}", t.auto_indexes));
        index_agrees(db, &index, t, sql);
    }
    assert_eq!(autos, t.auto_indexes.len(), "{sql}");
    assert_eq!(t.foreign_keys.len() as i64, {
        db.query_row(
            &format!("SELECT count(DISTINCT id) FROM pragma_foreign_key_list({})", quoted(&t.name)),
            [],
            |r| r.get::<_, i64>(0),
        )
        .unwrap()
    });
}

fn index_xinfo(db: &Connection, name: &str) -> Vec<(i64, bool, String)> {
    db.prepare(&format!("PRAGMA index_xinfo({})", quoted(name)))
        .unwrap()
        .query_map([], |r| Ok((r.get(1)?, r.get(3)?, r.get(4)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect()
}

fn index_agrees(db: &Connection, index: &Index, t: &Table, sql: &str) {
    let expected = index_xinfo(db, &index.name);
    let found: Vec<(i64, bool, String)> = index
        .record_layout(t)
        .into_iter()
        .map(|f| {
            let cid = match f.source {
                FieldSource::Column(c) => c as i64,
                FieldSource::Rowid => -1,
                FieldSource::Expression(_) => -2,
            };
            (cid, f.desc, f.collation.unwrap_or_else(|| "BINARY".into()))
        })
        .collect();
    let fold = |v: &[(i64, bool, String)]| -> Vec<(i64, bool, String)> {
        // The pragma names an alias column where the record holds the rowid.
        v.iter()
            .map(|(c, d, n)| {
                let c = if t.rowid_alias.is_some_and(|a| a as i64 == *c) { -1 } else { *c };
                (c, *d, n.to_ascii_uppercase())
            })
            .collect()
    };
    assert_eq!(fold(&expected), fold(&found), "{sql}");
}

#[test]
fn reads_schemas_as_sqlite_does() {
    agree(&[
        "CREATE TABLE plain(a, b TEXT, c INTEGER PRIMARY KEY, d VARCHAR(10, 2) DEFAULT 'x''y')",
        "CREATE TABLE \"q\"\"u o\"([a b] int, `c``d` text, 'e' blob, \"f\")",
        "CREATE TABLE quirk(a INTEGER PRIMARY KEY DESC, b UNIQUE)",
        "CREATE TABLE alias2(a INTEGER, b, PRIMARY KEY(a DESC))",
        "CREATE TABLE notalias(a INT PRIMARY KEY, b BIGINT UNIQUE NOT NULL ON CONFLICT REPLACE)",
        "CREATE TABLE auto(id INTEGER PRIMARY KEY ASC AUTOINCREMENT, n)",
        "CREATE TABLE auto2(id INTEGER, n, PRIMARY KEY(id AUTOINCREMENT) ON CONFLICT FAIL)",
        "CREATE TABLE coll(a TEXT UNIQUE COLLATE NOCASE, b COLLATE rtrim, UNIQUE(b, a), UNIQUE(a COLLATE binary))",
        "CREATE TABLE dup(a UNIQUE, b, UNIQUE(a), UNIQUE(b, a), UNIQUE(b DESC, a), UNIQUE(a, b))",
        "CREATE TABLE w1(a TEXT, b INT, c, d, PRIMARY KEY(c DESC, a), UNIQUE(b), UNIQUE(a, b)) WITHOUT ROWID",
        "CREATE TABLE w2(a INTEGER PRIMARY KEY, b UNIQUE, c) WITHOUT ROWID",
        "CREATE TABLE w3(a COLLATE nocase, b, PRIMARY KEY(a, b, a, a COLLATE binary)) WITHOUT ROWID",
        "CREATE TABLE w4(b, a UNIQUE, c, PRIMARY KEY(a), UNIQUE(c, b)) STRICT, WITHOUT ROWID"
            .replace("b, a UNIQUE, c,", "b TEXT, a INT UNIQUE, c ANY,")
            .as_str(),
        "CREATE TABLE st(a INTEGER PRIMARY KEY, b TEXT NOT NULL, c ANY, d REAL, e BLOB) STRICT",
        "CREATE TABLE st2(a TEXT PRIMARY KEY, b INT UNIQUE) STRICT",
        "CREATE TABLE gen(a INT, b INT GENERATED ALWAYS AS (a*2) STORED, c AS (a||')'), d TEXT AS (a) VIRTUAL, e)",
        "CREATE TABLE fk(a REFERENCES plain ON DELETE SET NULL ON UPDATE NO ACTION MATCH full DEFERRABLE INITIALLY DEFERRED,
            b INT CONSTRAINT x NOT NULL CONSTRAINT y REFERENCES plain(c) NOT DEFERRABLE,
            FOREIGN KEY(a, b) REFERENCES w1(c, a) ON DELETE CASCADE CHECK (a <> ')'))",
        "CREATE TABLE odd(/* c */ a -- x )
            DOUBLE /*y*/ PRECISION, b \"int\", c UNSIGNED BIG INT(3), d DEFAULT -1.5e3, e DEFAULT (1+1), f DEFAULT now, CHECK(a>1) UNIQUE(c) CHECK(b))",
        "CREATE TABLE types(a FLOATING POINT, b CHARINT, c BLOBTEXT, d REALBLOB, e DECIMAL(10,5), f STRING, g DATETIME)",
        "CREATE INDEX i1 ON plain(a, b COLLATE nocase DESC, c)",
        "CREATE UNIQUE INDEX i2 ON coll(a, (b), ((a)) COLLATE binary, lower(b) DESC) WHERE a IS NOT NULL AND b>'x'",
        "CREATE INDEX i3 ON w1(d, a DESC)",
        "CREATE INDEX i4 ON w3(b, a COLLATE binary)",
        "CREATE INDEX i5 ON gen(b, c)",
        "CREATE INDEX i6 ON w1(c, d)",
        "CREATE INDEX 'i 7' ON quirk(b, a)",
        "CREATE VIEW v(x) AS SELECT a FROM plain",
        "CREATE TRIGGER tr AFTER UPDATE OF a, b ON plain BEGIN SELECT 1; END",
        "CREATE VIRTUAL TABLE vt USING fts5(a, b, content='', tokenize=\"porter ascii\")",
    ]);
}

#[test]
fn affinities_follow_the_order_of_the_rules() {
    for (declared, affinity) in [
        ("", Affinity::None),
        ("FLOATING POINT", Affinity::Integer),
        ("CHARINT", Affinity::Integer),
        ("VARCHAR(9)", Affinity::Text),
        ("REAL CHAR", Affinity::Text),
        ("BLOB", Affinity::None),
        ("DOUBLE", Affinity::Real),
        ("DECIMAL(3)", Affinity::Numeric),
        ("STRING", Affinity::Numeric),
    ] {
        assert_eq!(Affinity::of_type(declared), affinity, "{declared}");
    }
}

#[test]
fn defaults_are_values_where_they_are_constant() {
    let Statement::Table(t) = parse(
        "CREATE TABLE t(a DEFAULT 5, b DEFAULT (-1.5), c DEFAULT 'it''s', d DEFAULT x'00fF', e DEFAULT NULL, \
         f DEFAULT true, g DEFAULT foo, h DEFAULT CURRENT_TIME, i DEFAULT (1+1), j DEFAULT -9223372036854775808, k DEFAULT 0x10)",
    )
    .unwrap() else {
        panic!()
    };
    let lit = |v| Some(DefaultValue::Literal(v));
    let found: Vec<_> = t.columns.into_iter().map(|c| c.default).collect();
    assert_eq!(
        found,
        [
            lit(Value::Integer(5)),
            lit(Value::Real(-1.5)),
            lit(Value::Text(b"it's".to_vec())),
            lit(Value::Blob(vec![0, 255])),
            lit(Value::Null),
            lit(Value::Integer(1)),
            lit(Value::Text(b"foo".to_vec())),
            Some(DefaultValue::Expression("CURRENT_TIME".into())),
            Some(DefaultValue::Expression("1+1".into())),
            lit(Value::Integer(i64::MIN)),
            lit(Value::Integer(16)),
        ]
    );
}

#[test]
fn filters_are_read_when_simple_and_kept_as_text_otherwise() {
    let filter = |w: &str| match parse(&format!("CREATE INDEX i ON t(a) WHERE {w}")).unwrap() {
        Statement::Index(i) => {
            assert_eq!(i.filter.as_deref(), Some(w));
            i.filter_expr
        }
        _ => panic!(),
    };
    for simple in [
        "a",
        "a IS NOT NULL",
        "a>5 AND (b = 'x' OR NOT c)",
        "a IN (1,2)",
        "a NOT BETWEEN -1 AND 2.5",
        "a NOT NULL",
    ] {
        assert!(filter(simple).is_some(), "{simple}");
    }
    for other in [
        "length(a)>1",
        "a IS TRUE",
        "a > b + 1",
        "a LIKE 'x%'",
        "a COLLATE nocase = 'x'",
        "a = b = c",
        "a IN (SELECT 1)",
    ] {
        assert_eq!(filter(other), None, "{other}");
    }
}

#[test]
fn deep_nesting_is_refused_not_followed() {
    for text in [
        format!("CREATE INDEX i ON t(a) WHERE {}a{}", "(".repeat(100_000), ")".repeat(100_000)),
        format!("CREATE INDEX i ON t(a) WHERE {} a", "NOT ".repeat(100_000)),
        format!("CREATE TABLE t(a DEFAULT ({}1))", "-".repeat(99_999).replace("--", "- -")),
        format!("CREATE INDEX i ON t(a) WHERE a{}", " AND a".repeat(100_000)),
    ] {
        let _ = parse(&text);
    }
}

fn name() -> impl Strategy<Value = String> {
    "[a-d]"
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_text_gives_an_answer(text in "(?s)(CREATE )?(UNIQUE )?(TABLE|INDEX|VIEW|TRIGGER)?.{0,200}") {
        let _ = parse(&text);
    }

    #[test]
    fn any_words_give_an_answer(words in prop::collection::vec(prop::sample::select(vec![
        "CREATE", "TABLE", "INDEX", "ON", "a", "\"b\"", "'c'", "[d]", "(", ")", ",", "PRIMARY", "KEY", "UNIQUE", "INTEGER",
        "DEFAULT", "-", "1", "x'00'", "CHECK", "REFERENCES", "COLLATE", "NOT", "NULL", "WITHOUT", "ROWID", "WHERE", "AND",
        "GENERATED", "ALWAYS", "AS", "DESC", ";", "--", "/*", "é", ".",
    ]), 0..40)) {
        let _ = parse(&words.join(" "));
        let _ = parse(&format!("CREATE TABLE t({}", words.join(" ")));
        let _ = parse(&format!("CREATE INDEX t ON u({}", words.join(" ")));
    }

    /// Keys, collations and directions in any mixture number and lay out as SQLite's own.
    #[test]
    fn random_keys_agree_with_sqlite(
        types in prop::collection::vec(prop::sample::select(vec!["INTEGER", "TEXT", "INT", "REAL", ""]), 4),
        column in prop::collection::vec(prop::sample::select(vec!["", "UNIQUE", "NOT NULL", "COLLATE NOCASE", "UNIQUE COLLATE RTRIM", "COLLATE BINARY UNIQUE"]), 4),
        keys in prop::collection::vec((prop::collection::vec((name(), prop::sample::select(vec!["", "DESC", "COLLATE nocase", "COLLATE binary DESC"])), 1..4), any::<bool>()), 1..5),
        without_rowid in any::<bool>(),
        index in prop::collection::vec((name(), prop::sample::select(vec!["", "DESC", "COLLATE nocase"])), 1..4),
    ) {
        let mut sql = String::from("CREATE TABLE t(");
        for (i, n) in ["a", "b", "c", "d"].iter().enumerate() {
            sql += &format!("{n} {} {}, ", types[i], column[i]);
        }
        let mut primary = false;
        for (i, (terms, want_primary)) in keys.iter().enumerate() {
            let list: Vec<String> = terms.iter().map(|(n, s)| format!("{n} {s}")).collect();
            let last = i + 1 == keys.len();
            let word = if !primary && (*want_primary || (last && without_rowid)) { primary = true; "PRIMARY KEY" } else { "UNIQUE" };
            sql += &format!("{word}({}){}", list.join(", "), if last { "" } else { ", " });
        }
        sql += if without_rowid { ") WITHOUT ROWID" } else { ")" };
        let list: Vec<String> = index.iter().map(|(n, s)| format!("{n} {s}")).collect();
        agree(&[&sql, &format!("CREATE INDEX i ON t({})", list.join(", "))]);
    }
}
