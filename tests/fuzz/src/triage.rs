//! The triage: any bytes as the answers of a phone, and as the files of a
//! computer.

use std::collections::BTreeMap;
use std::io;

use shopmend::place::adb::{Output, Ran};
use shopmend::report::{Style, TriageDocument};
use shopmend::triage::machine::{Files, Machine, hosts};
use shopmend::triage::phone::{Answers, Known, Phone, probes};
use shopmend::triage::{Answer, Evidence, Kind, judge};

use super::framed::part;

const APP: &str = "com.zhiliaoapp.musically";

/// A computer all of whose files are the same bytes.
struct Same<'a>(&'a [u8]);

impl Files for Same<'_> {
    fn read(&self, _path: &str) -> io::Result<Vec<u8>> {
        Ok(self.0.to_vec())
    }

    fn names(&self, _path: &str) -> io::Result<Vec<String>> {
        Ok(vec!["a.json".to_owned()])
    }

    fn config(&self, _path: &str) -> io::Result<Vec<u8>> {
        Ok(self.0.to_vec())
    }
}

/// Each probe has a part of the input as its answer, or all have the same.
fn phone(data: &[u8], each: bool) -> Evidence {
    let mut rest = data;
    let mut answers = BTreeMap::new();
    for probe in probes() {
        let stdout = if each { part(&mut rest) } else { data }.to_vec();
        answers.insert(probe.named(APP), Output { ran: Ran { code: 0, stderr: Vec::new() }, stdout });
    }
    let known = Known {
        zone: "+0000".into(),
        apps: vec![(APP.into(), "X".into())],
        clock_ahead: Some(0),
        ..Known::default()
    };
    let phone = Phone::read(&known, &Answers::new(answers));
    Evidence {
        kind: Kind::Phone,
        now_ns: 1_790_000_000_000_000_000,
        phone: Some(phone),
        closed: true,
        ..Evidence::default()
    }
}

/// Takes one input.
pub fn run(data: &[u8]) {
    let Some((which, data)) = data.split_first() else { return };
    let evidence = if which % 3 < 2 {
        phone(data, which % 3 == 0)
    } else {
        let lines = data.split(|&b| b == b'\n').count();
        assert!(hosts(data).iter().all(|e| e.line <= lines));
        let platform = shopmend::model::Platform::Linux;
        let machine = Machine::look(platform, true, &Same(data), &|_| None);
        Evidence { now_ns: 1_790_000_000_000_000_000, machine: Some(machine), ..Evidence::default() }
    };
    let triage = judge(&evidence);
    assert_eq!(triage.causes.len(), 9);
    // What finds something has the form of a service's answer: its heading.
    let headings: [&[u8]; 9] = [
        b"NetworkAgentInfo{",
        b"Active default network:",
        b"Package [com.zhiliaoapp.musically]",
        b"Unable to find package: com.zhiliaoapp.musically",
        b"ACTIVITY MANAGER PROCESS EXIT INFO",
        b"Applications Database Info:",
        b"Data-Free:",
        b"[512B Data Write]",
        b"Current WebView package",
    ];
    let has = |words: &[u8]| data.windows(words.len()).any(|w| w == words);
    let log = || has(b"SQLiteLog") || has(APP.as_bytes());
    if which % 3 < 2 && !headings.iter().any(|h| has(h)) && !log() {
        let found: Vec<_> = triage.with(Answer::Found).map(|s| s.code).collect();
        assert!(found.is_empty(), "{found:?}");
    }
    let document = TriageDocument::new(&evidence, &triage);
    let text = document.text(Style { verbose: true, ..Style::default() });
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()));
    assert!(document.json().is_ok_and(|json| json.len() < 256 * 1024));
    assert!(document.html().is_ok_and(|page| page.len() < 256 * 1024));
    assert_eq!(document.summary().lines().count(), 1);
}
