//! Checks: defaults, every rule at once, and the checked type.

pub(in crate::convert) mod canary;
mod flap;

use std::collections::BTreeSet;
use std::time::Duration;

use parallax_common::check::{Check, Lasting, Missing, Policy, Quorum, Run};
use parallax_common::digest::run_digest;
use parallax_common::limits::{
    BODY_BYTES_DEFAULT, CONFIRM_SPACING_MAX, CONFIRM_SPACING_MIN, DEPENDS_ON_MAX, INTERVAL_MAX,
    INTERVAL_MIN, LASTING_AFTER_MAX, LASTING_AFTER_MIN, OVERLAP_MAX, PROBES_PER_REGION_MAX,
    REDIRECTS_DEFAULT, REGIONS_PER_CHECK_MAX, SLO_TARGET_PPM_FAST, STREAK_MAX, TIMEOUT_MAX,
    TIMEOUT_MIN, VOTERS_PER_CHECK_MAX,
};
use parallax_common::name::{RunDigest, Uid, is_name};
use parallax_common::outcome::DegradedKind;
use parallax_common::rule::{self, Advice, Rule, Violation};
use parallax_common::target::is_link;
use parallax_common::text::{format_duration, nearest};

use super::resource::{meta, text_fits};
use super::run::{length, normalise_dialogue, normalise_dns, normalise_icmp, run};
use super::{Findings, time};
use crate::v1;

/// Streak lengths when a check does not say.
const STREAK_DEFAULT: u32 = 2;

/// Fills in every default and the run digest, so that what is stored says everything and apply has
/// nothing to decide. Values that are wrong are left for [`validate_check`] to name. Normalising
/// twice changes nothing.
pub fn normalise_check(mut check: v1::Check) -> v1::Check {
    let meta = check.meta.get_or_insert_default();
    fill(&mut meta.namespace, "default");
    check.enabled.get_or_insert(true);
    if check.source == v1::Source::Unspecified as i32 {
        check.source = v1::Source::Active as i32;
    }
    fill_number(&mut check.probes_per_region, 1);
    if check.missing == v1::MissingData::Unknown as i32 {
        // As it is stored where nobody chose: builds that do not know the field store the same.
        check.missing = v1::MissingData::Unspecified as i32;
    }
    if check.severity == v1::Severity::Critical as i32 {
        // For the same reason.
        check.severity = v1::Severity::Unspecified as i32;
    }
    super::alert::normalise(&mut check);
    let down = check.down.get_or_insert_default();
    if down.regions == v1::Quorum::Unspecified as i32 {
        // A number without its kind can mean only one thing.
        let count = down.count > 0;
        down.regions = if count { v1::Quorum::Count } else { v1::Quorum::Majority } as i32;
    }
    fill_number(&mut down.failures, STREAK_DEFAULT);
    fill_number(&mut check.up.get_or_insert_default().successes, STREAK_DEFAULT);
    flap::normalise(&mut check);
    let interval = check.interval.as_ref().and_then(time::duration);
    let spacing = check.confirm_spacing.as_ref().and_then(time::duration);
    if let (Some(interval), None | Some(Duration::ZERO)) = (interval, spacing)
        && check.confirm_spacing.is_none_or(|given| given.seconds == 0 && given.nanos == 0)
    {
        check.confirm_spacing = Some(time::duration_to(default_spacing(interval)));
    }
    let run_of = check.run.get_or_insert_default();
    fill_number(&mut run_of.samples, 1);
    if run_of.ip == v1::IpFamily::Unspecified as i32 {
        run_of.ip = v1::IpFamily::Auto as i32;
    }
    for step in &mut run_of.steps {
        if let Some(v1::step::Kind::Http(http)) = &mut step.kind {
            fill(&mut http.method, "GET");
            http.redirects.get_or_insert(v1::Redirects { max: REDIRECTS_DEFAULT });
            if http.body_max_bytes == 0 {
                http.body_max_bytes = BODY_BYTES_DEFAULT;
            }
        }
        if let Some(v1::step::Kind::Dns(dns)) = &mut step.kind {
            normalise_dns(dns);
        }
        if let Some(v1::step::Kind::Tcp(tcp)) = &mut step.kind {
            normalise_dialogue(&mut tcp.dialogue);
        }
        if let Some(v1::step::Kind::Websocket(websocket)) = &mut step.kind {
            normalise_dialogue(&mut websocket.dialogue);
        }
        if let Some(v1::step::Kind::Icmp(icmp)) = &mut step.kind {
            normalise_icmp(icmp);
        }
    }
    let built = run(run_of, &mut Findings::new("check", ""));
    let canary = canary::canary(check.canary.as_ref(), &mut Findings::new("check", ""));
    check.run_digest = built.map_or(0, |run| run_digest(&Run { canary, ..run }).0);
    check
}

/// Time between ordered runs when a check does not say.
fn default_spacing(interval: Duration) -> Duration {
    (interval / 20).clamp(CONFIRM_SPACING_MIN, CONFIRM_SPACING_MAX)
}

fn fill(text: &mut String, default: &str) {
    if text.is_empty() {
        default.clone_into(text);
    }
}

fn fill_number(number: &mut u32, default: u32) {
    if *number == 0 {
        *number = default;
    }
}

/// Every rule that a normalised check breaks on its own: what a person can be told before anything
/// is sent. The uid may still be missing; references are looked up by [`check_references`].
pub fn validate_check(check: &v1::Check) -> Vec<Violation> {
    let name = check.meta.as_ref().map_or("", |meta| &meta.name);
    let mut findings = Findings::new("check", name);
    build(check, Uid::from_bytes([0; 16]), &mut findings);
    findings.finish()
}

/// The checked form of a normalised check that is to be stored.
///
/// # Errors
/// Every rule that it breaks.
pub fn check(check: &v1::Check) -> Result<Check, Vec<Violation>> {
    let meta = check.meta.clone().unwrap_or_default();
    let mut findings = Findings::new("check", &meta.name);
    let uid = meta.uid.parse::<Uid>();
    if let Err(error) = &uid {
        findings.add(rule::UID_FORMAT, "uid", error.to_string());
    }
    match (build(check, uid.unwrap_or(Uid::from_bytes([0; 16])), &mut findings), findings) {
        (Some(check), findings) if findings.found.is_empty() => Ok(check),
        (_, findings) => Err(findings.finish()),
    }
}

/// The checked form of a check that was accepted, by this build or by another. Limits and other rules
/// are for what comes in: one that this build has and the other had not must neither make a stored
/// check unreadable nor have one member refuse what the others carry out.
///
/// # Errors
/// What of it has no checked form at all; no build would have accepted it.
pub fn stored_check(check: &v1::Check) -> Result<Check, Vec<Violation>> {
    let meta = check.meta.clone().unwrap_or_default();
    let mut findings = Findings::of_stored("check", &meta.name);
    match meta.uid.parse::<Uid>() {
        Ok(uid) => build(check, uid, &mut findings),
        Err(error) => {
            findings.add(rule::UID_FORMAT, "uid", error.to_string());
            None
        }
    }
    .ok_or_else(|| findings.finish())
}

fn build(check: &v1::Check, uid: Uid, findings: &mut Findings<'_>) -> Option<Check> {
    let meta_of = meta(check.meta.as_ref(), findings);
    for (field, text) in
        [("title", &check.title), ("description", &check.description), ("group", &check.group)]
    {
        text_fits(field, text, findings);
    }
    if !check.runbook.is_empty() {
        text_fits("runbook", &check.runbook, findings);
        if !is_link(&check.runbook) {
            let message = format!("`{}` is not an http or https URL", check.runbook);
            findings.add(rule::RUNBOOK_URL, "runbook", message);
        }
    }
    source(check.source, findings);
    if check.public {
        findings.add(rule::NOT_YET, "public", "there is no public status page yet");
    }
    regions(check, findings);
    names("alert", &check.alert, rule::CONTACT_DUPLICATE, findings);
    if v1::Severity::try_from(check.severity).is_err() {
        findings.add(rule::ENUM_UNKNOWN, "severity", "severity is critical, warning or info");
    }
    names("depends_on", &check.depends_on, rule::DEPENDS_ON, findings);
    if check.depends_on.len() > DEPENDS_ON_MAX {
        let message = format!(
            "{} checks are named; at most {DEPENDS_ON_MAX} are allowed",
            check.depends_on.len()
        );
        findings.add(rule::DEPENDS_ON, "depends_on", message);
    }
    let interval = length(
        check.interval.as_ref(),
        ("interval", INTERVAL_MIN, INTERVAL_MAX),
        (rule::INTERVAL_TOO_SHORT, rule::INTERVAL_TOO_LONG),
        findings,
    );
    let confirm_spacing = match (&check.confirm_spacing, interval) {
        // Its default needs an interval; that is what is missing.
        (None, None) => None,
        (given, _) => length(
            given.as_ref(),
            ("confirm_spacing", TIMEOUT_MIN, TIMEOUT_MAX),
            (rule::CONFIRM_SPACING_RANGE, rule::CONFIRM_SPACING_RANGE),
            findings,
        ),
    };
    flap::validate(check, findings);
    let policy = policy(check, findings);
    let regional = lasting(DegradedKind::Regional, check.regional.as_ref(), findings);
    let warning = lasting(DegradedKind::Warning, check.warning.as_ref(), findings);
    let alerts = super::alert::alerts(check, interval, findings);
    let slo = super::alert::slo(check, findings);
    let run: Option<Run> = run(check.run.as_ref().unwrap_or(&v1::Run::default()), findings);
    if let Some(run) = &run {
        super::alert::certificates(check, run, findings);
    }
    canary::alone(check, findings);
    let canary = canary::canary(check.canary.as_ref(), findings);
    super::resource::size_fits(check, findings);
    let run = Run { canary, ..run? };
    let digest = run_digest(&run);
    if check.run_digest != digest.0 {
        // Normalising sets it: somebody changed the run behind its back.
        findings.add(rule::WIRE_FIELD, "run_digest", "the digest is not that of the run");
    }
    Some(Check {
        uid,
        namespace: meta_of.namespace.clone(),
        name: meta_of.name.clone(),
        labels: meta_of.labels.clone(),
        etag: meta_of.etag,
        enabled: check.enabled.unwrap_or(true),
        run,
        run_digest: RunDigest(check.run_digest),
        interval: interval?,
        regions: check.regions.clone(),
        advisory_regions: check.advisory_regions.clone(),
        probes_per_region: check.probes_per_region.max(1),
        policy: policy?,
        alert: check.alert.clone(),
        runbook: check.runbook.clone(),
        confirm_spacing: confirm_spacing?,
        regional: regional?,
        warning: warning?,
        alerts,
        slo,
    })
}

/// When a verdict of this kind is an incident; one that is not named is as [`Lasting::default_of`].
fn lasting(
    kind: DegradedKind,
    given: Option<&v1::Lasting>,
    findings: &mut Findings<'_>,
) -> Option<Lasting> {
    let default = Lasting::default_of(kind);
    let Some(given) = given else { return Some(default) };
    let (field, alert, severity) = match kind {
        DegradedKind::Regional => ("regional.after", "regional.alert", "regional.severity"),
        DegradedKind::Warning => ("warning.after", "warning.alert", "warning.severity"),
    };
    if v1::Severity::try_from(given.severity).is_err() {
        findings.add(rule::ENUM_UNKNOWN, severity, "severity is critical, warning or info");
    }
    names(alert, &given.alert, rule::CONTACT_DUPLICATE, findings);
    let after = match &given.after {
        None => default.after,
        after => length(
            after.as_ref(),
            (field, LASTING_AFTER_MIN, LASTING_AFTER_MAX),
            (rule::LASTING_AFTER_RANGE, rule::LASTING_AFTER_RANGE),
            findings,
        )?,
    };
    Some(Lasting { after, alert: given.alert.clone() })
}

fn source(source: i32, findings: &mut Findings<'_>) {
    match v1::Source::try_from(source) {
        Ok(v1::Source::Unspecified | v1::Source::Active) => {}
        Ok(v1::Source::Heartbeat | v1::Source::Push) => {
            findings.add(rule::NOT_YET, "source", "only active checks are built yet");
        }
        Err(_) => findings.add(rule::ENUM_UNKNOWN, "source", "source is active"),
    }
}

fn regions(check: &v1::Check, findings: &mut Findings<'_>) {
    let (regions, advisory) = (&check.regions, &check.advisory_regions);
    if regions.is_empty() {
        findings.add(rule::REGIONS_EMPTY, "regions", "name at least one region to look from");
    }
    let all = regions.len() + advisory.len();
    if all > REGIONS_PER_CHECK_MAX {
        let field = if advisory.is_empty() { "regions" } else { "advisory_regions" };
        let message =
            format!("{all} regions are named; at most {REGIONS_PER_CHECK_MAX} are allowed");
        findings.add(rule::REGIONS_TOO_MANY, field, message);
    }
    names("regions", regions, rule::REGIONS_DUPLICATE, findings);
    names("advisory_regions", advisory, rule::REGIONS_DUPLICATE, findings);
    for (place, name) in advisory.iter().enumerate().filter(|(_, name)| regions.contains(name)) {
        let message = format!("`{name}` is in `regions` and counts; name it in one of them");
        findings.add(rule::ADVISORY_COUNTED, format!("advisory_regions[{place}]"), message);
    }
    let probes = check.probes_per_region;
    if !(1..=PROBES_PER_REGION_MAX).contains(&probes) {
        let message = format!("{probes} is not between 1 and {PROBES_PER_REGION_MAX}");
        findings.add(rule::PROBES_PER_REGION_RANGE, "probes_per_region", message);
    } else if probes as usize * all.min(REGIONS_PER_CHECK_MAX) > VOTERS_PER_CHECK_MAX {
        let message = format!(
            "{probes} probes in each of {all} regions are more than {VOTERS_PER_CHECK_MAX}"
        );
        findings.add(rule::VOTERS_TOO_MANY, "probes_per_region", message);
    }
}

/// A list of names of other resources.
pub(super) fn names(field: &str, names: &[String], duplicate: Rule, findings: &mut Findings<'_>) {
    let mut seen = BTreeSet::new();
    for (place, name) in names.iter().enumerate() {
        if !is_name(name) {
            let message = format!("`{name}` cannot be a name: {}", rule::NAME_FORMAT.statement);
            findings.add(rule::NAME_FORMAT, format!("{field}[{place}]"), message);
        } else if !seen.insert(name) {
            let message = format!("`{name}` is named twice");
            findings.add(duplicate, format!("{field}[{place}]"), message);
        }
    }
}

fn policy(check: &v1::Check, findings: &mut Findings<'_>) -> Option<Policy> {
    let mark = findings.mark();
    let down = check.down.unwrap_or_default();
    let up = check.up.unwrap_or_default();
    for (rule, field, streak) in [
        (rule::FAILURES_RANGE, "down.failures", down.failures),
        (rule::SUCCESSES_RANGE, "up.successes", up.successes),
    ] {
        if !(1..=STREAK_MAX).contains(&streak) {
            let message = format!("{streak} is not between 1 and {STREAK_MAX}");
            findings.add(rule, field, message);
        }
    }
    for (field, of, needed, what) in [
        ("down.of", down.of, down.failures, "failures"),
        ("up.of", up.of, up.successes, "successes"),
    ] {
        if of > STREAK_MAX || (1..needed).contains(&of) {
            let message =
                format!("{of} is not between {what}, which is {needed}, and {STREAK_MAX}");
            findings.add(rule::OF_RANGE, field, message);
        }
    }
    let regions = match v1::Quorum::try_from(down.regions) {
        Ok(v1::Quorum::Unspecified | v1::Quorum::Majority) => Some(Quorum::Majority),
        Ok(v1::Quorum::All) => Some(Quorum::All),
        Ok(v1::Quorum::Any) => Some(Quorum::Any),
        Ok(v1::Quorum::Count) => Some(Quorum::Count(down.count)),
        Err(_) => {
            let message = "regions is majority, all, any or a number";
            findings.add(rule::ENUM_UNKNOWN, "down.regions", message);
            None
        }
    };
    if let Some(Quorum::Count(count)) = regions {
        if count == 0 {
            let message = "with 0 regions everything would be down";
            findings.add(rule::QUORUM_ZERO, "down.regions", message);
        } else if count as usize > check.regions.len() && !check.regions.is_empty() {
            let message = format!(
                "{count} regions cannot fail when the check looks from {}",
                check.regions.len()
            );
            findings.add(rule::QUORUM_EXCEEDS_REGIONS, "down.regions", message);
        }
    }
    let missing = match v1::MissingData::try_from(check.missing) {
        // What was stored before there was a choice.
        Ok(v1::MissingData::Unspecified | v1::MissingData::Unknown) => Some(Missing::Unknown),
        Ok(v1::MissingData::Ignore) => Some(Missing::Ignore),
        Ok(v1::MissingData::Fail) => Some(Missing::Fail),
        Ok(v1::MissingData::Pass) => Some(Missing::Pass),
        Err(_) => {
            let message = "missing is unknown, ignore, fail or pass";
            findings.add(rule::ENUM_UNKNOWN, "missing", message);
            None
        }
    };
    let policy = Policy {
        regions: regions?,
        failures: down.failures,
        successes: up.successes,
        failures_of: down.of,
        successes_of: up.of,
        missing: missing?,
    };
    let whole = policy.regions != Quorum::Count(0) && policy.failures > 0 && policy.successes > 0;
    (whole && findings.none_since(mark)).then_some(policy)
}

/// What a check names: (regions, contacts).
pub fn references(check: &v1::Check) -> (&[String], &[String]) {
    (&check.regions, &check.alert)
}

/// What exists where references are looked up.
pub trait Known {
    /// Whether a region of this name exists.
    fn region(&self, name: &str) -> bool;
    /// Whether a contact of this name exists.
    fn contact(&self, name: &str) -> bool;
    /// Whether a check of this name exists.
    fn check(&self, name: &str) -> bool;
    /// All regions; asked only to suggest one.
    fn regions(&self) -> Vec<String>;
    /// All contacts; asked only to suggest one.
    fn contacts(&self) -> Vec<String>;
    /// All checks; asked only to suggest one.
    fn checks(&self) -> Vec<String>;
}

/// Every reference of a check that names nothing.
pub fn check_references(check: &v1::Check, known: &impl Known) -> Vec<Violation> {
    let name = check.meta.as_ref().map_or("", |meta| &meta.name);
    let mut findings = Findings::new("check", name);
    for (field, regions) in
        [("regions", &check.regions), ("advisory_regions", &check.advisory_regions)]
    {
        for (place, region) in regions.iter().enumerate() {
            if !known.region(region) {
                let message = format!("there is no region `{region}`");
                unknown(
                    rule::UNKNOWN_REGION,
                    (field, place),
                    region,
                    message,
                    known.regions(),
                    &mut findings,
                );
            }
        }
    }
    contacts("alert", &check.alert, known, &mut findings);
    for (field, lasting) in [("regional.alert", &check.regional), ("warning.alert", &check.warning)]
    {
        let named = lasting.as_ref().map_or(&[][..], |lasting| &lasting.alert);
        contacts(field, named, known, &mut findings);
    }
    for (place, parent) in check.depends_on.iter().enumerate() {
        if !known.check(parent) {
            let message = format!("there is no check `{parent}`");
            unknown(
                rule::UNKNOWN_CHECK,
                ("depends_on", place),
                parent,
                message,
                known.checks(),
                &mut findings,
            );
        }
    }
    super::alert::references(check, known, &mut findings);
    findings.finish()
}

/// Every contact in a list that does not exist.
pub(super) fn contacts(
    field: &str,
    names: &[String],
    known: &impl Known,
    findings: &mut Findings<'_>,
) {
    for (place, contact) in names.iter().enumerate() {
        if !known.contact(contact) {
            let message = format!("there is no contact `{contact}`");
            unknown(
                rule::UNKNOWN_CONTACT,
                (field, place),
                contact,
                message,
                known.contacts(),
                findings,
            );
        }
    }
}

pub(super) fn unknown(
    rule: Rule,
    (field, place): (&str, usize),
    name: &str,
    message: String,
    known: Vec<String>,
    findings: &mut Findings<'_>,
) {
    let near = nearest(name, known.iter().map(String::as_str));
    findings.add_near(rule, format!("{field}[{place}]"), message, near);
}

/// What is allowed but worth a thought (decision 8 and others).
pub fn check_advice(check: &Check) -> Vec<Advice> {
    let mut out = Vec::new();
    let mut say = |rule: Rule, field: &str, message: String| {
        let name = check.name.clone();
        out.push(Advice { rule, resource: "check", name, field: field.to_owned(), message });
    };
    match check.regions.len() {
        1 => say(
            rule::ADVICE_ONE_REGION,
            "regions",
            "from one region an outage and a bad path look the same; three or five tell them apart"
                .to_owned(),
        ),
        2 => say(
            rule::ADVICE_TWO_REGIONS,
            "regions",
            "with two regions both must fail, and while one is silent nothing can be said; \
             three tolerate one silent region"
                .to_owned(),
        ),
        4 => say(
            rule::ADVICE_FOUR_REGIONS,
            "regions",
            "four regions need three that fail, and tolerate one silent region like three do; \
             five tolerate two"
                .to_owned(),
        ),
        _ => {}
    }
    if check.probes_per_region > 1 && check.probes_per_region.is_multiple_of(2) {
        let message = format!(
            "of {} probes in a region {} must see it fail; {} tolerate as many that are wrong or \
             silent",
            check.probes_per_region,
            check.probes_per_region / 2 + 1,
            check.probes_per_region - 1
        );
        say(rule::ADVICE_EVEN_PROBES, "probes_per_region", message);
    }
    let one_is_enough = matches!(check.policy.regions, Quorum::Any | Quorum::Count(1));
    if one_is_enough && check.regions.len() > 1 {
        let message = "one failing region is enough to page; a single bad path will".to_owned();
        say(rule::ADVICE_QUORUM_ONE, "down.regions", message);
    }
    if check.run.longest(check.interval) > check.interval {
        let samples = match check.run.samples {
            0 | 1 => String::new(),
            samples => format!(" for each of {samples} samples"),
        };
        let message = format!(
            "a timeout of {}{samples} with an interval of {} lets runs of a hanging target overlap; \
             above {OVERLAP_MAX} at once slots are missed",
            format_duration(check.run.timeout),
            format_duration(check.interval),
        );
        say(rule::ADVICE_OVERLAP, "timeout", message);
    }
    if check.alert.is_empty() {
        let message = "no contact is named: an outage will be recorded and nobody paged".to_owned();
        say(rule::ADVICE_NO_ALERT, "alert", message);
    }
    if check.slo.as_ref().is_some_and(|slo| slo.target_ppm < SLO_TARGET_PPM_FAST) {
        let message = "below 93.06% not even an outage burns 14.4 times as fast as it may: slo:1h \
                       never opens, and a fast burn is told by the slower ones";
        say(rule::ADVICE_SLO_TARGET, "slo.target", message.to_owned());
    }
    for (place, step) in check.run.steps.iter().enumerate() {
        let kind = step.kind.word();
        if step.kind.insecure() {
            let short = check.run.steps.len() == 1 && step.name.is_empty();
            let at = if short { String::new() } else { format!("steps[{place}].") };
            let message =
                "the certificate is not verified: anybody on the path can answer".to_owned();
            say(rule::ADVICE_INSECURE, &format!("{at}{kind}.insecure"), message);
        }
    }
    out
}

#[cfg(test)]
mod tests;
