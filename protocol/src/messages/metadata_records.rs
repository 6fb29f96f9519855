//! What the metadata log stores (KIP-631). A record's value is a frame version (1), the record's number and its
//! version, all unsigned varints, then the message. The numbers: broker 0, its end 1, topic 2, partition 3, config 4, partition change 5, remove topic 9,
//! SCRAM credential 11, feature level 12, client quota 14, producer ids 15, broker change 17, access control entry 18, its removal 19, the removal of a SCRAM
//! credential 22.
//!
//! Generated from `protocol/messages/metadata_records.msg` by `just generate`; not to be edited here.

use bytes::Bytes;

use crate::wire::{DecodeError, EncodeError, Message, Reader, Str, Uuid, Writer, readable, writable};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicRecord {
    pub name: Str,
    pub topic_id: Uuid,
}

impl Message for TopicRecord {
    const NAME: &'static str = "TopicRecord";
    const VERSIONS: (i16, i16) = (0, 0);

    fn is_flexible(version: i16) -> bool {
        version >= 0
    }

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        readable::<Self>(version)?;
        let this = Self { name: r.string(true)?, topic_id: r.uuid()? };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writable::<Self>(version)?;
        w.string(&self.name, true)?;
        w.uuid(self.topic_id);
        w.no_tagged_fields();
        Ok(())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionRecord {
    pub partition_id: i32,
    pub topic_id: Uuid,
    pub replicas: Vec<i32>,
    pub isr: Vec<i32>,
    pub removing_replicas: Vec<i32>,
    pub adding_replicas: Vec<i32>,
    pub leader: i32,
    pub leader_recovery_state: i8,
    pub leader_epoch: i32,
    pub partition_epoch: i32,
    /// Versions 1+.
    pub directories: Vec<Uuid>,
    /// Versions 2+, tagged 1.
    pub eligible_leader_replicas: Option<Vec<i32>>,
    /// Versions 2+, tagged 2.
    pub last_known_elr: Option<Vec<i32>>,
}

impl Default for PartitionRecord {
    fn default() -> Self {
        Self {
            partition_id: -1,
            topic_id: Uuid::nil(),
            replicas: Vec::new(),
            isr: Vec::new(),
            removing_replicas: Vec::new(),
            adding_replicas: Vec::new(),
            leader: -1,
            leader_recovery_state: 0,
            leader_epoch: -1,
            partition_epoch: -1,
            directories: Vec::new(),
            eligible_leader_replicas: None,
            last_known_elr: None,
        }
    }
}

impl Message for PartitionRecord {
    const NAME: &'static str = "PartitionRecord";
    const VERSIONS: (i16, i16) = (0, 2);

    fn is_flexible(version: i16) -> bool {
        version >= 0
    }

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        readable::<Self>(version)?;
        let mut this = Self {
            partition_id: r.i32()?,
            topic_id: r.uuid()?,
            replicas: r.array(true, 4, Reader::i32)?,
            isr: r.array(true, 4, Reader::i32)?,
            removing_replicas: r.array(true, 4, Reader::i32)?,
            adding_replicas: r.array(true, 4, Reader::i32)?,
            leader: r.i32()?,
            leader_recovery_state: 0,
            leader_epoch: r.i32()?,
            partition_epoch: r.i32()?,
            directories: if version >= 1 { r.array(true, 16, Reader::uuid)? } else { Vec::new() },
            eligible_leader_replicas: None,
            last_known_elr: None,
        };
        r.tagged_fields(|tag, r| {
            match tag {
                0 => this.leader_recovery_state = r.i8()?,
                1 if version >= 2 => {
                    this.eligible_leader_replicas = r.nullable_array(true, 4, Reader::i32)?
                }
                2 if version >= 2 => this.last_known_elr = r.nullable_array(true, 4, Reader::i32)?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writable::<Self>(version)?;
        w.i32(self.partition_id);
        w.uuid(self.topic_id);
        w.array(&self.replicas, true, |w, each| {
            w.i32(*each);
            Ok(())
        })?;
        w.array(&self.isr, true, |w, each| {
            w.i32(*each);
            Ok(())
        })?;
        w.array(&self.removing_replicas, true, |w, each| {
            w.i32(*each);
            Ok(())
        })?;
        w.array(&self.adding_replicas, true, |w, each| {
            w.i32(*each);
            Ok(())
        })?;
        w.i32(self.leader);
        w.i32(self.leader_epoch);
        w.i32(self.partition_epoch);
        if version >= 1 {
            w.array(&self.directories, true, |w, each| {
                w.uuid(*each);
                Ok(())
            })?;
        } else if !self.directories.is_empty() {
            return Err(EncodeError::FieldNotInVersion { field: "directories", version });
        }
        let has_leader_recovery_state = self.leader_recovery_state != 0;
        let has_eligible_leader_replicas = version >= 2 && self.eligible_leader_replicas.is_some();
        let has_last_known_elr = version >= 2 && self.last_known_elr.is_some();
        w.unsigned_varint(
            u32::from(has_leader_recovery_state)
                + u32::from(has_eligible_leader_replicas)
                + u32::from(has_last_known_elr),
        );
        if has_leader_recovery_state {
            w.tagged(0, |w| {
                w.i8(self.leader_recovery_state);
                Ok(())
            })?;
        }
        if has_eligible_leader_replicas {
            w.tagged(1, |w| {
                w.nullable_array(self.eligible_leader_replicas.as_deref(), true, |w, each| {
                    w.i32(*each);
                    Ok(())
                })
            })?;
        }
        if has_last_known_elr {
            w.tagged(2, |w| {
                w.nullable_array(self.last_known_elr.as_deref(), true, |w, each| {
                    w.i32(*each);
                    Ok(())
                })
            })?;
        }

        Ok(())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionChangeRecord {
    /// What is left out stays as it is.
    pub partition_id: i32,
    pub topic_id: Uuid,
    pub isr: Option<Vec<i32>>,
    /// -1 for nobody, -2 when it stays as it is.
    pub leader: i32,
    pub replicas: Option<Vec<i32>>,
    pub removing_replicas: Option<Vec<i32>>,
    pub adding_replicas: Option<Vec<i32>>,
    pub leader_recovery_state: i8,
    /// Versions 2+, tagged 6.
    pub eligible_leader_replicas: Option<Vec<i32>>,
    /// Versions 2+, tagged 7.
    pub last_known_elr: Option<Vec<i32>>,
    /// Versions 1+, tagged 8.
    pub directories: Option<Vec<Uuid>>,
}

impl Default for PartitionChangeRecord {
    fn default() -> Self {
        Self {
            partition_id: -1,
            topic_id: Uuid::nil(),
            isr: None,
            leader: -2,
            replicas: None,
            removing_replicas: None,
            adding_replicas: None,
            leader_recovery_state: -1,
            eligible_leader_replicas: None,
            last_known_elr: None,
            directories: None,
        }
    }
}

impl Message for PartitionChangeRecord {
    const NAME: &'static str = "PartitionChangeRecord";
    const VERSIONS: (i16, i16) = (0, 2);

    fn is_flexible(version: i16) -> bool {
        version >= 0
    }

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        readable::<Self>(version)?;
        let mut this = Self {
            partition_id: r.i32()?,
            topic_id: r.uuid()?,
            isr: None,
            leader: -2,
            replicas: None,
            removing_replicas: None,
            adding_replicas: None,
            leader_recovery_state: -1,
            eligible_leader_replicas: None,
            last_known_elr: None,
            directories: None,
        };
        r.tagged_fields(|tag, r| {
            match tag {
                0 => this.isr = r.nullable_array(true, 4, Reader::i32)?,
                1 => this.leader = r.i32()?,
                2 => this.replicas = r.nullable_array(true, 4, Reader::i32)?,
                3 => this.removing_replicas = r.nullable_array(true, 4, Reader::i32)?,
                4 => this.adding_replicas = r.nullable_array(true, 4, Reader::i32)?,
                5 => this.leader_recovery_state = r.i8()?,
                6 if version >= 2 => {
                    this.eligible_leader_replicas = r.nullable_array(true, 4, Reader::i32)?
                }
                7 if version >= 2 => this.last_known_elr = r.nullable_array(true, 4, Reader::i32)?,
                8 if version >= 1 => this.directories = r.nullable_array(true, 16, Reader::uuid)?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writable::<Self>(version)?;
        w.i32(self.partition_id);
        w.uuid(self.topic_id);
        let has_isr = self.isr.is_some();
        let has_leader = self.leader != -2;
        let has_replicas = self.replicas.is_some();
        let has_removing_replicas = self.removing_replicas.is_some();
        let has_adding_replicas = self.adding_replicas.is_some();
        let has_leader_recovery_state = self.leader_recovery_state != -1;
        let has_eligible_leader_replicas = version >= 2 && self.eligible_leader_replicas.is_some();
        let has_last_known_elr = version >= 2 && self.last_known_elr.is_some();
        let has_directories = version >= 1 && self.directories.is_some();
        w.unsigned_varint(
            u32::from(has_isr)
                + u32::from(has_leader)
                + u32::from(has_replicas)
                + u32::from(has_removing_replicas)
                + u32::from(has_adding_replicas)
                + u32::from(has_leader_recovery_state)
                + u32::from(has_eligible_leader_replicas)
                + u32::from(has_last_known_elr)
                + u32::from(has_directories),
        );
        if has_isr {
            w.tagged(0, |w| {
                w.nullable_array(self.isr.as_deref(), true, |w, each| {
                    w.i32(*each);
                    Ok(())
                })
            })?;
        }
        if has_leader {
            w.tagged(1, |w| {
                w.i32(self.leader);
                Ok(())
            })?;
        }
        if has_replicas {
            w.tagged(2, |w| {
                w.nullable_array(self.replicas.as_deref(), true, |w, each| {
                    w.i32(*each);
                    Ok(())
                })
            })?;
        }
        if has_removing_replicas {
            w.tagged(3, |w| {
                w.nullable_array(self.removing_replicas.as_deref(), true, |w, each| {
                    w.i32(*each);
                    Ok(())
                })
            })?;
        }
        if has_adding_replicas {
            w.tagged(4, |w| {
                w.nullable_array(self.adding_replicas.as_deref(), true, |w, each| {
                    w.i32(*each);
                    Ok(())
                })
            })?;
        }
        if has_leader_recovery_state {
            w.tagged(5, |w| {
                w.i8(self.leader_recovery_state);
                Ok(())
            })?;
        }
        if has_eligible_leader_replicas {
            w.tagged(6, |w| {
                w.nullable_array(self.eligible_leader_replicas.as_deref(), true, |w, each| {
                    w.i32(*each);
                    Ok(())
                })
            })?;
        }
        if has_last_known_elr {
            w.tagged(7, |w| {
                w.nullable_array(self.last_known_elr.as_deref(), true, |w, each| {
                    w.i32(*each);
                    Ok(())
                })
            })?;
        }
        if has_directories {
            w.tagged(8, |w| {
                w.nullable_array(self.directories.as_deref(), true, |w, each| {
                    w.uuid(*each);
                    Ok(())
                })
            })?;
        }

        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigRecord {
    pub resource_type: i8,
    pub resource_name: Str,
    pub name: Str,
    pub value: Option<Str>,
}

impl Message for ConfigRecord {
    const NAME: &'static str = "ConfigRecord";
    const VERSIONS: (i16, i16) = (0, 0);

    fn is_flexible(version: i16) -> bool {
        version >= 0
    }

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        readable::<Self>(version)?;
        let this = Self {
            resource_type: r.i8()?,
            resource_name: r.string(true)?,
            name: r.string(true)?,
            value: r.nullable_string(true)?,
        };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writable::<Self>(version)?;
        w.i8(self.resource_type);
        w.string(&self.resource_name, true)?;
        w.string(&self.name, true)?;
        w.nullable_string(self.value.as_ref(), true)?;
        w.no_tagged_fields();
        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RemoveTopicRecord {
    pub topic_id: Uuid,
}

impl Message for RemoveTopicRecord {
    const NAME: &'static str = "RemoveTopicRecord";
    const VERSIONS: (i16, i16) = (0, 0);

    fn is_flexible(version: i16) -> bool {
        version >= 0
    }

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        readable::<Self>(version)?;
        let this = Self { topic_id: r.uuid()? };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writable::<Self>(version)?;
        w.uuid(self.topic_id);
        w.no_tagged_fields();
        Ok(())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerIdsRecord {
    pub broker_id: i32,
    pub broker_epoch: i64,
    pub next_producer_id: i64,
}

impl Default for ProducerIdsRecord {
    fn default() -> Self {
        Self { broker_id: 0, broker_epoch: -1, next_producer_id: 0 }
    }
}

impl Message for ProducerIdsRecord {
    const NAME: &'static str = "ProducerIdsRecord";
    const VERSIONS: (i16, i16) = (0, 0);

    fn is_flexible(version: i16) -> bool {
        version >= 0
    }

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        readable::<Self>(version)?;
        let this = Self { broker_id: r.i32()?, broker_epoch: r.i64()?, next_producer_id: r.i64()? };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writable::<Self>(version)?;
        w.i32(self.broker_id);
        w.i64(self.broker_epoch);
        w.i64(self.next_producer_id);
        w.no_tagged_fields();
        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeatureLevelRecord {
    pub name: Str,
    /// 0: the feature is not used.
    pub feature_level: i16,
}

impl Message for FeatureLevelRecord {
    const NAME: &'static str = "FeatureLevelRecord";
    const VERSIONS: (i16, i16) = (0, 0);

    fn is_flexible(version: i16) -> bool {
        version >= 0
    }

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        readable::<Self>(version)?;
        let this = Self { name: r.string(true)?, feature_level: r.i16()? };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writable::<Self>(version)?;
        w.string(&self.name, true)?;
        w.i16(self.feature_level);
        w.no_tagged_fields();
        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserScramCredentialRecord {
    pub name: Str,
    /// 1: SCRAM-SHA-256; 2: SCRAM-SHA-512.
    pub mechanism: i8,
    pub salt: Bytes,
    pub stored_key: Bytes,
    pub server_key: Bytes,
    pub iterations: i32,
}

impl Message for UserScramCredentialRecord {
    const NAME: &'static str = "UserScramCredentialRecord";
    const VERSIONS: (i16, i16) = (0, 0);

    fn is_flexible(version: i16) -> bool {
        version >= 0
    }

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        readable::<Self>(version)?;
        let this = Self {
            name: r.string(true)?,
            mechanism: r.i8()?,
            salt: r.bytes(true)?,
            stored_key: r.bytes(true)?,
            server_key: r.bytes(true)?,
            iterations: r.i32()?,
        };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writable::<Self>(version)?;
        w.string(&self.name, true)?;
        w.i8(self.mechanism);
        w.bytes(&self.salt, true)?;
        w.bytes(&self.stored_key, true)?;
        w.bytes(&self.server_key, true)?;
        w.i32(self.iterations);
        w.no_tagged_fields();
        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RemoveUserScramCredentialRecord {
    pub name: Str,
    pub mechanism: i8,
}

impl Message for RemoveUserScramCredentialRecord {
    const NAME: &'static str = "RemoveUserScramCredentialRecord";
    const VERSIONS: (i16, i16) = (0, 0);

    fn is_flexible(version: i16) -> bool {
        version >= 0
    }

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        readable::<Self>(version)?;
        let this = Self { name: r.string(true)?, mechanism: r.i8()? };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writable::<Self>(version)?;
        w.string(&self.name, true)?;
        w.i8(self.mechanism);
        w.no_tagged_fields();
        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClientQuotaRecord {
    pub entity: Vec<EntityData>,
    pub key: Str,
    pub value: f64,
    pub remove: bool,
}

impl Message for ClientQuotaRecord {
    const NAME: &'static str = "ClientQuotaRecord";
    const VERSIONS: (i16, i16) = (0, 0);

    fn is_flexible(version: i16) -> bool {
        version >= 0
    }

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        readable::<Self>(version)?;
        let this = Self {
            entity: r.array(true, EntityData::BYTES_MIN, |r| EntityData::decode(r, version))?,
            key: r.string(true)?,
            value: r.f64()?,
            remove: r.bool()?,
        };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writable::<Self>(version)?;
        w.array(&self.entity, true, |w, each| each.encode(w, version))?;
        w.string(&self.key, true)?;
        w.f64(self.value);
        w.bool(self.remove);
        w.no_tagged_fields();
        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntityData {
    pub entity_type: Str,
    /// Null: the default.
    pub entity_name: Option<Str>,
}

impl EntityData {
    /// The fewest bytes it takes on the wire in any version.
    const BYTES_MIN: usize = 3;

    fn decode(r: &mut Reader, _version: i16) -> Result<Self, DecodeError> {
        let this = Self { entity_type: r.string(true)?, entity_name: r.nullable_string(true)? };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, _version: i16) -> Result<(), EncodeError> {
        w.string(&self.entity_type, true)?;
        w.nullable_string(self.entity_name.as_ref(), true)?;
        w.no_tagged_fields();
        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessControlEntryRecord {
    pub id: Uuid,
    pub resource_type: i8,
    pub resource_name: Str,
    pub pattern_type: i8,
    pub principal: Str,
    pub host: Str,
    pub operation: i8,
    pub permission_type: i8,
}

impl Message for AccessControlEntryRecord {
    const NAME: &'static str = "AccessControlEntryRecord";
    const VERSIONS: (i16, i16) = (0, 0);

    fn is_flexible(version: i16) -> bool {
        version >= 0
    }

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        readable::<Self>(version)?;
        let this = Self {
            id: r.uuid()?,
            resource_type: r.i8()?,
            resource_name: r.string(true)?,
            pattern_type: r.i8()?,
            principal: r.string(true)?,
            host: r.string(true)?,
            operation: r.i8()?,
            permission_type: r.i8()?,
        };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writable::<Self>(version)?;
        w.uuid(self.id);
        w.i8(self.resource_type);
        w.string(&self.resource_name, true)?;
        w.i8(self.pattern_type);
        w.string(&self.principal, true)?;
        w.string(&self.host, true)?;
        w.i8(self.operation);
        w.i8(self.permission_type);
        w.no_tagged_fields();
        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RemoveAccessControlEntryRecord {
    pub id: Uuid,
}

impl Message for RemoveAccessControlEntryRecord {
    const NAME: &'static str = "RemoveAccessControlEntryRecord";
    const VERSIONS: (i16, i16) = (0, 0);

    fn is_flexible(version: i16) -> bool {
        version >= 0
    }

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        readable::<Self>(version)?;
        let this = Self { id: r.uuid()? };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writable::<Self>(version)?;
        w.uuid(self.id);
        w.no_tagged_fields();
        Ok(())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisterBrokerRecord {
    /// A broker is there, fenced or not.
    pub broker_id: i32,
    /// Versions 2+.
    pub is_migrating_zk_broker: bool,
    pub incarnation_id: Uuid,
    pub broker_epoch: i64,
    pub end_points: Vec<BrokerEndpoint>,
    pub features: Vec<BrokerFeature>,
    pub rack: Option<Str>,
    pub fenced: bool,
    /// Versions 1+.
    pub in_controlled_shutdown: bool,
    /// Versions 3+, tagged 0.
    pub log_dirs: Vec<Uuid>,
}

impl Default for RegisterBrokerRecord {
    fn default() -> Self {
        Self {
            broker_id: 0,
            is_migrating_zk_broker: false,
            incarnation_id: Uuid::nil(),
            broker_epoch: 0,
            end_points: Vec::new(),
            features: Vec::new(),
            rack: None,
            fenced: true,
            in_controlled_shutdown: false,
            log_dirs: Vec::new(),
        }
    }
}

impl Message for RegisterBrokerRecord {
    const NAME: &'static str = "RegisterBrokerRecord";
    const VERSIONS: (i16, i16) = (0, 3);

    fn is_flexible(version: i16) -> bool {
        version >= 0
    }

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        readable::<Self>(version)?;
        let mut this = Self {
            broker_id: r.i32()?,
            is_migrating_zk_broker: if version >= 2 { r.bool()? } else { false },
            incarnation_id: r.uuid()?,
            broker_epoch: r.i64()?,
            end_points: r.array(true, BrokerEndpoint::BYTES_MIN, |r| BrokerEndpoint::decode(r, version))?,
            features: r.array(true, BrokerFeature::BYTES_MIN, |r| BrokerFeature::decode(r, version))?,
            rack: r.nullable_string(true)?,
            fenced: r.bool()?,
            in_controlled_shutdown: if version >= 1 { r.bool()? } else { false },
            log_dirs: Vec::new(),
        };
        r.tagged_fields(|tag, r| {
            match tag {
                0 if version >= 3 => this.log_dirs = r.array(true, 16, Reader::uuid)?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writable::<Self>(version)?;
        w.i32(self.broker_id);
        if version >= 2 {
            w.bool(self.is_migrating_zk_broker);
        } else if self.is_migrating_zk_broker {
            return Err(EncodeError::FieldNotInVersion { field: "is_migrating_zk_broker", version });
        }
        w.uuid(self.incarnation_id);
        w.i64(self.broker_epoch);
        w.array(&self.end_points, true, |w, each| each.encode(w, version))?;
        w.array(&self.features, true, |w, each| each.encode(w, version))?;
        w.nullable_string(self.rack.as_ref(), true)?;
        w.bool(self.fenced);
        if version >= 1 {
            w.bool(self.in_controlled_shutdown);
        } else if self.in_controlled_shutdown {
            return Err(EncodeError::FieldNotInVersion { field: "in_controlled_shutdown", version });
        }
        let has_log_dirs = version >= 3 && !self.log_dirs.is_empty();
        w.unsigned_varint(u32::from(has_log_dirs));
        if has_log_dirs {
            w.tagged(0, |w| {
                w.array(&self.log_dirs, true, |w, each| {
                    w.uuid(*each);
                    Ok(())
                })
            })?;
        }

        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BrokerEndpoint {
    pub name: Str,
    pub host: Str,
    pub port: u16,
    pub security_protocol: i16,
}

impl BrokerEndpoint {
    /// The fewest bytes it takes on the wire in any version.
    const BYTES_MIN: usize = 7;

    fn decode(r: &mut Reader, _version: i16) -> Result<Self, DecodeError> {
        let this = Self {
            name: r.string(true)?,
            host: r.string(true)?,
            port: r.u16()?,
            security_protocol: r.i16()?,
        };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, _version: i16) -> Result<(), EncodeError> {
        w.string(&self.name, true)?;
        w.string(&self.host, true)?;
        w.u16(self.port);
        w.i16(self.security_protocol);
        w.no_tagged_fields();
        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BrokerFeature {
    pub name: Str,
    pub min_supported_version: i16,
    pub max_supported_version: i16,
}

impl BrokerFeature {
    /// The fewest bytes it takes on the wire in any version.
    const BYTES_MIN: usize = 6;

    fn decode(r: &mut Reader, _version: i16) -> Result<Self, DecodeError> {
        let this =
            Self { name: r.string(true)?, min_supported_version: r.i16()?, max_supported_version: r.i16()? };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, _version: i16) -> Result<(), EncodeError> {
        w.string(&self.name, true)?;
        w.i16(self.min_supported_version);
        w.i16(self.max_supported_version);
        w.no_tagged_fields();
        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnregisterBrokerRecord {
    /// A broker is there no more.
    pub broker_id: i32,
    pub broker_epoch: i64,
}

impl Message for UnregisterBrokerRecord {
    const NAME: &'static str = "UnregisterBrokerRecord";
    const VERSIONS: (i16, i16) = (0, 0);

    fn is_flexible(version: i16) -> bool {
        version >= 0
    }

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        readable::<Self>(version)?;
        let this = Self { broker_id: r.i32()?, broker_epoch: r.i64()? };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writable::<Self>(version)?;
        w.i32(self.broker_id);
        w.i64(self.broker_epoch);
        w.no_tagged_fields();
        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BrokerRegistrationChangeRecord {
    /// What is left out stays as it is.
    pub broker_id: i32,
    pub broker_epoch: i64,
    /// 1: fenced from now on; -1: not any more.
    pub fenced: i8,
    /// Versions 1+, tagged 1.
    pub in_controlled_shutdown: i8,
    /// Versions 2+, tagged 2.
    pub log_dirs: Vec<Uuid>,
}

impl Message for BrokerRegistrationChangeRecord {
    const NAME: &'static str = "BrokerRegistrationChangeRecord";
    const VERSIONS: (i16, i16) = (0, 2);

    fn is_flexible(version: i16) -> bool {
        version >= 0
    }

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        readable::<Self>(version)?;
        let mut this = Self {
            broker_id: r.i32()?,
            broker_epoch: r.i64()?,
            fenced: 0,
            in_controlled_shutdown: 0,
            log_dirs: Vec::new(),
        };
        r.tagged_fields(|tag, r| {
            match tag {
                0 => this.fenced = r.i8()?,
                1 if version >= 1 => this.in_controlled_shutdown = r.i8()?,
                2 if version >= 2 => this.log_dirs = r.array(true, 16, Reader::uuid)?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writable::<Self>(version)?;
        w.i32(self.broker_id);
        w.i64(self.broker_epoch);
        let has_fenced = self.fenced != 0;
        let has_in_controlled_shutdown = version >= 1 && self.in_controlled_shutdown != 0;
        let has_log_dirs = version >= 2 && !self.log_dirs.is_empty();
        w.unsigned_varint(
            u32::from(has_fenced) + u32::from(has_in_controlled_shutdown) + u32::from(has_log_dirs),
        );
        if has_fenced {
            w.tagged(0, |w| {
                w.i8(self.fenced);
                Ok(())
            })?;
        }
        if has_in_controlled_shutdown {
            w.tagged(1, |w| {
                w.i8(self.in_controlled_shutdown);
                Ok(())
            })?;
        }
        if has_log_dirs {
            w.tagged(2, |w| {
                w.array(&self.log_dirs, true, |w, each| {
                    w.uuid(*each);
                    Ok(())
                })
            })?;
        }

        Ok(())
    }
}
