//! How far each named subscription has come, and what else belongs to no user:
//! logged, and kept in a view.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use super::Token;
use crate::record::{CONTROL_SHARD, Control, encode_control};
use crate::registry::{Move, Rollout};
use crate::store::{self, Commit, Entry, Store, View, ViewWrite};

const KEY_PREFIX: &str = "subscription/";
/// Holds what is recorded of a model.
const ROLLOUT_PREFIX: &str = "model/";
/// Holds the digest of the definitions that the views were made under.
const DEFINITIONS_KEY: &[u8] = b"definitions";
/// Holds the name of the clock that the store goes by.
const CLOCK_KEY: &[u8] = b"clock";
/// Holds the control shard's next sequence number.
const SEQUENCE_KEY: &[u8] = b"sequence";

/// The log of what belongs to no user, and the cursors it leaves.
pub struct Cursors {
    store: Arc<Store>,
    state: Mutex<State>,
    max_subscriptions: usize,
}

struct State {
    next_sequence: u64,
    cursors: HashMap<String, Token>,
}

#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    #[error("there are {max} subscriptions already")]
    TooMany { max: usize },
    #[error("the store takes no writes: {0}")]
    Store(store::Error),
}

impl Cursors {
    /// Starts from what recovery found.
    pub fn new(
        store: Arc<Store>,
        next_sequence: u64,
        cursors: HashMap<String, Token>,
        max_subscriptions: usize,
    ) -> Self {
        Self { store, state: Mutex::new(State { next_sequence, cursors }), max_subscriptions }
    }

    /// Where the subscription goes on; none if it is new.
    pub fn get(&self, subscription: &str) -> Option<Token> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).cursors.get(subscription).copied()
    }

    /// Records that the subscription has taken everything up to `token`;
    /// never goes back. Returns where it stands, once that is durable.
    pub async fn acknowledge(&self, subscription: &str, token: Token) -> Result<Token, Error> {
        let (committed, stands) = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let known = state.cursors.get(subscription).copied();
            if known.is_none() && state.cursors.len() >= self.max_subscriptions {
                return Err(Error::TooMany { max: self.max_subscriptions });
            }
            match known {
                // It may be on its way into the log yet: with nothing to add, this waits for that.
                Some(known) if known >= token => (append(&self.store, &mut state, &[], Vec::new())?, known),
                _ => {
                    let (subscription, text) = (subscription.to_owned(), token.to_string());
                    let view = cursor_view(&subscription, token);
                    let control = Control::Acknowledged { subscription: subscription.clone(), token: text };
                    let committed = append(&self.store, &mut state, &[control], vec![view])?;
                    state.cursors.insert(subscription, token);
                    (committed, token)
                }
            }
        };
        wait(committed).await.map(|()| stands)
    }

    /// Logs inputs to the server as a whole, and what is recorded of the models.
    pub async fn record(
        &self,
        controls: &[Control],
        rollouts: &HashMap<String, Rollout>,
    ) -> Result<(), Error> {
        let views = controls.iter().filter_map(|control| match control {
            Control::Clock { mode } => Some(write(CLOCK_KEY, mode)),
            Control::Definitions { digest, .. } => Some(write(DEFINITIONS_KEY, digest)),
            Control::Models { .. } | Control::Acknowledged { .. } | Control::Moved(_) => None,
        });
        let views = views.chain(rollouts.iter().map(|(model, rollout)| rollout_view(model, rollout)));
        let committed = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            // The cursors too: the views may be new, and the log is not folded
            // from its start again.
            let cursors = state.cursors.iter().map(|(subscription, token)| cursor_view(subscription, *token));
            let views = views.chain(cursors).collect();
            append(&self.store, &mut state, controls, views)?
        };
        wait(committed).await
    }

    /// Logs a move of a model, which leaves what is recorded of it as `after`.
    /// Blocks until that is durable.
    pub fn record_move(&self, next: &Move, after: &Rollout) -> Result<(), Error> {
        let view = rollout_view(&next.model, after);
        let committed = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            append(&self.store, &mut state, &[Control::Moved(next.clone())], vec![view])?
        };
        answer(committed.blocking_recv())
    }

    /// The cursor that a key and value of the control view hold, if they hold one.
    pub fn stored(key: &[u8], value: &[u8]) -> Option<(String, Token)> {
        let name = std::str::from_utf8(key).ok()?.strip_prefix(KEY_PREFIX)?;
        let token = std::str::from_utf8(value).ok()?.parse().ok()?;
        Some((name.to_owned(), token))
    }
}

/// The digest of the definitions that the views were made under; none in new views.
pub fn stored_definitions(store: &Store) -> Result<Option<String>, store::Error> {
    let stored = store.view_get(View::Control, DEFINITIONS_KEY)?;
    Ok(stored.map(|digest| String::from_utf8_lossy(&digest).into_owned()))
}

/// The name of the clock that the store goes by, if the key and value of the
/// control view hold it.
pub fn stored_clock(key: &[u8], value: &[u8]) -> Option<String> {
    (key == CLOCK_KEY).then(|| String::from_utf8_lossy(value).into_owned())
}

/// The control shard's next sequence number, if the key and value of the
/// control view hold it.
pub fn stored_sequence(key: &[u8], value: &[u8]) -> Option<u64> {
    (key == SEQUENCE_KEY).then(|| std::str::from_utf8(value).ok()?.parse().ok()).flatten()
}

/// What is recorded of a model, if the key and value of the control view hold
/// that; or why it does not read back.
pub fn stored_rollout(key: &[u8], value: &[u8]) -> Option<Result<(String, Rollout), String>> {
    let model = std::str::from_utf8(key).ok()?.strip_prefix(ROLLOUT_PREFIX)?;
    let rollout = serde_json::from_slice(value);
    Some(
        rollout.map(|rollout| (model.to_owned(), rollout)).map_err(|error| format!("model {model}: {error}")),
    )
}

fn rollout_view(model: &str, rollout: &Rollout) -> ViewWrite {
    // Texts and finite numbers only: what serde_json cannot fail on.
    let value = serde_json::to_vec(rollout).unwrap_or_default();
    ViewWrite {
        view: View::Control,
        key: format!("{ROLLOUT_PREFIX}{model}").into_bytes(),
        value: Some(value),
    }
}

fn cursor_view(subscription: &str, token: Token) -> ViewWrite {
    write(format!("{KEY_PREFIX}{subscription}").as_bytes(), &token.to_string())
}

fn write(key: &[u8], value: &str) -> ViewWrite {
    ViewWrite { view: View::Control, key: key.to_vec(), value: Some(value.as_bytes().to_vec()) }
}

/// Queues control records; the lock on the state keeps their order.
fn append(
    store: &Arc<Store>,
    state: &mut State,
    controls: &[Control],
    mut views: Vec<ViewWrite>,
) -> Result<oneshot::Receiver<Result<(), store::Error>>, Error> {
    store.check().map_err(Error::Store)?;
    let (done, committed) = oneshot::channel();
    let stopping = Arc::downgrade(store);
    let entries: Vec<Entry> = (state.next_sequence..)
        .zip(controls)
        .map(|(sequence, control)| Entry {
            virtual_shard: CONTROL_SHARD,
            sequence,
            payload: encode_control(control),
        })
        .collect();
    let next_sequence = state.next_sequence + entries.len() as u64;
    views.push(write(SEQUENCE_KEY, &next_sequence.to_string()));
    let commit = Commit {
        entries,
        views,
        replay_from: None,
        done: Box::new(move |result| {
            if let (Err(error), Some(store)) = (&result, stopping.upgrade()) {
                // Sequence and cursors have gone where the log did not follow.
                store.stop(&format!("a commit failed: {error}"));
            }
            // Whoever asked may have gone.
            let _ = done.send(result.map(drop));
        }),
    };
    store.commit(commit).map_err(|rejected| Error::Store(rejected.error))?;
    state.next_sequence = next_sequence;
    Ok(committed)
}

async fn wait(committed: oneshot::Receiver<Result<(), store::Error>>) -> Result<(), Error> {
    answer(committed.await)
}

fn answer(committed: Result<Result<(), store::Error>, oneshot::error::RecvError>) -> Result<(), Error> {
    match committed {
        Ok(answer) => answer.map_err(Error::Store),
        Err(_) => Err(Error::Store(store::Error::Closed)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;
    use std::time::Duration;

    use super::*;
    use crate::store::tests::faults::open_failing;
    use crate::store::{LogPosition, LogReader, Options};

    /// What waits for room is not acknowledged, sent again or not, before it is recorded.
    #[tokio::test]
    async fn a_cursor_that_the_disk_has_no_room_for_is_acknowledged_once_there_is_some() {
        let directory = tempfile::tempdir().expect("a directory");
        let options = Options { n_virtual_shards: CONTROL_SHARD + 1, ..Options::default() };
        let (store, disk) = open_failing(directory.path(), options);
        let store = Arc::new(store);
        let cursors = Cursors::new(store.clone(), 1, HashMap::new(), 8);
        let [one, two] = ["10.0", "20.0"].map(|token| token.parse::<Token>().expect("a token"));
        assert_eq!(cursors.acknowledge("mails", one).await.expect("room"), one);
        assert_eq!(cursors.acknowledge("mails", one).await.expect("known"), one);
        disk.is_full.store(true, Ordering::SeqCst);
        let waits = cursors.acknowledge("mails", two);
        assert!(tokio::time::timeout(Duration::from_millis(300), waits).await.is_err());
        let refused = cursors.acknowledge("mails", two).await;
        assert!(matches!(refused, Err(Error::Store(store::Error::NoSpace))), "{refused:?}");
        disk.is_full.store(false, Ordering::SeqCst);
        while store.check().is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(cursors.acknowledge("mails", two).await.expect("room again"), two);
        store.close().expect("healthy");
        assert_eq!(LogReader::open(directory.path(), LogPosition::START).expect("a log").count(), 2);
    }

    /// What was not recorded is neither acknowledged when it is sent again, nor
    /// built upon.
    #[tokio::test]
    async fn a_cursor_that_the_log_does_not_take_is_not_acknowledged() {
        let directory = tempfile::tempdir().expect("a directory");
        let options = Options { n_virtual_shards: CONTROL_SHARD + 1, ..Options::default() };
        let (store, disk) = open_failing(directory.path(), options);
        let store = Arc::new(store);
        let cursors = Cursors::new(store.clone(), 1, HashMap::new(), 8);
        disk.fails_to_write.store(true, Ordering::SeqCst);
        for _ in 0..2 {
            let refused = cursors.acknowledge("mails", "20.0".parse().expect("a token")).await;
            assert!(matches!(refused, Err(Error::Store(store::Error::FailStop { .. }))), "{refused:?}");
        }
        assert!(store.check().is_err(), "it has stopped");
    }
}
