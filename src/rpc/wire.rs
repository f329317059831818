//! How the server decodes what clients send, where the generated code would
//! blame itself or a whole batch for one client's mistake.

use std::marker::PhantomData;

use prost::Message;
use prost::bytes::Bytes;
use tonic::Status;
use tonic::codec::{self, DecodeBuf};
use tonic_prost::ProstEncoder;

use super::error::Refusal;
use super::reason::Reason;
use crate::proto::v1;

/// [`v1::IngestRequest`] with its events still encoded: on the wire the two
/// are the same, and one event that does not decode fails no other.
#[derive(Clone, PartialEq, Message)]
pub struct IngestRequest {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub events: Vec<Bytes>,
    #[prost(message, optional, tag = "2")]
    pub score: Option<v1::ScoreOptions>,
    #[prost(message, optional, tag = "3")]
    pub clock_time: Option<prost_types::Timestamp>,
}

/// [`v1::IngestStreamRequest`] with its events still encoded.
#[derive(Clone, PartialEq, Message)]
pub struct IngestStreamRequest {
    #[prost(uint64, tag = "1")]
    pub batch_id: u64,
    #[prost(bytes = "bytes", repeated, tag = "2")]
    pub events: Vec<Bytes>,
    #[prost(message, optional, tag = "3")]
    pub score: Option<v1::ScoreOptions>,
    #[prost(message, optional, tag = "4")]
    pub clock_time: Option<prost_types::Timestamp>,
}

/// [`tonic_prost::ProstCodec`], but a request that does not decode is an `INVALID_ARGUMENT`.
#[derive(Debug)]
pub struct Codec<T, U>(PhantomData<(T, U)>);

#[derive(Debug)]
pub struct Decoder<U>(PhantomData<U>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> codec::Codec for Codec<T, U>
where
    T: Message + 'static,
    U: Message + Default + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = Decoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::default()
    }

    fn decoder(&mut self) -> Self::Decoder {
        Decoder(PhantomData)
    }
}

impl<U: Message + Default> codec::Decoder for Decoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, source: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        U::decode(source).map(Some).map_err(|error| Refusal::new(Reason::Malformed, error).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_read_as_the_protos_say() {
        let events = ["ada", "bob"].map(|id| v1::Event { user_id: id.into(), ..v1::Event::default() });
        let score = Some(v1::ScoreOptions { max_reasons: 3, ..v1::ScoreOptions::default() });
        let clock_time = Some(prost_types::Timestamp { seconds: 1, nanos: 2 });
        let encoded: Vec<Bytes> = events.iter().map(|event| event.encode_to_vec().into()).collect();

        let events = events.to_vec();
        let sent =
            v1::IngestRequest { events: events.clone(), score: score.clone(), clock_time }.encode_to_vec();
        let read = IngestRequest::decode(&*sent).expect("it decodes");
        assert_eq!((&read.score, &read.clock_time), (&score, &clock_time));
        assert_eq!((&read.events, read.encode_to_vec()), (&encoded, sent));

        let sent = v1::IngestStreamRequest { batch_id: 7, events, score: score.clone(), clock_time };
        let sent = sent.encode_to_vec();
        let read = IngestStreamRequest::decode(&*sent).expect("it decodes");
        assert_eq!((read.batch_id, &read.score, &read.clock_time), (7, &score, &clock_time));
        assert_eq!((&read.events, read.encode_to_vec()), (&encoded, sent));
    }
}
