//! `parallax-coordinator` under a name of its own, for tests.

fn main() -> std::process::ExitCode {
    // Makes it a build of another level, for tests of two builds in one cluster.
    if let Some(level) = std::env::var("PX_LEVEL").ok().and_then(|level| level.parse().ok()) {
        parallax_coordinator::level::pretend(level);
    }
    parallax_coordinator::main()
}
