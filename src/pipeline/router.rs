//! Splits batches over the workers and puts the answers together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use crossbeam_channel::{Receiver, Sender, unbounded};
use tokio::sync::{Mutex, oneshot};

use super::shard::{Batch, Item, Message};
use super::{Answer, Error, Incoming, Parts, Reply, ScoreRequest, Submission, Submitted};
use crate::clock::Clock;
use crate::config::ClockMode;
use crate::engine::time::{Millis, Timestamp};
use crate::record::VIRTUAL_SHARDS;
use crate::store::{self, Store};

/// After this long without an answer it is looked whether the disk is full.
const LOOK_FOR_ROOM: Duration = Duration::from_secs(1);

pub(super) struct Router {
    queues: Vec<Queue>,
    store: Arc<Store>,
    queue_events: usize,
    /// In replay mode batches enter one at a time, so that no worker's clock
    /// runs ahead of events that are still on their way to it.
    replay: Mutex<()>,
    replay_step: Millis,
}

struct Queue {
    /// None once closed. Bounded by `waiting`, in events rather than messages.
    sender: ArcSwapOption<Sender<Message>>,
    waiting: Arc<AtomicUsize>,
}

/// A worker's end of its queue.
pub(super) struct WorkerQueue {
    pub receiver: Receiver<Message>,
    /// Events sent and not yet taken.
    pub waiting: Arc<AtomicUsize>,
}

impl Router {
    pub fn new(parts: &Parts) -> (Self, Vec<WorkerQueue>) {
        let (queues, workers) = (0..parts.workers)
            .map(|_| {
                let (sender, receiver) = unbounded();
                let waiting = Arc::new(AtomicUsize::new(0));
                let queue = Queue { sender: ArcSwapOption::from_pointee(sender), waiting: waiting.clone() };
                (queue, WorkerQueue { receiver, waiting })
            })
            .unzip();
        let router = Self {
            queues,
            store: parts.store.clone(),
            queue_events: parts.queue_events,
            replay: Mutex::new(()),
            replay_step: parts.replay_step,
        };
        (router, workers)
    }

    pub fn worker_of(&self, virtual_shard: u16) -> usize {
        usize::from(virtual_shard) % self.queues.len()
    }

    pub fn queued_events(&self) -> impl Iterator<Item = usize> + '_ {
        self.queues.iter().map(|queue| queue.waiting.load(Ordering::Relaxed))
    }

    pub fn close(&self) {
        for queue in &self.queues {
            queue.sender.store(None);
        }
    }

    pub async fn submit(
        &self,
        submissions: Vec<Submission>,
        score: Option<ScoreRequest>,
        clock_time: Option<Timestamp>,
        clock: &Clock,
    ) -> Result<Vec<Result<Submitted, Error>>, Error> {
        let n = submissions.len();
        let score = score.map(Arc::new);
        match clock.mode() {
            ClockMode::Wall => {
                let arrived = submissions.into_iter().map(|submission| Ok((submission, None)));
                let (parts, mut answers) = self.split(arrived);
                for (worker, items) in parts {
                    answers.push(self.send(worker, items, score.clone()));
                }
                Ok(self.collect(n, answers).await)
            }
            ClockMode::Replay => {
                let entered = self.replay.lock().await;
                // A clock that has not been moved yet takes its place from the first time given.
                let from = match clock.now() {
                    Clock::START => submissions.iter().find_map(given_arrival).or(clock_time),
                    now => Some(now),
                };
                let from = from.unwrap_or(Clock::START);
                let step = |to| self.step(from, to);
                let clock_time = clock_time.map(step).transpose()?;
                let mut now = clock.now();
                let arrived = submissions.into_iter().map(|submission| {
                    now = now.max(given_arrival(&submission).map_or(Ok(now), step)?);
                    Ok((submission, Some(now)))
                });
                let (parts, mut answers) = self.split(arrived);
                for (worker, items) in parts {
                    self.wait_for_room(worker, items.len()).await;
                    answers.push(self.send(worker, items, score.clone()));
                }
                let advanced = self.advance_all(clock.advance(clock_time.map_or(now, |to| to.max(now))));
                drop(entered);
                let results = self.collect(n, answers).await;
                self.wait_for_all(advanced).await.map(|()| results)
            }
        }
    }

    /// Checks that a request may move the replay clock on to `to`.
    fn step(&self, from: Timestamp, to: Timestamp) -> Result<Timestamp, Error> {
        let max = self.replay_step;
        if to > from.after(max) { Err(Error::ReplayStepTooLarge { from, to, max }) } else { Ok(to) }
    }

    /// The batch's inputs by worker, each with its index and its arrival if
    /// known, and the answers to those that are refused.
    fn split(
        &self,
        arrived: impl Iterator<Item = Result<(Submission, Option<Timestamp>), Error>>,
    ) -> (Vec<(usize, Vec<Item>)>, Vec<PartAnswer>) {
        let (mut parts, mut refused): (Vec<(usize, Vec<Item>)>, _) = (Vec::new(), Vec::new());
        for (index, arrived) in arrived.enumerate() {
            let (submission, now) = match arrived {
                Ok(arrived) => arrived,
                Err(error) => {
                    refused.push(PartAnswer::Refused(vec![index], error));
                    continue;
                }
            };
            let virtual_shard = submission.user.virtual_shard(VIRTUAL_SHARDS);
            let worker = self.worker_of(virtual_shard);
            let item = Item { index, virtual_shard, user: submission.user, input: submission.input, now };
            match parts.iter_mut().find(|(other, _)| *other == worker) {
                Some((_, items)) => items.push(item),
                None => parts.push((worker, vec![item])),
            }
        }
        (parts, refused)
    }

    /// Queues one part; where there is no room its inputs are answered at once.
    fn send(&self, worker: usize, items: Vec<Item>, score: Option<Arc<ScoreRequest>>) -> PartAnswer {
        let queue = &self.queues[worker];
        let (reply, answer): (Reply, _) = oneshot::channel();
        let indices: Vec<usize> = items.iter().map(|item| item.index).collect();
        let n = items.len();
        if !queue.reserve(n, self.queue_events) {
            return PartAnswer::Refused(indices, Error::Overloaded { queue_events: self.queue_events });
        }
        let sent = queue
            .sender
            .load()
            .as_ref()
            .is_some_and(|sender| sender.send(Message::Batch(Batch { items, score, reply })).is_ok());
        if sent {
            return PartAnswer::Coming(indices, answer);
        }
        queue.waiting.fetch_sub(n, Ordering::AcqRel);
        PartAnswer::Refused(indices, Error::ShuttingDown)
    }

    /// A replay waits where a live source would be refused: its clock waits with it.
    async fn wait_for_room(&self, worker: usize, n: usize) {
        while !self.queues[worker].has_room(n, self.queue_events) && !self.is_closed(worker) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn is_closed(&self, worker: usize) -> bool {
        self.queues[worker].sender.load().is_none()
    }

    fn advance_all(&self, to: Timestamp) -> Vec<Coming<()>> {
        let mut advanced = Vec::with_capacity(self.queues.len());
        for queue in &self.queues {
            let (done, wait) = oneshot::channel();
            if let Some(sender) = queue.sender.load().as_ref() {
                // A worker that has gone drops `done`, which the wait reports.
                let _ = sender.send(Message::Advance { to, done });
            }
            advanced.push(wait);
        }
        advanced
    }

    async fn collect(&self, n: usize, answers: Vec<PartAnswer>) -> Vec<Result<Submitted, Error>> {
        let mut results: Vec<Result<Submitted, Error>> = (0..n).map(|_| Err(Error::ShuttingDown)).collect();
        for answer in answers {
            let (indices, error) = match answer {
                PartAnswer::Refused(indices, error) => (indices, error),
                PartAnswer::Coming(indices, coming) => match self.answered(coming).await {
                    Ok(submitted) => {
                        for (index, submitted) in submitted {
                            results[index] = submitted;
                        }
                        continue;
                    }
                    Err(error) => (indices, error),
                },
            };
            for index in indices {
                results[index] = Err(error.clone());
            }
        }
        results
    }

    async fn wait_for_all(&self, waits: Vec<Coming<()>>) -> Result<(), Error> {
        for wait in waits {
            self.answered(wait).await?;
        }
        Ok(())
    }

    /// A worker's answer. What waits for room on the disk is refused meanwhile: sent
    /// again later, it is answered when the first is durable.
    async fn answered<T>(&self, mut coming: Coming<T>) -> Result<T, Error> {
        loop {
            if let Ok(answer) = tokio::time::timeout(LOOK_FOR_ROOM, &mut coming).await {
                // None if the worker went away.
                return answer.unwrap_or(Err(Error::ShuttingDown));
            }
            if let Err(error @ store::Error::NoSpace) = self.store.check() {
                return Err(Error::Store(Arc::new(error)));
            }
        }
    }
}

impl Queue {
    fn has_room(&self, n: usize, capacity: usize) -> bool {
        let waiting = self.waiting.load(Ordering::Acquire);
        // A batch larger than the whole queue enters an empty one.
        waiting == 0 || waiting + n <= capacity
    }

    fn reserve(&self, n: usize, capacity: usize) -> bool {
        let reserved = self.waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, |waiting| {
            (waiting == 0 || waiting + n <= capacity).then_some(waiting + n)
        });
        reserved.is_ok()
    }
}

/// When an input arrived by what came with it.
fn given_arrival(submission: &Submission) -> Option<Timestamp> {
    submission.arrival_time.or(match &submission.input {
        Incoming::Event(event) => Some(event.time),
        Incoming::Traits(_) | Incoming::Link { .. } => None,
    })
}

/// An answer on its way.
type Coming<T> = oneshot::Receiver<Result<T, Error>>;

enum PartAnswer {
    Coming(Vec<usize>, oneshot::Receiver<Answer>),
    Refused(Vec<usize>, Error),
}
