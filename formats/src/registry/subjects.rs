//! Subjects, their versions, and what is configured of them: what the records of `_schemas` say (pure).
//!
//! `apply` is the only mutator and takes whatever is in the topic, also from another registry; what may be written is
//! decided in `decide.rs`.

use std::collections::{BTreeMap, BTreeSet};

use super::compatibility::{CompatibilityLevel, Earlier};
use super::error::RegistryError;
use super::parsed::{ParsedSchema, identity};
use super::records::{Mode, Reference, SchemaRecord, SchemaValue};

/// How many schemas one schema may refer to, the indirect ones too.
const REFERENCES_MAX: usize = 200;

/// A schema by its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSchema {
    pub schema_type: String,
    pub references: Vec<Reference>,
    pub text: String,
}

/// A version of a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    pub id: i32,
    /// Deleted, but not for good: it can still be found by its id.
    pub is_deleted: bool,
}

/// Which versions a question is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Which {
    #[default]
    Live,
    WithDeleted,
    DeletedOnly,
}

impl Which {
    /// Whether a version is one of these.
    #[must_use]
    pub fn takes(self, version: Version) -> bool {
        match self {
            Which::Live => !version.is_deleted,
            Which::WithDeleted => true,
            Which::DeletedOnly => version.is_deleted,
        }
    }
}

/// A version as somebody names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionName {
    Latest,
    Number(i32),
}

impl VersionName {
    /// Reads `latest`, `-1` or a number from 1 on.
    ///
    /// # Errors
    /// [`RegistryError::InvalidVersion`].
    pub fn parse(text: &str) -> Result<VersionName, RegistryError> {
        match (text, text.parse()) {
            ("latest" | "-1", _) => Ok(VersionName::Latest),
            (_, Ok(number)) if number > 0 => Ok(VersionName::Number(number)),
            _ => Err(RegistryError::InvalidVersion(text.to_owned())),
        }
    }
}

type SubjectName = String;

/// Everything that the topic says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Subjects {
    pub(super) subjects: BTreeMap<SubjectName, BTreeMap<i32, Version>>,
    schemas: BTreeMap<i32, StoredSchema>,
    /// Where each schema is a version.
    places: BTreeMap<i32, BTreeSet<(SubjectName, i32)>>,
    ids: BTreeMap<SchemaIdentity, i32>,
    /// No id up to this one is given again.
    last_id: i32,
    /// By subject; none stands for all of them.
    pub(super) levels: BTreeMap<Option<SubjectName>, CompatibilityLevel>,
    pub(super) modes: BTreeMap<Option<SubjectName>, Mode>,
}

/// What makes two schemas the same one.
type SchemaIdentity = (String, String, Vec<Reference>);

fn identity_of(schema: &StoredSchema) -> SchemaIdentity {
    (schema.schema_type.clone(), identity(&schema.schema_type, &schema.text), schema.references.clone())
}

impl Subjects {
    /// Takes a record of the topic.
    pub fn apply(&mut self, record: SchemaRecord) {
        match record {
            SchemaRecord::Schema { subject, version, value } => self.apply_schema(subject, version, value),
            SchemaRecord::DeleteSubject { subject, through } => {
                let versions = self.subjects.entry(subject).or_default();
                versions.range_mut(..=through).for_each(|(_, version)| version.is_deleted = true);
            }
            SchemaRecord::ClearSubject { subject } => {
                let versions = self.subjects.get(&subject).into_iter().flatten();
                let gone: Vec<i32> =
                    versions.filter(|(_, version)| version.is_deleted).map(|(number, _)| *number).collect();
                for version in gone {
                    self.apply_schema(subject.clone(), version, None);
                }
            }
            SchemaRecord::Config { subject, level: Some(level) } => drop(self.levels.insert(subject, level)),
            SchemaRecord::Config { subject, level: None } => drop(self.levels.remove(&subject)),
            SchemaRecord::Mode { subject, mode: Some(mode) } => drop(self.modes.insert(subject, mode)),
            SchemaRecord::Mode { subject, mode: None } => drop(self.modes.remove(&subject)),
            SchemaRecord::LastId { id } => self.last_id = self.last_id.max(id),
        }
        self.subjects.retain(|_, versions| !versions.is_empty());
    }

    fn apply_schema(&mut self, subject: SubjectName, version: i32, value: Option<SchemaValue>) {
        let versions = self.subjects.entry(subject.clone()).or_default();
        if let Some(Version { id, .. }) = versions.remove(&version) {
            self.leave(id, &(subject.clone(), version));
        }
        let Some(value) = value else { return };
        let SchemaValue { id, schema_type, references, text, is_deleted } = value;
        self.last_id = self.last_id.max(id);
        self.subjects.entry(subject.clone()).or_default().insert(version, Version { id, is_deleted });
        self.places.entry(id).or_default().insert((subject, version));
        let schema = StoredSchema { schema_type, references, text };
        // Another registry may have written another schema under the id; the later one counts, as there.
        if let Some(before) = self.schemas.get(&id)
            && *before != schema
        {
            self.ids.remove(&identity_of(before));
        }
        self.ids.entry(identity_of(&schema)).or_insert(id);
        self.schemas.insert(id, schema);
    }

    /// A version does not have this schema any more.
    fn leave(&mut self, id: i32, place: &(SubjectName, i32)) {
        let Some(places) = self.places.get_mut(&id) else { return };
        places.remove(place);
        if places.is_empty() {
            self.places.remove(&id);
            if let Some(schema) = self.schemas.remove(&id) {
                let identity = identity_of(&schema);
                if self.ids.get(&identity) == Some(&id) {
                    self.ids.remove(&identity);
                }
            }
        }
    }

    /// The highest id that was ever given.
    #[must_use]
    pub fn last_id(&self) -> i32 {
        self.last_id
    }

    /// Subjects that have such versions, by name.
    pub fn names(&self, which: Which) -> impl Iterator<Item = &str> {
        let has_one = move |versions: &BTreeMap<i32, Version>| match which {
            // One that has a version left is not deleted.
            Which::DeletedOnly => versions.values().all(|version| version.is_deleted),
            _ => versions.values().any(|version| which.takes(*version)),
        };
        self.subjects.iter().filter(move |(_, versions)| has_one(versions)).map(|(name, _)| name.as_str())
    }

    /// The versions of a subject, the oldest first.
    ///
    /// # Errors
    /// [`RegistryError::SubjectNotFound`] when it has none of these.
    pub fn versions(&self, subject: &str, which: Which) -> Result<Vec<(i32, Version)>, RegistryError> {
        let versions = self.subjects.get(subject).into_iter().flatten();
        let found: Vec<(i32, Version)> = versions
            .filter(|(_, version)| which.takes(**version))
            .map(|(number, version)| (*number, *version))
            .collect();
        match found.is_empty() {
            true => Err(RegistryError::SubjectNotFound(subject.to_owned())),
            false => Ok(found),
        }
    }

    /// One version of a subject.
    ///
    /// # Errors
    /// [`RegistryError::SubjectNotFound`], [`RegistryError::VersionNotFound`].
    pub fn version(
        &self,
        subject: &str,
        name: VersionName,
        which: Which,
    ) -> Result<(i32, Version), RegistryError> {
        // A subject all of whose versions are deleted is not found, whatever version is asked for.
        let versions = self.versions(subject, which)?;
        match name {
            VersionName::Latest => {
                versions.last().copied().ok_or_else(|| RegistryError::SubjectNotFound(subject.to_owned()))
            }
            VersionName::Number(number) => versions
                .into_iter()
                .find(|(found, _)| *found == number)
                .ok_or_else(|| RegistryError::VersionNotFound(number.to_string())),
        }
    }

    /// A schema by its id.
    ///
    /// # Errors
    /// [`RegistryError::SchemaIdNotFound`].
    pub fn schema(&self, id: i32) -> Result<&StoredSchema, RegistryError> {
        self.schemas.get(&id).ok_or(RegistryError::SchemaIdNotFound(id))
    }

    /// Where a schema is a version.
    ///
    /// # Errors
    /// [`RegistryError::SchemaIdNotFound`].
    pub fn places(&self, id: i32, which: Which) -> Result<Vec<(&str, i32)>, RegistryError> {
        let places = self.places.get(&id).ok_or(RegistryError::SchemaIdNotFound(id))?;
        let is_taken = |(subject, number): &&(SubjectName, i32)| {
            self.subjects
                .get(subject)
                .and_then(|versions| versions.get(number))
                .is_some_and(|v| which.takes(*v))
        };
        Ok(places.iter().filter(is_taken).map(|(subject, number)| (subject.as_str(), *number)).collect())
    }

    /// The id of the same schema, wherever it is a version.
    #[must_use]
    pub fn id_of(&self, schema: &StoredSchema) -> Option<i32> {
        self.ids.get(&identity_of(schema)).copied()
    }

    /// The newest version of a subject that has the same schema.
    #[must_use]
    pub fn version_of(&self, subject: &str, schema: &StoredSchema, which: Which) -> Option<(i32, Version)> {
        let wanted = identity_of(schema);
        let versions = self.subjects.get(subject)?;
        versions.iter().rev().map(|(number, version)| (*number, *version)).find(|(_, version)| {
            which.takes(*version)
                && self.schemas.get(&version.id).is_some_and(|found| identity_of(found) == wanted)
        })
    }

    /// Ids of the schemas that refer to a version.
    #[must_use]
    pub fn referenced_by(&self, subject: &str, version: i32) -> Vec<i32> {
        let refers = |schema: &StoredSchema| {
            schema.references.iter().any(|it| it.subject == subject && it.version == version)
        };
        let is_live = |id: &i32| self.places(*id, Which::Live).is_ok_and(|places| !places.is_empty());
        self.schemas.iter().filter(|(id, schema)| refers(schema) && is_live(id)).map(|(id, _)| *id).collect()
    }

    /// The level of a subject, its own or that of all.
    #[must_use]
    pub fn level(&self, subject: Option<&str>) -> CompatibilityLevel {
        let own = subject.and_then(|subject| self.own_level(Some(subject)));
        own.or_else(|| self.own_level(None)).unwrap_or(CompatibilityLevel::DEFAULT)
    }

    /// The level that was set for a subject, or for all.
    #[must_use]
    pub fn own_level(&self, subject: Option<&str>) -> Option<CompatibilityLevel> {
        self.levels.get(&subject.map(str::to_owned)).copied()
    }

    /// The mode of a subject, its own or that of all.
    #[must_use]
    pub fn mode(&self, subject: Option<&str>) -> Mode {
        let of_all = self.own_mode(None).unwrap_or(Mode::ReadWrite);
        let own = subject.and_then(|subject| self.own_mode(Some(subject)));
        if of_all == Mode::ReadOnlyOverride { of_all } else { own.unwrap_or(of_all) }
    }

    /// The mode that was set for a subject, or for all.
    #[must_use]
    pub fn own_mode(&self, subject: Option<&str>) -> Option<Mode> {
        self.modes.get(&subject.map(str::to_owned)).copied()
    }

    /// Reads a schema with those that it refers to.
    ///
    /// # Errors
    /// A sentence with what is wrong.
    pub fn parse(&self, schema: &StoredSchema) -> Result<ParsedSchema, String> {
        let mut found: Vec<(&str, &str)> = Vec::new();
        let mut seen = BTreeSet::new();
        self.collect(&schema.references, &mut seen, &mut found, 0)?;
        ParsedSchema::parse(&schema.schema_type, &schema.text, &found)
    }

    fn collect<'a>(
        &'a self,
        references: &'a [Reference],
        seen: &mut BTreeSet<(&'a str, i32)>,
        found: &mut Vec<(&'a str, &'a str)>,
        depth: usize,
    ) -> Result<(), String> {
        if seen.len() > REFERENCES_MAX || depth > REFERENCES_MAX {
            return Err(format!("it refers to more than {REFERENCES_MAX} schemas"));
        }
        for Reference { name, subject, version } in references {
            if !seen.insert((subject, *version)) {
                continue;
            }
            let place = if *version == -1 { VersionName::Latest } else { VersionName::Number(*version) };
            let schema = self
                .version(subject, place, Which::WithDeleted)
                .ok()
                .and_then(|(_, version)| self.schemas.get(&version.id))
                .ok_or_else(|| {
                    format!("No schema reference found for subject \"{subject}\" and version {version}")
                })?;
            self.collect(&schema.references, seen, found, depth + 1)?;
            found.push((name, &schema.text));
        }
        Ok(())
    }

    /// The live versions of a subject as something to compare with, the oldest first.
    #[must_use]
    pub fn earlier(&self, subject: &str, only: Option<i32>) -> Vec<Earlier> {
        let versions = self.versions(subject, Which::Live).unwrap_or_default();
        let wanted = versions.into_iter().filter(|(number, _)| only.is_none_or(|only| only == *number));
        let found = wanted.filter_map(|(version, Version { id, .. })| {
            let schema = self.schemas.get(&id)?;
            Some(Earlier { version, text: schema.text.clone(), parsed: self.parse(schema) })
        });
        found.collect()
    }

    /// What always holds; a failure is a defect of this file.
    #[cfg(test)]
    pub fn invariants(&self) {
        for (subject, versions) in &self.subjects {
            assert!(!versions.is_empty(), "{subject} has no version");
            for (number, version) in versions {
                assert!(*number > 0 && version.id <= self.last_id);
                assert!(self.schemas.contains_key(&version.id), "{subject} {number} has no schema");
                assert!(self.places[&version.id].contains(&(subject.clone(), *number)));
            }
        }
        for (id, places) in &self.places {
            assert!(!places.is_empty() && self.schemas.contains_key(id));
            for (subject, number) in places {
                assert_eq!(self.subjects[subject][number].id, *id);
            }
        }
        assert_eq!(self.schemas.len(), self.places.len());
        for (identity, id) in &self.ids {
            assert_eq!(*identity, identity_of(&self.schemas[id]));
        }
    }
}
