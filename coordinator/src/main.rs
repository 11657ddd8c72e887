//! The `parallax-coordinator` program; everything is in the library.

fn main() -> std::process::ExitCode {
    parallax_coordinator::main()
}
