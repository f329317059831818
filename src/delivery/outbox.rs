//! The firings, in the order of their commits: the newest in memory, all in a
//! view that is written behind.

#[cfg(test)]
mod tests;

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

/// The view's state is reported without firings once the log has grown by so much.
const REPORT_BYTES: u64 = 1 << 20;
/// In the control view: what the outbox view holds.
const STORED_KEY: &[u8] = b"outbox";

/// The outbox. Shared: shards push, subscriptions read.
pub struct Outbox {
    store: Arc<Store>,
    committed: Arc<CommittedEnd>,
    recent: Mutex<Recent>,
    newest: watch::Sender<Token>,
    /// The outbox reports to the store as one more worker.
    worker: u16,
    /// The view keeps so many firings; the oldest go first.
    max_firings: usize,
}

/// The firings that are not in the view, or not known to be.
struct Recent {
    firings: BTreeMap<Token, Firing>,
    stored: Stored,
}

/// What the view holds; kept in the control view, written together with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Stored {
    n_firings: usize,
    /// Every firing up to here has been in the view. Firings reach it in
    /// order, so what follows is in memory.
    up_to: Token,
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
    /// Goes on where the view stands.
    pub fn open(
        store: Arc<Store>,
        committed: Arc<CommittedEnd>,
        worker: u16,
        max_firings: usize,
    ) -> Result<Self, Error> {
        let stored = match store.view_get(View::Control, STORED_KEY)? {
            None => Stored::default(),
            Some(value) => Stored::read(&value)?,
        };
        let (newest, _) = watch::channel(stored.up_to);
        let recent = Mutex::new(Recent { firings: BTreeMap::new(), stored });
        Ok(Self { store, committed, recent, newest, worker, max_firings })
    }

    /// Takes firings that are durable, in the order of their commits; those
    /// that recovery found once more in the log are in the view already.
    pub fn push(&self, firings: impl IntoIterator<Item = (LogPosition, Firing)>) {
        let mut recent = self.recent();
        let mut newest = None;
        let mut last = (None, 0);
        for (position, firing) in firings {
            let index = if last.0 == Some(position) { last.1 + 1 } else { 0 };
            last = (Some(position), index);
            let token = Token::new(position, index);
            if token > recent.stored.up_to {
                recent.firings.insert(token, firing);
                newest = Some(token);
            }
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
        let stored = {
            let recent = self.recent();
            if after >= recent.stored.up_to {
                return Ok(recent.page(after, limit, wanted));
            }
            recent.stored
        };
        let scanned = self.store.view_scan(
            View::Outbox,
            Bound::Excluded(&after.key()),
            Bound::Unbounded,
            SCAN_FIRINGS,
        )?;
        let is_whole = scanned.len() < SCAN_FIRINGS;
        let mut page = Page { firings: Vec::new(), next: after, more: true };
        for (key, value) in scanned {
            if page.firings.len() == limit {
                return Ok(page);
            }
            let token = Token::from_key(&key).ok_or_else(|| Error::Token(format!("{key:02x?}")))?;
            let firing = decode_firing(&value).map_err(|error| Error::Stored { token, error })?;
            page.next = token;
            if wanted(&firing) {
                page.firings.push(Queued { token, firing });
            }
        }
        if is_whole {
            // The rest was in memory when the scan began.
            page.next = page.next.max(stored.up_to);
        }
        Ok(page)
    }

    /// Starts the thread that hands firings to the view.
    pub fn start_writer(self: &Arc<Self>) -> std::io::Result<Writer> {
        let (stop, stopped) = mpsc::channel();
        let outbox = self.clone();
        let thread = std::thread::Builder::new().name("outbox".into()).spawn(move || {
            let mut reported = LogPosition::START;
            loop {
                let is_last = stopped.recv_timeout(WRITE_INTERVAL) != Err(mpsc::RecvTimeoutError::Timeout);
                let lag = if is_last { 0 } else { REPORT_BYTES };
                while outbox.write(&mut reported, lag) {}
                if is_last {
                    break;
                }
            }
        })?;
        Ok(Writer { stop, thread })
    }

    /// Hands the oldest recent firings to the view and forgets them once they
    /// are there; without any it reports how far the log has come, if that is
    /// more than `lag` further. Returns whether more are waiting.
    fn write(&self, reported: &mut LogPosition, lag: u64) -> bool {
        // Read before the firings: all before it have been pushed.
        let committed = self.committed.get();
        let (batch, next, stored): (Vec<_>, _, _) = {
            let recent = self.recent();
            let mut all = recent.firings.iter();
            let batch = all
                .by_ref()
                .take(WRITE_FIRINGS)
                .map(|(token, firing)| (*token, encode_firing(firing)))
                .collect();
            (batch, all.next().map(|(token, _)| token.position()), recent.stored)
        };
        let replay_from = next.map_or(committed, |next| next.min(committed));
        let Some(up_to) = batch.last().map(|(token, _)| *token) else {
            if replay_from.get().saturating_sub(reported.get()) > lag && self.commit(Vec::new(), replay_from)
            {
                *reported = replay_from;
            }
            return false;
        };
        let excess = (stored.n_firings + batch.len()).saturating_sub(self.max_firings);
        let oldest = self.store.view_scan(View::Outbox, Bound::Unbounded, Bound::Unbounded, excess);
        let oldest = oldest.unwrap_or_default();
        let stored = Stored { n_firings: stored.n_firings + batch.len() - oldest.len(), up_to };
        let put = |view, key: Vec<u8>, value| ViewWrite { view, key, value: Some(value) };
        let mut views: Vec<ViewWrite> =
            batch.into_iter().map(|(token, value)| put(View::Outbox, token.key().to_vec(), value)).collect();
        views.extend(oldest.into_iter().map(|(key, _)| ViewWrite { view: View::Outbox, key, value: None }));
        views.push(put(View::Control, STORED_KEY.to_vec(), stored.bytes()));
        // A store that has stopped says so by its health; the firings stay here, and in the log.
        if !self.commit(views, replay_from) || self.store.flush_views().is_err() {
            return false;
        }
        *reported = replay_from;
        let mut recent = self.recent();
        recent.stored = stored;
        recent.firings = recent.firings.split_off(&up_to.next());
        next.is_some()
    }

    /// Waits for the answer: a flush covers only what has been answered.
    fn commit(&self, views: Vec<ViewWrite>, replay_from: LogPosition) -> bool {
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
        self.store.commit(commit).is_ok() && matches!(answered.recv(), Ok(Ok(_)))
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recent {
    /// A page of what is in memory, for an `after` that everything follows here.
    fn page(&self, after: Token, limit: usize, wanted: impl Fn(&Firing) -> bool) -> Page {
        let mut page = Page { firings: Vec::new(), next: after, more: false };
        let rest = self.firings.range((Bound::Excluded(after), Bound::Unbounded));
        for (n, (&token, firing)) in rest.enumerate() {
            if page.firings.len() == limit || n == SCAN_FIRINGS {
                page.more = true;
                break;
            }
            page.next = token;
            if wanted(firing) {
                page.firings.push(Queued { token, firing: firing.clone() });
            }
        }
        page
    }
}

impl Stored {
    fn bytes(self) -> Vec<u8> {
        format!("{} {}", self.n_firings, self.up_to).into_bytes()
    }

    fn read(bytes: &[u8]) -> Result<Self, Error> {
        let parse = || {
            let (n_firings, up_to) = std::str::from_utf8(bytes).ok()?.split_once(' ')?;
            Some(Self { n_firings: n_firings.parse().ok()?, up_to: up_to.parse().ok()? })
        };
        parse().ok_or_else(|| Error::Token(String::from_utf8_lossy(bytes).into_owned()))
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
