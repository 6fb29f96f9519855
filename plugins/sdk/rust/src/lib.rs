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
//! Functions for SQL are written as functions, and every row gets a call of one:
//!
//! ```ignore
//! ottla_plugin::export_scalar! {
//!     /// The first `keep` characters, and a star for each other.
//!     fn mask(text: &str, keep: i64) -> String {
//!         text.chars().enumerate().map(|(at, c)| if (at as i64) < keep { c } else { '*' }).collect()
//!     }
//!
//!     fn ratio(part: f64, whole: Option<f64>) -> Result<Option<f64>, String> {
//!         match whole {
//!             Some(0.0) => Err("the whole is 0".to_owned()),
//!             whole => Ok(whole.map(|whole| part / whole)),
//!         }
//!     }
//! }
//! ```
//!
//! Build it as a `cdylib` for `wasm32-wasip2`, or for `wasm32-unknown-unknown` and make a component of it with
//! `wasm-tools component new`. The frame and the calling convention are those of `wit/ottla-v1/`.
#![no_std]

extern crate alloc;

#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod abi;
mod frame;
mod scalar;

pub use frame::{Headers, Outputs, Record, transform_frame};
pub use scalar::{Answer, Answers, Argument, Column, ScalarFunction, Timestamp, call_scalar, signatures};

use alloc::string::String;

/// A function from a record to none, one or several.
pub trait Transform {
    /// Emits what this record becomes. It must depend on this record alone: not on its neighbours nor on earlier calls.
    ///
    /// # Errors
    /// The reason why this record cannot be handled; the pipeline's error policy then takes it.
    fn transform(record: Record<'_>, out: &mut Outputs<'_>) -> Result<(), String>;
}

/// A world's type, as the section that tools read to make a component of a core module.
#[doc(hidden)]
pub const TRANSFORM_TYPE: [u8; include_bytes!("transform.component-type").len()] =
    *include_bytes!("transform.component-type");
#[doc(hidden)]
pub const UDF_SCALAR_TYPE: [u8; include_bytes!("udf-scalar.component-type").len()] =
    *include_bytes!("udf-scalar.component-type");

/// Makes the crate a plugin of the world `transform`.
#[macro_export]
macro_rules! export_transform {
    ($transform:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            #[used]
            #[unsafe(link_section = "component-type:ottla-plugin-1.0-transform")]
            static COMPONENT_TYPE: [u8; $crate::TRANSFORM_TYPE.len()] = $crate::TRANSFORM_TYPE;

            #[unsafe(export_name = "transform")]
            unsafe extern "C" fn transform(frame: *mut u8, length: usize) -> *mut $crate::abi::Answer {
                unsafe { $crate::abi::call(frame, length, $crate::transform_frame::<$transform>) }
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

/// Makes the crate a plugin of the world `udf-scalar`: each function in it is one of SQL's, by its name and with the types that
/// [`Argument`] and [`Answer`] are there for. What a function gives must depend on its arguments alone.
#[macro_export]
macro_rules! export_scalar {
    ($($(#[$meta:meta])* fn $name:ident($($argument:ident: $type:ty),* $(,)?) -> $returns:ty $body:block)+) => {
        $($(#[$meta])* fn $name($($argument: $type),*) -> $returns $body)+

        /// What the plugin has.
        static FUNCTIONS: &[$crate::ScalarFunction] = &[$($crate::ScalarFunction {
            name: stringify!($name),
            arguments: &[$((<$type as $crate::Argument>::TYPE, <$type as $crate::Argument>::CODE)),*],
            returns: (<$returns as $crate::Answer>::TYPE, <$returns as $crate::Answer>::CODE),
            call: |columns, rows, out| {
                for row in 0..rows {
                    let mut _columns = columns.iter();
                    let answer = (|| {
                        $(let $argument = <$type as $crate::Argument>::read(_columns.next()?, row)?;)*
                        Some($name($($argument),*))
                    })();
                    match answer {
                        Some(answer) => $crate::Answer::put(answer, out)?,
                        None => out.put_null(<$returns as $crate::Answer>::CODE),
                    }
                }
                Ok(())
            },
        }),+];

        #[cfg(target_arch = "wasm32")]
        const _: () = {
            #[used]
            #[unsafe(link_section = "component-type:ottla-plugin-1.0-udf-scalar")]
            static COMPONENT_TYPE: [u8; $crate::UDF_SCALAR_TYPE.len()] = $crate::UDF_SCALAR_TYPE;

            #[unsafe(export_name = "functions")]
            extern "C" fn functions() -> *mut $crate::abi::Text {
                $crate::abi::give($crate::signatures(FUNCTIONS))
            }

            #[unsafe(export_name = "cabi_post_functions")]
            unsafe extern "C" fn post_functions(text: *mut $crate::abi::Text) {
                unsafe { $crate::abi::free_text(text) }
            }

            #[unsafe(export_name = "call")]
            unsafe extern "C" fn call(batch: *mut u8, length: usize) -> *mut $crate::abi::Answer {
                unsafe { $crate::abi::call(batch, length, |batch| $crate::call_scalar(FUNCTIONS, batch)) }
            }

            #[unsafe(export_name = "cabi_post_call")]
            unsafe extern "C" fn post_call(answer: *mut $crate::abi::Answer) {
                unsafe { $crate::abi::free(answer) }
            }

            #[unsafe(export_name = "cabi_realloc")]
            unsafe extern "C" fn realloc(old: *mut u8, old_size: usize, align: usize, new_size: usize) -> *mut u8 {
                unsafe { $crate::abi::realloc(old, old_size, align, new_size) }
            }
        };
    };
}
