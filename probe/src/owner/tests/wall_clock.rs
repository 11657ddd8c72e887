//! A machine whose wall clock somebody sets while a probe runs: mesh time comes from the clock since boot
//! and from coordinators, so nothing changes but what is told of the drift.

use std::sync::atomic::AtomicI64;

use super::*;
use crate::core::spool::{Claim, Portion};

const S: i64 = 1_000_000_000;
const YEAR: i64 = 365 * 24 * 3_600 * S;
const INTERVAL: Duration = Duration::from_millis(500);
/// By how much the wall clock was set.
static STEP_NS: AtomicI64 = AtomicI64::new(0);

fn stepped() -> UtcTime {
    UtcTime::from_ns(clock::utc().as_ns() + STEP_NS.load(Relaxed))
}

#[tokio::test]
async fn a_wall_clock_that_is_set_moves_no_slot_no_window_and_no_watermark() {
    let (metrics, supervisor) = (Arc::new(Metrics::default()), Supervisor::default());
    let (events, inbox) = mpsc::channel(16);
    let setup = Setup { utc: stepped, ..setup(&metrics, inbox) };
    let spooler = setup.spooler.clone();
    let mesh_clock = MeshClock::resumed(Some(1_000_000_000_000_000), clock::boot_time());
    let mesh = || mesh_clock.mesh(clock::boot_time()).unwrap();
    let told = Owner::spawn(setup, &supervisor);
    let (frames, mut live) = mpsc::channel(1_024);
    let end = CancellationToken::new();
    let session = Connected { session: 1, node: 1, live: frames, end };
    // Nobody listens there: every slot is told.
    let mut assignment = crate::core::assign::tests::assignment(1, INTERVAL);
    assignment.failures = 1_000;
    let plan = Plan { generation: PLAN, base: None, upserts: vec![assignment], removed: vec![] };
    let begun = mesh();
    events.send(Event::Connected(session)).await.unwrap();
    events.send(Event::Plan(1, plan)).await.unwrap();

    let (mut slots, mut watermarks, mut drift) = (vec![], vec![], None);
    for step in [0, YEAR, -YEAR] {
        STEP_NS.store(step, Relaxed);
        let (slots_before, mut seen) = (slots.len(), false);
        while !seen || slots.len() < slots_before + 3 {
            let frame = tokio::time::timeout(Duration::from_secs(20), live.recv()).await;
            match frame.expect("it goes on").expect("a session").frame {
                Some(v1::live_request::Frame::Outcomes(said)) => {
                    let records =
                        said.records.iter().map(|of| convert::record::record(of).unwrap());
                    let of_slots = records.filter_map(|of| Some((of.slot?, of.scheduled)));
                    slots.extend(of_slots);
                }
                Some(v1::live_request::Frame::Heartbeat(beat)) => {
                    let behind = clock::boot_time().as_ns() - beat.boottime_ns;
                    assert!((0..10 * S).contains(&behind), "{behind} ns behind");
                    watermarks.push(beat.boottime_ns);
                    let says = beat.health.unwrap().utc_drift_ns;
                    let first = *drift.get_or_insert(says);
                    // The step is seen where it belongs.
                    seen = (says - first - step).abs() < S;
                }
                _ => {}
            }
        }
    }
    assert!(watermarks.is_sorted(), "{watermarks:?}");
    for pair in slots.windows(2) {
        let [(before, at), (slot, then)] = pair else { unreachable!() };
        // A busy machine may miss some.
        let passed = slot - before;
        assert!((1..=10).contains(&passed), "{slots:?}");
        let length = then.as_ns() - at.as_ns();
        let wanted = passed * INTERVAL.as_nanos() as i64;
        assert!((length - wanted).abs() < S / 100, "{length} ns for {passed} slots");
    }
    // Nothing is thrown away for an age or a time that only the wall clock says.
    assert_eq!(metrics.spool_dropped.load(Relaxed), 0);

    supervisor.stop();
    assert!(supervisor.join(Duration::from_secs(20)).await);
    drop(told);
    let _attached = spooler.attach(1);
    spooler.look(clock::boot_time(), Some(mesh() + Duration::from_secs(60)), Duration::MAX);
    let portion = Portion { windows: 1_000, bytes: usize::MAX };
    let claim = spooler.claim(spooler.incarnation(), 1, (1, u64::MAX), portion);
    let Claim::Windows(1, windows) = claim else { panic!("{claim:?}") };
    let mut runs = 0;
    for window in windows {
        let window = v1::Window::decode(window).unwrap();
        let period = i64::from(window.period_s) * S;
        let all = begun.as_ns() - period..=mesh().as_ns();
        assert!(all.contains(&window.start_mesh_ns), "{window:?}");
        runs += window.outcomes.iter().map(|span| span.count as usize).sum::<usize>();
    }
    assert!(runs >= slots.len(), "{runs} in windows, {} told", slots.len());
}
