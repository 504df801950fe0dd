//! The report as one HTML page that needs nothing else: for a technician's
//! records and for sending along.

use askama::Template;

use super::document::shown_path;
use super::text::{check_lines, tally};
use super::{Document, Phase, count, size};
use crate::fsys::printable;
use crate::model::Verdict;
use crate::place::adb::DeviceReport;

#[derive(Template)]
#[template(
    ext = "html",
    source = r##"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>shopmend report, {{ created }}</title>
<style>
:root { color-scheme: light dark; --line: #8884; --dim: #777; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin: 0 } h2 { font-size: 1.15rem; margin: 2rem 0 .3rem }
.dim { color: var(--dim); font-size: .9rem } code { font: .85rem ui-monospace, monospace; overflow-wrap: anywhere }
.cards { display: flex; flex-wrap: wrap; gap: .75rem; margin: 1.25rem 0 }
.card { border: 1px solid var(--line); border-radius: .5rem; padding: .6rem 1rem; min-width: 6rem }
.card b { display: block; font-size: 1.4rem }
table { border-collapse: collapse; width: 100%; margin-top: .5rem } th { text-align: left; font-weight: 600 }
td, th { border-top: 1px solid var(--line); padding: .4rem .5rem .4rem 0; vertical-align: top }
td code { display: block; min-width: 14rem }
td.n { text-align: right; white-space: nowrap; padding-right: 1rem }
.v { border-radius: 1rem; padding: .05rem .6rem; font-size: .85rem; white-space: nowrap; color: #fff }
.healthy { background: #2e7d32 } .stale { background: #b26a00 } .damaged { background: #c62828 }
.unknown, .unreadable { background: #6a1b9a } ul { margin: .2rem 0; padding-left: 1.1rem } details { margin-top: .5rem }
</style>
</head>
<body>
<h1>{{ title }}</h1>
<div class="dim">{{ created }} · {{ place }} · {{ platform }} · shopmend {{ version }}</div>
<div class="cards">
{% for card in cards %}<div class="card"><b>{{ card.1 }}</b>{{ card.0 }}</div>
{% endfor %}</div>
<p><b>{{ result }}</b></p>
{% if let Some(change) = change %}<p>Before: {{ change.0 }}<br>After: {{ change.1 }}</p>{% endif %}
{% if !undo.is_empty() %}<p>Take it back: <code>{{ undo }}</code></p>{% endif %}
{% if !left.is_empty() %}<h2>Still not right</h2><ul>{% for n in left %}<li>{{ n }}</li>{% endfor %}</ul>{% endif %}
{% if !not_checked.is_empty() %}<h2>Not checked</h2><ul>{% for n in not_checked %}<li>{{ n }}</li>{% endfor %}</ul>{% endif %}
{% if !by_hand.is_empty() %}<h2>By hand</h2><ul>{% for n in by_hand %}<li>{{ n }}</li>{% endfor %}</ul>{% endif %}
{% for note in notes %}<p>{{ note }}</p>{% endfor %}
{% if !plan.is_empty() %}<h2>{{ plan_title }}</h2><table><tr><th>What</th><th>Where</th><th>Why</th></tr>
{% for line in plan %}<tr><td>{{ line.0 }}</td><td><code>{{ line.1 }}</code></td><td>{{ line.2 }}</td></tr>
{% endfor %}</table>{% endif %}
{% for target in targets %}<h2>{{ target.name }}</h2>
{% for root in target.roots %}<div class="dim"><code>{{ root }}</code></div>{% endfor %}
{% for note in target.notes %}<p>{{ note }}</p>{% endfor %}
{% if !target.problems.is_empty() %}<table><tr><th>Verdict</th><th>Store</th><th>Size</th><th>Findings</th></tr>
{% for s in target.problems %}<tr><td><span class="v {{ s.verdict }}">{{ s.verdict }}</span></td><td>{{ s.kind }}<br><code>{{ s.path }}</code></td><td class="n">{{ s.size }}</td><td><ul>{% for f in s.findings %}<li>{{ f }}</li>{% endfor %}</ul>{% if !s.checked.is_empty() %}<details class="dim"><summary>How it was checked</summary><ul>{% for c in s.checked %}<li>{{ c }}</li>{% endfor %}</ul></details>{% endif %}</td></tr>
{% endfor %}</table>{% endif %}
{% if !target.healthy.is_empty() %}<details><summary>{{ target.healthy_title }}</summary><table><tr><th>Kind</th><th>Store</th><th>Size</th><th>How it was checked</th></tr>
{% for s in target.healthy %}<tr><td>{{ s.kind }}</td><td><code>{{ s.path }}</code></td><td class="n">{{ s.size }}</td><td class="dim"><ul>{% for c in s.checked %}<li>{{ c }}</li>{% endfor %}</ul></td></tr>
{% endfor %}</table></details>{% endif %}
{% endfor %}
</body>
</html>
"##
)]
struct Page {
    title: &'static str,
    created: String,
    place: String,
    platform: &'static str,
    version: &'static str,
    cards: Vec<(String, String)>,
    /// What the exit code means.
    result: &'static str,
    /// Stores by verdict, before and after.
    change: Option<(String, String)>,
    /// The command that takes it back; empty when there is none.
    undo: String,
    /// Stores that are damaged or unreadable now.
    left: Vec<String>,
    not_checked: Vec<String>,
    by_hand: Vec<String>,
    notes: Vec<String>,
    plan_title: &'static str,
    plan: Vec<(String, String, String)>,
    targets: Vec<Target>,
}

struct Target {
    name: String,
    roots: Vec<String>,
    notes: Vec<String>,
    problems: Vec<Row>,
    healthy: Vec<Row>,
    healthy_title: String,
}

struct Row {
    verdict: &'static str,
    kind: &'static str,
    path: String,
    size: String,
    findings: Vec<String>,
    checked: Vec<String>,
}

/// The document as a page; text from outside is escaped.
///
/// # Errors
/// Never for a document that this program made.
pub fn html(document: &Document) -> Result<String, askama::Error> {
    let summary = &document.summary;
    let now = document.after.as_ref().map_or(&summary.by_verdict, |after| &after.by_verdict);
    let mut cards: Vec<(String, String)> =
        now.iter().rev().map(|(v, n)| (v.to_string(), n.to_string())).collect();
    cards.push(("of stale cache".to_owned(), size(summary.stale_allocated_bytes)));
    cards.push(("in all".to_owned(), size(summary.bytes)));
    let plan = document.plan.as_ref().map(|p| p.plan.actions.as_slice()).unwrap_or_default();
    let outcome = |store: &str| {
        let done = document.done.as_ref()?;
        let action = done.actions.iter().find(|a| a.store == store)?;
        let mut words = action.done.as_str().to_owned();
        if let Some(rebuilt) = &action.rebuilt {
            words.push_str(&format!(
                ", by {}: {} kept, {} doubtful, {} lost",
                rebuilt.method, rebuilt.recovered, rebuilt.doubtful, rebuilt.lost
            ));
        }
        words.extend(action.reason.iter().map(|why| format!(": {why}")));
        Some(printable(&words))
    };
    let volumes = document
        .volumes
        .iter()
        .flat_map(|v| v.problems.iter().map(move |p| format!("{}: {p}", crate::fsys::shown(&v.path))));
    Page {
        title: match document.command {
            Phase::Scan => "Scan report",
            Phase::Preview => "What would be repaired",
            Phase::Repair => "Repair report",
            Phase::Backup => "Backup report",
            Phase::Undo => "Undo report",
            Phase::Restore => "Restore report",
        },
        created: document.created.clone(),
        place: printable(&document.place),
        platform: document.platform.as_str(),
        version: env!("CARGO_PKG_VERSION"),
        cards,
        result: document.exit().meaning(),
        change: document
            .before
            .as_ref()
            .zip(document.after.as_ref())
            .map(|(before, after)| (tally(&before.by_verdict), tally(&after.by_verdict))),
        undo: match &document.done {
            Some(done) if document.command == Phase::Repair && done.bytes_freed == 0 => {
                let place = document.device.as_ref().map(DeviceReport::named).unwrap_or_default();
                format!("shopmend undo {}{place}", done.run)
            }
            _ => String::new(),
        },
        left: document
            .after
            .iter()
            .flat_map(|after| &after.stores)
            .filter(|s| matches!(s.verdict, Verdict::Damaged | Verdict::Unreadable))
            .map(|s| {
                let why = super::findings(&s.findings, false).join("; ");
                format!("{} {}: {}: {why}", s.verdict, s.kind, printable(&s.path))
            })
            .collect(),
        not_checked: document.summary.not_checked.iter().map(|n| printable(&n.to_string())).collect(),
        by_hand: document.by_hand.iter().map(|n| printable(n)).collect(),
        notes: document.notes.iter().map(|n| printable(n)).chain(volumes).collect(),
        plan_title: if document.command == Phase::Repair { "What was done" } else { "The plan" },
        plan: plan
            .iter()
            .map(|a| {
                let what = match &a.op {
                    crate::plan::Op::Clear { files, .. } => {
                        format!("clear {}, {}", count(files.len() as u64, "file"), size(a.allocated_bytes))
                    }
                    crate::plan::Op::Rebuild { .. } => format!("rebuild, {}", size(a.bytes())),
                    crate::plan::Op::RestoreBackup { .. } => "restore .bak".to_owned(),
                    crate::plan::Op::PutBack { run, .. } => format!("put back from run {run}"),
                };
                let what = outcome(&a.store).map_or(what.clone(), |state| format!("{what}: {state}"));
                (what, crate::fsys::shown(&a.root.join(a.path.as_path())), printable(&a.why))
            })
            .collect(),
        targets: document.targets.iter().map(target).collect(),
    }
    .render()
}

fn target(target: &super::TargetDoc) -> Target {
    let (healthy, problems): (Vec<_>, Vec<_>) =
        target.stores.iter().partition(|s| s.verdict == Verdict::Healthy);
    let row = |s: &&super::StoreDoc| {
        let mut findings = super::findings(&s.findings, false);
        if let Some(stale) = &s.stale {
            findings.push(format!("{} can be cleared, {}", count(stale.entries, "entry"), size(stale.bytes)));
        }
        Row {
            verdict: s.verdict.as_str(),
            kind: s.kind.as_str(),
            path: printable(&s.short),
            size: size(s.bytes),
            findings,
            checked: check_lines(s),
        }
    };
    let user = target.user.as_deref().map(|u| format!(", user {}", printable(u))).unwrap_or_default();
    Target {
        name: format!("{}{user}", target.name),
        roots: target.roots.iter().map(|(id, path)| format!("{id}: {}", shown_path(path))).collect(),
        notes: target.notes.iter().map(|n| printable(n)).collect(),
        problems: problems.iter().map(row).collect(),
        healthy: healthy.iter().map(row).collect(),
        healthy_title: count(healthy.len() as u64, "healthy store"),
    }
}
