//! What the live view knows and shows: events in, effects out. No clock, no network, no terminal.

use std::time::Instant;

use parallax_common::limits::TOP_TYPED_CHARS_MAX;
use parallax_common::selector::Selector;
use parallax_proto::v1;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use crate::output::word;

/// All that one round of questions brought.
#[derive(Debug, Clone, Default)]
pub struct Board {
    /// Checks, as the coordinator orders them.
    pub rows: Vec<v1::StatusRow>,
    /// Names, as the coordinator orders them.
    pub regions: Vec<String>,
    /// The mesh as the answering member sees it.
    pub mesh: Option<v1::MeshStatus>,
    /// Those that are open.
    pub incidents: Vec<v1::Incident>,
    /// There are more checks than the view holds.
    pub cut: bool,
    /// There are more incidents than the view holds.
    pub incidents_cut: bool,
}

/// More about the check that is looked at.
#[derive(Debug, Clone, Default)]
pub struct Detail {
    /// Its name.
    pub check: String,
    /// Why it is what it is, and its incident.
    pub explained: v1::ExplainCheckResponse,
    /// Latency of each phase; absent when nobody could say.
    pub latency: Option<v1::QueryHistoryResponse>,
}

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// A key.
    Key(KeyEvent),
    /// An answer, and when it came.
    Board(Box<Board>, Instant),
    /// How the members do.
    Cluster(v1::GetClusterResponse),
    /// More about one check.
    Detail(Box<Detail>),
    /// No answer, and why.
    Lost(String),
    /// What became of an order, in a sentence.
    Told(String),
}

/// What somebody at the keys wants of the coordinators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Tell more about this check from now on; none: no more.
    Look(Option<String>),
    /// Only checks whose labels fit.
    Choose(Selector),
    /// Somebody is on it.
    Ack {
        /// Of the incident.
        uid: String,
        /// For its timeline.
        note: String,
    },
}

/// What is to be done about an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Nothing but to draw.
    None,
    /// Ask coordinators.
    Ask(Order),
    /// End.
    Quit,
}

/// Order of the checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// What is worst first.
    Verdict,
    /// By the alphabet.
    Name,
    /// The slowest first.
    Latency,
    /// What changed last first.
    Since,
}

impl Sort {
    /// The next one that the key gives.
    fn next(self) -> Self {
        match self {
            Self::Verdict => Self::Name,
            Self::Name => Self::Latency,
            Self::Latency => Self::Since,
            Self::Since => Self::Verdict,
        }
    }

    /// For the foot of the screen.
    pub fn word(self) -> &'static str {
        match self {
            Self::Verdict => "verdict",
            Self::Name => "name",
            Self::Latency => "latency",
            Self::Since => "since",
        }
    }
}

/// What the keys mean at the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// All checks.
    Matrix,
    /// One check; so many lines are above the screen.
    Detail(usize),
    /// Which keys there are.
    Help,
    /// A filter is being typed.
    Filter(String),
    /// A note for the acknowledgement of this incident is being typed.
    Note {
        /// Of the incident.
        uid: String,
        /// As far as it is typed.
        typed: String,
    },
}

/// The state of the view.
#[derive(Debug, Clone)]
pub struct Model {
    /// What was heard last.
    pub board: Board,
    /// What was heard of members last.
    pub cluster: Option<v1::GetClusterResponse>,
    /// When a coordinator answered last.
    pub answered: Option<Instant>,
    /// Why the last round had no answer.
    pub trouble: Option<String>,
    /// About the check that is looked at.
    pub detail: Option<Box<Detail>>,
    /// What the keys mean.
    pub mode: Mode,
    /// Text that names must hold.
    pub filter: String,
    /// Order of the checks.
    pub sort: Sort,
    /// Name of the check that the next key is about.
    pub selected: Option<String>,
    /// What became of the last order.
    pub told: Option<String>,
    /// Lines of a page.
    page: usize,
    looks_at: Option<String>,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            board: Board::default(),
            cluster: None,
            answered: None,
            trouble: None,
            detail: None,
            mode: Mode::Matrix,
            filter: String::new(),
            sort: Sort::Verdict,
            selected: None,
            told: None,
            page: 10,
            looks_at: None,
        }
    }
}

/// The word of a row: `up`, `degraded`, `down`, `unknown` or `paused`.
pub fn verdict(row: &v1::StatusRow) -> String {
    match word::said(word::verdict(row.verdict)) {
        _ if !row.enabled => "paused".to_owned(),
        Some(verdict) => verdict,
        None => "unknown".to_owned(),
    }
}

/// The slowest of the last runs that regions tell of, in nanoseconds.
pub fn slowest(row: &v1::StatusRow) -> Option<i128> {
    let ns = |length: &prost_types::Duration| {
        i128::from(length.seconds) * 1_000_000_000 + i128::from(length.nanos)
    };
    row.ballots.iter().filter(|it| !it.stale).filter_map(|it| it.last_total.as_ref().map(ns)).max()
}

/// The worst first.
fn weight(row: &v1::StatusRow) -> u8 {
    match row.verdict() {
        _ if !row.enabled => 4,
        v1::Verdict::Down => 0,
        v1::Verdict::Degraded => 1,
        v1::Verdict::Up => 3,
        v1::Verdict::Unknown | v1::Verdict::Unspecified => 2,
    }
}

/// Whether a word of a filter is about labels: `team=payments`, `tier!=test`, `!old`.
fn selects(word: &str) -> bool {
    word.contains('=') || word.starts_with('!')
}

impl Model {
    /// The checks that are shown, in their order.
    pub fn shown(&self) -> Vec<&v1::StatusRow> {
        let words = self.filter.split_whitespace().filter(|word| !selects(word));
        let text = words.collect::<Vec<_>>().join(" ").to_lowercase();
        let mut shown: Vec<&v1::StatusRow> = self
            .board
            .rows
            .iter()
            .filter(|row| {
                row.name.to_lowercase().contains(&text) || row.target.to_lowercase().contains(&text)
            })
            .collect();
        let since = |row: &v1::StatusRow| row.since.map_or((0, 0), |at| (at.seconds, at.nanos));
        match self.sort {
            Sort::Verdict => shown.sort_by(|a, b| (weight(a), &a.name).cmp(&(weight(b), &b.name))),
            Sort::Name => shown.sort_by(|a, b| a.name.cmp(&b.name)),
            Sort::Latency => shown.sort_by_key(|row| std::cmp::Reverse(slowest(row))),
            Sort::Since => shown.sort_by_key(|row| std::cmp::Reverse(since(row))),
        }
        shown
    }

    /// Place of the selected check among those that are shown.
    pub fn place(&self) -> usize {
        let shown = self.shown();
        let named = |name: &String| shown.iter().position(|row| row.name == *name);
        self.selected.as_ref().and_then(named).unwrap_or_default()
    }

    /// The row of the check that the next key is about.
    pub fn row(&self) -> Option<&v1::StatusRow> {
        if let Some(name) = &self.looks_at {
            return self.board.rows.iter().find(|row| row.name == *name);
        }
        self.shown().get(self.place()).copied()
    }

    /// The open incident of a check.
    fn incident(&self) -> Option<String> {
        let row = self.row()?;
        if !row.incident_uid.is_empty() {
            return Some(row.incident_uid.clone());
        }
        let of = |it: &&v1::Incident| it.check_uid == row.check_uid && !it.check_uid.is_empty();
        self.board.incidents.iter().find(of).map(|it| it.uid.clone())
    }

    /// The screen has so many lines.
    pub fn resize(&mut self, lines: u16) {
        self.page = usize::from(lines).saturating_sub(6).max(1);
    }

    /// So many lines of a check were above the screen when it was drawn: no key goes beyond.
    pub fn scrolled(&mut self, lines: usize) {
        if let Mode::Detail(above) = &mut self.mode {
            *above = lines;
        }
    }

    /// Takes an event in.
    pub fn step(&mut self, event: Event) -> Effect {
        match event {
            Event::Key(key) => return self.key(key),
            Event::Board(board, at) => {
                self.board = *board;
                self.answered = Some(at);
                self.trouble = None;
            }
            Event::Cluster(cluster) => self.cluster = Some(cluster),
            // An answer about a check that was left meanwhile tells nothing.
            Event::Detail(detail) if self.looks_at.as_deref() == Some(detail.check.as_str()) => {
                self.detail = Some(detail);
            }
            Event::Detail(_) => {}
            Event::Lost(why) => self.trouble = Some(why),
            Event::Told(text) => self.told = Some(text),
        }
        Effect::None
    }

    fn key(&mut self, key: KeyEvent) -> Effect {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return match key.code {
                KeyCode::Char('c') => Effect::Quit,
                _ => Effect::None,
            };
        }
        match std::mem::replace(&mut self.mode, Mode::Matrix) {
            Mode::Matrix => self.matrix_key(key.code),
            Mode::Detail(above) => self.detail_key(key.code, above),
            Mode::Help => {
                self.mode = self.underneath();
                if key.code == KeyCode::Char('q') { Effect::Quit } else { Effect::None }
            }
            Mode::Filter(typed) => self.filter_key(key.code, typed),
            Mode::Note { uid, typed } => self.note_key(key.code, uid, typed),
        }
    }

    /// Where Esc leads.
    fn underneath(&self) -> Mode {
        if self.looks_at.is_some() { Mode::Detail(0) } else { Mode::Matrix }
    }

    fn matrix_key(&mut self, code: KeyCode) -> Effect {
        self.told = None;
        let last = self.shown().len().saturating_sub(1);
        let place = self.place();
        let to = match code {
            KeyCode::Char('q') => return Effect::Quit,
            KeyCode::Char('?') => {
                self.mode = Mode::Help;
                return Effect::None;
            }
            KeyCode::Char('/') => {
                self.mode = Mode::Filter(self.filter.clone());
                return Effect::None;
            }
            KeyCode::Char('s') => {
                self.sort = self.sort.next();
                return Effect::None;
            }
            KeyCode::Char('a') => return self.acknowledge(),
            KeyCode::Esc if !self.filter.is_empty() => return self.filter_by(String::new()),
            KeyCode::Enter => {
                let Some(name) = self.row().map(|row| row.name.clone()) else {
                    return Effect::None;
                };
                (self.selected, self.looks_at) = (Some(name.clone()), Some(name.clone()));
                (self.detail, self.mode) = (None, Mode::Detail(0));
                return Effect::Ask(Order::Look(Some(name)));
            }
            KeyCode::Up | KeyCode::Char('k') => place.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => place + 1,
            KeyCode::PageUp => place.saturating_sub(self.page),
            KeyCode::PageDown => place + self.page,
            KeyCode::Home | KeyCode::Char('g') => 0,
            KeyCode::End | KeyCode::Char('G') => last,
            _ => return Effect::None,
        };
        self.selected = self.shown().get(to.min(last)).map(|row| row.name.clone());
        Effect::None
    }

    fn detail_key(&mut self, code: KeyCode, above: usize) -> Effect {
        self.told = None;
        self.mode = Mode::Detail(match code {
            KeyCode::Char('q') => return Effect::Quit,
            KeyCode::Char('?') => {
                self.mode = Mode::Help;
                return Effect::None;
            }
            KeyCode::Char('a') => return self.acknowledge(),
            KeyCode::Esc | KeyCode::Backspace | KeyCode::Left => {
                (self.looks_at, self.detail, self.mode) = (None, None, Mode::Matrix);
                return Effect::Ask(Order::Look(None));
            }
            KeyCode::Up | KeyCode::Char('k') => above.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => above.saturating_add(1),
            KeyCode::PageUp => above.saturating_sub(self.page),
            KeyCode::PageDown => above.saturating_add(self.page),
            KeyCode::Home | KeyCode::Char('g') => 0,
            // The view stops at the last line.
            KeyCode::End | KeyCode::Char('G') => usize::from(u16::MAX),
            _ => above,
        });
        Effect::None
    }

    fn acknowledge(&mut self) -> Effect {
        self.mode = match self.incident() {
            Some(uid) => Mode::Note { uid, typed: String::new() },
            None => {
                self.told = Some("this check has no open incident".to_owned());
                self.underneath()
            }
        };
        Effect::None
    }

    fn filter_key(&mut self, code: KeyCode, typed: String) -> Effect {
        match code {
            KeyCode::Esc => Effect::None,
            KeyCode::Enter => self.filter_by(typed),
            code => {
                self.mode = Mode::Filter(edited(typed, code));
                Effect::None
            }
        }
    }

    /// Text is looked for here; rows have no labels, so selectors are for who asks. A word that is none
    /// leaves the filter as it was.
    fn filter_by(&mut self, typed: String) -> Effect {
        let mut selector = Selector::default();
        for word in typed.split_whitespace().filter(|word| selects(word)) {
            match Selector::parse(word) {
                Ok(more) => selector = selector.and(&more),
                Err(error) => {
                    self.told = Some(format!("{word}: {error}"));
                    return Effect::None;
                }
            }
        }
        let had_selector = self.filter.split_whitespace().any(selects);
        self.filter = typed.trim().to_owned();
        if selector.is_empty() && !had_selector {
            return Effect::None;
        }
        Effect::Ask(Order::Choose(selector))
    }

    fn note_key(&mut self, code: KeyCode, uid: String, typed: String) -> Effect {
        match code {
            KeyCode::Esc => {
                self.mode = self.underneath();
                Effect::None
            }
            KeyCode::Enter if typed.trim().is_empty() => {
                self.told = Some("a note says who is on it, or why".to_owned());
                self.mode = Mode::Note { uid, typed };
                Effect::None
            }
            KeyCode::Enter => {
                self.mode = self.underneath();
                self.told = Some("acknowledging".to_owned());
                Effect::Ask(Order::Ack { uid, note: typed.trim().to_owned() })
            }
            code => {
                self.mode = Mode::Note { uid, typed: edited(typed, code) };
                Effect::None
            }
        }
    }
}

/// What was typed, after one more key.
fn edited(mut typed: String, code: KeyCode) -> String {
    match code {
        KeyCode::Backspace => {
            typed.pop();
        }
        KeyCode::Char(char) if typed.chars().count() < TOP_TYPED_CHARS_MAX => typed.push(char),
        _ => {}
    }
    typed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, verdict: v1::Verdict, since: i64, last_ms: i32) -> v1::StatusRow {
        v1::StatusRow {
            check_uid: format!("uid-{name}"),
            name: name.to_owned(),
            enabled: true,
            verdict: verdict.into(),
            since: Some(prost_types::Timestamp { seconds: since, nanos: 0 }),
            ballots: vec![v1::Ballot {
                last_total: Some(prost_types::Duration { seconds: 0, nanos: last_ms * 1_000_000 }),
                ..v1::Ballot::default()
            }],
            ..v1::StatusRow::default()
        }
    }

    fn board() -> Board {
        let mut down = row("cart", v1::Verdict::Down, 300, 20);
        down.incident_uid = "0190".to_owned();
        let rows = vec![
            row("api", v1::Verdict::Up, 100, 30),
            down,
            row("blog", v1::Verdict::Unknown, 200, 90),
        ];
        Board { rows, ..Board::default() }
    }

    fn model() -> Model {
        let mut model = Model::default();
        model.step(Event::Board(Box::new(board()), parallax_runtime::clock::instant()));
        model
    }

    fn press(model: &mut Model, keys: &[KeyCode]) -> Effect {
        let mut effect = Effect::None;
        for &code in keys {
            effect = model.step(Event::Key(KeyEvent::new(code, KeyModifiers::NONE)));
        }
        effect
    }

    fn text(text: &str) -> Vec<KeyCode> {
        text.chars().map(KeyCode::Char).collect()
    }

    fn names(model: &Model) -> Vec<&str> {
        model.shown().iter().map(|row| row.name.as_str()).collect()
    }

    #[test]
    fn the_sort_key_goes_round_and_each_order_is_another_one() {
        let mut model = model();
        for (sort, order) in [
            (Sort::Verdict, ["cart", "blog", "api"]),
            (Sort::Name, ["api", "blog", "cart"]),
            (Sort::Latency, ["blog", "api", "cart"]),
            (Sort::Since, ["cart", "blog", "api"]),
            (Sort::Verdict, ["cart", "blog", "api"]),
        ] {
            assert_eq!((model.sort, names(&model)), (sort, order.to_vec()));
            press(&mut model, &[KeyCode::Char('s')]);
        }
    }

    #[test]
    fn moving_stops_at_both_ends_and_stays_on_a_check_whose_place_changes() {
        use KeyCode::{Char, Down, End, Home, PageDown, PageUp, Up};
        for (keys, selected) in [
            (vec![Down], "blog"),
            (vec![Char('j'), Char('j'), Char('j')], "api"),
            (vec![End, Up], "blog"),
            (vec![PageDown], "api"),
            (vec![End, PageUp], "cart"),
            (vec![End, Home], "cart"),
            (vec![Char('G'), Char('k')], "blog"),
            (vec![Down, Char('s')], "blog"),
        ] {
            let mut model = model();
            press(&mut model, &keys);
            assert_eq!(model.row().unwrap().name, selected, "{keys:?}");
        }
    }

    #[test]
    fn a_filter_is_text_here_and_labels_at_the_coordinator() {
        let mut model = model();
        press(&mut model, &[&[KeyCode::Char('/')], &text("CARx")[..]].concat());
        assert_eq!(press(&mut model, &[KeyCode::Backspace, KeyCode::Enter]), Effect::None);
        assert_eq!(names(&model), ["cart"]);
        assert_eq!(press(&mut model, &[KeyCode::Esc]), Effect::None);
        assert_eq!(names(&model).len(), 3);
        press(&mut model, &[&[KeyCode::Char('/')], &text("team=pay")[..]].concat());
        let choose = |text: &str| Effect::Ask(Order::Choose(Selector::parse(text).unwrap()));
        assert_eq!(press(&mut model, &[KeyCode::Enter]), choose("team=pay"));
        assert_eq!(names(&model).len(), 3);
        let none = Effect::Ask(Order::Choose(Selector::default()));
        assert_eq!(press(&mut model, &[KeyCode::Esc]), none);
        // All at once hold all.
        press(&mut model, &[&[KeyCode::Char('/')], &text("bl team=pay,tier!=x !old")[..]].concat());
        assert_eq!(press(&mut model, &[KeyCode::Enter]), choose("team=pay,tier!=x,!old"));
        assert_eq!(names(&model), ["blog"]);
        // What is none says where, and the filter stays.
        press(&mut model, &[&[KeyCode::Char('/')], &text(" a===b")[..]].concat());
        assert_eq!(press(&mut model, &[KeyCode::Enter]), Effect::None);
        let told = model.told.clone().unwrap_or_default();
        assert!(told.contains("a===b: column 4: `=` must not"), "{told}");
        assert_eq!(names(&model), ["blog"]);
    }

    #[test]
    fn an_acknowledgement_needs_an_incident_and_a_note() {
        let mut model = model();
        press(&mut model, &[KeyCode::Char('a'), KeyCode::Enter]);
        assert!(matches!(model.mode, Mode::Note { .. }) && model.told.is_some());
        press(&mut model, &text("on it q"));
        let ordered = Order::Ack { uid: "0190".to_owned(), note: "on it q".to_owned() };
        assert_eq!(press(&mut model, &[KeyCode::Enter]), Effect::Ask(ordered));
        press(&mut model, &[KeyCode::Down, KeyCode::Char('a')]);
        assert_eq!(model.mode, Mode::Matrix);
        assert_eq!(model.told.as_deref(), Some("this check has no open incident"));
    }

    #[test]
    fn what_is_typed_has_an_end() {
        let mut model = model();
        press(&mut model, &[KeyCode::Char('/')]);
        press(&mut model, &text(&"x".repeat(TOP_TYPED_CHARS_MAX + 1)));
        assert_eq!(model.mode, Mode::Filter("x".repeat(TOP_TYPED_CHARS_MAX)));
    }

    #[test]
    fn one_check_is_looked_at_until_escape_and_late_answers_about_another_are_dropped() {
        let mut model = model();
        let look = Order::Look(Some("cart".to_owned()));
        assert_eq!(press(&mut model, &[KeyCode::Enter]), Effect::Ask(look));
        for (check, taken) in [("api", false), ("cart", true)] {
            let detail = Detail { check: check.to_owned(), ..Detail::default() };
            model.step(Event::Detail(Box::new(detail)));
            assert_eq!(model.detail.is_some(), taken, "{check}");
        }
        press(&mut model, &[KeyCode::Char('j'), KeyCode::Char('?'), KeyCode::Esc]);
        assert_eq!(model.mode, Mode::Detail(0));
        assert_eq!(press(&mut model, &[KeyCode::Esc]), Effect::Ask(Order::Look(None)));
        assert!(model.detail.is_none() && model.mode == Mode::Matrix);
    }

    #[test]
    fn what_was_heard_stays_when_nobody_answers() {
        let mut model = model();
        let answered = model.answered;
        model.step(Event::Lost("refused".to_owned()));
        assert_eq!((names(&model).len(), model.answered), (3, answered));
        assert_eq!(model.trouble.as_deref(), Some("refused"));
        model.step(Event::Board(Box::new(board()), parallax_runtime::clock::instant()));
        assert_eq!(model.trouble, None);
    }

    #[test]
    fn q_and_control_c_end_it_but_a_typed_q_does_not() {
        assert_eq!(press(&mut model(), &[KeyCode::Char('q')]), Effect::Quit);
        assert_eq!(press(&mut model(), &[KeyCode::Enter, KeyCode::Char('q')]), Effect::Quit);
        assert_eq!(press(&mut model(), &[KeyCode::Char('/'), KeyCode::Char('q')]), Effect::None);
        let stop = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(model().step(Event::Key(stop)), Effect::Quit);
    }
}
