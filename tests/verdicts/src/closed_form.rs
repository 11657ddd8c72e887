//! How many incidents independent loss alone is expected to make, and how many of them are too many.
//!
//! Let each run fail with the chance `q`, whatever the others do, and let two failing runs in a row turn a
//! region (`failures: 2`), of `R` regions `D` make a check down. An incident needs `D` regions with two
//! failures each, so its chance is of the order `q^(2D)`; what follows counts the ways of that order.
//!
//! 1. It begins with a scheduled run of some region A that fails (`q`). That orders one run more of A and
//!    two of every other region. A's must fail, too (`q`): if it passes, A's streak is over, and `D`
//!    others would have to fail twice.
//! 2. Each other region B runs twice for the order, `o1` and `o2`, and then at its own slot `s`, which comes
//!    within an interval of A's. There are three ways to two failures in a row: both ordered runs; `o2` and
//!    then `s`; `o1` and then `s`. The last is one because runs count in the order in which they end: `o1`,
//!    which takes the whole timeout to fail, ends after an `o2` that passes at once. There is no fourth, `s`
//!    and what follows it: `s` orders two runs of A as well, and A's two passes turn it back before B's
//!    second run has taken its timeout.
//! 3. A stays failing until it has passed twice, and so does every B. Left to their slots that takes an
//!    interval or two; but the `s` of the second and third way is the first scheduled failure of its streak,
//!    so it asks everybody again, and whoever was lost before passes. So all `D` fail at once when every B
//!    takes the first way, or when all but the last do: of `D - 1` others any one may be that last, in two ways.
//!    By slot
//!
//!    `C(R-1, D-1) * (1 + 2(D-1)) * q^(2D)`.
//! 4. That is not all, since more than one failure asks. Where A's own ordered run passes, any of the `R - 1` others
//!    may turn by the second or third way (`2 q^2`): it is then what A was above, with everybody asked anew.
//!    And where A has turned alone and loses its next slot as well (`q`), it asks a second time. Each of these is a
//!    loss more than the ways above, so that
//!
//!    `p = C(R-1, D-1) * (1 + 2(D-1)) * q^(2D) * (1 + (2(R-1) + 1) q)`.
//!
//! With 5 regions that is `30 q^6 (1 + 9q)`, with 3 it is `6 q^4 (1 + 5q)`. What is left out is of the order `q^(2D+2)`,
//! and of the factors `1 - q` for runs that must pass: some per cent at 3 %, about an eighth at 10 %. A
//! confirmation must be over before the next region's slot, as
//! it is at an interval of 60 s and a timeout of 5 s: else ways of one order mix with those of the next.

/// Chance that a scheduled run begins a false incident: see the module's words.
pub fn per_slot(regions: u32, down_at: u32, loss: f64) -> f64 {
    let others = down_at.saturating_sub(1);
    let ways = choose(regions.saturating_sub(1), others) * f64::from(1 + 2 * others);
    let again = 1.0 + f64::from(2 * regions.saturating_sub(1) + 1) * loss;
    ways * loss.powi(2 * down_at as i32) * again
}

/// The same while `ill` regions fail anyway and have their vote: as many fewer have to be lost.
pub fn per_slot_beside(regions: u32, ill: u32, down_at: u32, loss: f64) -> f64 {
    per_slot(regions.saturating_sub(ill), down_at.saturating_sub(ill).max(1), loss)
}

fn choose(n: u32, k: u32) -> f64 {
    (0..k).fold(1.0, |ways, i| ways * f64::from(n.saturating_sub(i)) / f64::from(i + 1))
}

/// The least count that a Poisson variable of this mean stays at or below with `confidence`.
pub fn poisson_at_most(mean: f64, confidence: f64) -> u64 {
    // By logarithms: the first term of a large mean is nothing.
    let (mut log_term, mut sum, mut count) = (-mean, 0.0, 0u64);
    loop {
        sum += log_term.exp();
        // What rounding has left out of a sum of very many terms is made up for by the second.
        if sum >= confidence || count as f64 > 2.0 * mean + 1_000.0 {
            return count;
        }
        count += 1;
        log_term += (mean / count as f64).ln();
    }
}

/// The greatest count that a Poisson variable of this mean stays at or above with `confidence`.
pub fn poisson_at_least(mean: f64, confidence: f64) -> u64 {
    let (mut term, mut below, mut count) = ((-mean).exp(), 0.0, 0u64);
    // The chance of fewer than `count + 1` may be at most what is left.
    while below + term <= 1.0 - confidence {
        below += term;
        count += 1;
        term *= mean / count as f64;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ways_are_those_of_the_derivation() {
        let near = |figure: f64, wanted: f64| (figure / wanted - 1.0).abs() < 1e-9;
        assert!(near(per_slot(5, 3, 0.1), 57e-6));
        assert!(near(per_slot(3, 2, 0.1), 9e-4));
        assert!(near(per_slot(1, 1, 0.1), 1.1e-2), "one region: a slot and its confirmation");
        assert!(near(per_slot_beside(5, 2, 3, 0.1), 1.5e-2), "any of the three others");
    }

    #[test]
    fn bounds_are_those_of_the_tables() {
        // Cumulative Poisson tables: P(X <= 4 | 1) = 0.9963, P(X <= 3 | 1) = 0.9810,
        // P(X <= 2 | 10) = 0.0028, P(X <= 3 | 10) = 0.0103.
        assert_eq!(poisson_at_most(1.0, 0.99), 4);
        assert_eq!(poisson_at_most(10.0, 0.99), 18);
        assert_eq!(poisson_at_most(0.005, 0.99), 0);
        // By the normal distribution: 4 000 + 2.326 * sqrt(4 000) = 4 147.
        assert!((4_140..4_155).contains(&poisson_at_most(4_000.0, 0.99)));
        assert_eq!(poisson_at_least(10.0, 0.99), 3);
        assert_eq!(poisson_at_least(1.0, 0.99), 0);
    }
}
