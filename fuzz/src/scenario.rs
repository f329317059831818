//! One user's inputs, drawn from bytes.

use arbitrary::Arbitrary;
use tipoff::engine::event::{Event, EventUid, UserId, Value};
use tipoff::engine::input::{Input, Step};
use tipoff::engine::profile::Profile;
use tipoff::engine::time::{Millis, Timestamp};
use tipoff::engine::{Acceptance, Engine, Sequence};

use crate::{MODELS, PLAN};

/// Inputs that arrive one after the other.
#[derive(Arbitrary, Debug)]
pub struct Scenario {
    /// When the first of them does, anywhere in the range of time.
    pub start_ms: i64,
    pub moves: Vec<Move>,
}

/// One input, and how long after the one before it arrives.
#[derive(Arbitrary, Debug)]
pub enum Move {
    Event { after: Span, event: Drawn },
    /// The same event several times, each a little later.
    Burst { after: Span, event: Drawn, n: u8, apart_ms: u16 },
    Traits { after: Span, zone: bool, value: DrawnValue },
    Link { after: Span },
    Timers { after: Span },
}

/// A span of time that may be no more than two years: timers that are due in
/// between run one by one.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Span {
    Ms(u16),
    Minutes(u8),
    Hours(u8),
    Days(u8),
    Long(u8),
}

#[derive(Arbitrary, Clone, Debug)]
pub struct Drawn {
    is_b: bool,
    id: Option<u8>,
    time: Time,
    x: Option<DrawnValue>,
    y: Option<DrawnValue>,
}

/// When it happened.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Time {
    OnArrival,
    Before(Span),
    Ahead(Span),
    At(i64),
}

#[derive(Arbitrary, Clone, Debug)]
pub enum DrawnValue {
    /// Any bits: NaN, infinite and subnormal ones are numbers to no feature.
    Number(f64),
    Small(i8),
    Integer(i64),
    Bool(bool),
    Time(i64),
    Text(u8),
    Utf8(String),
}

impl Span {
    fn millis(self) -> Millis {
        Millis::new(match self {
            Self::Ms(ms) => i64::from(ms),
            Self::Minutes(minutes) => i64::from(minutes) * 60_000,
            Self::Hours(hours) => i64::from(hours) * 3_600_000,
            Self::Days(days) => i64::from(days) * 86_400_000,
            Self::Long(thirds) => i64::from(thirds) * 3 * 86_400_000,
        })
    }
}

impl DrawnValue {
    fn value(&self) -> Value {
        match self {
            Self::Number(number) => Value::Number(*number),
            Self::Small(number) => Value::Number(f64::from(*number) / 8.0),
            Self::Integer(integer) => Value::Integer(*integer),
            Self::Bool(bool) => Value::Bool(*bool),
            Self::Time(ms) => Value::Time(Timestamp::from_millis(*ms)),
            Self::Text(number) => Value::Text(format!("text {number}").into()),
            Self::Utf8(text) => Value::Text(text.as_str().into()),
        }
    }
}

impl Drawn {
    fn event(&self, now: Timestamp, repeat: u8) -> Event {
        // Each event of a burst is one of its own.
        let id = self.id.map(|id| format!("{id}-{repeat}").into_boxed_str());
        let property = |name: &str, value: &Option<DrawnValue>| Some((name.into(), value.as_ref()?.value()));
        Event {
            uid: id.as_deref().map_or(EventUid::UNMINTED, EventUid::of_id),
            id,
            kind: if self.is_b { "b" } else { "a" }.into(),
            time: match self.time {
                Time::OnArrival => now,
                Time::Before(span) => now.before(span.millis()),
                Time::Ahead(span) => now.after(span.millis()),
                Time::At(ms) => Timestamp::from_millis(ms),
            },
            anonymous_id: None,
            properties: [property("x", &self.x), property("y", &self.y)].into_iter().flatten().collect(),
        }
    }
}

/// A user who has been through a scenario.
pub struct User {
    pub id: UserId,
    pub profile: Profile,
    pub steps: Vec<Step>,
    pub now: Timestamp,
    sequence: Sequence,
}

impl Scenario {
    pub fn play(&self) -> User {
        let mut user = User {
            id: UserId::known("ada"),
            profile: Profile::new(&PLAN),
            steps: Vec::new(),
            now: Timestamp::from_millis(self.start_ms),
            sequence: Sequence { virtual_shard: 7, next: 0 },
        };
        self.moves.iter().for_each(|one| user.play(one));
        user
    }
}

impl User {
    fn play(&mut self, one: &Move) {
        match one {
            Move::Event { after, event } => self.accept(after.millis(), event, 0),
            Move::Burst { after, event, n, apart_ms } => {
                self.accept(after.millis(), event, 0);
                (1..*n).for_each(|repeat| self.accept(Millis::new(i64::from(*apart_ms)), event, repeat));
            }
            Move::Traits { after, zone, value } => {
                let name = if *zone { "zone" } else { "age" };
                self.identify(after.millis(), Input::Traits(vec![(name.into(), value.value())]));
            }
            Move::Link { after } => {
                self.identify(after.millis(), Input::Link { anonymous_id: "visitor".into() });
            }
            Move::Timers { after } => {
                self.now = self.now.after(after.millis());
                let Self { id, profile, steps, now, sequence } = self;
                engine().run_due(id, profile, *now, sequence, steps);
            }
        }
    }

    fn accept(&mut self, after: Millis, event: &Drawn, repeat: u8) {
        self.now = self.now.after(after);
        let Self { id, profile, steps, now, sequence } = self;
        let n_before = steps.len();
        let event = event.event(*now, repeat);
        let acceptance = engine().accept(id, profile, event, *now, sequence, steps);
        let is_accepted = matches!(acceptance, Acceptance::Accepted(_));
        assert!(is_accepted || steps.len() == n_before, "a refused event changes nothing");
    }

    fn identify(&mut self, after: Millis, input: Input) {
        self.now = self.now.after(after);
        let Self { id, profile, steps, now, sequence } = self;
        engine().identify(id, profile, input, *now, sequence, steps);
    }
}

fn engine() -> Engine<'static> {
    Engine { plan: &PLAN, models: &MODELS }
}
