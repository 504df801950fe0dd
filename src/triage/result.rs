//! From what the checks say to the nine answers, the most telling first.

use serde::Serialize;

use super::answer::{Answer, Statement};
use super::cause::Cause;
use super::check;
use super::evidence::{Evidence, Kind};

/// What is said of one cause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CauseAnswer {
    /// From 1, as guides number them.
    pub number: usize,
    pub cause: Cause,
    pub answer: Answer,
    /// The codes of what points at it.
    pub codes: Vec<&'static str>,
    /// A few words.
    pub brief: String,
}

/// The outcome of a triage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Triage {
    pub kind: Kind,
    /// Everything that was said: found before hint, then in the order of the
    /// checks, which goes from near to far.
    pub statements: Vec<Statement>,
    /// All nine causes, in their order.
    pub causes: Vec<CauseAnswer>,
}

/// Runs every check on the evidence.
#[must_use]
pub fn judge(evidence: &Evidence) -> Triage {
    let mut statements = Vec::new();
    for check in check::all() {
        let mut said = check.answer(evidence);
        for statement in &mut said {
            statement.check = check.id();
            statement.cause = statement.about.unwrap_or(check.cause());
        }
        statements.extend(said);
    }
    statements.extend(cut(evidence));
    statements.sort_by_key(|s| s.answer);
    let causes = Cause::ALL.iter().enumerate().map(|(n, cause)| one(n + 1, *cause, &statements));
    Triage { kind: evidence.kind, causes: causes.collect(), statements }
}

/// Reports answers that were truncated at their size limit.
fn cut(evidence: &Evidence) -> Option<Statement> {
    let cut = &evidence.phone.as_ref()?.cut;
    (!cut.is_empty()).then(|| {
        let names: Vec<&str> = cut.iter().copied().collect();
        let mut out = Statement::unseen("phone.answer-cut", "the end of long answers", names.join(", "));
        out.check = "phone.answers";
        out
    })
}

fn one(number: usize, cause: Cause, statements: &[Statement]) -> CauseAnswer {
    let of = |answer| statements.iter().filter(move |s| s.cause == cause && s.answer == answer);
    let pointing: Vec<&Statement> = of(Answer::Found).chain(of(Answer::Hint)).collect();
    let briefs = |answer| {
        let mut all: Vec<&str> = Vec::new();
        for brief in of(answer).map(|s| s.brief.as_str()) {
            if !all.contains(&brief) {
                all.push(brief);
            }
        }
        all.join(", ")
    };
    let open: Vec<&str> =
        of(Answer::NotLookedAt).filter(|s| s.leaves_open).map(|s| s.brief.as_str()).collect();
    let (answer, brief) = if let Some(first) = pointing.first() {
        (first.answer, first.brief.clone())
    } else if let Some(first) = open.first() {
        (Answer::NotLookedAt, (*first).to_owned())
    } else if of(Answer::NothingFound).next().is_none() && of(Answer::NotLookedAt).next().is_some() {
        (Answer::NotLookedAt, briefs(Answer::NotLookedAt))
    } else if of(Answer::NotVisible).next().is_some() {
        (Answer::NotVisible, briefs(Answer::NotVisible))
    } else if of(Answer::NothingFound).next().is_some() {
        (Answer::NothingFound, briefs(Answer::NothingFound))
    } else {
        (Answer::NotLookedAt, "no check is for this place".to_owned())
    };
    let mut codes: Vec<&'static str> = pointing.iter().map(|s| s.code).collect();
    codes.dedup();
    CauseAnswer { number, cause, answer, codes, brief }
}

impl Triage {
    /// What explains it best: the first that was found, else the first hint.
    #[must_use]
    pub fn top(&self) -> Option<&Statement> {
        self.statements.first().filter(|s| s.answer.points())
    }

    /// Statements with this answer.
    pub fn with(&self, answer: Answer) -> impl Iterator<Item = &Statement> {
        self.statements.iter().filter(move |s| s.answer == answer)
    }

    /// The exit code: 1 when something points at a cause, 2 when nothing does
    /// and something was not looked at.
    #[must_use]
    pub fn exit(&self) -> crate::exit::Exit {
        use crate::exit::Exit;
        if self.top().is_some() {
            Exit::Findings
        } else if self.statements.iter().any(|s| s.answer == Answer::NotLookedAt) {
            Exit::Incomplete
        } else {
            Exit::Ok
        }
    }

    /// The one sentence above everything else.
    #[must_use]
    pub fn headline(&self) -> String {
        match self.top() {
            Some(top) if top.answer == Answer::Found => format!("Found: {}.", top.brief),
            Some(top) => format!("A hint: {}.", top.brief),
            None => {
                let here = if self.kind == Kind::Phone { "phone" } else { "device" };
                format!("Nothing that was looked at on this {here} explains it.")
            }
        }
    }
}
