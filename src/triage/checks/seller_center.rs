//! What only Seller Center shows.

use crate::triage::answer::Statement;
use crate::triage::cause::Cause;
use crate::triage::check::Check;
use crate::triage::evidence::Evidence;
use crate::triage::markets::Markets;

/// A cause that no device can see, and the page that shows it.
pub(in crate::triage) struct SellerCenter {
    id: &'static str,
    cause: Cause,
}

pub(in crate::triage) const POLICY: SellerCenter = SellerCenter { id: "policy", cause: Cause::Policy };
pub(in crate::triage) const PAYMENT: SellerCenter = SellerCenter { id: "payment", cause: Cause::Payment };
pub(in crate::triage) const LISTINGS: SellerCenter = SellerCenter { id: "listings", cause: Cause::Listings };
pub(in crate::triage) const ACCOUNT: SellerCenter = SellerCenter { id: "account", cause: Cause::Account };

impl Check for SellerCenter {
    fn id(&self) -> &'static str {
        self.id
    }

    fn cause(&self) -> Cause {
        self.cause
    }

    fn answer(&self, evidence: &Evidence) -> Vec<Statement> {
        let page = self.cause.seller_center().unwrap_or("Messages");
        let host = Markets::known().seller_host(evidence.region.as_deref());
        let says = "No device can see it; Seller Center shows it.";
        vec![
            Statement::not_visible(self.id, page, says)
                .next(format!("{page}, in Seller Center (https://{host})")),
        ]
    }
}
