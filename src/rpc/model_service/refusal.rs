//! Why a model is refused, as callers are told: one table.

use crate::delivery::CursorError;
use crate::deploy;
use crate::onnx;
use crate::registry;
use crate::rpc::error::Refusal;
use crate::rpc::reason::Reason;

impl From<deploy::Error> for Refusal {
    fn from(error: deploy::Error) -> Self {
        let (reason, field) = match &error {
            deploy::Error::Refused(refused) => (reason_of(refused), field_of(refused)),
            deploy::Error::UploadUnderWay => (Reason::UploadUnderWay, ""),
            deploy::Error::NotLoaded { .. } => (Reason::ModelUnknown, "version"),
            deploy::Error::InUse { .. } | deploy::Error::KeptForRollback { .. } => (Reason::ModelInUse, ""),
            deploy::Error::Moved { .. } => (Reason::AliasMoved, ""),
            deploy::Error::Alias(_) => (Reason::AliasInvalid, ""),
            deploy::Error::NoPrevious { .. } => (Reason::NoPreviousVersion, ""),
            deploy::Error::Record(CursorError::Store(failed)) => (failed.into(), ""),
            deploy::Error::Record(CursorError::TooMany { .. }) => (Reason::Internal, ""),
        };
        if field.is_empty() { Self::new(reason, error) } else { Self::of_field(reason, field, error) }
    }
}

fn reason_of(error: &registry::Error) -> Reason {
    use registry::Error;

    match error {
        Error::BadName { .. }
        | Error::UnknownModel { .. }
        | Error::NoArtifact
        | Error::NotAVersion { .. } => Reason::ModelUnknown,
        Error::UnknownVersion { .. } => Reason::ModelUnknown,
        Error::VersionTaken { .. } => Reason::ModelVersionTaken,
        Error::SentTwice { .. } | Error::EmptyPart { .. } => Reason::UploadInvalid,
        Error::TooManyFiles
        | Error::TooManyVersions
        | Error::ArtifactTooLarge { .. }
        | Error::TooLarge { .. } => Reason::ModelTooLarge,
        Error::Io { .. } => Reason::ModelDirectoryFailed,
        Error::BadFileName { .. } => Reason::FileNameInvalid,
        Error::NotPublished
        | Error::NotAFile { .. }
        | Error::NotListed { .. }
        | Error::NotSent { .. }
        | Error::WrongSize { .. }
        | Error::WrongChecksum { .. } => Reason::ModelFileWrong,
        Error::Misplaced { .. } => Reason::ModelMisplaced,
        Error::DuplicateFeature { .. }
        | Error::WrongFeaturesDigest
        | Error::UnknownFeature { .. }
        | Error::FeatureChanged { .. }
        | Error::TextFeature { .. } => Reason::ModelFeaturesDiffer,
        Error::OtherLabel { .. } | Error::LabelChanged { .. } => Reason::ModelLabelDiffers,
        Error::GoldenShape { .. } | Error::GoldenMismatch { .. } => Reason::ModelGoldenMismatch,
        Error::Network(
            onnx::Error::NoLibrary { .. } | onnx::Error::Library { .. } | onnx::Error::OtherLibrary { .. },
        ) => Reason::ModelRuntimeMissing,
        // What is left is about the content of the manifest and the model file.
        _ => Reason::ModelMalformed,
    }
}

/// The field at fault; empty if it is not one alone.
fn field_of(error: &registry::Error) -> &'static str {
    match error {
        registry::Error::EmptyPart { .. } => "chunk.data",
        _ => "",
    }
}
