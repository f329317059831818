//! Bytes that may be a stored profile.

use arbitrary::Arbitrary;
use tipoff::engine::codec::encode_profile;

use crate::{PLAN, Scenario};

#[derive(Arbitrary, Debug)]
pub enum Record {
    Bytes(Vec<u8>),
    /// A stored profile with some of its bytes changed: few other bytes get
    /// past the first fields.
    Damaged { of: Scenario, damage: Vec<Damage> },
}

#[derive(Arbitrary, Debug)]
pub struct Damage {
    /// Counted round the record's length.
    at: u32,
    how: How,
}

#[derive(Arbitrary, Debug)]
enum How {
    Set(u8),
    Insert(u8),
    Remove,
    Truncate,
}

impl Record {
    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Bytes(bytes) => bytes.clone(),
            Self::Damaged { of, damage } => {
                let mut bytes = encode_profile(&PLAN, &of.play().profile);
                damage.iter().for_each(|damage| damage.apply(&mut bytes));
                bytes
            }
        }
    }
}

impl Damage {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let Some(at) = (self.at as usize).checked_rem(bytes.len()) else { return };
        match self.how {
            How::Set(byte) => bytes[at] = byte,
            How::Insert(byte) => bytes.insert(at, byte),
            How::Remove => drop(bytes.remove(at)),
            How::Truncate => bytes.truncate(at),
        }
    }
}
