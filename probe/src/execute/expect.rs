//! Expectations, judged after the clock has stopped, within 50 ms of wall time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parallax_common::check::{Run, Step};
use parallax_common::expect::{DnsAnswer, EvaluationError, Facts, Program, Variable};
use parallax_common::limits::{
    CAPTURED_BYTES_MAX, EXPRESSION_BODY_HERE_BYTES, EXPRESSION_WALL_MAX, EXPRESSIONS_AT_ONCE_MAX,
};
use parallax_common::outcome::Reason;
use parallax_runtime::clock;
use tokio::sync::Semaphore;

use super::Failure;
use super::look::Said;

/// What the expressions of a run say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// All hold.
    Pass,
    /// Some of `warn` do not; which.
    Warn(String),
    /// Some of `expect` do not; which.
    Fail(String),
    /// They took too long, or would.
    Budget(String),
    /// One is not admitted by this build.
    Refused(String),
}

/// All expressions of a run: those that judge it, and those that capture something.
fn programs(run: &Run) -> impl Iterator<Item = Arc<Program>> + '_ {
    let judging = run.expect.iter().chain(&run.warn);
    let judging = judging.filter_map(|source| Program::admit(source).ok());
    let captures = run.steps.iter().flat_map(|step| &step.captures);
    judging.chain(captures.filter_map(|capture| Program::admit_value(&capture.value).ok()))
}

/// Whether an `expect` speaks of the status: then the default rule (2xx or 3xx) does not apply.
pub(super) fn mentions_status(run: &Run) -> bool {
    run.expect.iter().filter_map(|s| Program::admit(s).ok()).any(|p| p.mentions_status())
}

/// Whether an `expect` speaks of the code of a DNS answer: then the default rule does not apply.
pub(super) fn mentions_rcode(run: &Run) -> bool {
    run.expect.iter().filter_map(|s| Program::admit(s).ok()).any(|p| p.mentions_rcode())
}

/// Whether an `expect` speaks of how many echoes were answered: then the default rule does not apply.
pub(super) fn mentions_echoes(run: &Run) -> bool {
    run.expect.iter().filter_map(|s| Program::admit(s).ok()).any(|p| p.mentions_echoes())
}

/// Whether an `expect` speaks of what a health service answered: then the default rule does not apply.
pub(super) fn mentions_serving(run: &Run) -> bool {
    run.expect.iter().filter_map(|s| Program::admit(s).ok()).any(|p| p.mentions_serving())
}

/// Whether an expression speaks of what a websocket is closed with, so that it has to be waited for.
pub(super) fn mentions_close_code(run: &Run) -> bool {
    programs(run).any(|program| program.variables().contains(&Variable::CloseCode))
}

/// Whether an `expect` speaks of a plugin's exit code: then the default rule does not apply.
pub(super) fn mentions_exit_code(run: &Run) -> bool {
    run.expect.iter().filter_map(|s| Program::admit(s).ok()).any(|p| p.mentions_exit_code())
}

/// Whether an expression speaks of the certificate, so that the whole chain has to be read.
pub(super) fn mentions_cert(run: &Run) -> bool {
    programs(run).any(|program| program.variables().contains(&Variable::Cert))
}

/// Whether an expression speaks of a DNS answer, so that its records have to be written out.
pub(super) fn mentions_answer(run: &Run) -> bool {
    use Variable as V;
    let answer = [V::Rcode, V::Flags, V::Answers, V::Authority, V::Additional, V::Transport];
    programs(run).any(|program| program.variables().iter().any(|name| answer.contains(name)))
}

fn mentions_records(program: &Program) -> bool {
    use Variable as V;
    let records =
        [V::Answers, V::Authority, V::Additional, V::Received, V::Captures, V::Banner, V::Output];
    program.variables().iter().any(|name| records.contains(name))
}

/// Whether the body has to be kept.
pub(super) fn mentions_body(run: &Run) -> bool {
    programs(run).any(|program| program.mentions_body())
}

/// Whether the headers have to be kept.
pub(super) fn mentions_headers(run: &Run) -> bool {
    programs(run).any(|program| program.variables().contains(&Variable::Headers))
}

/// Whether an expression speaks of where redirects led, so that it has to be written out.
pub(super) fn mentions_redirects(run: &Run) -> bool {
    programs(run).any(|program| program.variables().contains(&Variable::Redirects))
}

/// Where the expressions of a run are evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// At once: handing some microseconds of work to another thread would cost more.
    Here,
    /// On a thread of its own: as long as the body, no longer.
    Aside,
    /// Likewise, and only some at once: nobody can stop it half-way.
    Permitted,
}

impl Place {
    fn of_facts(run: &Run, facts: &Facts) -> Self {
        let said = facts.plugin.as_ref().map_or(0, |plugin| plugin.output.len());
        let received = facts.talk.as_ref().map_or(said, |talk| talk.received.len());
        let records_bytes = facts.dns.as_ref().map_or(received, DnsAnswer::bytes);
        Self::of(run, facts.body.len(), records_bytes)
    }

    fn of(run: &Run, body_bytes: usize, records_bytes: usize) -> Self {
        let mut place = Self::Here;
        for program in programs(run) {
            if program.is_heavy() {
                return Self::Permitted;
            }
            let mut seen = if program.mentions_body() { body_bytes } else { 0 };
            if mentions_records(&program) {
                seen += records_bytes;
            }
            if seen > EXPRESSION_BODY_HERE_BYTES {
                place = Self::Aside;
            }
        }
        place
    }
}

/// Judges runs.
#[derive(Debug)]
pub struct Evaluator {
    permits: Arc<Semaphore>,
    wall_max: Duration,
}

impl Default for Evaluator {
    fn default() -> Self {
        Self::within(EXPRESSION_WALL_MAX)
    }
}

impl Evaluator {
    fn within(wall_max: Duration) -> Self {
        Self { permits: Arc::new(Semaphore::new(EXPRESSIONS_AT_ONCE_MAX)), wall_max }
    }

    /// What the run's expressions say of the facts. Takes little more than
    /// [`EXPRESSION_WALL_MAX`], the wait for a permit included.
    pub async fn judge(&self, run: &Run, facts: Facts) -> Judgement {
        let place = Place::of_facts(run, &facts);
        if place == Place::Here {
            return evaluate(&run.expect, &run.warn, &facts, self.wall_max, |_| {});
        }
        let wall_max = self.wall_max;
        let (expect, warn) = (run.expect.clone(), run.warn.clone());
        let work = move || evaluate(&expect, &warn, &facts, wall_max, |_| {});
        self.aside(place, work).await.unwrap_or_else(|other| other)
    }

    /// The same judgement, and the answers that led to it. Expressions that it did not need are asked
    /// afterwards, within the same bounds once more.
    pub(super) async fn each(&self, run: &Run, facts: Facts) -> (Judgement, Vec<Said>) {
        let place = Place::of_facts(run, &facts);
        let wall_max = self.wall_max;
        let facts = Arc::new(facts);
        let (expect, warn, seen) = (run.expect.clone(), run.warn.clone(), Arc::clone(&facts));
        let judging = move || {
            let mut answers = Vec::with_capacity(expect.len() + warn.len());
            let judgement =
                evaluate(&expect, &warn, &seen, wall_max, |answer| answers.push(told(answer)));
            // What came too late is no answer.
            if judgement == Judgement::Budget(over(wall_max)) {
                return Err(judgement);
            }
            Ok((judgement, answers))
        };
        let judged = self.put(place, judging).await.flatten();
        let (judgement, mut answers) = judged.unwrap_or_else(|why| {
            let answers = vec![Err(said_by(&why)); run.expect.len() + run.warn.len()];
            (why, answers)
        });
        // They were asked in this order.
        let sources = || run.expect.iter().chain(&run.warn);
        // None when the judgement came too late: what that cost must not be spent twice.
        let left: Vec<String> = sources().skip(answers.len()).cloned().collect();
        if !left.is_empty() {
            let count = left.len();
            let asking = move || {
                let begun = clock::instant();
                let answers = left.iter().map(|source| told(&ask(source, &facts))).collect();
                in_time(begun, wall_max).map(|()| answers)
            };
            let rest: Result<Vec<_>, _> = self.put(place, asking).await.flatten();
            answers.extend(rest.unwrap_or_else(|why| vec![Err(said_by(&why)); count]));
        }
        let warns = (0..).map(|place| place >= run.expect.len());
        let said = sources().zip(warns).zip(answers);
        let said =
            said.map(|((source, warns), holds)| Said { source: source.clone(), warns, holds });
        (judgement, said.collect())
    }

    /// Does it in its place.
    async fn put<T: Send + 'static>(
        &self,
        place: Place,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Judgement> {
        match place {
            Place::Here => Ok(work()),
            place => self.aside(place, work).await,
        }
    }

    /// What the captures of this step give, each under its name.
    pub(super) async fn values(
        &self,
        run: &Run,
        step: &Step,
        facts: Facts,
    ) -> Result<Vec<(String, String)>, Failure> {
        let place = Place::of_facts(run, &facts);
        let wall_max = self.wall_max;
        if place == Place::Here {
            return values(step, &facts, wall_max);
        }
        let step = step.clone();
        let work = move || values(&step, &facts, wall_max);
        self.aside(place, work).await.unwrap_or_else(|other| {
            let (reason, evidence) = match other {
                Judgement::Budget(evidence) => (Reason::ExpressionBudget, evidence),
                other => (Reason::ConfigError, format!("{other:?}")),
            };
            Err(Failure::new(reason, evidence))
        })
    }

    /// Carries out what may take long where it delays nobody, and no longer than it may.
    async fn aside<T: Send + 'static>(
        &self,
        place: Place,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Judgement> {
        let work = async {
            let permit = match place {
                // Never closed.
                Place::Permitted => Arc::clone(&self.permits).acquire_owned().await.ok(),
                Place::Here | Place::Aside => None,
            };
            tokio::task::spawn_blocking(move || {
                // Held until the end, however late: what runs on must not be joined by more of it.
                let _permit = permit;
                work()
            })
            .await
        };
        match tokio::time::timeout(self.wall_max, work).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(_panicked)) => {
                Err(Judgement::Refused("an expression could not be run".to_owned()))
            }
            Err(_elapsed) => Err(Judgement::Budget(over(self.wall_max))),
        }
    }
}

/// What the captures of a step give. The first that gives nothing is named.
fn values(
    step: &Step,
    facts: &Facts,
    wall_max: Duration,
) -> Result<Vec<(String, String)>, Failure> {
    let begun = clock::instant();
    let mut values = Vec::with_capacity(step.captures.len());
    for capture in &step.captures {
        let name = &capture.name;
        let refuse = |reason, why: String| {
            let of = match step.name.as_str() {
                "" => String::new(),
                step => format!(" of step `{step}`"),
            };
            Failure::new(reason, format!("capture `{name}`{of}: {why}"))
        };
        let program = Program::admit_value(&capture.value)
            .map_err(|refusal| refuse(Reason::ConfigError, refusal.to_string()))?;
        let value = program.value(facts).map_err(|error| {
            let reason = match error {
                EvaluationError::Budget => Reason::ExpressionBudget,
                _ => Reason::CaptureFailed,
            };
            refuse(reason, error.to_string())
        })?;
        if value.len() > CAPTURED_BYTES_MAX {
            let why = format!("{} bytes; at most {CAPTURED_BYTES_MAX} are kept", value.len());
            return Err(refuse(Reason::CaptureFailed, why));
        }
        values.push((name.clone(), value));
    }
    if clock::instant().saturating_duration_since(begun) > wall_max {
        return Err(Failure::new(Reason::ExpressionBudget, over(wall_max)));
    }
    Ok(values)
}

fn over(wall_max: Duration) -> String {
    format!("the expressions took over {} ms", wall_max.as_millis())
}

/// Why an expression has no answer.
enum Unanswered {
    /// This build does not admit it.
    Refused(String),
    /// It was evaluated in vain.
    Failed(EvaluationError),
}

fn ask(source: &str, facts: &Facts) -> Result<bool, Unanswered> {
    let program =
        Program::admit(source).map_err(|refusal| Unanswered::Refused(refusal.to_string()))?;
    program.evaluate(facts).map_err(Unanswered::Failed)
}

/// An answer for a person.
fn told(answer: &Result<bool, Unanswered>) -> Result<bool, String> {
    match answer {
        Ok(holds) => Ok(*holds),
        Err(Unanswered::Refused(why)) => Err(why.clone()),
        Err(Unanswered::Failed(error)) => Err(error.to_string()),
    }
}

/// What a judgement without answers says of each expression.
fn said_by(judgement: &Judgement) -> String {
    match judgement {
        Judgement::Budget(why) | Judgement::Refused(why) => why.clone(),
        other => format!("{other:?}"),
    }
}

/// Whether what began then ends in time.
fn in_time(begun: Instant, wall_max: Duration) -> Result<(), Judgement> {
    match clock::instant().saturating_duration_since(begun) > wall_max {
        true => Err(Judgement::Budget(over(wall_max))),
        false => Ok(()),
    }
}

/// Judges, and hands over each answer that it needs: those of `expect` in their order, then those of `warn`.
fn evaluate(
    expect: &[String],
    warn: &[String],
    facts: &Facts,
    wall_max: Duration,
    mut heard: impl FnMut(&Result<bool, Unanswered>),
) -> Judgement {
    let begun = clock::instant();
    let judgement = match failed(expect, facts, &mut heard) {
        Err(other) => other,
        Ok(broken) if !broken.is_empty() => Judgement::Fail(broken.join("; ")),
        Ok(_) => match failed(warn, facts, &mut heard) {
            Err(other) => other,
            Ok(broken) if !broken.is_empty() => Judgement::Warn(broken.join("; ")),
            Ok(_) => Judgement::Pass,
        },
    };
    in_time(begun, wall_max).err().unwrap_or(judgement)
}

/// The expressions that do not hold, each by name.
fn failed(
    sources: &[String],
    facts: &Facts,
    heard: &mut impl FnMut(&Result<bool, Unanswered>),
) -> Result<Vec<String>, Judgement> {
    let mut broken = Vec::new();
    for source in sources {
        let answer = ask(source, facts);
        heard(&answer);
        match answer {
            Ok(true) => {}
            Ok(false) => broken.push(format!("not true: {source}")),
            Err(Unanswered::Refused(refusal)) => {
                return Err(Judgement::Refused(format!("{source}: {refusal}")));
            }
            Err(Unanswered::Failed(error @ EvaluationError::Budget)) => {
                return Err(Judgement::Budget(format!("{source}: {error}")));
            }
            Err(Unanswered::Failed(error)) => broken.push(format!("{source}: {error}")),
        }
    }
    Ok(broken)
}

#[cfg(test)]
mod tests {
    use parallax_common::check::IpFamily;

    use super::*;

    fn run(expect: &[&str]) -> Run {
        Run {
            steps: vec![],
            timeout: Duration::from_secs(1),
            expect: expect.iter().map(|source| (*source).to_owned()).collect(),
            warn: vec![],
            invert: false,
            canary: None,
            ip: IpFamily::Auto,
            source_address: None,
            resolver: None,
            samples: 1,
        }
    }

    fn facts(body: &str) -> Facts {
        let mut facts = Facts::default();
        facts.status = Some(200);
        facts.body = body.to_owned().into();
        facts
    }

    fn said(source: &str, warns: bool, holds: Result<bool, &str>) -> Said {
        Said { source: source.to_owned(), warns, holds: holds.map_err(str::to_owned) }
    }

    #[tokio::test]
    async fn who_watches_hears_every_answer_and_the_judgement_that_follows_from_them() {
        let evaluator =
            Evaluator { wall_max: Duration::from_secs(20), permits: Evaluator::default().permits };
        for (expect, warn, judgement) in [
            ("status == 200", "status < 300", Judgement::Pass),
            ("status == 200", "status > 300", Judgement::Warn("not true: status > 300".into())),
            // The judgement does without the second; here, and where a permit is needed.
            ("status == 204", "status > 300", Judgement::Fail("not true: status == 204".into())),
            (
                "status == 204",
                "[1].all(x, x > 0)",
                Judgement::Fail("not true: status == 204".into()),
            ),
        ] {
            let run = Run { warn: vec![warn.to_owned()], ..run(&[expect]) };
            let (judged, heard) = evaluator.each(&run, facts("")).await;
            assert_eq!(judged, judgement);
            assert_eq!(judged, evaluator.judge(&run, facts("")).await);
            let holds = |source: &str| Ok(!source.contains("204") && !source.contains("> 300"));
            let wanted = [said(expect, false, holds(expect)), said(warn, true, holds(warn))];
            assert_eq!(heard, wanted);
        }
        // An expression over its budget ends the judgement, and is the only one without an answer.
        let nested = "json.all(a, json.exists(b, b == a))";
        let body = format!("[{}1]", "1,".repeat(2_000));
        let run = run(&[nested, "status == 200"]);
        let (judged, heard) = evaluator.each(&run, facts(&body)).await;
        let Judgement::Budget(evidence) = &judged else { panic!("{judged:?}") };
        let why = evidence.strip_prefix(&format!("{nested}: ")).unwrap();
        assert_eq!(heard, [said(nested, false, Err(why)), said("status == 200", false, Ok(true))]);
        // One that is not admitted, too.
        let run = Run { expect: vec!["statsu == 200".to_owned()], ..run };
        let (judged, heard) = evaluator.each(&run, facts("")).await;
        let Judgement::Refused(evidence) = &judged else { panic!("{judged:?}") };
        let why = evidence.strip_prefix("statsu == 200: ").unwrap();
        assert_eq!(heard, [said("statsu == 200", false, Err(why))]);
    }

    #[tokio::test]
    async fn what_is_over_the_limit_for_who_watches_has_no_answer_at_all() {
        let evaluator = Evaluator::default();
        let all = u32::try_from(EXPRESSIONS_AT_ONCE_MAX).unwrap();
        let _held = Arc::clone(&evaluator.permits).acquire_many_owned(all).await.unwrap();
        let (light, heavy) = ("status == 200", "[1, 2].all(x, x > 0)");
        let run = Run { warn: vec![heavy.to_owned()], ..run(&[light]) };
        let (judged, heard) = evaluator.each(&run, facts("")).await;
        let late = over(EXPRESSION_WALL_MAX);
        assert_eq!(judged, Judgement::Budget(late.clone()));
        assert_eq!(heard, [said(light, false, Err(&late)), said(heavy, true, Err(&late))]);
        // Here, where nobody can cut it short, what came too late does not count either.
        let evaluator = Evaluator::within(Duration::ZERO);
        let (judged, heard) = evaluator.each(&self::run(&[light]), facts("")).await;
        let late = over(Duration::ZERO);
        assert_eq!(judged, Judgement::Budget(late.clone()));
        assert_eq!(heard, [said(light, false, Err(&late))]);
    }

    #[test]
    fn only_what_is_costly_leaves_the_thread_and_only_loops_and_patterns_need_a_permit() {
        for (expect, bytes, place) in [
            (&["status == 200"][..], 1_000_000, Place::Here),
            (&["rcode == 'NOERROR'"], 1_000_000, Place::Here),
            (&["answers.size() == 1"], EXPRESSION_BODY_HERE_BYTES, Place::Here),
            (&["answers.size() == 1"], EXPRESSION_BODY_HERE_BYTES + 1, Place::Aside),
            (&["body != 'all exists map filter matches'"], 100, Place::Here),
            (&["json.a == 1"], EXPRESSION_BODY_HERE_BYTES, Place::Here),
            (&["json.a == 1"], EXPRESSION_BODY_HERE_BYTES + 1, Place::Aside),
            (&["status == 200", "body.contains('x')"], 1_000_000, Place::Aside),
            (&["[1].all(x, x > 0)"], 0, Place::Permitted),
            (&["json.a == 1", "body.matches('x')"], 1_000_000, Place::Permitted),
        ] {
            assert_eq!(Place::of(&run(expect), bytes, bytes), place, "{expect:?}");
        }
    }

    #[tokio::test]
    async fn who_gets_no_permit_within_the_limit_is_over_it_and_delays_nobody_else() {
        let evaluator = Evaluator::default();
        let all = u32::try_from(EXPRESSIONS_AT_ONCE_MAX).unwrap();
        let held = Arc::clone(&evaluator.permits).acquire_many_owned(all).await.unwrap();
        let heavy = run(&["[1, 2].all(x, x > 0)"]);
        let judged =
            tokio::time::timeout(Duration::from_secs(20), evaluator.judge(&heavy, facts("")));
        let judged = judged.await.expect("a judgement, however long the permits are held");
        assert_eq!(judged, Judgement::Budget(over(EXPRESSION_WALL_MAX)));
        // How fast this machine is, is not the question here.
        let evaluator = Evaluator {
            wall_max: Duration::from_secs(20),
            permits: Arc::clone(&evaluator.permits),
        };
        let words = run(&["status == 200 && body != 'map all'"]);
        assert_eq!(evaluator.judge(&words, facts("x")).await, Judgement::Pass);
        drop(held);
        let long = format!("{{\"a\": 1, \"b\": \"{}\"}}", "x".repeat(EXPRESSION_BODY_HERE_BYTES));
        let judged = evaluator.judge(&run(&["json.a == 2"]), facts(&long)).await;
        assert_eq!(judged, Judgement::Fail("not true: json.a == 2".to_owned()));
        assert_eq!(evaluator.permits.available_permits(), EXPRESSIONS_AT_ONCE_MAX);
    }

    /// A loop whose items are all within the bound taken beforehand, and which is slow all the
    /// same: nobody can stop it, so the run goes on without it and its permit stays taken.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_evaluation_over_the_limit_is_cut_and_keeps_its_permit_to_its_end() {
        let evaluator = Evaluator::default();
        let body = format!("[{}0]", "1,".repeat(500));
        let slow = run(&["json.all(x, json.all(y, x * y + x - y + 2 * x >= -9000))"]);
        let begun = clock::instant();
        let judged = evaluator.judge(&slow, facts(&body)).await;
        assert_eq!(judged, Judgement::Budget(over(EXPRESSION_WALL_MAX)));
        let took = clock::instant().saturating_duration_since(begun);
        assert!(took >= EXPRESSION_WALL_MAX, "{took:?}");
        assert_eq!(evaluator.permits.available_permits(), EXPRESSIONS_AT_ONCE_MAX - 1);
        // It ends some day, and the permit comes back.
        let all = u32::try_from(EXPRESSIONS_AT_ONCE_MAX).unwrap();
        let back = tokio::time::timeout(
            Duration::from_secs(60),
            Arc::clone(&evaluator.permits).acquire_many_owned(all),
        );
        assert!(back.await.is_ok());
    }
}
