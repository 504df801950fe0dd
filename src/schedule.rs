//! What the systems' own schedulers need to run shopmend unattended: a systemd
//! user unit with its timer, a launchd property list, a Task Scheduler XML.
//! Values only: nothing is installed, and every form is made on every system.

use plist::{Dictionary, Value};
use quick_xml::escape::escape;

use crate::error::{Error, Kind, Result};
use crate::model::Platform;

/// How often, always at night: missed runs are made up for where the scheduler
/// can do that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Every {
    Day,
    /// On Sundays.
    Week,
    /// On the first of the month.
    Month,
}

/// A time of the day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct At {
    /// 0 to 23.
    pub(crate) hour: u8,
    /// 0 to 59.
    pub(crate) minute: u8,
}

impl std::str::FromStr for At {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("{text:?} is no time: write hours and minutes, such as 03:30");
        let (hour, minute) = text.split_once(':').ok_or_else(bad)?;
        let number = |part: &str, below: u8| {
            let digits = part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
            part.parse::<u8>().ok().filter(|n| digits && *n < below).ok_or_else(bad)
        };
        Ok(Self { hour: number(hour, 24)?, minute: number(minute, 60)? })
    }
}

impl std::fmt::Display for At {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:02}:{:02}", self.hour, self.minute)
    }
}

/// A run to be scheduled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Job {
    /// The program and its arguments; the program's path is absolute.
    pub(crate) command: Vec<String>,
    /// Variables that it needs and that a scheduler does not give it by itself:
    /// names and values.
    pub(crate) env: Vec<(String, String)>,
    /// What it does, in a few words.
    pub(crate) about: &'static str,
    pub(crate) every: Every,
    pub(crate) at: At,
}

/// Which scheduler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Scheduler {
    /// A user unit and its timer (Linux)
    Systemd,
    /// A property list for ~/Library/LaunchAgents (macOS)
    Launchd,
    /// XML for schtasks /Create (Windows)
    #[value(name = "task-scheduler")]
    WindowsTask,
}

impl Scheduler {
    /// The one of a platform.
    #[must_use]
    pub(crate) fn of(platform: Platform) -> Self {
        match platform {
            Platform::Windows => Self::WindowsTask,
            Platform::Macos => Self::Launchd,
            Platform::Linux | Platform::Android => Self::Systemd,
        }
    }

    /// What a person runs after the files are where they belong.
    #[must_use]
    pub(crate) fn install(self) -> &'static str {
        match self {
            Self::Systemd => {
                "put both files into ~/.config/systemd/user, then: systemctl --user enable --now shopmend.timer"
            }
            Self::Launchd => {
                "put the file into ~/Library/LaunchAgents, then: launchctl bootstrap gui/$(id -u) ~/Library/LaunchAgents/shopmend.plist"
            }
            Self::WindowsTask => "schtasks /Create /TN shopmend /XML shopmend.xml",
        }
    }

    /// The bytes of one of its files. `schtasks` writes and surely reads UTF-16
    /// with its mark; UTF-8 without one it may take for the code page of the
    /// machine, and misread the name of a user's folder.
    #[must_use]
    pub(crate) fn encode(self, text: &str) -> Vec<u8> {
        match self {
            Self::Systemd | Self::Launchd => text.as_bytes().to_vec(),
            Self::WindowsTask => {
                std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect()
            }
        }
    }
}

/// The files that tell a scheduler of a job: name and content.
///
/// # Errors
/// When the command has a control character in it: XML cannot say it.
pub(crate) fn files(job: &Job, scheduler: Scheduler) -> Result<Vec<(&'static str, String)>> {
    let values = job.env.iter().map(|(_, value)| value);
    if let Some(word) = job.command.iter().chain(values).find(|word| word.contains(char::is_control)) {
        let word = crate::fsys::printable(word);
        return Err(Error::new(Kind::Failed, format!("a scheduler's file cannot hold {word:?}"))
            .hint("name the folder or file without control characters"));
    }
    Ok(match scheduler {
        Scheduler::Systemd => {
            vec![("shopmend.service", service(job)), ("shopmend.timer", timer(job))]
        }
        Scheduler::Launchd => vec![("shopmend.plist", launchd(job)?)],
        Scheduler::WindowsTask => vec![("shopmend.xml", task(job))],
    })
}

/// systemd.service(5). Findings are no failure of the unit; neither is an app
/// that happens to run, for which the next time will do.
fn service(job: &Job) -> String {
    let command: Vec<String> = job.command.iter().map(|part| systemd_word(part)).collect();
    let env: String = job
        .env
        .iter()
        .map(|(name, value)| ["Environment=", &systemd_variable(&format!("{name}={value}")), "\n"].concat())
        .collect();
    format!(
        "[Unit]\nDescription={}\n\n[Service]\nType=oneshot\n{env}ExecStart={}\nSuccessExitStatus=1 2 3 11\nNice=19\nIOSchedulingClass=idle\n",
        job.about,
        command.join(" ")
    )
}

/// systemd.timer(5) and systemd.time(7).
fn timer(job: &Job) -> String {
    let days = match job.every {
        Every::Day => "*-*-*",
        Every::Week => "Sun *-*-*",
        Every::Month => "*-*-01",
    };
    format!(
        "[Unit]\nDescription={}\n\n[Timer]\nOnCalendar={days} {}:00\nPersistent=true\nRandomizedDelaySec=15min\n\n[Install]\nWantedBy=timers.target\n",
        job.about, job.at
    )
}

/// An assignment of `Environment=`, quoted as systemd.exec(5) says: there `$`
/// has no meaning.
fn systemd_variable(assignment: &str) -> String {
    let mut out = String::from("\"");
    for c in assignment.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '%' => out.push_str("%%"),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A word of `ExecStart=`, quoted as systemd.service(5) says: specifiers and
/// variables are taken out of it.
fn systemd_word(word: &str) -> String {
    let mut out = String::from("\"");
    for c in word.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            '%' | '$' => {
                out.push(c);
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// launchd.plist(5). A run that was slept through is made up for on waking.
fn launchd(job: &Job) -> Result<String> {
    let mut when = vec![("Hour", job.at.hour), ("Minute", job.at.minute)];
    match job.every {
        Every::Day => {}
        Every::Week => when.push(("Weekday", 0)),
        Every::Month => when.push(("Day", 1)),
    }
    let when: Dictionary = when.into_iter().map(|(key, n)| (key.to_owned(), Value::from(n))).collect();
    let words: Vec<Value> = job.command.iter().map(|word| Value::from(word.as_str())).collect();
    let mut list = Dictionary::new();
    list.insert("Label".to_owned(), Value::from("shopmend"));
    list.insert("ProgramArguments".to_owned(), Value::Array(words));
    if !job.env.is_empty() {
        let env = job.env.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str())));
        list.insert("EnvironmentVariables".to_owned(), Value::Dictionary(env.collect()));
    }
    list.insert("StartCalendarInterval".to_owned(), Value::Dictionary(when));
    list.insert("ProcessType".to_owned(), Value::from("Background"));
    list.insert("LowPriorityIO".to_owned(), Value::from(true));
    let failed = |e: Box<dyn std::error::Error + Send + Sync>| {
        Error::new(Kind::Failed, "the property list cannot be written").because(e)
    };
    let mut out = Vec::new();
    Value::Dictionary(list).to_writer_xml(&mut out).map_err(|e| failed(e.into()))?;
    let mut out = String::from_utf8(out).map_err(|e| failed(e.into()))?;
    out.push('\n');
    Ok(out)
}

/// The Task Scheduler's schema 1.2. Its declaration names no encoding, so that
/// it holds for the text that is printed as for the file, see
/// [`Scheduler::encode`]. A run that has begun is not cut off when the mains
/// go.
fn task(job: &Job) -> String {
    let schedule = match job.every {
        Every::Day => "<ScheduleByDay><DaysInterval>1</DaysInterval></ScheduleByDay>".to_owned(),
        Every::Week => {
            "<ScheduleByWeek><WeeksInterval>1</WeeksInterval><DaysOfWeek><Sunday /></DaysOfWeek></ScheduleByWeek>"
                .to_owned()
        }
        Every::Month => {
            let months = [
                "January", "February", "March", "April", "May", "June", "July", "August", "September",
                "October", "November", "December",
            ];
            let months = months.map(|m| format!("<{m} />")).concat();
            format!("<ScheduleByMonth><DaysOfMonth><Day>1</Day></DaysOfMonth><Months>{months}</Months></ScheduleByMonth>")
        }
    };
    let (program, arguments) =
        job.command.split_first().map_or(("", &[][..]), |(p, rest)| (p.as_str(), rest));
    let arguments: Vec<String> = arguments.iter().map(|word| windows_word(word)).collect();
    format!(
        r#"<?xml version="1.0"?>
<Task version="1.2" xmlns="http://schemas.microsoft.com/windows/2004/02/mit/task">
  <RegistrationInfo>
    <Description>{}</Description>
  </RegistrationInfo>
  <Triggers>
    <CalendarTrigger>
      <StartBoundary>2026-01-01T{}:00</StartBoundary>
      {schedule}
    </CalendarTrigger>
  </Triggers>
  <Settings>
    <MultipleInstancesPolicy>IgnoreNew</MultipleInstancesPolicy>
    <DisallowStartIfOnBatteries>true</DisallowStartIfOnBatteries>
    <StopIfGoingOnBatteries>false</StopIfGoingOnBatteries>
    <StartWhenAvailable>true</StartWhenAvailable>
    <Priority>8</Priority>
  </Settings>
  <Actions>
    <Exec>
      <Command>{}</Command>
      <Arguments>{}</Arguments>
    </Exec>
  </Actions>
</Task>
"#,
        escape(job.about),
        job.at,
        escape(program),
        escape(arguments.join(" ").as_str())
    )
}

/// A word of a Windows command line, as the C runtime takes it apart: quoted
/// when it has spaces or quotes, backslashes doubled before a quote.
fn windows_word(word: &str) -> String {
    if !word.is_empty() && !word.contains([' ', '\t', '"']) {
        return word.to_owned();
    }
    let mut out = String::from("\"");
    let mut backslashes = 0;
    for c in word.chars() {
        if c == '"' {
            out.extend(std::iter::repeat_n('\\', backslashes + 1));
        }
        backslashes = if c == '\\' { backslashes + 1 } else { 0 };
        out.push(c);
    }
    out.extend(std::iter::repeat_n('\\', backslashes));
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn job(words: &[&str], every: Every) -> Job {
        Job {
            command: words.iter().map(|&w| w.to_owned()).collect(),
            env: vec![("XDG_CACHE_HOME".to_owned(), "/a b/50%$x\"".to_owned())],
            about: "Look & see",
            every,
            at: At { hour: 3, minute: 5 },
        }
    }

    #[test]
    fn a_time_is_hours_and_minutes() {
        assert_eq!("23:59".parse(), Ok(At { hour: 23, minute: 59 }));
        for bad in ["", "3", "3:30", "24:00", "12:60", "-1:30", "+1:30", "12:3", "ab:cd"] {
            assert!(bad.parse::<At>().is_err(), "{bad}");
        }
    }

    #[test]
    fn each_interval_is_said_in_each_schedulers_words() {
        let told = |every, scheduler| {
            let files = files(&job(&["/bin/x"], every), scheduler).unwrap();
            files.into_iter().map(|(_, text)| text).collect::<String>()
        };
        let cases = [
            (Every::Day, "OnCalendar=*-*-* 03:05:00", "<DaysInterval>1<", None),
            (Every::Week, "OnCalendar=Sun *-*-* 03:05:00", "<Sunday />", Some(("Weekday", 0))),
            (Every::Month, "OnCalendar=*-*-01 03:05:00", "<Day>1</Day>", Some(("Day", 1))),
        ];
        for (every, calendar, trigger, key) in cases {
            assert!(told(every, Scheduler::Systemd).contains(calendar));
            assert!(told(every, Scheduler::WindowsTask).contains(trigger));
            let list = plist::Value::from_reader_xml(told(every, Scheduler::Launchd).as_bytes()).unwrap();
            let when = list.as_dictionary().unwrap()["StartCalendarInterval"].as_dictionary().unwrap();
            assert_eq!(when["Hour"].as_signed_integer(), Some(3));
            assert_eq!(when["Minute"].as_signed_integer(), Some(5));
            assert_eq!(when.len(), 2 + usize::from(key.is_some()));
            if let Some((key, n)) = key {
                assert_eq!(when[key].as_signed_integer(), Some(n));
            }
        }
    }

    #[test]
    fn words_are_quoted_for_systemd_and_windows() {
        assert_eq!(systemd_word("/a b/50%$x\"\\"), r#""/a b/50%%$$x\"\\""#);
        let unit = service(&job(&["/bin/x"], Every::Day));
        assert!(unit.contains("Environment=\"XDG_CACHE_HOME=/a b/50%%$x\\\"\"\n"), "{unit}");
        assert_eq!(windows_word(r"C:\Program Files\x\"), r#""C:\Program Files\x\\""#);
        assert_eq!(windows_word(r#"a"b"#), r#""a\"b""#);
        assert_eq!((windows_word("plain"), windows_word("")), ("plain".to_owned(), "\"\"".to_owned()));
    }

    #[test]
    fn a_control_character_is_refused() {
        for scheduler in [Scheduler::Systemd, Scheduler::Launchd, Scheduler::WindowsTask] {
            for bad in ["a\nb", "\u{1}", "\u{7f}"] {
                assert!(files(&job(&["/bin/x", bad], Every::Day), scheduler).is_err());
            }
        }
    }

    /// The text of each element that has one, by the names that lead to it.
    fn fields(xml: &str) -> HashMap<String, String> {
        use quick_xml::events::Event;
        let mut reader = quick_xml::Reader::from_str(xml);
        let (mut path, mut out) = (Vec::<String>::new(), HashMap::<String, String>::new());
        loop {
            let mut add = |path: &[String], text: &str| {
                out.entry(path.join("/")).or_default().push_str(text);
            };
            match reader.read_event().unwrap() {
                Event::Start(e) => path.push(e.name().as_ref().to_owned()),
                Event::End(_) => drop(path.pop()),
                Event::Text(e) => add(&path, &e),
                Event::GeneralRef(e) => {
                    let reference = format!("&{};", &*e);
                    add(&path, &quick_xml::escape::unescape(&reference).unwrap());
                }
                Event::Eof => break,
                _ => {}
            }
        }
        assert_eq!(path, Vec::<String>::new());
        out
    }

    /// A command line taken apart as Microsoft documents it for C programs.
    fn argv(line: &str) -> Vec<String> {
        let (mut out, mut word, mut quoted, mut any) = (Vec::new(), String::new(), false, false);
        let mut chars = line.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '\\' => {
                    let mut n = 1;
                    while chars.next_if_eq(&'\\').is_some() {
                        n += 1;
                    }
                    let quote = chars.peek() == Some(&'"');
                    word.extend(std::iter::repeat_n('\\', if quote { n / 2 } else { n }));
                    if quote && n % 2 == 1 {
                        chars.next();
                        word.push('"');
                    }
                    any = true;
                }
                '"' => {
                    quoted = !quoted;
                    any = true;
                }
                ' ' | '\t' if !quoted => {
                    if std::mem::take(&mut any) {
                        out.push(std::mem::take(&mut word));
                    }
                }
                c => {
                    word.push(c);
                    any = true;
                }
            }
        }
        if any {
            out.push(word);
        }
        out
    }

    proptest! {
        /// Whatever a path holds, the XML forms stay whole and give it back.
        #[test]
        fn any_word_survives_the_xml(word in "[ -~äß]{0,20}") {
            let job = job(&["/opt/shop mend", &word], Every::Week);
            let list = plist::Value::from_reader_xml(launchd(&job).unwrap().as_bytes()).unwrap();
            let words = list.as_dictionary().unwrap()["ProgramArguments"].as_array().unwrap().clone();
            let words: Vec<_> = words.iter().filter_map(|w| w.as_string()).collect();
            prop_assert_eq!(words, vec!["/opt/shop mend", word.as_str()]);
            let fields = fields(&task(&job));
            prop_assert_eq!(&fields["Task/Actions/Exec/Command"], "/opt/shop mend");
            prop_assert_eq!(argv(&fields["Task/Actions/Exec/Arguments"]), vec![word]);
        }
    }
}
