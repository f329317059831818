//! Every virtual shard's sequence grows by one an entry; both the writer and the readers hold to it.

/// The last sequence of each virtual shard, where one was seen.
#[derive(Clone, Debug)]
pub struct Sequences(Vec<Option<u64>>);

impl Sequences {
    pub fn new(n_virtual_shards: u16) -> Self {
        Self(vec![None; usize::from(n_virtual_shards)])
    }

    /// Takes `sequence` as the shard's last and returns what it was before.
    ///
    /// The first one seen of a shard is taken as it is.
    ///
    /// # Errors
    /// The sequence that should have followed; nothing is changed.
    pub fn advance(&mut self, virtual_shard: u16, sequence: u64) -> Result<Option<u64>, u64> {
        let Some(last) = self.0.get_mut(usize::from(virtual_shard)) else { return Err(0) };
        match *last {
            Some(before) if sequence != before.wrapping_add(1) => Err(before.wrapping_add(1)),
            before => {
                *last = Some(sequence);
                Ok(before)
            }
        }
    }

    pub fn restore(&mut self, virtual_shard: u16, before: Option<u64>) {
        if let Some(last) = self.0.get_mut(usize::from(virtual_shard)) {
            *last = before;
        }
    }
}
