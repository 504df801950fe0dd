//! The triage as a value: from answers and files that are made up to the nine
//! causes. What runs on a device or this machine is in the modules beside it.

use std::collections::BTreeMap;

use proptest::prelude::*;
use shopmend::place::adb::{Output, Ran};
use shopmend::report::{Style, TriageDocument};
use shopmend::triage::phone::{Answers, Known, Phone, probes};
use shopmend::triage::{Answer, AppStores, Cause, Evidence, Kind, Stores, Triage, judge};

use crate::support::canned::{APP, Canned, PLANTS, SHAPES, Shape, others};

/// A day of 2026, in seconds since 1970.
const NOW: i64 = 1_790_000_000;

fn answers(all: &BTreeMap<String, Vec<u8>>) -> Answers {
    let one = |(name, text): (&String, &Vec<u8>)| {
        (name.clone(), Output { ran: Ran { code: 0, stderr: Vec::new() }, stdout: text.clone() })
    };
    Answers::new(all.iter().map(one).collect())
}

fn bytes(canned: &Canned) -> BTreeMap<String, Vec<u8>> {
    canned.all.iter().map(|(name, text)| (name.clone(), text.clone().into_bytes())).collect()
}

fn evidence(api: u32, all: &BTreeMap<String, Vec<u8>>, clock_ahead: i64) -> Evidence {
    let known = Known {
        model: "Testphone".into(),
        release: "14".into(),
        sdk: api,
        zone: "+0000".into(),
        apps: vec![(APP.into(), "TikTok".into())],
        clock_ahead: Some(clock_ahead),
    };
    let found = AppStores { stores: 20, ..AppStores::default() };
    Evidence {
        kind: Kind::Phone,
        now_ns: i128::from(NOW) * 1_000_000_000,
        phone: Some(Phone::read(&known, &answers(all))),
        closed: true,
        stores: Some(Stores { apps: [("TikTok".into(), found)].into(), ..Stores::default() }),
        ..Evidence::default()
    }
}

fn of(canned: &Canned) -> (Evidence, Triage) {
    let evidence = evidence(canned.shape.api, &bytes(canned), 2);
    let triage = judge(&evidence);
    (evidence, triage)
}

fn found(triage: &Triage) -> Vec<&'static str> {
    triage.with(Answer::Found).map(|s| s.code).collect()
}

/// At most 24 lines of 80 columns.
#[track_caller]
fn fits_a_screen(evidence: &Evidence, triage: &Triage) {
    let text = TriageDocument::new(evidence, triage).text(Style::default());
    assert!(text.lines().count() <= 24, "{} lines:\n{text}", text.lines().count());
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{line}\nin\n{text}");
    }
}

fn scenes() -> impl Iterator<Item = (Shape, usize, Canned)> {
    SHAPES.iter().flat_map(|shape| {
        PLANTS.iter().enumerate().filter_map(|(n, plant)| {
            let mut canned = Canned::healthy(*shape, NOW);
            (plant.put)(&mut canned).then_some((*shape, n, canned))
        })
    })
}

#[test]
fn each_planted_cause_comes_first_and_no_other_is_found() {
    let mut count = 0;
    for (shape, n, mut canned) in scenes() {
        let plant = &PLANTS[n];
        for with_others in [false, true] {
            if with_others {
                others(&mut canned);
            }
            let (evidence, triage) = of(&canned);
            let what = format!("{} (plant {n}) on {}: {:#?}", plant.code, shape.name, triage.statements);
            let top = triage.top().unwrap_or_else(|| panic!("{what}"));
            assert_eq!((top.code, top.cause), (plant.code, plant.cause), "{what}");
            assert!(top.next.is_some() && !top.evidence.is_empty(), "{what}");
            assert!(found(&triage).iter().all(|code| *code == plant.code), "{what}");
            let others: Vec<_> = triage.with(Answer::Hint).filter(|s| s.code != plant.code).collect();
            assert!(others.is_empty(), "{what}");
            fits_a_screen(&evidence, &triage);
            count += 1;
        }
    }
    assert!(count >= 2 * 120, "only {count} scenes");
}

#[test]
fn where_nothing_is_planted_nothing_is_found() {
    let mut count = 0;
    for shape in SHAPES {
        for with_others in [false, true] {
            let mut canned = Canned::healthy(*shape, NOW);
            if with_others {
                others(&mut canned);
            }
            let (evidence, triage) = of(&canned);
            assert_eq!(triage.top(), None, "{}: {:#?}", shape.name, triage.statements);
            // Only root reaches the databases: nothing is said of them.
            assert_eq!(triage.causes[8].answer, Answer::NotLookedAt, "{}", shape.name);
            fits_a_screen(&evidence, &triage);
            count += 1;
        }
    }
    assert!(count >= 10);
}

#[test]
fn no_format_ever_says_that_a_device_is_healthy() {
    for shape in SHAPES {
        let (evidence, triage) = of(&Canned::healthy(*shape, NOW));
        let document = TriageDocument::new(&evidence, &triage);
        let style = Style { verbose: true, ..Style::default() };
        for text in
            [document.text(style), document.json().unwrap(), document.html().unwrap(), document.summary()]
        {
            let text = text.to_lowercase();
            for word in ["healthy", "is fine", "all good", "is up", "no problem"] {
                assert!(!text.contains(word), "{word} in\n{text}");
            }
        }
    }
}

#[test]
fn the_clock_of_a_phone_is_compared() {
    let all = bytes(&Canned::healthy(SHAPES[4], NOW));
    for (ahead, code, answer) in [
        (299, None, Answer::NothingFound),
        (-301, Some("clock.off"), Answer::Hint),
        (3 * 86_400, Some("clock.wrong"), Answer::Found),
        (i64::MIN, Some("clock.wrong"), Answer::Found),
    ] {
        let triage = judge(&evidence(34, &all, ahead));
        assert_eq!(triage.top().map(|s| s.code), code, "{ahead}");
        assert!(triage.with(answer).any(|s| s.check == "clock"), "{ahead}");
    }
}

#[test]
fn the_market_that_is_named_is_compared() {
    let all = bytes(&Canned::healthy(SHAPES[4], NOW));
    let with = |region: &str| judge(&Evidence { region: Some(region.into()), ..evidence(34, &all, 0) });
    assert_eq!(with("US").top(), None);
    assert_eq!(with("ID").top().map(|s| s.code), Some("region.differs"));
    let host = with("ID").with(Answer::NotVisible).next().unwrap().next.clone().unwrap();
    assert!(host.contains("seller-id.tokopedia.com"), "{host}");
}

/// What refuses ends with 0 all the same, and is no answer.
#[test]
fn a_refusal_is_nothing_that_was_looked_at() {
    let refusals = [
        "Permission Denial: can't dump x from pid=1, uid=2000 due to missing android.permission.DUMP\n",
        "Can't find service: x\n",
        "Bad activity command, or no activities match: exit-info\n",
        "*** SERVICE 'x' DUMP TIMEOUT (10000ms) EXPIRED ***\n",
        "",
        "\0\x1b[2J\u{202e}",
    ];
    for refusal in refusals {
        let canned = Canned::healthy(SHAPES[4], NOW);
        let all: BTreeMap<_, _> =
            canned.all.keys().map(|k| (k.clone(), refusal.as_bytes().to_vec())).collect();
        let evidence = evidence(34, &all, 0);
        let triage = judge(&evidence);
        assert_eq!(triage.top(), None, "{refusal:?}");
        // Of what was refused nothing is said to have been looked at, but for the clock.
        let looked: Vec<_> = triage.with(Answer::NothingFound).map(|s| s.code).collect();
        assert!(looked.iter().all(|c| ["clock", "data.scan"].contains(c)), "{refusal:?}: {looked:?}");
        for cause in [Cause::Connectivity, Cause::Outdated, Cause::Region, Cause::Data] {
            let answer = triage.causes.iter().find(|c| c.cause == cause).unwrap().answer;
            assert_eq!(answer, Answer::NotLookedAt, "{cause} for {refusal:?}");
        }
    }
}

#[test]
fn an_answer_that_is_too_long_is_said_to_be_cut() {
    let mut canned = Canned::healthy(SHAPES[4], NOW);
    let long = canned.all["dnsresolver"].clone() + &" ".repeat(50 << 20);
    canned.set("dnsresolver", long);
    let (_, triage) = of(&canned);
    assert!(triage.with(Answer::NotLookedAt).any(|s| s.code == "phone.answer-cut"));
}

/// What is personal in the answers, in all of which it is planted.
const SECRETS: &[&str] = &[
    "planted",
    "Planted",
    "10.77.66",
    "02:00:5e",
    "7012345678901234567",
    "Secret",
    "nextdns.io",
    "proxy.example",
    "437",
];

#[test]
fn nothing_personal_comes_out_in_any_format() {
    let mut count = 0;
    for (shape, n, mut canned) in scenes() {
        others(&mut canned);
        let (evidence, triage) = of(&canned);
        let document = TriageDocument::new(&evidence, &triage);
        let style = Style { verbose: true, ..Style::default() };
        for text in
            [document.text(style), document.json().unwrap(), document.html().unwrap(), document.summary()]
        {
            for secret in SECRETS {
                assert!(!text.contains(secret), "{secret} ({} on {}):\n{text}", PLANTS[n].code, shape.name);
            }
            count += 1;
        }
        // Nor is it kept.
        let kept = format!("{evidence:?}");
        for secret in SECRETS.iter().filter(|s| **s != "437") {
            assert!(!kept.contains(secret), "{secret} is kept: {kept}");
        }
    }
    assert!(count > 400);
    let everything = scenes().map(|(_, _, c)| c.all.into_values().collect::<String>()).collect::<String>();
    for secret in SECRETS {
        assert!(everything.contains(secret), "{secret} was not planted");
    }
}

/// Words of real answers, in an order that no service has.
const WORDS: &[&str] = &[
    "- failed",
    "exception=\"database disk image is malformed (code 11 SQLITE_CORRUPT)\"",
    "code 11",
    "(11)",
    "SQLiteLog:",
    "sqlite_db_corrupt:",
    "Permission Denial",
    "reason=4",
    "timestamp=2026-09-20 10:00:00.000",
    "process=com.zhiliaoapp.musically",
    "Package:",
    "com.zhiliaoapp.musically",
    "airplane_mode_on=1",
    "1",
    "0",
    "45",
    "none",
    "null",
    "enabled=3",
    "User 0:",
    "VALIDATED",
    "CAPTIVE_PORTAL",
    "UID=10234",
    "blockedReasons=10",
    "is null",
    "Test-Error:",
    "K /",
    "\n",
    " ",
    "\t",
    "=",
    "\u{6f1}",
    "\0",
    "[",
    "]",
    "{",
    "}",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_bytes_as_any_answer_find_nothing(
        noise in prop::collection::vec(any::<u8>(), 0..400),
        words in prop::collection::vec(prop::sample::select(WORDS), 0..40),
        only in prop::option::of(0..40usize),
    ) {
        let names: Vec<String> = probes().iter().map(|p| p.named(APP)).collect();
        for text in [noise, words.concat().into_bytes()] {
            // As every answer, and as one beside those of a healthy phone.
            let all: BTreeMap<_, _> = match only {
                None => names.iter().map(|n| (n.clone(), text.clone())).collect(),
                Some(n) => {
                    let mut all = bytes(&Canned::healthy(SHAPES[4], NOW));
                    all.insert(names[n % names.len()].clone(), text.clone());
                    all
                }
            };
            let evidence = evidence(34, &all, 0);
            let triage = judge(&evidence);
            prop_assert!(found(&triage).is_empty(), "{:?}", found(&triage));
            prop_assert!(TriageDocument::new(&evidence, &triage).json().unwrap().len() < 64 * 1024);
        }
    }

    /// Real answers that are cut short or changed somewhere are read without harm.
    #[test]
    fn changed_answers_are_read(shape in 0..SHAPES.len(), plant in 0..PLANTS.len(), at in any::<prop::sample::Index>(), with in any::<u8>(), cut in any::<bool>()) {
        let mut canned = Canned::healthy(SHAPES[shape], NOW);
        (PLANTS[plant].put)(&mut canned);
        let mut all = bytes(&canned);
        for text in all.values_mut().filter(|t| !t.is_empty()) {
            let at = at.index(text.len());
            if cut { text.truncate(at); } else { text[at] = with; }
        }
        let evidence = evidence(34, &all, 0);
        let triage = judge(&evidence);
        prop_assert_eq!(triage.causes.len(), 9);
        prop_assert!(TriageDocument::new(&evidence, &triage).json().unwrap().len() < 64 * 1024);
    }
}
