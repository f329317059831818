//! Why something is refused: the one table of reasons, their gRPC codes and
//! whether trying again can help.

use std::time::Duration;

use tonic::Code;

use crate::store;

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal, $code:ident $(, retry $retry_ms:literal ms)?;)+) => {
        /// A stable, machine-readable reason; see the table in this file.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Reason {
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The reason on the wire, in metrics and in the documentation.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// The code of a call that fails for this reason.
            pub const fn code(self) -> Code {
                match self { $(Self::$variant => Code::$code,)+ }
            }

            /// What it means, as in the documentation.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+),)+ }
            }

            /// How long to wait before trying the same again; none if that cannot help.
            pub const fn retry_after(self) -> Option<Duration> {
                match self {
                    $($(Self::$variant => Some(Duration::from_millis($retry_ms)),)?)+
                    _ => None,
                }
            }
        }
    };
}

reasons! {
    /// Bytes that are not the message they should be, such as text that is not UTF-8.
    Malformed = "MALFORMED", InvalidArgument;
    /// Neither a user id nor an anonymous id is given.
    UserIdMissing = "USER_ID_MISSING", InvalidArgument;
    /// A user, anonymous or event id is longer than permitted.
    IdTooLong = "ID_TOO_LONG", InvalidArgument;
    /// A user, anonymous or event id has control characters.
    IdControlCharacter = "ID_CONTROL_CHARACTER", InvalidArgument;
    /// An event has no type.
    EventTypeMissing = "EVENT_TYPE_MISSING", InvalidArgument;
    /// An event's type is longer than permitted.
    EventTypeTooLong = "EVENT_TYPE_TOO_LONG", InvalidArgument;
    /// An event's type has control characters.
    EventTypeControlCharacter = "EVENT_TYPE_CONTROL_CHARACTER", InvalidArgument;
    /// More properties or traits than permitted.
    TooManyProperties = "TOO_MANY_PROPERTIES", InvalidArgument;
    /// The profile would have more traits than permitted.
    TooManyTraits = "TOO_MANY_TRAITS", ResourceExhausted;
    /// A property or trait has an empty name.
    PropertyNameMissing = "PROPERTY_NAME_MISSING", InvalidArgument;
    /// A property's or trait's name is longer than permitted.
    PropertyNameTooLong = "PROPERTY_NAME_TOO_LONG", InvalidArgument;
    /// A property's or trait's name has control characters.
    PropertyNameControlCharacter = "PROPERTY_NAME_CONTROL_CHARACTER", InvalidArgument;
    /// A property or trait has no value.
    ValueMissing = "VALUE_MISSING", InvalidArgument;
    /// A text value is longer than permitted.
    ValueTooLong = "VALUE_TOO_LONG", InvalidArgument;
    /// A number is NaN or infinite.
    NumberNotFinite = "NUMBER_NOT_FINITE", InvalidArgument;
    /// A number's magnitude is beyond what is permitted.
    NumberOutOfRange = "NUMBER_OUT_OF_RANGE", InvalidArgument;
    /// A timestamp's nanoseconds are not within a second.
    TimeInvalid = "TIME_INVALID", InvalidArgument;
    /// A time is outside the years that are permitted.
    TimeOutOfRange = "TIME_OUT_OF_RANGE", InvalidArgument;
    /// The event's time is further ahead of its arrival than the permitted skew.
    EventInFuture = "EVENT_IN_FUTURE", InvalidArgument;
    /// The event happened longer ago than the permitted lateness.
    EventLate = "EVENT_LATE", InvalidArgument;
    /// An arrival time, and the server goes by the wall clock.
    ArrivalTimeRefused = "ARRIVAL_TIME_REFUSED", InvalidArgument;
    /// A time is further ahead of the replay clock than one request may move it.
    ReplayStepTooLarge = "REPLAY_STEP_TOO_LARGE", InvalidArgument;
    /// More items in a batch than permitted.
    BatchTooLarge = "BATCH_TOO_LARGE", ResourceExhausted;
    /// More reasons a score than permitted.
    TooManyReasons = "TOO_MANY_REASONS", InvalidArgument;
    /// More features to explain than permitted.
    TooManyFeatures = "TOO_MANY_FEATURES", InvalidArgument;
    /// No definition names the feature.
    FeatureUnknown = "FEATURE_UNKNOWN", InvalidArgument;
    /// The model has no input or output of this name, or one is given twice or left out.
    TensorUnknown = "TENSOR_UNKNOWN", InvalidArgument;
    /// A tensor's data type is not one that it can have.
    TensorDatatype = "TENSOR_DATATYPE", InvalidArgument;
    /// A tensor's shape is not one that it can have, or not that of the others.
    TensorShape = "TENSOR_SHAPE", InvalidArgument;
    /// A tensor's contents are not what its data type and shape say.
    TensorContents = "TENSOR_CONTENTS", InvalidArgument;
    /// Some contents are raw and some are typed, or feature values stand beside user ids.
    TensorsMixed = "TENSORS_MIXED", InvalidArgument;
    /// A page is larger than permitted.
    PageTooLarge = "PAGE_TOO_LARGE", InvalidArgument;
    /// A page token that this server did not give, or for other filters.
    PageTokenInvalid = "PAGE_TOKEN_INVALID", InvalidArgument;
    /// A resume token that this server did not give.
    ResumeTokenInvalid = "RESUME_TOKEN_INVALID", InvalidArgument;
    /// A subscription's name is not 1 to 64 letters, digits, `-`, `_` or `.`.
    SubscriptionInvalid = "SUBSCRIPTION_INVALID", InvalidArgument;
    /// No definition names the model, or it has no such version loaded.
    ModelUnknown = "MODEL_UNKNOWN", NotFound;
    /// No definition names the trigger.
    TriggerUnknown = "TRIGGER_UNKNOWN", NotFound;
    /// The user was never seen.
    UserUnknown = "USER_UNKNOWN", NotFound;
    /// The subscription was never opened.
    SubscriptionUnknown = "SUBSCRIPTION_UNKNOWN", NotFound;
    /// No artifact serves the model yet.
    ModelNotLoaded = "MODEL_NOT_LOADED", Unavailable, retry 5_000 ms;
    /// The model gives no number for these features.
    NotScorable = "NOT_SCORABLE", FailedPrecondition;
    /// An artifact's file has a name that is no plain file name.
    FileNameInvalid = "FILE_NAME_INVALID", InvalidArgument;
    /// An upload does not begin with what is sent, or does so twice, or has a file twice or an empty part of one.
    UploadInvalid = "UPLOAD_INVALID", InvalidArgument;
    /// An artifact, a file of it or their number is larger than permitted.
    ModelTooLarge = "MODEL_TOO_LARGE", ResourceExhausted;
    /// An artifact's manifest or model file cannot be read, or contradicts itself.
    ModelMalformed = "MODEL_MALFORMED", InvalidArgument;
    /// A file of an artifact is not what the manifest says, is missing or is not listed.
    ModelFileWrong = "MODEL_FILE_WRONG", InvalidArgument;
    /// The manifest is of another model or version.
    ModelMisplaced = "MODEL_MISPLACED", InvalidArgument;
    /// A feature is not defined as it was when the model was trained.
    ModelFeaturesDiffer = "MODEL_FEATURES_DIFFER", FailedPrecondition;
    /// The label is not defined as it was when the model was trained.
    ModelLabelDiffers = "MODEL_LABEL_DIFFERS", FailedPrecondition;
    /// The model does not answer the golden cases as it should.
    ModelGoldenMismatch = "MODEL_GOLDEN_MISMATCH", FailedPrecondition;
    /// The library that would run the model is not there, or cannot be used.
    ModelRuntimeMissing = "MODEL_RUNTIME_MISSING", FailedPrecondition;
    /// The version is there already, with other content.
    ModelVersionTaken = "MODEL_VERSION_TAKEN", AlreadyExists;
    /// An alias points to the version, or a rollback returns to it.
    ModelInUse = "MODEL_IN_USE", FailedPrecondition;
    /// No such alias, or it cannot point there, or its percentage is none.
    AliasInvalid = "ALIAS_INVALID", InvalidArgument;
    /// The alias points to another version than expected.
    AliasMoved = "ALIAS_MOVED", Aborted;
    /// No version served before.
    NoPreviousVersion = "NO_PREVIOUS_VERSION", FailedPrecondition;
    /// No version is the model's shadow.
    NoShadow = "NO_SHADOW", FailedPrecondition;
    /// `who` is missing, or `who` or `why` is too long or has control characters.
    NoteInvalid = "NOTE_INVALID", InvalidArgument;
    /// The artifacts' directory cannot be read or written.
    ModelDirectoryFailed = "MODEL_DIRECTORY_FAILED", Unavailable, retry 5_000 ms;
    /// Another artifact is on its way in.
    UploadUnderWay = "UPLOAD_UNDER_WAY", Unavailable, retry 1_000 ms;
    /// Nothing came of an artifact for too long.
    UploadStalled = "UPLOAD_STALLED", DeadlineExceeded;
    /// A queue is full.
    Overloaded = "OVERLOADED", ResourceExhausted, retry 500 ms;
    /// More named subscriptions than permitted.
    TooManySubscriptions = "TOO_MANY_SUBSCRIPTIONS", ResourceExhausted;
    /// Another subscriber took the subscription over.
    SubscriptionTaken = "SUBSCRIPTION_TAKEN", Aborted;
    /// The store cannot write; the server acknowledges nothing until it restarts.
    StoreFailed = "STORE_FAILED", Unavailable, retry 5_000 ms;
    /// The disk is full; what has been taken in and not acknowledged is kept, and is acknowledged when sent again once there is room.
    NoSpace = "NO_SPACE", ResourceExhausted, retry 2_000 ms;
    /// A call, or a parameter of one, that other servers of the protocol have and this one does not.
    NotSupported = "NOT_SUPPORTED", Unimplemented;
    /// The server is about to stop.
    Draining = "DRAINING", Unavailable, retry 1_000 ms;
    /// Something is wrong with the server itself; its log says what.
    Internal = "INTERNAL", Internal;
    /// The call carries no bearer token.
    TokenMissing = "TOKEN_MISSING", Unauthenticated;
    /// The call carries another token than the server's.
    TokenWrong = "TOKEN_WRONG", Unauthenticated;
}

impl Reason {
    /// What a single event of a batch can be refused for.
    pub const OF_EVENTS: [Self; 25] = [
        Self::Malformed,
        Self::UserIdMissing,
        Self::IdTooLong,
        Self::IdControlCharacter,
        Self::EventTypeMissing,
        Self::EventTypeTooLong,
        Self::EventTypeControlCharacter,
        Self::TooManyProperties,
        Self::PropertyNameMissing,
        Self::PropertyNameTooLong,
        Self::PropertyNameControlCharacter,
        Self::ValueMissing,
        Self::ValueTooLong,
        Self::NumberNotFinite,
        Self::NumberOutOfRange,
        Self::TimeInvalid,
        Self::TimeOutOfRange,
        Self::EventInFuture,
        Self::EventLate,
        Self::ArrivalTimeRefused,
        Self::ReplayStepTooLarge,
        Self::Overloaded,
        Self::StoreFailed,
        Self::NoSpace,
        Self::Draining,
    ];
}

/// Why the store takes nothing.
impl From<&store::Error> for Reason {
    fn from(error: &store::Error) -> Self {
        match error {
            store::Error::NoSpace => Self::NoSpace,
            _ => Self::StoreFailed,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_upper_snake() {
        let names: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), Reason::ALL.len());
        for name in names {
            assert!(name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_'), "{name}");
        }
    }

    /// `UPDATE_EXPECT=1 cargo test` writes the page anew.
    #[test]
    fn the_page_of_reasons_lists_each() {
        let mut page = "# Reasons

Whatever is refused says why in the same words: a call that fails as a whole in
`google.rpc.ErrorInfo.reason` of its status, one item of a batch in
`Rejection.reason`. Reasons are stable; messages are for people and may change.

| reason | gRPC code | try again | |
|---|---|---|---|
"
        .to_owned();
        for reason in Reason::ALL {
            let retry = reason
                .retry_after()
                .map_or_else(String::new, |after| format!("after {} ms", after.as_millis()));
            let (name, code, meaning) = (reason.name(), code_name(reason.code()), reason.meaning().trim());
            page += &format!("| `{name}` | `{code}` | {retry} | {meaning} |\n");
        }
        expect_test::expect_file!["../../docs/reasons.md"].assert_eq(&page);
    }

    /// `InvalidArgument` as `INVALID_ARGUMENT`.
    fn code_name(code: Code) -> String {
        let mut name = String::new();
        for letter in format!("{code:?}").chars() {
            if letter.is_uppercase() && !name.is_empty() {
                name.push('_');
            }
            name.push(letter.to_ascii_uppercase());
        }
        name
    }

    #[test]
    fn reasons_index_their_table() {
        for (index, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
        }
    }

    #[test]
    fn a_retry_helps_only_where_the_server_is_at_fault() {
        for reason in Reason::ALL.iter().filter(|reason| reason.retry_after().is_some()) {
            assert!(matches!(reason.code(), Code::ResourceExhausted | Code::Unavailable), "{reason:?}");
        }
    }
}
