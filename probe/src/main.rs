//! The `parallax-probe` program; everything is in the library.

fn main() -> std::process::ExitCode {
    parallax_probe::main()
}
