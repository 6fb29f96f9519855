//! Reads the notation of `protocol/messages/*.msg`. Owns its grammar and what makes a definition sound; knows
//! nothing of Rust code. See `protocol/messages/README.md` for the notation itself.

use std::ops::RangeInclusive;

pub type Versions = RangeInclusive<i16>;

/// One notation file.
#[derive(Debug)]
pub struct File {
    pub doc: Vec<String>,
    pub api: Option<Api>,
    /// Messages and the structures inside them, in the order of the file; a structure comes after what holds it.
    pub structs: Vec<Struct>,
}

#[derive(Debug, Clone)]
pub struct Api {
    pub key: i16,
    pub name: String,
    pub versions: Versions,
    pub flexible_from: Option<i16>,
}

#[derive(Debug)]
pub struct Struct {
    pub name: String,
    /// A message of its own, not a structure within one.
    pub is_message: bool,
    pub versions: Versions,
    pub flexible_from: Option<i16>,
    pub fields: Vec<Field>,
}

#[derive(Debug)]
pub struct Field {
    pub name: String,
    pub doc: Vec<String>,
    pub kind: Kind,
    pub is_array: bool,
    /// The first version in which it may be null.
    pub nullable_from: Option<i16>,
    /// Within the versions of its structure.
    pub versions: Versions,
    pub default: Option<String>,
    pub tag: Option<u32>,
    /// A version without the field drops its value instead of failing.
    pub ignorable: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    Bool,
    Int8,
    Int16,
    Uint16,
    Int32,
    Uint32,
    Int64,
    Float64,
    Uuid,
    String,
    Bytes,
    Records,
    FetchedRecords,
    Struct(String),
}

impl Struct {
    pub fn is_flexible(&self, version: i16) -> bool {
        self.flexible_from.is_some_and(|from| version >= from)
    }
}

impl File {
    pub fn find(&self, name: &str) -> Option<&Struct> {
        self.structs.iter().find(|candidate| candidate.name == name)
    }

    /// The fewest bytes a structure takes in any of its versions.
    pub fn struct_bytes_min(&self, name: &str) -> usize {
        let Some(of) = self.find(name) else { return 1 };
        of.versions.clone().map(|version| self.struct_bytes_min_at(of, version)).min().unwrap_or(1).max(1)
    }

    fn struct_bytes_min_at(&self, of: &Struct, version: i16) -> usize {
        let flexible = of.is_flexible(version);
        let here = of.fields.iter().filter(|f| f.tag.is_none() && f.versions.contains(&version));
        here.map(|field| self.field_bytes_min(field, version, flexible)).sum::<usize>()
            + usize::from(flexible)
    }

    fn field_bytes_min(&self, field: &Field, version: i16, flexible: bool) -> usize {
        match &field.kind {
            _ if field.is_array => {
                if flexible {
                    1
                } else {
                    4
                }
            }
            Kind::Struct(_) if field.nullable_from.is_some() => 1,
            Kind::Struct(name) => self.find(name).map_or(1, |of| self.struct_bytes_min_at(of, version)),
            kind => kind.bytes_min(flexible),
        }
    }
}

impl Kind {
    fn parse(word: &str) -> Option<Kind> {
        Some(match word {
            "bool" => Kind::Bool,
            "int8" => Kind::Int8,
            "int16" => Kind::Int16,
            "uint16" => Kind::Uint16,
            "int32" => Kind::Int32,
            "uint32" => Kind::Uint32,
            "int64" => Kind::Int64,
            "float64" => Kind::Float64,
            "uuid" => Kind::Uuid,
            "string" => Kind::String,
            "bytes" => Kind::Bytes,
            "records" => Kind::Records,
            "fetched_records" => Kind::FetchedRecords,
            name if name.starts_with(|c: char| c.is_ascii_uppercase()) => Kind::Struct(name.to_owned()),
            _ => return None,
        })
    }

    /// The fewest bytes one value takes; structures are counted by [`File::struct_bytes_min`].
    pub fn bytes_min(&self, flexible: bool) -> usize {
        match self {
            Kind::Bool | Kind::Int8 | Kind::Struct(_) => 1,
            Kind::Int16 | Kind::Uint16 => 2,
            Kind::Int32 | Kind::Uint32 => 4,
            Kind::Int64 | Kind::Float64 => 8,
            Kind::Uuid => 16,
            Kind::String | Kind::Bytes | Kind::Records | Kind::FetchedRecords if flexible => 1,
            Kind::String => 2,
            Kind::Bytes | Kind::Records | Kind::FetchedRecords => 4,
        }
    }
}

/// Reads one file; an error begins with the line's number.
pub fn parse(text: &str) -> Result<File, String> {
    let mut parser = Parser {
        file: File { doc: Vec::new(), api: None, structs: Vec::new() },
        open: Vec::new(),
        field_doc: Vec::new(),
    };
    for (index, line) in text.lines().enumerate() {
        parser.line(line).map_err(|reason| format!("line {}: {reason}", index + 1))?;
    }
    check_structs(&parser.file)?;
    Ok(parser.file)
}

struct Parser {
    file: File,
    /// The structures that an indented line may continue: (indentation of their fields, index), outermost first.
    open: Vec<(usize, usize)>,
    field_doc: Vec<String>,
}

impl Parser {
    fn line(&mut self, line: &str) -> Result<(), String> {
        let text = line.trim();
        if let Some(doc) = text.strip_prefix("//!") {
            self.file.doc.push(doc.trim().to_owned());
        } else if let Some(doc) = text.strip_prefix("///") {
            self.field_doc.push(doc.trim().to_owned());
        } else if line.starts_with(' ') {
            return self.field(line.len() - line.trim_start().len(), text);
        } else if !text.is_empty() {
            return self.head(text);
        }
        Ok(())
    }

    fn head(&mut self, text: &str) -> Result<(), String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        match words.as_slice() {
            ["api", key, name, versions, "flexible", flexible] => {
                let key = key.parse().map_err(|_| format!("{key} is no API key"))?;
                let versions = message_versions(versions)?;
                let flexible_from = flexible_from(flexible)?;
                self.file.api = Some(Api { key, name: (*name).to_owned(), versions, flexible_from });
            }
            [kind @ ("request" | "response")] => {
                let api =
                    self.file.api.clone().ok_or("a request or response needs an `api` line before it")?;
                let suffix = if *kind == "request" { "Request" } else { "Response" };
                self.message(format!("{}{suffix}", api.name), api.versions, api.flexible_from);
            }
            ["data", name, versions, "flexible", flexible] => {
                self.message((*name).to_owned(), message_versions(versions)?, flexible_from(flexible)?);
            }
            _ => return Err(format!("neither `api`, `request`, `response` nor `data`: {text}")),
        }
        Ok(())
    }

    fn message(&mut self, name: String, versions: Versions, flexible_from: Option<i16>) {
        self.open = vec![(2, self.file.structs.len())];
        self.file.structs.push(Struct {
            name,
            is_message: true,
            versions,
            flexible_from,
            fields: Vec::new(),
        });
    }

    fn field(&mut self, indent: usize, text: &str) -> Result<(), String> {
        self.open.retain(|(depth, _)| *depth <= indent);
        let Some(&(depth, parent)) = self.open.last() else {
            return Err("a field outside of a message".into());
        };
        if depth != indent {
            return Err(format!("indented by {indent}, but nothing is open there"));
        }
        let doc = std::mem::take(&mut self.field_doc);
        let parent_versions = self.file.structs[parent].versions.clone();
        let field = parse_field(text, doc, &parent_versions)?;
        if let Kind::Struct(name) = &field.kind {
            let versions = field.versions.clone();
            match self.file.structs.iter().find(|known| known.name == *name) {
                Some(known)
                    if known.versions.contains(versions.start())
                        && known.versions.contains(versions.end()) => {}
                Some(known) => {
                    return Err(format!("{name} is defined for versions {:?} only", known.versions));
                }
                None => {
                    self.open.push((indent + 2, self.file.structs.len()));
                    let flexible_from = self.file.structs[parent].flexible_from;
                    let (name, fields) = (name.clone(), Vec::new());
                    self.file.structs.push(Struct {
                        name,
                        is_message: false,
                        versions,
                        flexible_from,
                        fields,
                    });
                }
            }
        }
        self.file.structs[parent].fields.push(field);
        Ok(())
    }
}

fn parse_field(text: &str, doc: Vec<String>, parent: &Versions) -> Result<Field, String> {
    let (name, rest) = text.split_once(": ").ok_or("a field is `name: type …`")?;
    let mut words = rest.split_whitespace();
    let type_word = words.next().ok_or("a field needs a type")?;
    let (type_word, nullable) = match type_word.split_once('?') {
        Some((before, "")) => (before, Some(0)),
        Some((before, from)) => (before, Some(open_version(from)?)),
        None => (type_word, None),
    };
    let element = type_word.strip_prefix('[').and_then(|inner| inner.strip_suffix(']'));
    let kind = Kind::parse(element.unwrap_or(type_word)).ok_or_else(|| format!("no type {type_word}"))?;
    let mut field = Field {
        name: name.to_owned(),
        doc,
        kind,
        is_array: element.is_some(),
        nullable_from: nullable,
        versions: parent.clone(),
        default: None,
        tag: None,
        ignorable: false,
    };
    while let Some(word) = words.next() {
        match word {
            "=" => field.default = Some(words.next().ok_or("a default after `=`")?.to_owned()),
            "tag" => {
                let tag = words.next().and_then(|tag| tag.parse().ok());
                field.tag = Some(tag.ok_or("a number after `tag`")?);
            }
            "ignorable" => field.ignorable = true,
            versions => field.versions = field_versions(versions, parent)?,
        }
    }
    if field.ignorable && field.versions == *parent {
        return Err(format!("{name} is in every version, so it cannot be ignorable"));
    }
    Ok(field)
}

fn version(word: &str) -> Result<i16, String> {
    word.parse().map_err(|_| format!("{word} is no version"))
}

fn open_version(word: &str) -> Result<i16, String> {
    version(word.strip_suffix('+').ok_or_else(|| format!("{word} should be a version and `+`"))?)
}

fn message_versions(word: &str) -> Result<Versions, String> {
    let (first, last) = word.split_once("..").ok_or_else(|| format!("{word} should be first..last"))?;
    Ok(version(first)?..=version(last)?)
}

fn field_versions(word: &str, parent: &Versions) -> Result<Versions, String> {
    let versions = match word.split_once("..") {
        Some(_) => message_versions(word)?,
        None => open_version(word)?..=*parent.end(),
    };
    if versions.is_empty() || versions.start() < parent.start() || versions.end() > parent.end() {
        return Err(format!("versions {word} are not within {parent:?}"));
    }
    Ok(versions)
}

fn flexible_from(word: &str) -> Result<Option<i16>, String> {
    if word == "none" { Ok(None) } else { open_version(word).map(Some) }
}

fn check_structs(file: &File) -> Result<(), String> {
    for of in &file.structs {
        if of.fields.is_empty() && !of.is_message {
            return Err(format!("{} has no fields", of.name));
        }
        for (index, field) in of.fields.iter().enumerate() {
            let full = format!("{}.{}", of.name, field.name);
            if of.fields[..index].iter().any(|before| before.name == field.name) {
                return Err(format!("{full} is there twice"));
            }
            if field.tag.is_some() && !field.versions.clone().all(|version| of.is_flexible(version)) {
                return Err(format!("{full} is tagged in a version that is not flexible"));
            }
        }
        let mut tags: Vec<u32> = of.fields.iter().filter_map(|field| field.tag).collect();
        tags.sort_unstable();
        if tags.iter().enumerate().any(|(index, tag)| index as u32 != *tag) {
            return Err(format!("the tags of {} are not 0, 1, 2, …", of.name));
        }
    }
    Ok(())
}
