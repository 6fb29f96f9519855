//! The canonical ABI of `func(batch: list<u8>) -> result<list<u8>, string>` and `func() -> string`, by hand: it is a handful of functions,
//! and a generator for them would be most of what a plugin is built from.

use alloc::alloc::{Layout, alloc, handle_alloc_error, realloc as grow};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

/// A text or a list in memory.
#[repr(C)]
pub struct Text {
    bytes: *mut u8,
    length: usize,
}

/// The result in memory: which case, and where its bytes are.
#[repr(C)]
pub struct Answer {
    is_err: u8,
    text: Text,
}

impl Text {
    fn of(bytes: Vec<u8>) -> Text {
        let bytes = Box::leak(bytes.into_boxed_slice());
        Text { bytes: bytes.as_mut_ptr(), length: bytes.len() }
    }

    /// # Safety
    /// It must come from [`Text::of`], and must not be used again.
    unsafe fn free(self) {
        drop(unsafe { Box::from_raw(core::ptr::slice_from_raw_parts_mut(self.bytes, self.length)) });
    }
}

/// # Safety
/// `batch` must come from [`realloc`] with this length, and is owned by this call.
pub unsafe fn call(
    batch: *mut u8,
    length: usize,
    work: impl FnOnce(&[u8]) -> Result<Vec<u8>, String>,
) -> *mut Answer {
    let batch = if length == 0 { Vec::new() } else { unsafe { Vec::from_raw_parts(batch, length, length) } };
    let (is_err, bytes) = match work(&batch) {
        Ok(bytes) => (0, bytes),
        Err(reason) => (1, reason.into_bytes()),
    };
    drop(batch);
    Box::into_raw(Box::new(Answer { is_err, text: Text::of(bytes) }))
}

/// # Safety
/// `answer` must come from [`call`], and must not be used again.
pub unsafe fn free(answer: *mut Answer) {
    let answer = unsafe { Box::from_raw(answer) };
    unsafe { answer.text.free() };
}

/// A text as a function's result.
pub fn give(text: String) -> *mut Text {
    Box::into_raw(Box::new(Text::of(text.into_bytes())))
}

/// # Safety
/// `text` must come from [`give`], and must not be used again.
pub unsafe fn free_text(text: *mut Text) {
    let text = unsafe { Box::from_raw(text) };
    unsafe { text.free() };
}

/// # Safety
/// As the canonical ABI has it: `old` was given by this function with `old_size` and `align`, or is null with size 0.
pub unsafe fn realloc(old: *mut u8, old_size: usize, align: usize, new_size: usize) -> *mut u8 {
    if new_size == 0 {
        return align as *mut u8;
    }
    let layout = unsafe { Layout::from_size_align_unchecked(if old_size == 0 { new_size } else { old_size }, align) };
    let new = unsafe { if old_size == 0 { alloc(layout) } else { grow(old, layout, new_size) } };
    if new.is_null() {
        handle_alloc_error(layout);
    }
    new
}
