//! `SharedPreferences` files in the form that Android's `FastXmlSerializer`
//! gives them.

use std::fmt::Write as _;

/// A value of a preferences map.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    Text(&'a str),
    Int(i32),
    Long(i64),
    Float(f32),
    Bool(bool),
    Set(&'a [&'a str]),
}

/// The file that holds `entries`.
#[must_use]
pub fn xml(entries: &[(&str, Value<'_>)]) -> String {
    let mut out = String::from("<?xml version='1.0' encoding='utf-8' standalone='yes' ?>\n");
    if entries.is_empty() {
        out.push_str("<map />\n");
        return out;
    }
    out.push_str("<map>\n");
    for (name, value) in entries {
        let name = escaped(name);
        let _ = match value {
            Value::Text(text) => writeln!(out, "    <string name=\"{name}\">{}</string>", escaped(text)),
            Value::Int(n) => writeln!(out, "    <int name=\"{name}\" value=\"{n}\" />"),
            Value::Long(n) => writeln!(out, "    <long name=\"{name}\" value=\"{n}\" />"),
            Value::Float(n) => writeln!(out, "    <float name=\"{name}\" value=\"{n:?}\" />"),
            Value::Bool(b) => writeln!(out, "    <boolean name=\"{name}\" value=\"{b}\" />"),
            Value::Set([]) => writeln!(out, "    <set name=\"{name}\" />"),
            Value::Set(items) => {
                let _ = writeln!(out, "    <set name=\"{name}\">");
                for item in *items {
                    let _ = writeln!(out, "        <string>{}</string>", escaped(item));
                }
                writeln!(out, "    </set>")
            }
        };
    }
    out.push_str("</map>\n");
    out
}

/// Text as Android escapes it: five characters and every control.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' => out.push_str("&quot;"),
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            c if u32::from(c) < 0x20 => {
                let _ = write!(out, "&#{};", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}
