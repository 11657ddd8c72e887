//! What resources name: regions and contacts that a commit may have taken away, or that never were.
//!
//! Looked at here and nowhere else, once a commit has written all that it writes.

use std::collections::BTreeSet;

use parallax_common::name::Uid;
use parallax_common::rule::{self, Rule};
use parallax_proto::convert::alert::contacts_of;
use parallax_proto::v1::resource::Kind as ResourceKind;
use parallax_proto::{store, v1};

use super::{Changed, CheckEntry, Kind, Name, Refusal, State, refusal};
use crate::core::outbox::fallback;
use crate::core::quiet::depends;

impl State {
    /// Every reference that this commit could have broken still holds.
    pub(super) fn verify_references(&self, changes: &[Changed]) -> Result<(), Refusal> {
        let region_deleted = changes.iter().any(|change| {
            matches!(change, Changed::Resource(v1::ChangeKind::Deleted, resource)
                if matches!(resource.kind, Some(ResourceKind::Region(_))))
        });
        if changes.iter().any(|change| matches!(change, Changed::CheckGone(..))) {
            for entry in self.checks.values() {
                self.verify_parents(entry, rule::IN_USE)?;
            }
        }
        let mut done = BTreeSet::new();
        for change in changes {
            let Changed::Check(uid) = change else { continue };
            let Some(entry) = self.checks.get(uid) else { continue };
            self.verify_parents(entry, rule::UNKNOWN_CHECK)?;
            self.verify_no_cycle(entry, &mut done)?;
        }
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
                    if let Some(ResourceKind::Contact(contact)) = &resource.kind {
                        self.verify_contact(contact)?;
                    }
                    if let Some(ResourceKind::Maintenance(window)) = &resource.kind {
                        self.verify_maintenance(meta_namespace(window.meta.as_ref()))?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Who names this contact, if anybody.
    fn contact_user(&self, (namespace, name): &(String, String)) -> Option<String> {
        let user = self.checks.values().find(|entry| {
            let mut named = entry.check.contacts().chain(contacts_of(&entry.wire));
            entry.check.namespace == *namespace && named.any(|alert| alert == name)
        });
        if let Some(entry) = user {
            return Some(format!("check {}", entry.check.name));
        }
        let names = self.contact_names.keys().filter(|(ns, _)| ns == namespace);
        let falls_back = |(ns, other): &&Name| {
            let named = self.contact_named(ns, other);
            other != name && named.is_some_and(|contact| contact.fallback == *name)
        };
        if let Some((_, other)) = names.into_iter().find(falls_back) {
            return Some(format!("contact {other}"));
        }
        let settings = self.settings.get(namespace)?;
        if settings.mesh_alert.iter().any(|alert| alert == name) {
            return Some("mesh.alert".to_owned());
        }
        let names = |route: &&v1::Route| {
            route.steps.iter().any(|step| step.alert.iter().any(|alert| alert == name))
        };
        settings.routes.iter().find(names).map(|route| format!("route {}", route.name))
    }

    /// What was deleted is named by nobody who stays. Asked when all that goes has gone, whatever its order.
    pub(super) fn verify_unused(&self, key: &store::ResourceKey) -> Result<(), Refusal> {
        let name = (key.namespace.clone(), key.name.clone());
        if Kind::from_word(&key.kind) != Some(Kind::Contact) {
            return Ok(());
        }
        let Some(user) = self.contact_user(&name) else { return Ok(()) };
        let message = format!("contact {} is named by {user}", name.1);
        Err(refusal(rule::IN_USE, message, [format!("contact {}", name.1)]))
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
        for contact in check.contacts().chain(contacts_of(&entry.wire)) {
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

    /// A contact that is still there is not its own fallback, by whatever way.
    fn verify_contact(&self, contact: &v1::Contact) -> Result<(), Refusal> {
        let meta = contact.meta.clone().unwrap_or_default();
        let named = |name: &str| self.contact_named(&meta.namespace, name);
        let Some(stored) = named(&meta.name).filter(|it| !it.fallback.is_empty()) else {
            return Ok(());
        };
        let subject = [format!("contact {}", meta.name)];
        if named(&stored.fallback).is_none() {
            let message = format!(
                "contact {} falls back to {}, which does not exist",
                meta.name, stored.fallback
            );
            return Err(refusal(rule::UNKNOWN_CONTACT, message, subject));
        }
        let next = |name: &str| named(name).map(|contact| contact.fallback.as_str());
        fallback::follow(&meta.name, next).map_err(|way| {
            let message = format!("contact {}: {}", meta.name, fallback::complaint(&way));
            refusal(rule::FALLBACK_CYCLE, message, subject)
        })
    }
    fn verify_parents(&self, entry: &CheckEntry, rule: Rule) -> Result<(), Refusal> {
        let check = &entry.check;
        for parent in &entry.wire.depends_on {
            if self.check_named(&check.namespace, parent).is_none() {
                let message =
                    format!("check {} depends on {parent}, which does not exist", check.name);
                return Err(refusal(rule, message, [format!("check {}", check.name)]));
            }
        }
        Ok(())
    }

    fn verify_no_cycle(
        &self,
        entry: &CheckEntry,
        done: &mut BTreeSet<String>,
    ) -> Result<(), Refusal> {
        let check = &entry.check;
        let parents = |name: &str| self.depends_on(&check.namespace, name).to_vec();
        match depends::cycle(&check.name, &parents, done) {
            Some(cycle) => {
                let message = format!("check {}: {}", check.name, depends::told(&cycle));
                let subject = format!("check {}", check.name);
                Err(refusal(rule::DEPENDS_CYCLE, message, [subject]))
            }
            None => Ok(()),
        }
    }

    fn verify_settings(&self, settings: &v1::Settings) -> Result<(), Refusal> {
        let namespace = meta_namespace(settings.meta.as_ref());
        self.verify_hours(namespace)?;
        for contact in &settings.mesh_alert {
            if self.settings.contains_key(namespace)
                && self.contact_named(namespace, contact).is_none()
            {
                let message = format!("mesh.alert names {contact}, which does not exist");
                return Err(refusal(rule::UNKNOWN_CONTACT, message, ["settings".to_owned()]));
            }
        }
        for route in &settings.routes {
            let mut named = route.steps.iter().flat_map(|step| &step.alert);
            let missing = named.find(|name| self.contact_named(namespace, name).is_none());
            if let Some(contact) = missing.filter(|_| self.settings.contains_key(namespace)) {
                let message = format!("route {} names {contact}, which does not exist", route.name);
                return Err(refusal(rule::UNKNOWN_CONTACT, message, ["settings".to_owned()]));
            }
        }
        Ok(())
    }
}

fn meta_namespace(meta: Option<&v1::Meta>) -> &str {
    meta.map_or("", |meta| meta.namespace.as_str())
}
