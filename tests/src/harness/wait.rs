//! Polling a condition with a deadline: the only way in which tests wait.

use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use anyhow::{Result, bail};
use parallax_runtime::clock;

/// Long enough for anything that should happen at once on a busy machine. Reached only by failures.
pub const SOON: Duration = Duration::from_secs(20);

/// Long enough for a ballot to go stale (timeout + 5 s) and for what follows from it.
pub const STALE: Duration = Duration::from_secs(40);

/// Time between two looks at a condition.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What one look at a condition found.
#[derive(Debug)]
pub enum Look<T> {
    /// It holds, with this.
    Holds(T),
    /// Not yet; what is there instead, for the message of a failure.
    NotYet(String),
}

impl<T> Look<T> {
    /// [`Look::Holds`] when there is a value.
    pub fn some(value: Option<T>, instead: impl Debug) -> Self {
        match value {
            Some(value) => Self::Holds(value),
            None => Self::NotYet(format!("{instead:?}")),
        }
    }
}

impl Look<()> {
    /// [`Look::Holds`] when `holds`.
    pub fn when(holds: bool, instead: impl Debug) -> Self {
        Self::some(holds.then_some(()), instead)
    }
}

/// Looks at a condition until it holds, at most `within`. An error of a look counts as "not yet":
/// a process that is being restarted cannot answer.
///
/// # Errors
/// At the deadline, with `what` was awaited and what was seen last.
pub async fn wait_until<T, F, Fut>(within: Duration, what: &str, mut look: F) -> Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<Look<T>>>,
{
    let deadline = clock::instant() + within;
    let mut last = "nothing".to_owned();
    loop {
        let left = deadline.saturating_duration_since(clock::instant());
        match tokio::time::timeout(left.max(LOOK_EVERY), look()).await {
            Ok(Ok(Look::Holds(value))) => return Ok(value),
            Ok(Ok(Look::NotYet(seen))) => last = seen,
            Ok(Err(error)) => last = format!("{error:#}"),
            Err(_) => last = format!("the look itself did not end; before that: {last}"),
        }
        if clock::instant() >= deadline {
            bail!("not within {within:?}: {what}; last seen: {last}");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_condition_that_comes_true_ends_the_wait_with_its_value() -> Result<()> {
        let mut looks = 0;
        let value = wait_until(SOON, "three looks", || {
            looks += 1;
            let seen = looks;
            async move { Ok(Look::some((seen == 3).then_some(seen), seen)) }
        })
        .await?;
        assert_eq!(value, 3);
        Ok(())
    }

    #[tokio::test]
    async fn a_condition_that_never_holds_says_what_was_seen() {
        let failed = wait_until(Duration::from_millis(50), "rain", || async {
            Ok(Look::<()>::NotYet("sun".to_owned()))
        })
        .await;
        let message = failed.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(message.contains("rain") && message.contains("sun"), "{message}");
    }
}
