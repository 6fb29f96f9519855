//! What a quorum writes of itself into its log and its snapshots, as the values of control records: KIP-595, KIP-853.
//!
//! Generated from `protocol/messages/quorum_records.msg` by `just generate`; not to be edited here.

use crate::wire::{DecodeError, EncodeError, Message, Reader, Str, Uuid, Writer, readable, writable};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaderChangeMessage {
    /// Who leads from here on.
    pub version: i16,
    pub leader_id: i32,
    pub voters: Vec<Voter>,
    /// Who voted for it.
    pub granting_voters: Vec<Voter>,
}

impl Message for LeaderChangeMessage {
    const NAME: &'static str = "LeaderChangeMessage";
    const VERSIONS: (i16, i16) = (0, 1);

    fn is_flexible(version: i16) -> bool {
        version >= 0
    }

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        readable::<Self>(version)?;
        let this = Self {
            version: r.i16()?,
            leader_id: r.i32()?,
            voters: r.array(true, Voter::BYTES_MIN, |r| Voter::decode(r, version))?,
            granting_voters: r.array(true, Voter::BYTES_MIN, |r| Voter::decode(r, version))?,
        };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writable::<Self>(version)?;
        w.i16(self.version);
        w.i32(self.leader_id);
        w.array(&self.voters, true, |w, each| each.encode(w, version))?;
        w.array(&self.granting_voters, true, |w, each| each.encode(w, version))?;
        w.no_tagged_fields();
        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Voter {
    pub voter_id: i32,
    /// Versions 1+.
    pub voter_directory_id: Uuid,
}

impl Voter {
    /// The fewest bytes it takes on the wire in any version.
    const BYTES_MIN: usize = 5;

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let this = Self {
            voter_id: r.i32()?,
            voter_directory_id: if version >= 1 { r.uuid()? } else { Uuid::nil() },
        };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        w.i32(self.voter_id);
        if version >= 1 {
            w.uuid(self.voter_directory_id);
        } else if !self.voter_directory_id.is_nil() {
            return Err(EncodeError::FieldNotInVersion { field: "voter_directory_id", version });
        }
        w.no_tagged_fields();
        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KRaftVersionRecord {
    /// The version of the quorum's protocol: 1 where voters have directories.
    pub version: i16,
    pub k_raft_version: i16,
}

impl Message for KRaftVersionRecord {
    const NAME: &'static str = "KRaftVersionRecord";
    const VERSIONS: (i16, i16) = (0, 0);

    fn is_flexible(version: i16) -> bool {
        version >= 0
    }

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        readable::<Self>(version)?;
        let this = Self { version: r.i16()?, k_raft_version: r.i16()? };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writable::<Self>(version)?;
        w.i16(self.version);
        w.i16(self.k_raft_version);
        w.no_tagged_fields();
        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VotersRecord {
    /// Who votes.
    pub version: i16,
    pub voters: Vec<RecordedVoter>,
}

impl Message for VotersRecord {
    const NAME: &'static str = "VotersRecord";
    const VERSIONS: (i16, i16) = (0, 0);

    fn is_flexible(version: i16) -> bool {
        version >= 0
    }

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        readable::<Self>(version)?;
        let this = Self {
            version: r.i16()?,
            voters: r.array(true, RecordedVoter::BYTES_MIN, |r| RecordedVoter::decode(r, version))?,
        };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writable::<Self>(version)?;
        w.i16(self.version);
        w.array(&self.voters, true, |w, each| each.encode(w, version))?;
        w.no_tagged_fields();
        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordedVoter {
    pub voter_id: i32,
    pub voter_directory_id: Uuid,
    pub endpoints: Vec<VoterEndpoint>,
    pub k_raft_version_feature: KRaftVersionFeature,
}

impl RecordedVoter {
    /// The fewest bytes it takes on the wire in any version.
    const BYTES_MIN: usize = 27;

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let this = Self {
            voter_id: r.i32()?,
            voter_directory_id: r.uuid()?,
            endpoints: r.array(true, VoterEndpoint::BYTES_MIN, |r| VoterEndpoint::decode(r, version))?,
            k_raft_version_feature: KRaftVersionFeature::decode(r, version)?,
        };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        w.i32(self.voter_id);
        w.uuid(self.voter_directory_id);
        w.array(&self.endpoints, true, |w, each| each.encode(w, version))?;
        self.k_raft_version_feature.encode(w, version)?;
        w.no_tagged_fields();
        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VoterEndpoint {
    pub name: Str,
    pub host: Str,
    pub port: u16,
}

impl VoterEndpoint {
    /// The fewest bytes it takes on the wire in any version.
    const BYTES_MIN: usize = 5;

    fn decode(r: &mut Reader, _version: i16) -> Result<Self, DecodeError> {
        let this = Self { name: r.string(true)?, host: r.string(true)?, port: r.u16()? };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, _version: i16) -> Result<(), EncodeError> {
        w.string(&self.name, true)?;
        w.string(&self.host, true)?;
        w.u16(self.port);
        w.no_tagged_fields();
        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KRaftVersionFeature {
    pub min_supported_version: i16,
    pub max_supported_version: i16,
}

impl KRaftVersionFeature {
    fn decode(r: &mut Reader, _version: i16) -> Result<Self, DecodeError> {
        let this = Self { min_supported_version: r.i16()?, max_supported_version: r.i16()? };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, _version: i16) -> Result<(), EncodeError> {
        w.i16(self.min_supported_version);
        w.i16(self.max_supported_version);
        w.no_tagged_fields();
        Ok(())
    }
}
