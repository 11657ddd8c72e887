//! What a build says of itself among its metrics.

/// The commit of this build, when who built it named one in `PARALLAX_COMMIT`; else empty. Nothing is asked of
/// a repository: a build from an archive has none.
pub const COMMIT: &str = match option_env!("PARALLAX_COMMIT") {
    Some(commit) => commit,
    None => "",
};

/// The labels of a `..._build_info` metric, whose value is always 1: `{version="..",commit=".."}`, and the
/// feature level of who has one.
pub fn labels(version: &str, level: Option<u32>) -> String {
    // A commit is given from outside; a quote in it would end the label.
    let commit = COMMIT.replace(['\\', '"', '\n'], "");
    let level = level.map(|level| format!(",level=\"{level}\"")).unwrap_or_default();
    format!("{{version=\"{version}\",commit=\"{commit}\"{level}}}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_says_its_version_its_commit_and_its_level_if_it_has_one() {
        let expected = format!("{{version=\"1.2.3\",commit=\"{COMMIT}\"}}");
        assert_eq!(labels("1.2.3", None), expected);
        assert!(labels("1.2.3", Some(3)).ends_with(",level=\"3\"}"));
    }
}
