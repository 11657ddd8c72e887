//! Lengths of time as bars.

use std::time::Duration;

use parallax_proto::v1;

/// The phases of a run, in the order in which they happen.
pub const PHASES: [v1::Phase; 5] =
    [v1::Phase::Dns, v1::Phase::Connect, v1::Phase::Tls, v1::Phase::FirstByte, v1::Phase::Transfer];

/// What a phase is drawn with: to be told from the others without colours.
pub fn glyph(phase: v1::Phase) -> Option<char> {
    match phase {
        v1::Phase::Dns => Some('░'),
        v1::Phase::Connect => Some('▒'),
        v1::Phase::Tls => Some('▓'),
        v1::Phase::FirstByte => Some('█'),
        v1::Phase::Transfer => Some('▄'),
        _ => None,
    }
}

/// Columns from the beginning to `at`, when `all` takes `width`.
pub fn scale(at: Duration, all: Duration, width: usize) -> f64 {
    if all.is_zero() { 0.0 } else { at.as_secs_f64() / all.as_secs_f64() * width as f64 }
}

/// Phases that followed one another, as one bar. `all` takes `width` columns; a phase that is shorter than
/// half a column may have none.
pub fn of_phases(phases: &[(v1::Phase, Duration)], all: Duration, width: usize) -> String {
    let (mut text, mut drawn, mut until) = (String::new(), 0, Duration::ZERO);
    for (phase, length) in phases {
        until += *length;
        let end = (scale(until, all, width).round() as usize).min(width);
        if let Some(glyph) = glyph(*phase) {
            text.extend(std::iter::repeat_n(glyph, end.saturating_sub(drawn)));
            drawn = drawn.max(end);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_has_each_phase_to_scale_and_never_more_columns_than_there_are() {
        use v1::Phase::{Connect, Dns, FirstByte, Tls};
        let ms = Duration::from_millis;
        let table = [
            (vec![(Dns, 10), (Connect, 20), (FirstByte, 70)], 100, "░▒▒███████"),
            // Of the slowest of all it took half.
            (vec![(Connect, 10), (FirstByte, 40)], 100, "▒████"),
            (vec![(Dns, 1), (Tls, 99)], 100, "▓▓▓▓▓▓▓▓▓▓"),
            (vec![(FirstByte, 900)], 100, "██████████"),
            (vec![(FirstByte, 9)], 0, ""),
            (vec![], 100, ""),
        ];
        for (phases, all, wanted) in table {
            let phases: Vec<_> =
                phases.iter().map(|(phase, length)| (*phase, ms(*length))).collect();
            assert_eq!(of_phases(&phases, ms(all), 10), wanted, "{phases:?}");
        }
    }
}
