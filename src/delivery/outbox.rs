//! The firings, in the order of their commits: the newest in memory, all in a
//! view that is written behind.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use tokio::sync::watch;

use super::{Error, Queued, Token};
use crate::engine::codec::{decode_firing, encode_firing};
use crate::engine::firing::Firing;
use crate::record::CommittedEnd;
use crate::store::{Commit, LogPosition, Store, View, ViewWrite};

/// How often new firings are handed to the view.
const WRITE_INTERVAL: Duration = Duration::from_millis(100);
/// Firings handed to the view at a time.
const WRITE_FIRINGS: usize = 1_024;
/// Firings looked at per page, so that a rare trigger's filter cannot make one page read everything.
const SCAN_FIRINGS: usize = 4_096;

/// The outbox. Shared: shards push, subscriptions read.
pub struct Outbox {
    store: Arc<Store>,
    committed: Arc<CommittedEnd>,
    /// Firings that may not be in the view yet.
    recent: Mutex<BTreeMap<Token, Firing>>,
    newest: watch::Sender<Token>,
    /// The outbox reports to the store as one more worker.
    worker: u16,
    /// The view keeps so many firings; the oldest go first.
    max_firings: usize,
}

/// Firings after a token, in order.
#[derive(Debug)]
pub struct Page {
    pub firings: Vec<Queued>,
    /// Where to go on.
    pub next: Token,
    /// Whether more may follow at once.
    pub more: bool,
}

/// The thread that hands firings to the view; stops when dropped by [`Writer::stop`].
pub struct Writer {
    stop: mpsc::Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

impl Outbox {
    pub fn new(store: Arc<Store>, committed: Arc<CommittedEnd>, worker: u16, max_firings: usize) -> Self {
        let (newest, _) = watch::channel(Token::START);
        Self { store, committed, recent: Mutex::default(), newest, worker, max_firings }
    }

    /// Takes firings that are durable, in the order of their commits.
    pub fn push(&self, firings: impl IntoIterator<Item = (LogPosition, Firing)>) {
        let mut recent = self.recent();
        let mut newest = None;
        let mut last = (None, 0);
        for (position, firing) in firings {
            let index = if last.0 == Some(position) { last.1 + 1 } else { 0 };
            last = (Some(position), index);
            let token = Token::new(position, index);
            recent.insert(token, firing);
            newest = Some(token);
        }
        drop(recent);
        if let Some(newest) = newest {
            self.newest.send_replace(newest);
        }
    }

    /// A token after every firing so far.
    pub fn end(&self) -> Token {
        let newest = *self.newest.borrow();
        newest.max(Token { position: self.committed.get().get(), index: 0 })
    }

    /// Changes whenever firings come in.
    pub fn watch(&self) -> watch::Receiver<Token> {
        self.newest.subscribe()
    }

    /// Up to `limit` firings after `after` that `wanted` takes.
    pub fn page(&self, after: Token, limit: usize, wanted: impl Fn(&Firing) -> bool) -> Result<Page, Error> {
        // Memory first: what leaves it meanwhile is in the view by then.
        let recent: Vec<Queued> = self
            .recent()
            .range((Bound::Excluded(after), Bound::Unbounded))
            .take(SCAN_FIRINGS)
            .map(|(&token, firing)| Queued { token, firing: firing.clone() })
            .collect();
        let stored = self.store.view_scan(
            View::Outbox,
            Bound::Excluded(&after.key()),
            Bound::Unbounded,
            SCAN_FIRINGS,
        )?;
        let more = recent.len() == SCAN_FIRINGS || stored.len() == SCAN_FIRINGS;
        let mut merged = BTreeMap::new();
        for (key, value) in stored {
            let token = Token::from_key(&key).ok_or_else(|| Error::Token(format!("{key:02x?}")))?;
            let firing = decode_firing(&value).map_err(|source| Error::Stored { token, source })?;
            merged.insert(token, firing);
        }
        // With a full scan of the view, later firings belong to the next page.
        let horizon = if more { merged.last_key_value().map(|(token, _)| *token) } else { None };
        merged.extend(
            recent
                .into_iter()
                .filter(|queued| horizon.is_none_or(|horizon| queued.token <= horizon))
                .map(|queued| (queued.token, queued.firing)),
        );
        let mut page = Page { firings: Vec::new(), next: after, more };
        for (token, firing) in merged {
            if page.firings.len() == limit {
                page.more = true;
                break;
            }
            page.next = token;
            if wanted(&firing) {
                page.firings.push(Queued { token, firing });
            }
        }
        Ok(page)
    }

    /// Starts the thread that hands firings to the view.
    pub fn start_writer(self: &Arc<Self>) -> std::io::Result<Writer> {
        let (stop, stopped) = mpsc::channel();
        let outbox = self.clone();
        let thread = std::thread::Builder::new().name("outbox".into()).spawn(move || {
            let mut n_stored = outbox.count_stored();
            let mut reported = LogPosition::START;
            loop {
                let stopping = stopped.recv_timeout(WRITE_INTERVAL) != Err(mpsc::RecvTimeoutError::Timeout);
                while outbox.write(&mut n_stored, &mut reported) {}
                if stopping {
                    break;
                }
            }
        })?;
        Ok(Writer { stop, thread })
    }

    /// Hands the oldest recent firings to the view and forgets them once they
    /// are there. Returns whether more are waiting.
    fn write(&self, n_stored: &mut usize, reported: &mut LogPosition) -> bool {
        // Read before the firings: all before it have been pushed.
        let committed = self.committed.get();
        let (batch, next): (Vec<_>, _) = {
            let recent = self.recent();
            let mut all = recent.iter();
            let batch = all
                .by_ref()
                .take(WRITE_FIRINGS)
                .map(|(token, firing)| (*token, encode_firing(firing)))
                .collect();
            (batch, all.next().map(|(token, _)| token.position()))
        };
        let replay_from = next.map_or(committed, |next| next.min(committed));
        if batch.is_empty() && replay_from <= *reported {
            return false;
        }
        let tokens: Vec<Token> = batch.iter().map(|(token, _)| *token).collect();
        let mut views: Vec<ViewWrite> = batch
            .into_iter()
            .map(|(token, value)| ViewWrite {
                view: View::Outbox,
                key: token.key().to_vec(),
                value: Some(value),
            })
            .collect();
        let excess = (*n_stored + views.len()).saturating_sub(self.max_firings);
        let oldest = self.store.view_scan(View::Outbox, Bound::Unbounded, Bound::Unbounded, excess);
        let oldest = oldest.unwrap_or_default();
        *n_stored = *n_stored + views.len() - oldest.len();
        views.extend(oldest.into_iter().map(|(key, _)| ViewWrite { view: View::Outbox, key, value: None }));
        let (done, answered) = mpsc::channel();
        let commit = Commit {
            entries: Vec::new(),
            views,
            replay_from: Some((self.worker, replay_from)),
            done: Box::new(move |result| {
                // This thread waits for it below.
                let _ = done.send(result);
            }),
        };
        // A store that has stopped says so by its health; the firings stay here, and in the log.
        // A flush covers only what has been answered.
        let stored = self.store.commit(commit).is_ok()
            && matches!(answered.recv(), Ok(Ok(_)))
            && self.store.flush_views().is_ok();
        if !stored {
            return false;
        }
        *reported = replay_from;
        let mut recent = self.recent();
        for token in tokens {
            recent.remove(&token);
        }
        next.is_some()
    }

    fn count_stored(&self) -> usize {
        let all = self.store.view_scan(View::Outbox, Bound::Unbounded, Bound::Unbounded, usize::MAX);
        all.map_or(0, |all| all.len())
    }

    fn recent(&self) -> MutexGuard<'_, BTreeMap<Token, Firing>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Writer {
    /// Hands what is left to the view and ends the thread.
    pub fn stop(self) {
        // A thread that is gone needs no telling.
        let _ = self.stop.send(());
        let _ = self.thread.join();
    }
}
