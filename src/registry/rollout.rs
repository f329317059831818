//! Which versions of a model serve whom, and how that came to be: what is
//! recorded of it, folded from moves that are logged one by one.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::manifest::text;
use crate::engine::time::Timestamp;

/// Moves of one model that are kept for [`Rollout::history`]; the log has all.
pub const MAX_MOVES: usize = 1_000;

/// A name for whichever version it points to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Alias {
    /// Serves every user whom no canary takes.
    Stable,
    /// Serves a share of the users.
    Canary,
    /// Serves nobody: scored and compared with `stable`.
    Shadow,
}

/// One change of what serves, or of what is loaded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Move {
    pub model: String,
    /// Counts the model's moves, from 1.
    pub number: u64,
    /// By the wall clock.
    #[serde(with = "text")]
    pub at: Timestamp,
    /// As the caller says.
    pub who: String,
    pub why: String,
    pub change: Change,
}

/// What a move changes. Versions are those before and after; none is no version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Change {
    /// At a start, the newest valid version of a model that no call has decided on.
    Started { from: Option<u32>, to: Option<u32> },
    /// A version was sent, verified and kept.
    Loaded { version: u32 },
    /// A version is no longer kept in memory.
    Unloaded { version: u32 },
    /// An alias points elsewhere.
    Aliased { alias: Alias, from: Option<u32>, to: Option<u32>, percent: Option<f64> },
    /// `stable` points back to the version that served before.
    RolledBack { from: Option<u32>, to: u32 },
}

/// What is recorded of one model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rollout {
    pub stable: Option<u32>,
    /// Served under `stable` before; none after a rollback, so that a call
    /// that is made twice does not undo itself.
    pub previous: Option<u32>,
    pub canary: Option<CanaryShare>,
    pub shadow: Option<ShadowSince>,
    /// Whether a call has decided what serves. Until one has, the newest valid
    /// version does from each start on.
    pub is_managed: bool,
    pub n_moves: u64,
    /// The latest moves, oldest first.
    pub history: VecDeque<Move>,
}

/// The version of a canary, and whom it serves.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CanaryShare {
    pub version: u32,
    /// Of the users, above 0 and up to 100.
    pub percent: f64,
}

/// The version of a shadow.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShadowSince {
    pub version: u32,
    /// When it came to be compared with what is under `stable` now.
    #[serde(with = "text")]
    pub since: Timestamp,
}

impl Alias {
    pub const ALL: [Self; 3] = [Self::Stable, Self::Canary, Self::Shadow];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Stable => "stable",
            Self::Canary => "canary",
            Self::Shadow => "shadow",
        }
    }

    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|alias| alias.name() == name)
    }
}

impl Change {
    /// The versions before and after.
    pub const fn versions(&self) -> (Option<u32>, Option<u32>) {
        match *self {
            Self::Started { from, to } | Self::Aliased { from, to, .. } => (from, to),
            Self::Loaded { version } => (None, Some(version)),
            Self::Unloaded { version } => (Some(version), None),
            Self::RolledBack { from, to } => (from, Some(to)),
        }
    }
}

impl Rollout {
    /// Folds the next move; one that was folded before changes nothing.
    pub fn fold(&mut self, next: Move) {
        if next.number <= self.n_moves {
            return;
        }
        self.n_moves = next.number;
        self.is_managed |= !matches!(next.change, Change::Started { .. });
        let served = self.stable;
        match next.change {
            Change::Started { to, .. } | Change::Aliased { alias: Alias::Stable, to, .. } => {
                if to != self.stable {
                    self.previous = self.stable;
                }
                self.stable = to;
            }
            Change::RolledBack { to, .. } => {
                self.stable = Some(to);
                self.previous = None;
            }
            Change::Aliased { alias: Alias::Canary, to, percent, .. } => {
                self.canary = to.map(|version| CanaryShare { version, percent: percent.unwrap_or_default() });
            }
            Change::Aliased { alias: Alias::Shadow, to, .. } => {
                self.shadow = to.map(|version| ShadowSince { version, since: next.at });
            }
            Change::Loaded { .. } => {}
            Change::Unloaded { version } => self.previous = self.previous.filter(|kept| *kept != version),
        }
        // A canary that serves everyone is none any more.
        self.canary = self.canary.filter(|canary| Some(canary.version) != self.stable);
        // And a shadow that serves anyone is none; beside another version it begins anew.
        let canary = self.version_of(Alias::Canary);
        let serves = |shadow: &ShadowSince| [self.stable, canary].contains(&Some(shadow.version));
        self.shadow = self.shadow.filter(|shadow| !serves(shadow));
        if let Some(shadow) = self.shadow.as_mut().filter(|_| self.stable != served) {
            shadow.since = next.at;
        }
        if self.history.len() == MAX_MOVES {
            self.history.pop_front();
        }
        self.history.push_back(next);
    }

    /// The version that the alias points to.
    pub fn version_of(&self, alias: Alias) -> Option<u32> {
        match alias {
            Alias::Stable => self.stable,
            Alias::Canary => self.canary.map(|canary| canary.version),
            Alias::Shadow => self.shadow.map(|shadow| shadow.version),
        }
    }

    /// The aliases that point to the version.
    pub fn aliases_of(&self, version: u32) -> impl Iterator<Item = Alias> + '_ {
        Alias::ALL.into_iter().filter(move |alias| self.version_of(*alias) == Some(version))
    }

    /// Whether the version served everyone and was given up for another, as far back as moves are kept.
    pub fn was_rolled_back(&self, version: u32) -> bool {
        let is_it =
            |made: &Move| matches!(made.change, Change::RolledBack { from, .. } if from == Some(version));
        self.history.iter().any(is_it)
    }

    /// Whether the version must be in memory: an alias points to it, or a
    /// rollback would.
    pub fn needs(&self, version: u32) -> bool {
        self.previous == Some(version) || self.aliases_of(version).next().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folded(changes: impl IntoIterator<Item = Change>) -> Rollout {
        let mut rollout = Rollout::default();
        for (number, change) in (1..).zip(changes) {
            rollout.fold(Move {
                model: "buys".into(),
                number,
                at: Timestamp::from_millis(number as i64),
                who: "ada".into(),
                why: String::new(),
                change,
            });
        }
        rollout
    }

    fn stable(from: Option<u32>, to: u32) -> Change {
        Change::Aliased { alias: Alias::Stable, from, to: Some(to), percent: None }
    }

    fn canary(to: u32) -> Change {
        Change::Aliased { alias: Alias::Canary, from: None, to: Some(to), percent: Some(5.0) }
    }

    fn shadow(to: Option<u32>) -> Change {
        Change::Aliased { alias: Alias::Shadow, from: None, to, percent: None }
    }

    #[test]
    fn a_rollback_goes_back_once() {
        let rollout = folded([Change::Started { from: None, to: Some(1) }, stable(Some(1), 2)]);
        assert_eq!((rollout.stable, rollout.previous, rollout.is_managed), (Some(2), Some(1), true));
        let mut rollout = rollout;
        let back = Move {
            number: 3,
            change: Change::RolledBack { from: Some(2), to: 1 },
            ..rollout.history[1].clone()
        };
        rollout.fold(back.clone());
        assert_eq!((rollout.stable, rollout.previous), (Some(1), None));
        // As the log's tail is folded over a view that has it.
        let before = rollout.clone();
        rollout.fold(back);
        assert_eq!(rollout, before);
    }

    #[test]
    fn what_a_start_found_is_no_decision() {
        assert!(!folded([Change::Started { from: None, to: Some(1) }]).is_managed);
        assert!(folded([Change::Loaded { version: 1 }]).is_managed);
    }

    #[test]
    fn a_canary_ends_when_it_becomes_stable() {
        let rollout = folded([stable(None, 1), canary(2)]);
        assert_eq!(rollout.canary, Some(CanaryShare { version: 2, percent: 5.0 }));
        assert!([1, 2].into_iter().all(|version| rollout.needs(version)) && !rollout.needs(3));
        assert_eq!(folded([stable(None, 1), canary(2), stable(Some(1), 2)]).canary, None);
    }

    #[test]
    fn a_shadow_ends_when_it_serves_and_begins_anew_beside_another_version() {
        let since = |changes: &[Change]| {
            folded(changes.iter().cloned()).shadow.map(|s| (s.version, s.since.as_millis()))
        };
        let first = [stable(None, 1), shadow(Some(3))];
        let then = |more: &[Change]| since(&[&first[..], more].concat());
        assert_eq!(then(&[]), Some((3, 2)));
        assert!(folded(first.clone()).needs(3));
        assert_eq!(then(&[Change::Loaded { version: 4 }, canary(2)]), Some((3, 2)));
        assert_eq!(then(&[stable(Some(1), 2)]), Some((3, 3)));
        let back = Change::RolledBack { from: Some(2), to: 1 };
        assert_eq!(then(&[stable(Some(1), 2), back]), Some((3, 4)));
        for ended in [shadow(None), stable(Some(1), 3), canary(3)] {
            assert_eq!(then(std::slice::from_ref(&ended)), None, "{ended:?}");
        }
    }

    #[test]
    fn what_was_recorded_before_there_were_shadows_reads_back() {
        let mut json = serde_json::to_value(folded([stable(None, 1)])).expect("it serialises");
        json.as_object_mut().expect("an object").remove("shadow");
        let read: Rollout = serde_json::from_value(json).expect("it reads back");
        assert_eq!(read, folded([stable(None, 1)]));
    }

    #[test]
    fn history_is_bounded_and_its_numbers_go_on() {
        let rollout = folded((0..MAX_MOVES as u32 + 5).map(|version| Change::Loaded { version }));
        assert_eq!((rollout.history.len(), rollout.history[0].number), (MAX_MOVES, 6));
        assert_eq!(rollout.n_moves, MAX_MOVES as u64 + 5);
    }
}
