//! The outcome of a triage as text, JSON and one HTML page.

use std::fmt::Write as _;

use askama::Template;
use clap::builder::styling::AnsiColor;
use serde::Serialize;

use super::Style;
use super::document::Tool;
use crate::fsys::printable;
use crate::lines::wrap;
use crate::triage::{Answer, CauseAnswer, Change, Evidence, Kind, Statement, Triage, summary};

/// What a report of a triage says. It names no place by its serial number or
/// path, so that it can be given to support.
#[derive(Debug, Serialize)]
pub struct TriageDocument<'a> {
    /// Version of this format.
    schema: u32,
    tool: Tool,
    command: &'static str,
    /// RFC 3339.
    created: String,
    place: Kind,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    phone: Option<PhoneDoc<'a>>,
    headline: String,
    /// The code of what explains it best.
    #[serde(skip_serializing_if = "Option::is_none")]
    top: Option<&'static str>,
    /// What changed since the triage before.
    #[serde(skip_serializing_if = "Option::is_none")]
    change: Option<Change>,
    causes: &'a [CauseAnswer],
    statements: &'a [Statement],
    /// The line for support.
    support: String,
}

/// What may be said of a phone.
#[derive(Debug, Serialize)]
struct PhoneDoc<'a> {
    model: &'a str,
    android: &'a str,
    api: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    webview: Option<&'a str>,
    apps: Vec<AppDoc<'a>>,
}

#[derive(Debug, Serialize)]
struct AppDoc<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    /// RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    updated: Option<String>,
}

fn rfc3339(ns: i128) -> String {
    jiff::Timestamp::from_nanosecond(ns)
        .map(|t| t.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
        .unwrap_or_default()
}

impl<'a> TriageDocument<'a> {
    /// The document of one triage.
    #[must_use]
    pub fn new(evidence: &'a Evidence, triage: &'a Triage) -> Self {
        let phone = evidence.phone.as_ref().map(|p| PhoneDoc {
            model: &p.model,
            android: &p.release,
            api: p.sdk,
            patch: p.properties.as_ref().ok().and_then(|p| p.patch.as_deref()),
            webview: p.webview.as_ref().ok().and_then(|w| w.version.as_deref()),
            apps: p
                .apps
                .iter()
                .map(|app| {
                    let package = app.package.as_ref().ok();
                    AppDoc {
                        id: &app.id,
                        version: package.and_then(|p| p.version.as_deref()),
                        updated: package.and_then(|p| p.updated_ns).map(rfc3339),
                    }
                })
                .collect(),
        });
        Self {
            schema: 1,
            tool: Tool { name: "shopmend", version: env!("CARGO_PKG_VERSION") },
            command: "triage",
            created: rfc3339(evidence.now_ns),
            place: evidence.kind,
            region: evidence.region.as_deref(),
            phone,
            headline: triage.headline(),
            top: triage.top().map(|s| s.code),
            change: None,
            causes: &triage.causes,
            statements: &triage.statements,
            support: summary(evidence, triage),
        }
    }

    /// Says what changed since the triage before.
    #[must_use]
    pub fn since(self, change: Option<Change>) -> Self {
        Self { change, ..self }
    }

    /// As JSON.
    ///
    /// # Errors
    /// Never for a document that this program made.
    pub fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self).map(|text| text + "\n")
    }

    fn place_name(&self) -> String {
        match (&self.phone, self.place) {
            (Some(phone), _) => format!("{} (Android {})", phone.model, phone.android),
            (None, Kind::Image) => "the image".to_owned(),
            (None, _) => "this machine".to_owned(),
        }
    }

    /// As text of at most 80 columns; what points at a cause first.
    #[must_use]
    pub fn text(&self, style: Style) -> String {
        let mut out = String::new();
        wrap(&mut out, "", &printable(&format!("Triage of {}", self.place_name())));
        let pointing: Vec<&Statement> = self.statements.iter().filter(|s| s.answer.points()).collect();
        if pointing.is_empty() {
            wrap(&mut out, "", &self.headline);
        }
        let most = if style.verbose { usize::MAX } else { SHOWN };
        for statement in pointing.iter().take(most) {
            one(&mut out, statement, style);
        }
        if pointing.len() > most {
            let _ = writeln!(out, "  and {} more; -v shows them", pointing.len() - most);
        }
        if let Some(changed) = self.change.as_ref().and_then(Change::sentence) {
            wrap(&mut out, "", &printable(&changed));
        }
        out.push('\n');
        for cause in self.causes {
            out.push_str(&cause_line(cause, style));
        }
        if !style.quiet {
            self.not_looked_at(&mut out, style);
        }
        if style.verbose {
            out.push_str("\nWhat was looked at\n");
            for statement in self.statements.iter().filter(|s| s.answer == Answer::NothingFound) {
                wrap(&mut out, "  - ", &printable(&format!("{}: {}", statement.code, statement.brief)));
            }
        }
        out
    }

    fn not_looked_at(&self, out: &mut String, style: Style) {
        let mut all: Vec<&str> = Vec::new();
        for statement in self.statements.iter().filter(|s| s.answer == Answer::NotLookedAt) {
            if !all.contains(&statement.says.as_str()) {
                all.push(&statement.says);
            }
        }
        let _ = writeln!(out);
        if style.verbose {
            out.push_str("Not looked at\n");
            for says in &all {
                wrap(out, "  - ", &printable(says));
            }
        } else if !all.is_empty() {
            let mut text = String::new();
            wrap(&mut text, "Not looked at: ", &printable(&all.join("; ")));
            let lines: Vec<&str> = text.lines().collect();
            for line in lines.iter().take(NOT_LOOKED_AT_LINES) {
                let _ = writeln!(out, "{line}");
            }
            if lines.len() > NOT_LOOKED_AT_LINES {
                out.push_str("               ... all of it with -v\n");
            }
        }
        let host =
            self.statements.iter().find(|s| s.answer == Answer::NotVisible).and_then(|s| s.next.as_deref());
        let host = host
            .and_then(|n| n.rsplit_once("https://"))
            .map_or("seller.tiktok.com", |(_, h)| h.trim_end_matches(')'));
        wrap(out, "", &format!("What no device sees is in Seller Center: https://{host}"));
    }
}

/// Number of findings and hints shown in full without `-v`.
const SHOWN: usize = 3;
/// Maximum number of lines for unchecked items without `-v`.
const NOT_LOOKED_AT_LINES: usize = 4;
/// The room of the words beside an answer.
const BRIEF: usize = 80 - 39;

fn color(answer: Answer) -> clap::builder::styling::Style {
    match answer {
        Answer::Found => AnsiColor::Red.on_default(),
        Answer::Hint => AnsiColor::Yellow.on_default(),
        Answer::NotLookedAt | Answer::NotVisible => AnsiColor::Magenta.on_default(),
        Answer::NothingFound => clap::builder::styling::Style::new(),
    }
}

fn one(out: &mut String, statement: &Statement, style: Style) {
    let word = statement.answer.title();
    let mut text = String::new();
    wrap(&mut text, &" ".repeat(word.len() + 2), &printable(&statement.says));
    let _ = write!(out, "{}  {}", style.paint(color(statement.answer), word), text.trim_start());
    if let Some(next) = &statement.next {
        wrap(out, "       Next: ", &printable(next));
    }
    if style.verbose {
        for seen in &statement.evidence {
            wrap(out, "       Seen in: ", &printable(seen));
        }
        let _ = writeln!(out, "       Code: {}", statement.code);
    }
}

fn cause_line(cause: &CauseAnswer, style: Style) -> String {
    let brief = printable(&cause.brief);
    let brief = if brief.chars().count() > BRIEF {
        brief.chars().take(BRIEF - 3).collect::<String>() + "..."
    } else {
        brief
    };
    let word = style.paint(color(cause.answer), &format!("{:<18}", cause.answer.title()));
    format!("{} {:<16}{word}  {brief}", cause.number, cause.cause.title()).trim_end().to_owned() + "\n"
}

#[derive(Template)]
#[template(
    ext = "html",
    source = r##"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>shopmend triage, {{ created }}</title>
<style>
:root { color-scheme: light dark; --line: #8884; --dim: #777; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin: 0 } h2 { font-size: 1.15rem; margin: 2rem 0 .3rem }
.dim { color: var(--dim); font-size: .9rem } code { font: .85rem ui-monospace, monospace; overflow-wrap: anywhere }
table { border-collapse: collapse; width: 100%; margin-top: .5rem } th { text-align: left; font-weight: 600 }
td, th { border-top: 1px solid var(--line); padding: .4rem .5rem .4rem 0; vertical-align: top }
.v { border-radius: 1rem; padding: .05rem .6rem; font-size: .85rem; white-space: nowrap; color: #fff }
.found { background: #c62828 } .hint { background: #b26a00 }
.not-looked-at, .not-visible { background: #6a1b9a } .nothing-found { background: #546e7a }
</style>
</head>
<body>
<h1>Triage of {{ place }}</h1>
<div class="dim">{{ created }} · shopmend {{ version }}</div>
<p><b>{{ headline }}</b></p>
{% if !change.is_empty() %}<p>{{ change }}</p>{% endif %}
{% for s in pointing %}<p><span class="v {{ s.0 }}">{{ s.1 }}</span> {{ s.2 }}{% if !s.3.is_empty() %}<br>Next: {{ s.3 }}{% endif %}<br><span class="dim">{{ s.4 }}</span></p>
{% endfor %}<h2>The nine causes</h2>
<table><tr><th>Cause</th><th>Answer</th><th></th></tr>
{% for c in causes %}<tr><td>{{ c.0 }}</td><td><span class="v {{ c.1 }}">{{ c.2 }}</span></td><td>{{ c.3 }}</td></tr>
{% endfor %}</table>
{% if !not_looked_at.is_empty() %}<h2>Not looked at</h2><ul>{% for n in not_looked_at %}<li>{{ n }}</li>{% endfor %}</ul>{% endif %}
<h2>What no device sees</h2><ul>{% for n in not_visible %}<li>{{ n }}</li>{% endfor %}</ul>
<h2>For support</h2><p><code>{{ summary }}</code></p>
</body>
</html>
"##
)]
struct Page<'a> {
    place: String,
    created: &'a str,
    version: &'static str,
    headline: &'a str,
    change: String,
    /// Class, word, sentence, next step, code and evidence.
    pointing: Vec<(&'static str, &'static str, String, String, String)>,
    causes: Vec<(&'static str, &'static str, &'static str, String)>,
    not_looked_at: Vec<String>,
    not_visible: Vec<String>,
    summary: String,
}

impl TriageDocument<'_> {
    /// As one page that needs nothing else; text from outside is escaped.
    ///
    /// # Errors
    /// Never for a document that this program made.
    pub fn html(&self) -> Result<String, askama::Error> {
        let with = |answer: Answer| self.statements.iter().filter(move |s| s.answer == answer);
        let mut not_looked_at: Vec<String> = with(Answer::NotLookedAt).map(|s| printable(&s.says)).collect();
        not_looked_at.dedup();
        Page {
            place: printable(&self.place_name()),
            created: &self.created,
            version: env!("CARGO_PKG_VERSION"),
            headline: &self.headline,
            change: self
                .change
                .as_ref()
                .and_then(Change::sentence)
                .as_deref()
                .map(printable)
                .unwrap_or_default(),
            pointing: self
                .statements
                .iter()
                .filter(|s| s.answer.points())
                .map(|s| {
                    let next = s.next.as_deref().map(printable).unwrap_or_default();
                    let seen = format!("{}: {}", s.code, s.evidence.join("; "));
                    (s.answer.as_str(), s.answer.title(), printable(&s.says), next, printable(&seen))
                })
                .collect(),
            causes: self
                .causes
                .iter()
                .map(|c| (c.cause.title(), c.answer.as_str(), c.answer.title(), printable(&c.brief)))
                .collect(),
            not_looked_at,
            not_visible: with(Answer::NotVisible).filter_map(|s| s.next.as_deref()).map(printable).collect(),
            summary: printable(&self.support),
        }
        .render()
    }

    /// The line for support.
    #[must_use]
    pub fn summary(&self) -> String {
        printable(&self.support)
    }
}
