//! What the vault has for a store that is damaged or lost.

use crate::error::Result;
use crate::model::{Class, Condition, Finding, Remedy, Severity, Verdict, day_and_time};
use crate::scan::{Scan, Store, is_loss};
use crate::vault::{StateDir, StoreCopy, healthy_copies, reads_back};

/// The vault holds a copy that was healthy when it was made.
pub const HEALTHY_COPY: &str = "vault.healthy-copy";

/// Adds to each damaged or lost store of a scan what the vault holds of it: the
/// newest copy that was healthy and can be read back; gives those copies.
/// Without such a store nothing is read.
///
/// # Errors
/// `Io` when the vault cannot be read.
pub(crate) fn name_healthy_copies(scan: &mut Scan, state: &StateDir) -> Result<Vec<StoreCopy>> {
    let mut found = Vec::new();
    if !scan.stores().any(|(_, store)| wants_one(store)) {
        return Ok(found);
    }
    let copies = healthy_copies(state)?;
    for scanned in &mut scan.targets {
        let roots = &scanned.target.roots;
        for store in scanned.stores.iter_mut().filter(|s| wants_one(s)) {
            let Some(root) = roots.get(store.root) else { continue };
            let of_store = copies.get(&(root.path.clone(), store.path.clone()));
            for copy in of_store.into_iter().flatten() {
                if reads_back(state, copy)? {
                    let at = store.findings.len().min(1);
                    store.findings.insert(at, finding(store, copy));
                    found.push(StoreCopy { store: store.id.clone(), ..copy.clone() });
                    break;
                }
            }
        }
    }
    Ok(found)
}

fn wants_one(store: &Store) -> bool {
    let wrong = matches!(store.verdict, Verdict::Damaged | Verdict::Unreadable);
    store.class != Class::Cache && (wrong || store.findings.iter().any(is_loss))
}

fn finding(store: &Store, copy: &StoreCopy) -> Finding {
    let rows = copy.condition.as_ref().and_then(Condition::total_rows).map(|n| format!(" with {n} rows"));
    let message = format!(
        "the vault holds a healthy copy{} of {} (put it back: shopmend repair --store {} --from-vault {})",
        rows.unwrap_or_default(),
        day_and_time(copy.copied_ns),
        store.id,
        copy.run
    );
    Finding::new(HEALTHY_COPY, Severity::Info, Remedy::None, message).in_file(store.path.clone())
}
