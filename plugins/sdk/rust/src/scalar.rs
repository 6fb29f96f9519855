//! Functions for SQL from the guest's side: columns are read in place, and the answer is written once. The layout is that of
//! `wit/ottla-v1/udf-scalar.wit`.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::{Display, Write};

/// Milliseconds since 1970, UTC: SQL's TIMESTAMP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub i64);

/// A column of the batch.
#[derive(Clone, Copy, Debug)]
pub struct Column<'a> {
    validity: Option<&'a [u8]>,
    /// Numbers, a bitmap, or offsets.
    values: &'a [u8],
    /// What offsets point into.
    bytes: &'a [u8],
}

impl<'a> Column<'a> {
    fn is_null(&self, row: usize) -> bool {
        self.validity.is_some_and(|validity| !bit(validity, row))
    }

    fn number(&self, row: usize) -> Option<[u8; 8]> {
        self.values.get(row * 8..row * 8 + 8)?.try_into().ok()
    }

    fn slice(&self, row: usize) -> Option<&'a [u8]> {
        let offset = |row: usize| -> Option<usize> {
            Some(u32::from_le_bytes(self.values.get(row * 4..row * 4 + 4)?.try_into().ok()?) as usize)
        };
        self.bytes.get(offset(row)?..offset(row + 1)?)
    }
}

fn bit(bitmap: &[u8], row: usize) -> bool {
    bitmap.get(row / 8).is_some_and(|byte| byte >> (row % 8) & 1 == 1)
}

/// What a function may take: `bool`, `i64`, `f64`, `&str`, `&[u8]`, [`Timestamp`], and `Option` of each for one that sees NULL. A
/// function with an argument that does not see NULL gives NULL where that argument is NULL, and is not called.
pub trait Argument<'a>: Sized {
    /// The type's name in the world.
    const TYPE: &'static str;
    #[doc(hidden)]
    const CODE: u8;
    /// The value of a row; nothing where there is none to call the function with.
    #[doc(hidden)]
    fn read(column: &Column<'a>, row: usize) -> Option<Self>;
}

macro_rules! argument {
    ($type:ty, $name:literal, $code:literal, |$column:ident, $row:ident| $value:expr) => {
        impl<'a> Argument<'a> for $type {
            const TYPE: &'static str = $name;
            const CODE: u8 = $code;
            fn read($column: &Column<'a>, $row: usize) -> Option<Self> {
                if $column.is_null($row) { None } else { $value }
            }
        }
    };
}

argument!(bool, "boolean", 1, |column, row| Some(bit(column.values, row)));
argument!(i64, "int64", 2, |column, row| column.number(row).map(i64::from_le_bytes));
argument!(f64, "float64", 3, |column, row| column.number(row).map(f64::from_le_bytes));
argument!(&'a str, "utf8", 4, |column, row| core::str::from_utf8(column.slice(row)?).ok());
argument!(&'a [u8], "binary", 5, |column, row| column.slice(row));
argument!(Timestamp, "timestamp", 6, |column, row| column.number(row).map(i64::from_le_bytes).map(Timestamp));

impl<'a, T: Argument<'a>> Argument<'a> for Option<T> {
    const TYPE: &'static str = T::TYPE;
    const CODE: u8 = T::CODE;
    fn read(column: &Column<'a>, row: usize) -> Option<Self> {
        Some(T::read(column, row))
    }
}

/// What a function may give: `bool`, `i64`, `f64`, `String`, `&str`, `Vec<u8>`, [`Timestamp`], `Option` of each for NULL, and
/// `Result` of each with the reason why a row cannot be computed.
pub trait Answer {
    /// The type's name in the world.
    const TYPE: &'static str;
    #[doc(hidden)]
    const CODE: u8;
    #[doc(hidden)]
    fn put(self, out: &mut Answers) -> Result<(), String>;
}

macro_rules! answer {
    ($type:ty, $name:literal, $code:literal, |$value:ident, $out:ident| $put:expr) => {
        impl Answer for $type {
            const TYPE: &'static str = $name;
            const CODE: u8 = $code;
            fn put(self, $out: &mut Answers) -> Result<(), String> {
                let $value = self;
                $put;
                Ok(())
            }
        }
    };
}

answer!(bool, "boolean", 1, |value, out| out.put_bit(value));
answer!(i64, "int64", 2, |value, out| out.put_number(value.to_le_bytes()));
answer!(f64, "float64", 3, |value, out| out.put_number(value.to_le_bytes()));
answer!(String, "utf8", 4, |value, out| out.put_bytes(value.as_bytes()));
answer!(&str, "utf8", 4, |value, out| out.put_bytes(value.as_bytes()));
answer!(Vec<u8>, "binary", 5, |value, out| out.put_bytes(&value));
answer!(&[u8], "binary", 5, |value, out| out.put_bytes(value));
answer!(Timestamp, "timestamp", 6, |value, out| out.put_number(value.0.to_le_bytes()));

impl<T: Answer> Answer for Option<T> {
    const TYPE: &'static str = T::TYPE;
    const CODE: u8 = T::CODE;
    fn put(self, out: &mut Answers) -> Result<(), String> {
        match self {
            Some(value) => value.put(out),
            None => {
                out.put_null(T::CODE);
                Ok(())
            }
        }
    }
}

impl<T: Answer, E: Display> Answer for Result<T, E> {
    const TYPE: &'static str = T::TYPE;
    const CODE: u8 = T::CODE;
    fn put(self, out: &mut Answers) -> Result<(), String> {
        self.map_err(|reason| reason.to_string())?.put(out)
    }
}

/// The answers of a batch, one after the other.
#[derive(Debug, Default)]
pub struct Answers {
    rows: usize,
    validity: Vec<u8>,
    nulls: usize,
    values: Vec<u8>,
    bytes: Vec<u8>,
}

impl Answers {
    fn mark(&mut self, is_valid: bool) {
        push_bit(&mut self.validity, self.rows, is_valid);
        self.rows += 1;
    }

    fn put_bit(&mut self, value: bool) {
        push_bit(&mut self.values, self.rows, value);
        self.mark(true);
    }

    fn put_number(&mut self, value: [u8; 8]) {
        self.values.extend_from_slice(&value);
        self.mark(true);
    }

    fn put_bytes(&mut self, value: &[u8]) {
        self.bytes.extend_from_slice(value);
        self.values.extend_from_slice(&(self.bytes.len() as u32).to_le_bytes());
        self.mark(true);
    }

    #[doc(hidden)]
    pub fn put_null(&mut self, code: u8) {
        match code {
            1 => push_bit(&mut self.values, self.rows, false),
            4 | 5 => self.values.extend_from_slice(&(self.bytes.len() as u32).to_le_bytes()),
            _ => self.values.extend_from_slice(&[0; 8]),
        }
        self.nulls += 1;
        self.mark(false);
    }

    fn into_column(self, code: u8) -> Vec<u8> {
        let size = self.validity.len() + self.values.len() + self.bytes.len() + 40;
        let mut column = Vec::with_capacity(size);
        column.extend_from_slice(&[code, u8::from(self.nulls > 0), 0, 0, 0, 0, 0, 0]);
        if self.nulls > 0 {
            put_part(&mut column, &[], &self.validity);
        }
        match code {
            4 | 5 => {
                put_part(&mut column, &[0; 4], &self.values);
                put_part(&mut column, &[], &self.bytes);
            }
            _ => put_part(&mut column, &[], &self.values),
        }
        column
    }
}

fn push_bit(bitmap: &mut Vec<u8>, row: usize, bit: bool) {
    if row % 8 == 0 {
        bitmap.push(0);
    }
    if let Some(byte) = bitmap.last_mut().filter(|_| bit) {
        *byte |= 1 << (row % 8);
    }
}

fn put_part(column: &mut Vec<u8>, first: &[u8], rest: &[u8]) {
    column.extend_from_slice(first);
    column.extend_from_slice(rest);
    column.resize(column.len().next_multiple_of(8), 0);
}

/// A function of the plugin, as [`crate::export_scalar`] lists it.
pub struct ScalarFunction {
    pub name: &'static str,
    pub arguments: &'static [(&'static str, u8)],
    pub returns: (&'static str, u8),
    #[doc(hidden)]
    pub call: fn(&[Column<'_>], usize, &mut Answers) -> Result<(), String>,
}

/// The functions as the world's `functions` tells them.
pub fn signatures(functions: &[ScalarFunction]) -> String {
    let mut text = String::new();
    for function in functions {
        text.push_str(function.name);
        for (index, (name, _)) in function.arguments.iter().enumerate() {
            text.push_str(if index == 0 { "(" } else { ", " });
            text.push_str(name);
        }
        let open = if function.arguments.is_empty() { "(" } else { "" };
        let _never_fails = writeln!(text, "{open}) -> {}", function.returns.0);
    }
    text
}

/// A batch through one of the functions: the world's `call`.
pub fn call_scalar(functions: &[ScalarFunction], batch: &[u8]) -> Result<Vec<u8>, String> {
    const BROKEN: &str = "the batch is none of ottla:plugin@1";
    let mut rest = batch;
    let index = take_u32(&mut rest).ok_or(BROKEN)? as usize;
    let rows = take_u32(&mut rest).ok_or(BROKEN)? as usize;
    let function = functions.get(index).ok_or(BROKEN)?;
    let mut columns = Vec::with_capacity(function.arguments.len());
    for (_, code) in function.arguments {
        columns.push(take_column(&mut rest, *code, rows).ok_or(BROKEN)?);
    }
    let mut answers = Answers::default();
    answers.values.reserve(rows * 8);
    (function.call)(&columns, rows, &mut answers)?;
    Ok(answers.into_column(function.returns.1))
}

fn take_column<'a>(rest: &mut &'a [u8], code: u8, rows: usize) -> Option<Column<'a>> {
    let head = take(rest, 8)?;
    if head.first() != Some(&code) {
        return None;
    }
    let validity = if head.get(1) == Some(&1) { Some(take(rest, rows.div_ceil(8))?) } else { None };
    Some(match code {
        1 => Column { validity, values: take(rest, rows.div_ceil(8))?, bytes: &[] },
        4 | 5 => {
            let values = take(rest, (rows + 1) * 4)?;
            let length = u32::from_le_bytes(values.last_chunk::<4>().copied()?) as usize;
            Column { validity, values, bytes: take(rest, length)? }
        }
        _ => Column { validity, values: take(rest, rows * 8)?, bytes: &[] },
    })
}

fn take_u32(rest: &mut &[u8]) -> Option<u32> {
    let (bytes, left) = rest.split_at_checked(4)?;
    *rest = left;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

/// A part of a column, and the zeros after it.
fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let part = rest.get(..length)?;
    *rest = rest.get(length.next_multiple_of(8)..)?;
    Some(part)
}
