//! What resources name: regions and contacts that a commit may have taken away, or that never were.
//!
//! Looked at here and nowhere else, once a commit has written all that it writes.

use parallax_common::name::Uid;
use parallax_common::rule::{self, Rule};
use parallax_proto::v1;
use parallax_proto::v1::resource::Kind as ResourceKind;

use super::{Changed, Refusal, State, refusal};

impl State {
    /// Every reference that this commit could have broken still holds.
    pub(super) fn verify_references(&self, changes: &[Changed]) -> Result<(), Refusal> {
        let region_deleted = changes.iter().any(|change| {
            matches!(change, Changed::Resource(v1::ChangeKind::Deleted, resource)
                if matches!(resource.kind, Some(ResourceKind::Region(_))))
        });
        if region_deleted {
            for entry in self.checks.values() {
                self.verify_check(entry.check.uid, rule::IN_USE)?;
            }
        }
        for change in changes {
            match change {
                Changed::Check(uid) => self.verify_check(*uid, rule::UNKNOWN_REGION)?,
                Changed::Resource(_, resource) => {
                    if let Some(ResourceKind::Settings(settings)) = &resource.kind {
                        self.verify_settings(settings)?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn verify_check(&self, uid: Uid, rule: Rule) -> Result<(), Refusal> {
        let Some(entry) = self.checks.get(&uid) else { return Ok(()) };
        let check = &entry.check;
        for region in check.looks_from() {
            if !self.regions.contains_key(&(check.namespace.clone(), region.clone())) {
                let message = format!(
                    "check {} looks from region {region}, which does not exist",
                    check.name
                );
                return Err(refusal(rule, message, [format!("check {}", check.name)]));
            }
        }
        if rule == rule::IN_USE {
            return Ok(());
        }
        for contact in &check.alert {
            if self.contact_named(&check.namespace, contact).is_none() {
                let message =
                    format!("check {} alerts {contact}, which does not exist", check.name);
                return Err(refusal(
                    rule::UNKNOWN_CONTACT,
                    message,
                    [format!("check {}", check.name)],
                ));
            }
        }
        Ok(())
    }

    fn verify_settings(&self, settings: &v1::Settings) -> Result<(), Refusal> {
        let namespace = meta_namespace(settings.meta.as_ref());
        for contact in &settings.mesh_alert {
            if self.settings.contains_key(namespace)
                && self.contact_named(namespace, contact).is_none()
            {
                let message = format!("mesh.alert names {contact}, which does not exist");
                return Err(refusal(rule::UNKNOWN_CONTACT, message, ["settings".to_owned()]));
            }
        }
        Ok(())
    }
}

fn meta_namespace(meta: Option<&v1::Meta>) -> &str {
    meta.map_or("", |meta| meta.namespace.as_str())
}
