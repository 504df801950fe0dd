//! Logs laid over the file, unless they belong to another database.

use std::collections::HashSet;
use std::sync::Arc;

use super::logs::{self, Layer};
use super::pages::Origin;
use super::scan::{self, PageKind};
use super::schema::{self, SCHEMA_TREE};
use super::tree::{self, Walker};
use super::{ReadError, Salvager};
use crate::check;
use crate::control::Control;
use crate::format::{DbHeader, MAGIC};
use crate::source::ReadAt;

impl Salvager {
    /// Lays the logs over the file.
    pub(super) fn lay_logs(&mut self, control: &Control) -> Result<(), ReadError> {
        for (layer, src, origin) in std::mem::take(&mut self.logs) {
            self.lay(layer, &src, origin, control)?;
        }
        // The header of the database as the logs leave it.
        let mut first = Vec::new();
        self.pages.read(1, &mut first);
        if self.pages.overlay.contains_key(&1) && first.starts_with(MAGIC) {
            self.probe.header = DbHeader::parse(&first);
        }
        Ok(())
    }

    /// Lays a log over the file, unless it belongs to another database.
    fn lay(
        &mut self,
        layer: Layer,
        src: &Arc<dyn ReadAt>,
        origin: Origin,
        control: &Control,
    ) -> Result<(), ReadError> {
        let name = if origin == Origin::Wal { "write-ahead log" } else { "rollback journal" };
        if layer.valid && self.is_sound_without(src, origin, control)? {
            self.report.notes.push(format!(
                "the database is sound, but not with the {name} beside it, which belongs to another one: not applied"
            ));
            return Ok(());
        }
        let (alike, unlike) = logs::compare(&self.pages, &layer, src.as_ref());
        let before = (self.pages.count, self.pages.overlay.clone(), self.pages.stale.clone());
        let weigh = unlike > 0 || !layer.valid;
        let without = if weigh { self.view(control)? } else { View::default() };
        self.pages.attach(origin, src.clone());
        let top = layer.overlay.keys().copied().max().unwrap_or(0);
        if layer.pages > 0 && (layer.sized || layer.pages >= top) {
            // Pages that neither the file nor the log has are nowhere, whatever a size says.
            self.pages.count = layer.pages.min(self.pages.count.max(top));
        } else if origin == Origin::Wal {
            // The size is not certain; no page that the log has is left out.
            self.pages.count = self.pages.count.max(top);
        }
        self.pages.overlay.extend(layer.overlay);
        self.pages.stale.extend(layer.stale);
        if weigh {
            let with = self.view(control)?;
            // Most pages of a busy database may have gone from one table to another in the log: the
            // objects and the trees say whether it fits.
            let unlike_most = unlike > alike && unlike >= 2;
            let foreign = unlike_most && with.has_others(&without);
            let worse = if unlike_most { without.wrong + 2 } else { without.wrong * 2 + 2 };
            if foreign || (unlike > 0 && with.wrong > worse) {
                (self.pages.count, self.pages.overlay, self.pages.stale) = before;
                self.report.doubtful_log |= !foreign;
                self.report.notes.push(if foreign {
                    format!("the {name} belongs to another database: not applied")
                } else {
                    format!("the {name} does not fit the database: not applied")
                });
                return Ok(());
            }
        }
        self.report.cut_log |= layer.cut;
        self.report.notes.extend(layer.notes);
        Ok(())
    }

    /// Whether the database is sound by itself and is not with that log, of
    /// which every checksum is right: the log is that of an older generation or
    /// of another database. Its pages may look like the database's own, so that
    /// only a whole check of both tells.
    fn is_sound_without(
        &self,
        src: &Arc<dyn ReadAt>,
        origin: Origin,
        control: &Control,
    ) -> Result<bool, ReadError> {
        if self.probe.base != 0 || self.pages.main_len() == 0 {
            return Ok(false);
        }
        let log = Some(src.as_ref());
        let (wal, journal) = if origin == Origin::Wal { (log, None) } else { (None, log) };
        let examined = check::bytes(self.pages.main(), wal, journal, control);
        control.safe_point()?;
        let stale = ["sqlite.stale-wal", "sqlite.stale-journal"];
        Ok(examined.is_ok_and(|e| e.findings.iter().any(|f| stale.contains(&f.code.as_str()))))
    }

    /// The pages as they stand, to compare two views by.
    fn view(&self, control: &Control) -> Result<View, ReadError> {
        let mut scan = scan::scan(&self.pages, control)?;
        let (rows, _, incomplete) = schema::read_rows(&self.pages, &mut scan);
        let schema = schema::build(rows, &[], self.pages.count, incomplete);
        let mut wrong = u64::from(incomplete) * 4 + if schema.objects.is_empty() { 16 } else { 0 };
        let mut trees = schema.trees();
        let mut walker = Walker::default();
        for (i, tree) in trees.iter_mut().enumerate() {
            walker.walk(&self.pages, &mut scan, tree, SCHEMA_TREE + 1 + i as u32);
            tree::throw_out_strangers(&mut scan, tree);
            wrong += tree.holes.len() as u64;
            wrong +=
                tree.leaves.iter().filter(|l| !matches!(scan.info(l.page).kind, PageKind::Sound(_))).count()
                    as u64;
        }
        Ok(View { wrong, objects: schema.objects.into_iter().map(|o| o.name).collect() })
    }
}

/// What tells two views of the pages apart.
#[derive(Debug, Default)]
struct View {
    /// How much is wrong: holes and pages that are not sound.
    wrong: u64,
    /// Names of the objects of the schema.
    objects: HashSet<String>,
}

impl View {
    /// Whether both have objects, and none in common.
    fn has_others(&self, other: &Self) -> bool {
        !self.objects.is_empty() && !other.objects.is_empty() && self.objects.is_disjoint(&other.objects)
    }
}
