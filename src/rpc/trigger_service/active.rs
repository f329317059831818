//! Who subscribes: each named subscription has one subscriber at a time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// The open subscriptions by name.
#[derive(Debug, Default)]
pub struct Active {
    places: Mutex<Places>,
}

#[derive(Debug, Default)]
struct Places {
    by_name: HashMap<String, (u64, oneshot::Sender<()>)>,
    next: u64,
}

/// A subscriber's place; given up when dropped.
#[derive(Debug)]
pub struct Place {
    active: Arc<Active>,
    name: String,
    number: u64,
    /// Fails when another subscriber has taken the place over.
    taken: oneshot::Receiver<()>,
}

impl Active {
    /// Takes the subscription over from whoever has it.
    pub fn take(self: &Arc<Self>, name: String) -> Place {
        let (taken_over, taken) = oneshot::channel();
        let mut places = self.places();
        let number = places.next;
        places.next += 1;
        // Dropping the old sender tells the old subscriber.
        places.by_name.insert(name.clone(), (number, taken_over));
        drop(places);
        Place { active: self.clone(), name, number, taken }
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        // Every change is one call: a panic elsewhere leaves the map whole.
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Whether another subscriber has taken the place over.
    pub fn is_taken(&self) -> bool {
        self.taken.is_terminated() || !self.taken.is_empty()
    }

    /// Resolves when another subscriber takes the place over.
    pub async fn taken(&mut self) {
        let _ = (&mut self.taken).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = self.active.places();
        if places.by_name.get(&self.name).is_some_and(|(number, _)| *number == self.number) {
            places.by_name.remove(&self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot::error::TryRecvError;

    use super::*;

    #[test]
    fn the_newest_subscriber_has_the_place() {
        let active = Arc::new(Active::default());
        let mut first = active.take("crm".into());
        let mut other = active.take("mail".into());
        assert_eq!(first.taken.try_recv(), Err(TryRecvError::Empty));
        let mut second = active.take("crm".into());
        assert_eq!(first.taken.try_recv(), Err(TryRecvError::Closed), "told");
        drop(first);
        assert_eq!(second.taken.try_recv(), Err(TryRecvError::Empty), "the old one's end changes nothing");
        assert_eq!(other.taken.try_recv(), Err(TryRecvError::Empty));
        drop((second, other));
        assert!(active.places().by_name.is_empty(), "places are given up");
    }
}
