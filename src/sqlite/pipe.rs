//! The way of rows from the half of salvage that reads to the half that writes:
//! a short queue, so that both work at once.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::salvaged::{Orphan, Row, SchemaObject, Settings, Sink, SinkError, Value};

/// How many bytes of values go on their way together.
const BATCH: usize = 128 << 10;
/// From this many bytes on the reader waits until they are written, so that
/// two large values are never held at once.
const LARGE: usize = 2 << 20;
/// How many batches may wait.
const WAITING: usize = 4;

/// What goes over the queue.
enum Parcel {
    Begin(Settings, Vec<SchemaObject>),
    Rows(Vec<Row>),
    Orphan(Orphan),
    /// Answered when everything before it is written.
    Ask(SyncSender<()>),
}

/// Lets `read` fill `sink` while the sink writes in a thread of its own.
///
/// # Errors
/// What the sink says, else what `read` says.
pub(super) fn through<T, E: From<SinkError>>(
    sink: &mut (dyn Sink + Send),
    read: impl FnOnce(&mut dyn Sink) -> Result<T, E>,
) -> Result<T, E> {
    let (send, receive) = sync_channel(WAITING);
    std::thread::scope(|scope| {
        let writer = scope.spawn(move || write(sink, &receive));
        let mut queue = Queue { send, rows: Vec::new(), weight: 0 };
        let result = read(&mut queue).and_then(|out| queue.flush().map(|()| out).map_err(E::from));
        // The writer ends when nothing more can come.
        drop(queue);
        match writer.join() {
            Ok(Ok(())) => result,
            Ok(Err(error)) => Err(error.into()),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

fn write(sink: &mut (dyn Sink + Send), receive: &Receiver<Parcel>) -> Result<(), SinkError> {
    for parcel in receive {
        match parcel {
            Parcel::Begin(settings, schema) => sink.begin(&settings, &schema)?,
            Parcel::Rows(rows) => sink.rows(rows)?,
            Parcel::Orphan(orphan) => sink.orphan(orphan)?,
            // Nobody may be waiting any more.
            Parcel::Ask(done) => drop(done.send(())),
        }
    }
    Ok(())
}

/// The reader's end.
struct Queue {
    send: SyncSender<Parcel>,
    rows: Vec<Row>,
    weight: usize,
}

impl Queue {
    fn put(&self, parcel: Parcel) -> Result<(), SinkError> {
        self.send.send(parcel).map_err(|_| stopped())
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let weight = std::mem::take(&mut self.weight);
        let rows = std::mem::take(&mut self.rows);
        self.put(Parcel::Rows(rows))?;
        self.settle(weight)
    }

    /// Waits for the writer after something large.
    fn settle(&self, weight: usize) -> Result<(), SinkError> {
        if weight < LARGE {
            return Ok(());
        }
        let (done, wait) = sync_channel(1);
        self.put(Parcel::Ask(done))?;
        wait.recv().map_err(|_| stopped())
    }
}

/// What the reader is told when the writer is gone; the writer's own reason counts.
fn stopped() -> SinkError {
    SinkError::Io(std::io::Error::other("the writer stopped"))
}

/// About how many bytes values take.
fn weight(values: &[Value]) -> usize {
    let bytes = |v: &Value| match v {
        Value::Text(b) | Value::Blob(b) => b.len(),
        _ => 0,
    };
    values.iter().map(|v| size_of::<Value>() + bytes(v)).sum()
}

impl Sink for Queue {
    fn begin(&mut self, settings: &Settings, schema: &[SchemaObject]) -> Result<(), SinkError> {
        self.put(Parcel::Begin(*settings, schema.to_vec()))
    }

    fn row(&mut self, row: Row) -> Result<(), SinkError> {
        self.weight += size_of::<Row>() + weight(&row.values) + weight(&row.surplus);
        self.rows.push(row);
        if self.weight < BATCH { Ok(()) } else { self.flush() }
    }

    fn orphan(&mut self, orphan: Orphan) -> Result<(), SinkError> {
        self.flush()?;
        let weight = weight(&orphan.values);
        self.put(Parcel::Orphan(orphan))?;
        self.settle(weight)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::salvaged::PlacedBy;

    /// Notes what comes, and refuses from some row on.
    struct Notes {
        rows: Vec<(Option<i64>, usize)>,
        orphans: Vec<usize>,
        refuse_from: usize,
    }

    impl Sink for Notes {
        fn begin(&mut self, _: &Settings, _: &[SchemaObject]) -> Result<(), SinkError> {
            Ok(())
        }
        fn row(&mut self, row: Row) -> Result<(), SinkError> {
            if self.rows.len() >= self.refuse_from {
                return Err(SinkError::Io(std::io::Error::other("full")));
            }
            self.rows.push((row.rowid, weight(&row.values)));
            Ok(())
        }
        fn orphan(&mut self, _: Orphan) -> Result<(), SinkError> {
            self.orphans.push(self.rows.len());
            Ok(())
        }
    }

    fn row(n: i64, len: usize) -> Row {
        let values = vec![Value::Blob(vec![1; len])];
        let placed_by = PlacedBy::Tree;
        let (surplus, doubts) = (vec![], vec![]);
        Row { object: 0, rowid: Some(n), values, surplus, doubts, placed_by, page: 1, offset: 0 }
    }

    fn send(sink: &mut Notes) -> Result<i64, SinkError> {
        through(sink, |to| {
            for n in 0..5000 {
                to.row(row(n, if n % 1000 == 7 { LARGE } else { 100 }))?;
                if n == 2500 {
                    let values = vec![Value::Null];
                    let orphan =
                        Orphan { page: 1, offset: 0, guess: None, rowid: None, values, doubts: vec![] };
                    to.orphan(orphan)?;
                }
            }
            Ok(5000)
        })
    }

    #[test]
    fn everything_arrives_once_and_in_order() {
        let mut notes = Notes { rows: vec![], orphans: vec![], refuse_from: usize::MAX };
        assert_eq!(send(&mut notes).unwrap(), 5000);
        assert!(notes.rows.iter().map(|r| r.0).eq((0..5000).map(Some)));
        assert_eq!(notes.orphans, [2501]);
    }

    #[test]
    fn the_writers_reason_is_the_one_that_is_told() {
        for refuse_from in [0, 7, 3000, 4999] {
            let mut notes = Notes { rows: vec![], orphans: vec![], refuse_from };
            assert!(send(&mut notes).unwrap_err().to_string().contains("full"), "{refuse_from}");
        }
        let mut notes = Notes { rows: vec![], orphans: vec![], refuse_from: usize::MAX };
        let failed: Result<(), SinkError> = through(&mut notes, |to| {
            to.row(row(1, 10))?;
            Err(SinkError::Cancelled(crate::control::Cancelled))
        });
        assert!(matches!(failed, Err(SinkError::Cancelled(_))));
    }
}
