//! Avro's binary encoding, read with a bound on everything that a length or a count may cost.

/// The bytes that are left of a payload.
pub(super) struct Input<'a> {
    bytes: &'a [u8],
    /// Items of arrays and maps that may still come: an item can take no byte at all.
    items: usize,
}

/// Items beyond one per byte that a payload may have.
const FREE_ITEMS: usize = 4096;

const ENDED: &str = "the value ends too early";

impl<'a> Input<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, items: bytes.len().saturating_add(FREE_ITEMS) }
    }

    /// Nothing may follow the value.
    pub(super) fn end(&self) -> Result<(), String> {
        match self.bytes.len() {
            0 => Ok(()),
            count => Err(format!("{count} bytes follow the value; it was written with another schema")),
        }
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or(ENDED)?;
        self.bytes = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, String> {
        self.take(1).map(|bytes| bytes.first().copied().unwrap_or_default())
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], String> {
        self.take(N)?.try_into().map_err(|_| ENDED.to_owned())
    }

    pub(super) fn boolean(&mut self) -> Result<bool, String> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(format!("{other} is no boolean")),
        }
    }

    /// A zig-zag number of up to ten bytes.
    pub(super) fn long(&mut self) -> Result<i64, String> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err("a number has more than 64 bits".to_owned());
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                #[expect(clippy::cast_possible_wrap, reason = "zig-zag keeps the sign in the lowest bit")]
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        Err("a number has more than ten bytes".to_owned())
    }

    pub(super) fn int(&mut self) -> Result<i32, String> {
        let value = self.long()?;
        i32::try_from(value).map_err(|_| format!("{value} is no int"))
    }

    pub(super) fn float(&mut self) -> Result<f32, String> {
        self.fixed().map(f32::from_le_bytes)
    }

    pub(super) fn double(&mut self) -> Result<f64, String> {
        self.fixed().map(f64::from_le_bytes)
    }

    /// Bytes with their length before them.
    pub(super) fn bytes(&mut self) -> Result<&'a [u8], String> {
        let length = self.long()?;
        let length = usize::try_from(length).map_err(|_| format!("{length} is no length"))?;
        self.take(length)
    }

    pub(super) fn string(&mut self) -> Result<&'a str, String> {
        std::str::from_utf8(self.bytes()?).map_err(|_| "a string is not UTF-8".to_owned())
    }

    /// Index of one of `count` branches or symbols.
    pub(super) fn choice(&mut self, count: usize) -> Result<usize, String> {
        let index = self.long()?;
        let found = usize::try_from(index).ok().filter(|found| *found < count);
        found.ok_or_else(|| format!("there is no branch or symbol {index} of {count}"))
    }

    /// The items of the next block of an array or map; none at its end.
    pub(super) fn block(&mut self) -> Result<usize, String> {
        let mut count = self.long()?;
        if count < 0 {
            // The block's size in bytes follows, for readers that skip it.
            count = count.checked_neg().ok_or("a block has too many items")?;
            self.long()?;
        }
        let count = usize::try_from(count).map_err(|_| "a block has too many items".to_owned())?;
        self.items = self.items.checked_sub(count).ok_or("more items than the value has bytes")?;
        Ok(count)
    }
}
