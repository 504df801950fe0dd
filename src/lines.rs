//! Text for people, in lines of 80 columns.

/// An argument as a shell takes it: quoted when it has to be.
#[must_use]
pub(crate) fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:,@%=".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// Writes `text` at 80 columns, every line behind as much white space as
/// `lead` is long.
pub(crate) fn wrap(out: &mut String, lead: &str, text: &str) {
    const WIDTH: usize = 80;
    let indent = " ".repeat(lead.chars().count());
    let mut line = lead.to_owned();
    let mut used = lead.chars().count();
    let mut fresh = true;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if !fresh && used + 1 + length > WIDTH {
            out.push_str(line.trim_end());
            out.push('\n');
            line.clone_from(&indent);
            used = indent.len();
            fresh = true;
        }
        if !fresh {
            line.push(' ');
            used += 1;
        }
        line.push_str(word);
        used += length;
        fresh = false;
    }
    out.push_str(line.trim_end());
    out.push('\n');
}
