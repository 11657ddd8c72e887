//! Limits of what a server is told at its start.

/// Bytes of a file of settings (`--config`): a hundred times what all keys take. A larger one is refused, as
/// it is some other file.
pub const SETTINGS_BYTES_MAX: usize = 64 * 1024;
