//! The `parallax` program; everything is in the library.

fn main() -> std::process::ExitCode {
    parallax_cli::main()
}
