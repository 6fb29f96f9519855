//! What a plugin's functions take and give, as the text that `functions` of the world `udf-scalar` returns. Pure: the text
//! is a plugin's and may hold anything.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};

/// A type of an argument or of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ValueType {
    Boolean,
    Int64,
    Float64,
    Utf8,
    Binary,
    /// Milliseconds since 1970, UTC.
    Timestamp,
}

impl ValueType {
    pub const ALL: [ValueType; 6] = [
        ValueType::Boolean,
        ValueType::Int64,
        ValueType::Float64,
        ValueType::Utf8,
        ValueType::Binary,
        ValueType::Timestamp,
    ];

    /// Its name in signatures.
    pub fn word(self) -> &'static str {
        match self {
            ValueType::Boolean => "boolean",
            ValueType::Int64 => "int64",
            ValueType::Float64 => "float64",
            ValueType::Utf8 => "utf8",
            ValueType::Binary => "binary",
            ValueType::Timestamp => "timestamp",
        }
    }

    /// Its number in a column.
    pub(crate) fn code(self) -> u8 {
        match self {
            ValueType::Boolean => 1,
            ValueType::Int64 => 2,
            ValueType::Float64 => 3,
            ValueType::Utf8 => 4,
            ValueType::Binary => 5,
            ValueType::Timestamp => 6,
        }
    }

    /// The arrays that hold it.
    pub fn data_type(self) -> DataType {
        match self {
            ValueType::Boolean => DataType::Boolean,
            ValueType::Int64 => DataType::Int64,
            ValueType::Float64 => DataType::Float64,
            ValueType::Utf8 => DataType::Utf8,
            ValueType::Binary => DataType::Binary,
            ValueType::Timestamp => DataType::Timestamp(TimeUnit::Millisecond, Some(Arc::from("UTC"))),
        }
    }

    /// The type that such arrays hold, if it is one of these.
    pub fn of(data_type: &DataType) -> Option<ValueType> {
        ValueType::ALL.into_iter().find(|kind| kind.data_type() == *data_type)
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A function's name, and what it takes and gives. Written as `mask(utf8, int64) -> utf8`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FunctionSignature {
    pub name: String,
    pub arguments: Vec<ValueType>,
    pub returns: ValueType,
}

impl fmt::Display for FunctionSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let arguments: Vec<&str> = self.arguments.iter().map(|kind| kind.word()).collect();
        write!(f, "{}({}) -> {}", self.name, arguments.join(", "), self.returns)
    }
}

/// More than any plugin needs, and little to keep.
const FUNCTIONS_MAX: usize = 256;
const ARGUMENTS_MAX: usize = 64;
const NAME_CHARS_MAX: usize = 64;

/// Why a text does not list functions.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    #[error("line {line} is `{text}`, not like `name(utf8, int64) -> utf8`")]
    Shape { line: usize, text: String },
    #[error(
        "line {line}: `{name}` is no name: a lower-case letter, then lower-case letters, digits and _, at most {NAME_CHARS_MAX}"
    )]
    Name { line: usize, name: String },
    #[error(
        "line {line}: `{word}` is no type; the types are boolean, int64, float64, utf8, binary, timestamp"
    )]
    Type { line: usize, word: String },
    #[error("line {line}: `{name}` is there twice")]
    Twice { line: usize, name: String },
    #[error("line {line}: `{name}` takes more than {ARGUMENTS_MAX} arguments")]
    Arguments { line: usize, name: String },
    #[error("there is no function, or there are more than {FUNCTIONS_MAX}")]
    Count,
}

/// The functions of a plugin, in their order.
pub fn parse_signatures(text: &str) -> Result<Vec<FunctionSignature>, SignatureError> {
    let mut functions: Vec<FunctionSignature> = Vec::new();
    for (line, text) in (1..).zip(text.lines()).filter(|(_, text)| !text.trim().is_empty()) {
        if functions.len() == FUNCTIONS_MAX {
            return Err(SignatureError::Count);
        }
        let function = parse_line(line, text.trim())?;
        if functions.iter().any(|other| other.name == function.name) {
            return Err(SignatureError::Twice { line, name: function.name });
        }
        functions.push(function);
    }
    if functions.is_empty() { Err(SignatureError::Count) } else { Ok(functions) }
}

fn parse_line(line: usize, text: &str) -> Result<FunctionSignature, SignatureError> {
    let shape = || SignatureError::Shape { line, text: short(text) };
    let (name, rest) = text.split_once('(').ok_or_else(shape)?;
    let (arguments, rest) = rest.split_once(')').ok_or_else(shape)?;
    let returns = rest.trim().strip_prefix("->").ok_or_else(shape)?;
    let name = name.trim();
    let is_name = name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && name.len() <= NAME_CHARS_MAX;
    if !is_name {
        return Err(SignatureError::Name { line, name: short(name) });
    }
    let kind = |word: &str| -> Result<ValueType, SignatureError> {
        let word = word.trim();
        let found = ValueType::ALL.into_iter().find(|kind| kind.word() == word);
        found.ok_or_else(|| SignatureError::Type { line, word: short(word) })
    };
    let words: Vec<&str> = match arguments.trim() {
        "" => Vec::new(),
        words => words.split(',').take(ARGUMENTS_MAX + 1).collect(),
    };
    if words.len() > ARGUMENTS_MAX {
        return Err(SignatureError::Arguments { line, name: name.to_owned() });
    }
    let arguments = words.into_iter().map(kind).collect::<Result<_, _>>()?;
    Ok(FunctionSignature { name: name.to_owned(), arguments, returns: kind(returns)? })
}

impl FromStr for FunctionSignature {
    type Err = SignatureError;

    fn from_str(text: &str) -> Result<FunctionSignature, SignatureError> {
        parse_line(1, text.trim())
    }
}

fn short(text: &str) -> String {
    text.chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn signature() -> impl Strategy<Value = FunctionSignature> {
        let kind = || proptest::sample::select(ValueType::ALL.to_vec());
        ("[a-z][a-z0-9_]{0,20}", proptest::collection::vec(kind(), 0..5), kind())
            .prop_map(|(name, arguments, returns)| FunctionSignature { name, arguments, returns })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(signature in signature()) {
            prop_assert_eq!(parse_signatures(&format!("\n {signature} \n")).unwrap(), [signature]);
        }

        #[test]
        fn no_text_is_too_odd(text in "\\PC{0,60}") {
            let _either = parse_signatures(&text);
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (text, expected) in [
            ("", "there is no function, or there are more than 256"),
            ("f(utf8) -> utf8\ng", "line 2 is `g`, not like `name(utf8, int64) -> utf8`"),
            ("F(utf8) -> utf8", "line 1: `F` is no name"),
            ("f(text) -> utf8", "line 1: `text` is no type; the types are boolean, int64"),
            ("f() -> utf8\nf() -> int64", "line 2: `f` is there twice"),
        ] {
            let error = parse_signatures(text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
        assert_eq!(
            parse_signatures(&"f(int64) -> int64\n".repeat(2)).unwrap_err().to_string(),
            "line 2: `f` is there twice"
        );
        let many: String = (0..257).map(|number| format!("f{number}() -> int64\n")).collect();
        assert_eq!(parse_signatures(&many), Err(SignatureError::Count));
    }
}
