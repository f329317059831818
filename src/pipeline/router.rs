//! Splits batches over the workers and puts the answers together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwapOption;
use crossbeam_channel::{Receiver, Sender, unbounded};
use tokio::sync::{Mutex, oneshot};

use super::shard::{Batch, Item, Message};
use super::{Answer, Error, Incoming, Parts, Reply, ScoreRequest, Submission, Submitted};
use crate::clock::Clock;
use crate::config::ClockMode;
use crate::engine::time::Timestamp;
use crate::record::VIRTUAL_SHARDS;

pub(super) struct Router {
    queues: Vec<Queue>,
    queue_events: usize,
    /// In replay mode batches enter one at a time, so that no worker's clock
    /// runs ahead of events that are still on their way to it.
    replay: Mutex<()>,
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
        let router = Self { queues, queue_events: parts.queue_events, replay: Mutex::new(()) };
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
        clock: &Clock,
    ) -> Vec<Result<Submitted, Error>> {
        let n = submissions.len();
        let score = score.map(Arc::new);
        match clock.mode() {
            ClockMode::Wall => {
                let parts = self.split(submissions, |_| None);
                let mut answers = Vec::with_capacity(parts.len());
                for (worker, items) in parts {
                    answers.push(self.send(worker, items, score.clone()));
                }
                collect(n, answers).await
            }
            ClockMode::Replay => {
                let entered = self.replay.lock().await;
                let mut now = clock.now();
                let parts = self.split(submissions, |submission| {
                    now = now.max(submission.arrival_time.unwrap_or(match &submission.input {
                        Incoming::Event(event) => event.time,
                        Incoming::Traits(_) | Incoming::Link { .. } => now,
                    }));
                    Some(now)
                });
                let mut answers = Vec::with_capacity(parts.len());
                for (worker, items) in parts {
                    self.wait_for_room(worker, items.len()).await;
                    answers.push(self.send(worker, items, score.clone()));
                }
                let advanced = self.advance_all(clock.advance(now));
                drop(entered);
                let results = collect(n, answers).await;
                match wait_for_all(advanced).await {
                    Ok(()) => results,
                    Err(error) => results.into_iter().map(|result| result.and(Err(error.clone()))).collect(),
                }
            }
        }
    }

    pub async fn advance(&self, to: Timestamp, clock: &Clock) -> Result<(), Error> {
        if clock.mode() == ClockMode::Wall {
            return Ok(());
        }
        let entered = self.replay.lock().await;
        let advanced = self.advance_all(clock.advance(to));
        drop(entered);
        wait_for_all(advanced).await
    }

    /// The batch's inputs by worker, each with its index and its arrival if known.
    fn split(
        &self,
        submissions: Vec<Submission>,
        mut now: impl FnMut(&Submission) -> Option<Timestamp>,
    ) -> Vec<(usize, Vec<Item>)> {
        let mut parts: Vec<(usize, Vec<Item>)> = Vec::new();
        for (index, submission) in submissions.into_iter().enumerate() {
            let now = now(&submission);
            let virtual_shard = submission.user.virtual_shard(VIRTUAL_SHARDS);
            let worker = self.worker_of(virtual_shard);
            let item = Item { index, virtual_shard, user: submission.user, input: submission.input, now };
            match parts.iter_mut().find(|(other, _)| *other == worker) {
                Some((_, items)) => items.push(item),
                None => parts.push((worker, vec![item])),
            }
        }
        parts
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
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }

    fn is_closed(&self, worker: usize) -> bool {
        self.queues[worker].sender.load().is_none()
    }

    fn advance_all(&self, to: Timestamp) -> Vec<oneshot::Receiver<Result<(), Error>>> {
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

enum PartAnswer {
    Coming(Vec<usize>, oneshot::Receiver<Answer>),
    Refused(Vec<usize>, Error),
}

async fn collect(n: usize, answers: Vec<PartAnswer>) -> Vec<Result<Submitted, Error>> {
    let mut results: Vec<Result<Submitted, Error>> = (0..n).map(|_| Err(Error::ShuttingDown)).collect();
    for answer in answers {
        match answer {
            PartAnswer::Refused(indices, error) => {
                for index in indices {
                    results[index] = Err(error.clone());
                }
            }
            PartAnswer::Coming(indices, answer) => match answer.await {
                Ok(Ok(submitted)) => {
                    for (index, submitted) in submitted {
                        results[index] = submitted;
                    }
                }
                Ok(Err(error)) => {
                    for index in indices {
                        results[index] = Err(error.clone());
                    }
                }
                // The worker went away without an answer.
                Err(_) => {}
            },
        }
    }
    results
}

async fn wait_for_all(waits: Vec<oneshot::Receiver<Result<(), Error>>>) -> Result<(), Error> {
    for wait in waits {
        wait.await.unwrap_or(Err(Error::ShuttingDown))?;
    }
    Ok(())
}
