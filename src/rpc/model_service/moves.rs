//! Moves of aliases, as calls ask for them and as the history tells them.

use super::{Models, note};
use crate::deploy::{Deployer, Target};
use crate::proto::v1;
use crate::registry::{Alias, Change, Move};
use crate::rpc::convert::timestamp;
use crate::rpc::error::Refusal;
use crate::rpc::page;
use crate::rpc::reason::Reason;

impl Models {
    pub(super) async fn set(&self, request: v1::SetAliasRequest) -> Result<Option<Move>, Refusal> {
        let alias = match request.alias() {
            v1::ModelAlias::Stable => Alias::Stable,
            v1::ModelAlias::Canary => Alias::Canary,
            v1::ModelAlias::Shadow => Alias::Shadow,
            v1::ModelAlias::Unspecified => {
                return Err(Refusal::of_field(Reason::AliasInvalid, "alias", "not set, or not one of ours"));
            }
        };
        let v1::SetAliasRequest { name, version, percent, expected_version, who, why, .. } = request;
        let target = Target { alias, version: some(version), percent };
        let expected = expected_version.map(some);
        let set = move |deployer: &Deployer, note| deployer.set_alias(&name, target, expected, note);
        self.change(note(who, why), set).await
    }

    pub(super) fn history(
        &self,
        request: &v1::ModelHistoryRequest,
    ) -> Result<v1::ModelHistoryResponse, Refusal> {
        let size = page::size(request.page_size)?;
        let before = match request.page_token.as_str() {
            "" => u64::MAX,
            token => token.parse().map_err(|_| page::bad_token())?,
        };
        let entry = self.entry(&request.name)?;
        let mut wanted = entry.rollout.history.iter().rev().filter(|earlier| earlier.number < before);
        let moves: Vec<_> = wanted.by_ref().take(size).map(to_wire).collect();
        let next_page_token = match (wanted.next(), moves.last()) {
            (Some(_), Some(last)) => last.number.to_string(),
            _ => String::new(),
        };
        Ok(v1::ModelHistoryResponse { moves, next_page_token })
    }
}

pub(super) fn to_wire(done: &Move) -> v1::ModelMove {
    use v1::ModelMoveKind as Kind;

    let (kind, alias, percent) = match &done.change {
        Change::Started { .. } => (Kind::Started, Some(Alias::Stable), None),
        Change::Loaded { .. } => (Kind::Loaded, None, None),
        Change::Unloaded { .. } => (Kind::Unloaded, None, None),
        Change::Aliased { alias, percent, .. } => (Kind::Aliased, Some(*alias), *percent),
        Change::RolledBack { .. } => (Kind::RolledBack, Some(Alias::Stable), None),
    };
    let alias = match alias {
        None => v1::ModelAlias::Unspecified,
        Some(Alias::Stable) => v1::ModelAlias::Stable,
        Some(Alias::Canary) => v1::ModelAlias::Canary,
        Some(Alias::Shadow) => v1::ModelAlias::Shadow,
    };
    let (from, to) = done.change.versions();
    v1::ModelMove {
        number: done.number,
        time: Some(timestamp(done.at)),
        who: done.who.clone(),
        why: done.why.clone(),
        kind: kind.into(),
        alias: alias.into(),
        from_version: from.unwrap_or_default(),
        to_version: to.unwrap_or_default(),
        percent,
    }
}

/// A version on the wire: zero is none.
fn some(version: u32) -> Option<u32> {
    (version > 0).then_some(version)
}
