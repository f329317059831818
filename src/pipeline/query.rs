//! Reads: a vector is copied under the map's lock, and scored outside it.

use super::{PipelineHandle, ProfileView, ScoreRequest, Scored};
use crate::engine::Engine;
use crate::engine::event::{Event, UserId};
use crate::engine::model::Models;
use crate::engine::profile::Profile;
use crate::engine::time::{Arrival, Timestamp};
use crate::engine::vector::Vector;
use crate::metrics::Metrics;

impl PipelineHandle {
    /// Scores the user as of now, or of their last arrival if that is later;
    /// with `hypothetical`, as if that event came now. Nothing is recorded.
    pub fn score(&self, user: &UserId, request: &ScoreRequest, mut hypothetical: Option<Event>) -> Scored {
        self.join(&mut hypothetical);
        let shared = &*self.shared;
        let _timed = shared.metrics.models.query_seconds.start_timer();
        let models = shared.models.load();
        let engine = Engine { plan: &shared.plan, models: &models };
        let now = shared.clock.now();
        let read = |profile: Option<&Profile>| {
            let known = profile.is_some();
            let profile = profile.unwrap_or(&shared.unknown);
            let as_of = as_of(profile, now);
            let vector = match hypothetical {
                Some(event) => engine.hypothetical(user, profile, event, as_of.time),
                None => profile.read(&shared.plan, as_of.time),
            };
            (known, as_of, vector)
        };
        let (known, as_of, vector) = shared.profiles.read(user, read);
        scored(&models, request, as_of, known, vector, &shared.metrics)
    }

    /// The user's state as of now, or of their last arrival if that is later;
    /// none for a user never seen.
    pub fn profile(&self, user: &UserId) -> Option<ProfileView> {
        let profile = self.shared.profiles.read(user, |profile| profile.cloned())?;
        let as_of = as_of(&profile, self.shared.clock.now());
        let vector = profile.read(&self.shared.plan, as_of.time);
        Some(ProfileView { as_of, profile, vector })
    }
}

/// Scores a vector that was read already.
pub(super) fn scored(
    models: &Models,
    request: &ScoreRequest,
    as_of: Arrival,
    known: bool,
    vector: Vector,
    metrics: &Metrics,
) -> Scored {
    let (mut scores, mut unserved) = (Vec::with_capacity(request.models.len()), Vec::new());
    for &index in &request.models {
        match models.get(index) {
            Some(model) => {
                let reasons = match request.n_reasons {
                    0 => Vec::new(),
                    top => model.reasons(&vector, top),
                };
                let timer = metrics.models.score_seconds[index].start_timer();
                let score = model.score(index, &vector);
                timer.observe_duration();
                scores.push((model.clone(), score, reasons));
            }
            None => unserved.push(index),
        }
    }
    Scored { as_of, known, scores, unserved, vector: request.features.then_some(vector) }
}

fn as_of(profile: &Profile, now: Timestamp) -> Arrival {
    match profile.last_arrival {
        Some(last) => Arrival { time: last.time.max(now), sequence: last.sequence },
        None => Arrival { time: now, sequence: 0 },
    }
}
