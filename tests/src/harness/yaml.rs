//! The configuration files of tests, written from a few words.

use std::fmt::Write as _;

/// One check's YAML.
#[derive(Debug, Clone)]
pub struct CheckYaml {
    /// Name of the check.
    pub name: String,
    /// What `http.url` says.
    pub url: String,
    /// Region names.
    pub regions: Vec<String>,
    /// As a user writes it: `200ms`.
    pub interval: String,
    /// As a user writes it.
    pub timeout: String,
    /// Contacts, by name.
    pub alert: Vec<String>,
    /// CEL expressions; none is written when there is none.
    pub expect: Vec<String>,
    /// Fails in a row that turn a region, when the file says it.
    pub failures: Option<u32>,
    /// `enabled: false` is written only when it is.
    pub enabled: bool,
}

impl CheckYaml {
    /// A check every 200 ms that pages `ops`.
    pub fn new(name: &str, url: &str, regions: &[&str]) -> Self {
        Self {
            name: name.to_owned(),
            url: url.to_owned(),
            regions: regions.iter().map(|&region| region.to_owned()).collect(),
            interval: "200ms".to_owned(),
            // Long for its interval: a busy machine must not look like an outage.
            timeout: "2s".to_owned(),
            alert: vec!["ops".to_owned()],
            expect: Vec::new(),
            failures: None,
            enabled: true,
        }
    }
}

/// A file with regions, the contact `ops`, and checks.
pub fn file(regions: &[&str], hook: &str, checks: &[CheckYaml]) -> String {
    let mut yaml = String::from("regions:\n");
    for region in regions {
        let _ = writeln!(yaml, "  - {{name: {region}}}");
    }
    let _ = writeln!(yaml, "contacts:\n  - {{name: ops, webhook: {{url: \"{hook}\"}}}}");
    if !checks.is_empty() {
        yaml.push_str("checks:\n");
    }
    for check in checks {
        let _ = writeln!(
            yaml,
            "  - name: {}\n    http: {{url: \"{}\"}}\n    interval: {}\n    timeout: {}\n    \
             regions: [{}]\n    alert: [{}]",
            check.name,
            check.url,
            check.interval,
            check.timeout,
            check.regions.join(", "),
            check.alert.join(", "),
        );
        if !check.expect.is_empty() {
            let _ = writeln!(yaml, "    expect: ['{}']", check.expect.join("', '"));
        }
        if let Some(failures) = check.failures {
            let _ = writeln!(yaml, "    down: {{failures: {failures}}}");
        }
        if !check.enabled {
            yaml.push_str("    enabled: false\n");
        }
    }
    yaml
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_reads_as_a_user_would_write_it() {
        let check = CheckYaml::new("checkout", "http://127.0.0.1:1/", &["a", "b"]);
        assert_eq!(
            file(&["a", "b"], "http://127.0.0.1:2/hook", std::slice::from_ref(&check)),
            "regions:\n  - {name: a}\n  - {name: b}\ncontacts:\n  \
             - {name: ops, webhook: {url: \"http://127.0.0.1:2/hook\"}}\nchecks:\n  \
             - name: checkout\n    http: {url: \"http://127.0.0.1:1/\"}\n    interval: 200ms\n    \
             timeout: 2s\n    regions: [a, b]\n    alert: [ops]\n"
        );
        let check = CheckYaml {
            expect: vec!["status == 200".to_owned(), "body == \"\"".to_owned()],
            enabled: false,
            ..check
        };
        let end = "\n    expect: ['status == 200', 'body == \"\"']\n    enabled: false\n";
        let yaml = file(&["a", "b"], "http://127.0.0.1:2/hook", &[check]);
        assert!(yaml.ends_with(end), "{yaml}");
    }
}
