//! `parallax` under a name of its own, for tests.

fn main() -> std::process::ExitCode {
    parallax_cli::main()
}
