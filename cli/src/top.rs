//! `top`: the mesh in a terminal, as it is now.
//!
//! `model` is what it knows, `view` how that looks, `fetch` who asks. This file reads keys,
//! draws, and gives the terminal back as it was, however it ends.

mod fetch;
mod model;
mod view;

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;
use parallax_common::limits::{
    TOP_EVERY_DEFAULT, TOP_EVERY_MAX, TOP_EVERY_MIN, TOP_ORDERS_MAX, TOP_RETRY_FOR,
};
use parallax_common::text::{format_duration, parse_duration};
use parallax_runtime::clock;
use ratatui::crossterm::event as terminal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use self::fetch::Fetcher;
use self::model::{Effect, Event, Model};
use self::view::Look;
use crate::args::Select;
use crate::client::Client;
use crate::exit::{Exit, Failure};
use crate::output::Shell;

/// How long a look at the keyboard waits: an end is noticed so soon.
const KEYS_WITHIN: Duration = Duration::from_millis(100);
/// Drawn at least so often: ages grow, and the terminal may have another size.
const DRAWN_EVERY: Duration = Duration::from_millis(500);

/// `top`.
#[derive(Debug, Clone, Args)]
pub struct Top {
    /// How often to ask, such as 2s
    #[arg(long, value_name = "LENGTH", value_parser = every, default_value = EVERY)]
    pub every: Duration,
    /// Which checks.
    #[command(flatten)]
    pub select: Select,
    /// Draw with ASCII alone
    #[arg(long)]
    pub ascii: bool,
}

/// What [`TOP_EVERY_DEFAULT`] is as a flag.
const EVERY: &str = "1s";
const _: () = assert!(TOP_EVERY_DEFAULT.as_millis() == 1_000, "the flag says another length");

fn every(text: &str) -> Result<Duration, String> {
    let length = parse_duration(text).map_err(|error| error.to_string())?;
    if !(TOP_EVERY_MIN..=TOP_EVERY_MAX).contains(&length) {
        let (min, max) = (format_duration(TOP_EVERY_MIN), format_duration(TOP_EVERY_MAX));
        return Err(format!("at least {min} and at most {max}"));
    }
    Ok(length)
}

/// Shows the mesh until somebody quits.
///
/// # Errors
/// Without a terminal; when it cannot be read or drawn to.
pub async fn run(
    args: &Top,
    connect: impl FnOnce() -> Result<Client, Failure>,
    shell: &mut Shell,
) -> Result<Exit, Failure> {
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        let text = "top needs a terminal to draw on and to read keys from; \
                    use `parallax status` for how things stand, `parallax watch` for what changes";
        return Err(Failure::Usage(text.to_owned()));
    }
    // What the client would say goes on the screen in another way.
    let client = connect()?.retrying_for(TOP_RETRY_FOR).saying(Arc::new(|_| {}));
    let (orders, ordered) = mpsc::channel(TOP_ORDERS_MAX);
    let (news, mut heard) = mpsc::channel(TOP_ORDERS_MAX);
    let fetcher = Fetcher::new(client, args.select.all(), news).run(args.every, ordered);
    let mut screen = ratatui::try_init()?;
    let keys = Keys::open();
    let looks = (shell.color_out, args.ascii);
    let shown = show(&mut screen, keys, looks, orders, &mut heard);
    // The fetcher ends when nobody orders any more; what is shown ends first.
    let ended = tokio::select! {
        ended = shown => ended,
        () = fetcher => Ok(()),
    };
    ratatui::restore();
    ended.map(|()| Exit::Ok).map_err(Failure::Output)
}

/// Draws, and takes in what comes, until the end.
async fn show(
    screen: &mut ratatui::DefaultTerminal,
    mut keys: Keys,
    (color, ascii): (bool, bool),
    orders: mpsc::Sender<model::Order>,
    heard: &mut mpsc::Receiver<Event>,
) -> std::io::Result<()> {
    let mut stopped = signal(SignalKind::terminate())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut hung_up = signal(SignalKind::hangup())?;
    let mut redraw = tokio::time::interval(DRAWN_EVERY);
    let mut model = Model::default();
    // The newest of each kind, asked for as soon as there is room.
    let mut waiting: Vec<model::Order> = Vec::new();
    loop {
        while let Some(order) = waiting.first() {
            if orders.try_send(order.clone()).is_err() {
                break;
            }
            waiting.remove(0);
        }
        let look = Look { color, ascii, now: clock::instant(), utc: clock::utc() };
        screen.draw(|frame| {
            let area = frame.area();
            model.resize(area.height);
            let hidden = view::draw(&model, &look, area, frame.buffer_mut());
            model.scrolled(hidden);
        })?;
        let event = tokio::select! {
            key = keys.read.recv() => match key {
                None => return Err(std::io::Error::other("the terminal gives no keys any more")),
                Some(terminal::Event::Key(key)) if key.kind != terminal::KeyEventKind::Release => {
                    Event::Key(key)
                }
                Some(_) => continue,
            },
            Some(event) = heard.recv() => event,
            _ = stopped.recv() => return Ok(()),
            _ = interrupted.recv() => return Ok(()),
            _ = hung_up.recv() => return Ok(()),
            _ = redraw.tick() => continue,
        };
        match model.step(event) {
            Effect::None => {}
            Effect::Quit => return Ok(()),
            Effect::Ask(order) => {
                // What may wait is sent at the head, behind nothing older of its kind.
                let order = match wait(&mut waiting, order) {
                    None => continue,
                    Some(order) => order,
                };
                if orders.try_send(order).is_err() {
                    model.step(Event::Told("not done: no answer to what was asked before".into()));
                }
            }
        }
    }
}

/// Keeps an order in place of an older one of its kind; gives back what is done at once or not at all.
fn wait(waiting: &mut Vec<model::Order>, order: model::Order) -> Option<model::Order> {
    if matches!(order, model::Order::Ack { .. }) {
        return Some(order);
    }
    waiting.retain(|other| std::mem::discriminant(other) != std::mem::discriminant(&order));
    waiting.push(order);
    None
}

/// What is typed, read by a thread of its own: it never waits for a coordinator.
struct Keys {
    read: mpsc::Receiver<terminal::Event>,
    ended: Arc<AtomicBool>,
}

impl Keys {
    fn open() -> Self {
        let (typed, read) = mpsc::channel(TOP_ORDERS_MAX);
        let ended = Arc::<AtomicBool>::default();
        let end = Arc::clone(&ended);
        std::thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                match terminal::poll(KEYS_WITHIN) {
                    Ok(false) => {}
                    Ok(true) => match terminal::read() {
                        Ok(event) => {
                            if typed.blocking_send(event).is_err() {
                                return;
                            }
                        }
                        Err(_) => return,
                    },
                    Err(_) => return,
                }
            }
        });
        Self { read, ended }
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use parallax_common::selector::Selector;

    use super::*;
    use crate::args::{Cli, Command};

    #[test]
    fn of_orders_without_room_the_newest_of_each_kind_waits() {
        use model::Order;
        let mut waiting = Vec::new();
        for (order, kept) in [
            (Order::Look(Some("a".to_owned())), true),
            (Order::Choose(Selector::default()), true),
            (Order::Ack { uid: "1".to_owned(), note: "n".to_owned() }, false),
            (Order::Look(None), true),
        ] {
            assert_eq!(wait(&mut waiting, order).is_none(), kept);
        }
        assert_eq!(waiting, [Order::Choose(Selector::default()), Order::Look(None)]);
    }

    #[test]
    fn every_is_as_often_as_the_limits_allow() {
        for (text, taken) in [("1s", true), ("250ms", true), ("249ms", false), ("61s", false)] {
            let cli = Cli::try_parse_from(["parallax", "top", "--every", text]);
            assert_eq!(cli.is_ok(), taken, "{text}");
        }
        assert!(Cli::read(["parallax", "top", "-o", "json"]).is_err());
        let cli = Cli::try_parse_from(["parallax", "top"]).unwrap();
        assert!(matches!(cli.command, Command::Top(Top { every: TOP_EVERY_DEFAULT, .. })));
    }
}
