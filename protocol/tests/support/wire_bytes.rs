//! Random messages as bytes, straight from the notation. The bytes are canonical: a tagged field is there only
//! when it is not its default, tags rise, and a bool is 0 or 1; so a codec that is right gives back the same bytes.

use super::notation::{Field, File, Kind, Struct};

/// A small deterministic generator (splitmix64): the same seed gives the same message everywhere.
#[derive(Clone)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// The ends and the middle of the range more often than chance would give them.
    fn number(&mut self) -> u64 {
        match self.below(6) {
            0 => 0,
            1 => u64::MAX,
            2 => 0x8000_8000_8000_8000,
            3 => 0x7fff_7fff_7fff_ffff,
            _ => self.next(),
        }
    }
}

/// How a length lies on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LengthKind {
    Int16,
    Int32,
    Compact,
}

/// A message as bytes, with the position of every length in it.
#[derive(Debug, Default)]
pub struct WireBytes {
    pub bytes: Vec<u8>,
    pub lengths: Vec<(usize, LengthKind)>,
}

pub struct Maker<'a> {
    file: &'a File,
    version: i16,
    random: Random,
    /// When there, unknown tagged fields are strewn in, by a generator of their own: the known fields stay equal.
    strangers: Option<Random>,
}

impl<'a> Maker<'a> {
    pub fn new(file: &'a File, version: i16, seed: u64) -> Maker<'a> {
        Maker { file, version, random: Random::new(seed), strangers: None }
    }

    pub fn with_unknown_tagged_fields(mut self) -> Maker<'a> {
        self.strangers = Some(Random::new(0x5eed));
        self
    }

    pub fn make(mut self, of: &Struct) -> WireBytes {
        let mut out = WireBytes::default();
        self.structure(of, &mut out);
        out
    }

    fn structure(&mut self, of: &Struct, out: &mut WireBytes) {
        let flexible = of.is_flexible(self.version);
        let here: Vec<&Field> =
            of.fields.iter().filter(|field| field.versions.contains(&self.version)).collect();
        for field in here.iter().filter(|field| field.tag.is_none()) {
            self.field(field, flexible, false, out);
        }
        if !flexible {
            return;
        }
        let mut tagged: Vec<(u32, Vec<u8>)> = Vec::new();
        for field in here {
            if let Some(tag) = field.tag
                && self.random.below(2) == 0
            {
                tagged.push((tag, self.tagged_field(field)));
            }
        }
        if let Some(random) = &mut self.strangers {
            for tag in 0..random.below(3) {
                let bytes = vec![0xee; random.below(5) as usize];
                tagged.push((1000 + tag as u32, bytes));
            }
        }
        tagged.sort_by_key(|(tag, _)| *tag);
        varint(tagged.len() as u32, out);
        for (tag, bytes) in tagged {
            varint(tag, out);
            varint(bytes.len() as u32, out);
            out.bytes.extend(bytes);
        }
    }

    /// The field's bytes, made again and again until they differ from those of its default.
    fn tagged_field(&mut self, field: &Field) -> Vec<u8> {
        let default = self.default_bytes(field);
        // No strangers in here: they would make a default look like another value.
        let strangers = self.strangers.take();
        loop {
            let mut out = WireBytes::default();
            self.field(field, true, true, &mut out);
            if out.bytes != default {
                self.strangers = strangers;
                return out.bytes;
            }
        }
    }

    fn default_bytes(&self, field: &Field) -> Vec<u8> {
        let mut out = WireBytes::default();
        match &field.kind {
            _ if field.nullable_from.is_some() => out.bytes.push(0),
            _ if field.is_array => out.bytes.push(1),
            Kind::Struct(name) => {
                let of = self.file.find(name).unwrap();
                for inner in of.fields.iter().filter(|inner| inner.versions.contains(&self.version)) {
                    if inner.tag.is_none() {
                        let bytes = self.default_bytes(inner);
                        out.bytes.extend(bytes);
                    }
                }
                out.bytes.push(0);
            }
            Kind::String | Kind::Bytes | Kind::Records | Kind::FetchedRecords => out.bytes.push(1),
            Kind::Uuid => out.bytes.extend([0; 16]),
            kind => {
                let number = field.default.as_deref().map_or(0, default_number);
                number_bytes(kind, number, &mut out);
            }
        }
        out.bytes
    }

    fn field(&mut self, field: &Field, flexible: bool, present: bool, out: &mut WireBytes) {
        let may_be_null = field.nullable_from.is_some_and(|from| self.version >= from);
        let null = may_be_null && !present && self.random.below(4) == 0;
        if field.is_array {
            let count = if null { None } else { Some(self.random.below(4) as usize + usize::from(present)) };
            length(count, LengthKind::Int32, flexible, out);
            for _ in 0..count.unwrap_or(0) {
                self.value(&field.kind, flexible, false, out);
            }
            return;
        }
        if may_be_null && matches!(field.kind, Kind::Struct(_)) {
            out.bytes.push(if null { 0xff } else { 1 });
            if null {
                return;
            }
        }
        self.value(&field.kind, flexible, null, out);
    }

    fn value(&mut self, kind: &Kind, flexible: bool, null: bool, out: &mut WireBytes) {
        match kind {
            Kind::Struct(name) => {
                let of = self.file.find(name).unwrap();
                self.structure(of, out);
            }
            Kind::String => {
                let text: String = (0..self.random.below(6)).map(|_| self.character()).collect();
                length((!null).then_some(text.len()), LengthKind::Int16, flexible, out);
                out.bytes.extend(if null { b"" } else { text.as_bytes() });
            }
            Kind::Bytes | Kind::Records | Kind::FetchedRecords => {
                // Now and then long enough to be spliced instead of copied.
                let long = if self.random.below(16) == 0 { 2000 } else { 0 };
                let bytes = vec![self.random.next() as u8; long + self.random.below(9) as usize];
                length((!null).then_some(bytes.len()), LengthKind::Int32, flexible, out);
                out.bytes.extend(if null { Vec::new() } else { bytes });
            }
            Kind::Bool => out.bytes.push(self.random.below(2) as u8),
            Kind::Uuid => {
                let nil = self.random.below(4) == 0;
                for _ in 0..2 {
                    out.bytes.extend(if nil { 0 } else { self.random.next() }.to_be_bytes());
                }
            }
            Kind::Float64 => out.bytes.extend((self.random.next() as u32 as f64).to_be_bytes()),
            kind => number_bytes(kind, self.random.number(), out),
        }
    }

    fn character(&mut self) -> char {
        ['a', 'Z', '0', '.', '-', '_', ' ', '"', 'ž', '→', '🦀', '\0'][self.random.below(12) as usize]
    }
}

fn default_number(text: &str) -> u64 {
    match text.strip_prefix("0x") {
        Some(hexadecimal) => u64::from_str_radix(hexadecimal, 16).unwrap(),
        None => text.parse::<i64>().unwrap() as u64,
    }
}

fn number_bytes(kind: &Kind, number: u64, out: &mut WireBytes) {
    let bytes = number.to_be_bytes();
    let size = kind.bytes_min(true);
    out.bytes.extend(&bytes[8 - size..]);
}

fn varint(mut value: u32, out: &mut WireBytes) {
    while value >= 0x80 {
        out.bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.bytes.push(value as u8);
}

fn length(length: Option<usize>, kind: LengthKind, flexible: bool, out: &mut WireBytes) {
    let kind = if flexible { LengthKind::Compact } else { kind };
    out.lengths.push((out.bytes.len(), kind));
    match (kind, length) {
        (LengthKind::Compact, length) => varint(length.map_or(0, |length| length as u32 + 1), out),
        (LengthKind::Int16, length) => {
            out.bytes.extend(length.map_or(-1, |length| length as i16).to_be_bytes())
        }
        (LengthKind::Int32, length) => {
            out.bytes.extend(length.map_or(-1, |length| length as i32).to_be_bytes())
        }
    }
}
