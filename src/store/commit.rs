//! The commit thread: what is queued becomes one group, one write and one sync.

use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::log::writer::{LogWriter, WriteError};
use super::log::{Entry, LogPosition};
use super::poison::Poison;
use super::space::{Space, Writer};
use super::views::ViewWrite;
use super::views::behind::{Applied, Behind};
use super::{Durability, Error, Group, Observer};

/// What a worker wants in the log and the views, and whom to tell.
pub struct Commit {
    /// Each virtual shard's sequence continues where its last entry left it.
    pub entries: Vec<Entry>,
    /// What becomes of the views once the entries are durable.
    pub views: Vec<ViewWrite>,
    /// The worker, and the position before which everything of its shards is
    /// in the views, the writes of this commit and of those before included.
    pub replay_from: Option<(u16, LogPosition)>,
    /// Called once, on the commit thread: it must be quick, and not wait for the store.
    /// While the disk is full it is not called: the commit waits, before all that follow.
    pub done: Done,
}

pub type Done = Box<dyn FnOnce(Result<Committed, Error>) + Send>;

/// Where a commit lies in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Of each entry, in their order.
    pub positions: Vec<LogPosition>,
    /// Everything before it is committed, and was answered no later than this
    /// commit; commits of the same group that are answered later lie beyond.
    pub end: LogPosition,
}

/// A commit that was not queued, given back; its `done` was not called.
pub struct Rejected {
    pub commit: Commit,
    pub error: Error,
}

#[derive(Clone, Copy)]
pub struct CommitOptions {
    pub durability: Durability,
    pub group_bytes: usize,
    pub group_window: Duration,
}

pub struct CommitThread {
    pub queue: Receiver<Commit>,
    pub writer: LogWriter,
    pub options: CommitOptions,
    pub behind: Arc<Behind>,
    pub poison: Poison,
    pub space: Space,
    pub observer: Arc<dyn Observer>,
    /// When what was written first after the last sync was written.
    pub unsynced_since: Option<Instant>,
}

/// The entries of the group being made.
struct Staged {
    at: LogPosition,
    bytes: usize,
}

/// A commit in the group being made.
struct Member {
    views: Vec<ViewWrite>,
    replay_from: Option<(u16, LogPosition)>,
    done: Done,
    positions: Vec<LogPosition>,
    /// Bytes of the group up to the end of this commit.
    end_bytes: usize,
}

impl CommitThread {
    /// Commits until the queue is closed and drained.
    pub fn run(mut self) {
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
            while let Some(first) = self.receive() {
                self.commit_group(first);
            }
            if let Err(error) = self.sync() {
                self.poison.set(error.to_string());
            }
        }));
        let panicked = outcome.is_err().then(|| self.poison.set("the commit thread panicked"));
        self.behind.close();
        if let Some(error) = panicked {
            // A callback has: what it had promised others is unknown.
            for commit in &self.queue {
                self.fail(commit.done, error.clone());
            }
        }
    }

    /// The next commit; syncs in the meantime when the interval is over.
    fn receive(&mut self) -> Option<Commit> {
        loop {
            let (Durability::Interval(interval), Some(since)) =
                (self.options.durability, self.unsynced_since)
            else {
                return self.queue.recv().ok();
            };
            match self.queue.recv_timeout(interval.saturating_sub(since.elapsed())) {
                Ok(commit) if since.elapsed() < interval => return Some(commit),
                Ok(commit) => {
                    self.sync_or_stop();
                    return Some(commit);
                }
                Err(RecvTimeoutError::Timeout) => self.sync_or_stop(),
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    fn commit_group(&mut self, first: Commit) {
        if let Err(error) = self.poison.check() {
            return self.fail(first.done, error);
        }
        let start = Instant::now();
        if let Err(error) = self.with_room(LogWriter::roll_if_full) {
            return self.fail(first.done, error);
        }
        let at = self.writer.end();
        let members = self.gather(first, start);
        let bytes = self.writer.staged_bytes();
        let written = match self.poison.check() {
            // Stopped by the answer to a commit that did not fit in.
            Err(error) => Err(error),
            Ok(()) if bytes == 0 => Ok(at),
            Ok(()) => self.write(),
        };
        let n_commits = members.len();
        let n_entries = members.iter().map(|member| member.positions.len()).sum();
        match written {
            Ok(end) => {
                self.observer.committed(&Group { n_commits, n_entries, bytes, elapsed: start.elapsed() });
                self.complete(members, Staged { at, bytes }, end);
            }
            Err(error) => {
                for member in members {
                    self.fail(member.done, error.clone());
                }
            }
        }
    }

    /// Stages the first commit and what else is queued, up to the group's bounds.
    fn gather(&mut self, first: Commit, start: Instant) -> Vec<Member> {
        let mut members = Vec::new();
        let mut next = Some(first);
        while let Some(commit) = next {
            match self.writer.stage(&commit.entries) {
                Ok(positions) => {
                    let Commit { views, replay_from, done, .. } = commit;
                    let end_bytes = self.writer.staged_bytes();
                    members.push(Member { views, replay_from, done, positions, end_bytes });
                }
                Err(error) => self.fail(commit.done, error),
            }
            if self.writer.staged_bytes() >= self.options.group_bytes {
                break;
            }
            let rest = self.options.group_window.saturating_sub(start.elapsed());
            next =
                if rest.is_zero() { self.queue.try_recv().ok() } else { self.queue.recv_timeout(rest).ok() };
        }
        members
    }

    fn write(&mut self) -> Result<LogPosition, Error> {
        let end = self.with_room(LogWriter::write)?;
        match self.options.durability {
            Durability::Fsync => self.writer.sync().map_err(|error| self.poison.set(error.to_string()))?,
            Durability::Interval(_) => {
                self.unsynced_since.get_or_insert_with(Instant::now);
            }
            Durability::Memory => {}
        }
        Ok(end)
    }

    /// Does what needs room on the disk, as soon as there is some: what was
    /// committed is in the state of its worker already, and others build upon it.
    ///
    /// # Errors
    /// The store has stopped: for good reason, or because it is closed while it waits.
    fn with_room<T>(
        &mut self,
        attempt: impl Fn(&mut LogWriter) -> Result<T, WriteError>,
    ) -> Result<T, Error> {
        loop {
            match attempt(&mut self.writer) {
                Ok(done) => {
                    self.space.found(Writer::Log);
                    return Ok(done);
                }
                Err(WriteError::Fatal(error)) => return Err(self.poison.set(error.to_string())),
                Err(WriteError::NoSpace) => {
                    if !self.space.wait(Writer::Log) {
                        return Err(self.poison.set(Error::NoSpace.to_string()));
                    }
                    self.poison.check()?;
                }
            }
        }
    }

    /// Answers first, then hands over to the views: that may have to wait.
    fn complete(&mut self, members: Vec<Member>, group: Staged, end: LogPosition) {
        self.behind.begin();
        let mut writes = Vec::new();
        let mut reports = Vec::new();
        for Member { views, replay_from, done, positions, end_bytes } in members {
            let end = if end_bytes == group.bytes { end } else { group.at.after(end_bytes as u64) };
            done(Ok(Committed { positions, end }));
            writes.push(views);
            reports.extend(replay_from);
        }
        let is_synced = matches!(self.options.durability, Durability::Fsync);
        let waited = self.behind.add(Applied {
            writes: &mut writes.into_iter().flatten(),
            replay_from: &mut reports.into_iter(),
            end,
            unsynced: (!is_synced).then(|| self.writer.file().clone()),
        });
        if !waited.is_zero() {
            self.observer.commits_waited_for_views(waited);
        }
    }

    fn sync(&mut self) -> Result<(), Error> {
        self.unsynced_since = None;
        if matches!(self.options.durability, Durability::Memory) || self.poison.reason().is_some() {
            return Ok(());
        }
        self.writer.sync()
    }

    fn sync_or_stop(&mut self) {
        if let Err(error) = self.sync() {
            self.poison.set(error.to_string());
        }
    }

    fn fail(&self, done: Done, error: Error) {
        self.observer.commit_failed();
        done(Err(error));
    }
}

impl std::fmt::Debug for Commit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Commit")
            .field("entries", &self.entries)
            .field("views", &self.views)
            .field("replay_from", &self.replay_from)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Rejected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rejected").field("error", &self.error).finish_non_exhaustive()
    }
}
