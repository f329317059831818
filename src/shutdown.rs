//! Stopping in order: the first signal drains, the second ends the process.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// The exit code after a second signal.
pub const EXIT_FORCED: i32 = 130;

/// Tells everyone who holds a [`Token`] to stop taking work.
#[derive(Clone, Debug)]
pub struct Shutdown {
    draining: watch::Sender<bool>,
}

/// Learns that the server drains. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Token {
    draining: watch::Receiver<bool>,
}

/// SIGTERM and SIGINT.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Shutdown {
    pub fn new() -> Self {
        Self { draining: watch::Sender::new(false) }
    }

    pub fn token(&self) -> Token {
        Token { draining: self.draining.subscribe() }
    }

    /// Begins to drain; again changes nothing.
    pub fn drain(&self) {
        self.draining.send_replace(true);
    }

    /// Drains on the first signal and ends the process on the second.
    pub async fn drain_on(self, mut signals: Signals) {
        let name = signals.next().await;
        // Before the log line: nobody may be left to read it.
        self.drain();
        tracing::info!(signal = name, "draining; a second signal ends the process at once");
        signals.next().await;
        std::process::exit(EXIT_FORCED);
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

impl Token {
    pub fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// Resolves once the server drains, or nobody is left who could say so.
    pub async fn draining(mut self) {
        // An error means the sender is gone, and the server with it.
        let _ = self.draining.wait_for(|draining| *draining).await;
    }
}

impl Signals {
    /// Takes the signals over from their default action. Needs a tokio runtime.
    pub fn listen() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// The name of the next signal.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tokens_learn_of_the_drain_early_and_late() {
        let shutdown = Shutdown::new();
        let early = shutdown.token();
        assert!(!early.is_draining());
        let waiting = tokio::spawn(early.clone().draining());
        shutdown.drain();
        waiting.await.expect("it resolves");
        assert!(early.is_draining());
        shutdown.token().draining().await;
    }

    #[tokio::test]
    async fn tokens_outlive_the_sender() {
        let token = Shutdown::new().token();
        token.draining().await;
    }
}
