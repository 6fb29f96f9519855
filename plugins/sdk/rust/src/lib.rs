//! Write Ottla plugins in Rust.
//!
//! ```ignore
//! struct Uppercase;
//!
//! impl ottla_plugin::Transform for Uppercase {
//!     fn transform(record: ottla_plugin::Record<'_>, out: &mut ottla_plugin::Outputs<'_>) -> Result<(), String> {
//!         let value = record.value.map(<[u8]>::to_ascii_uppercase);
//!         out.emit(&ottla_plugin::Record { value: value.as_deref(), ..record });
//!         Ok(())
//!     }
//! }
//!
//! ottla_plugin::export_transform!(Uppercase);
//! ```
//!
//! Build it as a `cdylib` for `wasm32-wasip2`, or for `wasm32-unknown-unknown` and make a component of it with
//! `wasm-tools component new`. The frame and the calling convention are those of `wit/ottla-v1/transform.wit`.
#![no_std]

extern crate alloc;

#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod abi;
mod frame;

pub use frame::{Headers, Outputs, Record, transform_frame};

use alloc::string::String;

/// A function from a record to none, one or several.
pub trait Transform {
    /// Emits what this record becomes. It must depend on this record alone: not on its neighbours nor on earlier calls.
    ///
    /// # Errors
    /// The reason why this record cannot be handled; the pipeline's error policy then takes it.
    fn transform(record: Record<'_>, out: &mut Outputs<'_>) -> Result<(), String>;
}

/// The world's type, as the section that tools read to make a component of a core module.
#[doc(hidden)]
pub const COMPONENT_TYPE: [u8; include_bytes!("transform.component-type").len()] =
    *include_bytes!("transform.component-type");

/// Makes the crate a plugin of the world `transform`.
#[macro_export]
macro_rules! export_transform {
    ($transform:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            #[used]
            #[unsafe(link_section = "component-type:ottla-plugin-1.0-transform")]
            static COMPONENT_TYPE: [u8; $crate::COMPONENT_TYPE.len()] = $crate::COMPONENT_TYPE;

            #[unsafe(export_name = "transform")]
            unsafe extern "C" fn transform(frame: *mut u8, length: usize) -> *mut $crate::abi::Answer {
                unsafe { $crate::abi::transform::<$transform>(frame, length) }
            }

            #[unsafe(export_name = "cabi_post_transform")]
            unsafe extern "C" fn post_transform(answer: *mut $crate::abi::Answer) {
                unsafe { $crate::abi::free(answer) }
            }

            #[unsafe(export_name = "cabi_realloc")]
            unsafe extern "C" fn realloc(old: *mut u8, old_size: usize, align: usize, new_size: usize) -> *mut u8 {
                unsafe { $crate::abi::realloc(old, old_size, align, new_size) }
            }
        };
    };
}
