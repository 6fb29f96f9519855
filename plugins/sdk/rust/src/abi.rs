//! The canonical ABI of `func(batch: list<u8>) -> result<list<u8>, string>`, by hand: it is three functions, and a generator
//! for them would be most of what a plugin is built from.

use alloc::alloc::{Layout, alloc, handle_alloc_error, realloc as grow};
use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::{Transform, transform_frame};

/// The result in memory: which case, and where its bytes are.
#[repr(C)]
pub struct Answer {
    is_err: u8,
    bytes: *mut u8,
    length: usize,
}

/// # Safety
/// `frame` must come from [`realloc`] with this length, and is owned by this call.
pub unsafe fn transform<T: Transform>(frame: *mut u8, length: usize) -> *mut Answer {
    let frame = if length == 0 { Vec::new() } else { unsafe { Vec::from_raw_parts(frame, length, length) } };
    let (is_err, bytes) = match transform_frame::<T>(&frame) {
        Ok(bytes) => (0, bytes),
        Err(reason) => (1, reason.into_bytes()),
    };
    drop(frame);
    let bytes = Box::leak(bytes.into_boxed_slice());
    Box::into_raw(Box::new(Answer { is_err, bytes: bytes.as_mut_ptr(), length: bytes.len() }))
}

/// # Safety
/// `answer` must come from [`transform`], and must not be used again.
pub unsafe fn free(answer: *mut Answer) {
    let answer = unsafe { Box::from_raw(answer) };
    drop(unsafe { Box::from_raw(core::ptr::slice_from_raw_parts_mut(answer.bytes, answer.length)) });
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
