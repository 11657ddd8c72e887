//! What applies that are being read may hold in memory: each a share, all together a budget.

use std::sync::Arc;

use parallax_common::limits::{
    APPLY_RESOURCES_MAX, RESOURCE_BYTES_MAX, STAGED_BYTES_MAX, STAGED_BYTES_PER_NAMESPACE_MAX,
};
use parallax_common::rule::{self, Rule};
use parallax_proto::v1;
use prost::Message as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;

use super::with_rule;

/// Bytes in one permit.
const UNIT: usize = 1024;

/// Bytes that all applies may hold while they are read.
#[derive(Debug, Clone)]
pub struct Budget(Arc<Semaphore>);

/// The part of it that one apply holds until it is over.
#[derive(Debug)]
pub struct Share {
    budget: Budget,
    held: Vec<OwnedSemaphorePermit>,
    resources: usize,
    bytes: usize,
    units: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(STAGED_BYTES_MAX / UNIT)))
    }
}

impl Budget {
    /// A share that holds nothing yet.
    pub fn share(&self) -> Share {
        Share { budget: self.clone(), held: Vec::new(), resources: 0, bytes: 0, units: 0 }
    }
}

impl Share {
    /// Makes room for one more resource.
    ///
    /// # Errors
    /// One that is too large, an apply that is, or a coordinator that reads too many at once.
    pub fn take(&mut self, resource: &v1::Resource) -> Result<(), Status> {
        let bytes = resource.encoded_len();
        if bytes > RESOURCE_BYTES_MAX {
            let message = format!(
                "a resource of {bytes} bytes is too large, the most is {RESOURCE_BYTES_MAX}"
            );
            return Err(refused(rule::RESOURCE_TOO_LARGE, message));
        }
        if self.resources >= APPLY_RESOURCES_MAX {
            let message = format!("an apply may hold {APPLY_RESOURCES_MAX} resources");
            return Err(refused(rule::TOO_MANY_RESOURCES, message));
        }
        if self.bytes + bytes > STAGED_BYTES_PER_NAMESPACE_MAX {
            let message = format!("an apply may hold {STAGED_BYTES_PER_NAMESPACE_MAX} bytes");
            return Err(refused(rule::NAMESPACE_STAGED_BYTES, message));
        }
        let missing = (self.bytes + bytes).div_ceil(UNIT) - self.units;
        let permits = u32::try_from(missing).unwrap_or(u32::MAX);
        match Arc::clone(&self.budget.0).try_acquire_many_owned(permits) {
            Ok(permit) => self.hold(permit),
            Err(_) => {
                let message = "the coordinator reads too many large applies; try again later";
                return Err(refused(rule::STAGED_BYTES, message.to_owned()));
            }
        }
        self.resources += 1;
        self.bytes += bytes;
        self.units += missing;
        Ok(())
    }

    fn hold(&mut self, permit: OwnedSemaphorePermit) {
        match self.held.first_mut() {
            Some(first) => first.merge(permit),
            None => self.held.push(permit),
        }
    }
}

fn refused(rule: Rule, message: String) -> Status {
    with_rule(Status::resource_exhausted(message), rule.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(bytes: usize) -> v1::Resource {
        let region = v1::Region { title: "x".repeat(bytes), ..v1::Region::default() };
        v1::Resource { kind: Some(v1::resource::Kind::Region(region)) }
    }

    /// Takes until it is refused; how many went in.
    fn fill(share: &mut Share, resource: &v1::Resource) -> (usize, String) {
        let mut taken = 0;
        loop {
            match share.take(resource) {
                Ok(()) => taken += 1,
                Err(status) => return (taken, status.message().to_owned()),
            }
        }
    }

    #[test]
    fn an_apply_is_bounded_by_bytes_and_so_are_all_together() {
        let budget = Budget::default();
        let large = region(RESOURCE_BYTES_MAX - 64);
        let (mut first, mut second, mut third) = (budget.share(), budget.share(), budget.share());
        let fits = STAGED_BYTES_PER_NAMESPACE_MAX / large.encoded_len();
        let (taken, why) = fill(&mut first, &large);
        assert_eq!((taken, why.as_str()), (fits, "an apply may hold 134217728 bytes"));
        assert_eq!(fill(&mut second, &large).0, fits);
        let (taken, why) = fill(&mut third, &large);
        assert!(taken <= 2 && why.contains("too many large applies"), "{taken} {why}");
        // What is over makes room.
        drop(first);
        assert!(fill(&mut third, &large).0 > fits / 2);
    }

    #[test]
    fn a_large_resource_is_refused_and_small_ones_fit_up_to_their_number() {
        let budget = Budget::default();
        assert!(budget.share().take(&region(RESOURCE_BYTES_MAX)).is_err());
        let (taken, why) = fill(&mut budget.share(), &region(16));
        assert_eq!(taken, APPLY_RESOURCES_MAX, "{why}");
    }
}
