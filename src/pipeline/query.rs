//! Reads: a vector is copied under the map's lock, and scored outside it.

use super::{Features, PipelineHandle, ProfileView, ScoreRequest, Scored};
use crate::engine::Engine;
use crate::engine::event::{Event, UserId};
use crate::engine::model::Models;
use crate::engine::plan::Plan;
use crate::engine::profile::Profile;
use crate::engine::time::{Arrival, Timestamp};
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
        let read_now = |profile: Option<&Profile>| {
            let known = profile.is_some();
            let profile = profile.unwrap_or(&shared.unknown);
            let as_of = as_of(profile, now);
            let features = match hypothetical {
                Some(event) => {
                    let supposed = engine.supposing(user, profile, event, as_of.time);
                    read(&shared.plan, &supposed, as_of, request, &shared.metrics)
                }
                None => read(&shared.plan, profile, as_of, request, &shared.metrics),
            };
            (known, as_of, features)
        };
        let (known, as_of, features) = shared.profiles.read(user, read_now);
        scored(&models, user, request, (as_of, known), features, &shared.metrics)
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

/// Reads a user's features to score them.
pub(super) fn read(
    plan: &Plan,
    profile: &Profile,
    as_of: Arrival,
    request: &ScoreRequest,
    metrics: &Metrics,
) -> Features {
    metrics.features.read(plan, profile, as_of.time, 1);
    Features {
        vector: profile.read(plan, as_of.time),
        approximate: if request.features { profile.approximate(plan, as_of.time) } else { Vec::new() },
    }
}

/// Scores features that were read already.
pub(super) fn scored(
    models: &Models,
    user: &UserId,
    request: &ScoreRequest,
    (as_of, known): (Arrival, bool),
    features: Features,
    metrics: &Metrics,
) -> Scored {
    let mut scores = Vec::with_capacity(request.models.len());
    let (mut unserved, mut unscored) = (Vec::new(), Vec::new());
    for &index in &request.models {
        match models.of(index, user) {
            Some(model) => {
                let timer = metrics.models.score_seconds[index].start_timer();
                let score = if request.may_wait {
                    model.score_in_company(index, &features.vector)
                } else {
                    model.score(index, &features.vector)
                };
                timer.observe_duration();
                match score {
                    Ok(score) => {
                        let reasons = match request.n_reasons {
                            0 => Vec::new(),
                            top => model.reasons(&features.vector, top),
                        };
                        scores.push((model.clone(), score, reasons));
                    }
                    Err(reason) => {
                        metrics.models.unscored[index].inc();
                        unscored.push((model.clone(), reason));
                    }
                }
            }
            None => unserved.push(index),
        }
    }
    Scored { as_of, known, scores, unserved, unscored, features: request.features.then_some(features) }
}

fn as_of(profile: &Profile, now: Timestamp) -> Arrival {
    match profile.last_arrival {
        Some(last) => Arrival { time: last.time.max(now), sequence: last.sequence },
        None => Arrival { time: now, sequence: 0 },
    }
}
