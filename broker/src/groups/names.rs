//! The words groups are spoken of in: group, member, instance, generation, topic, and the two clocks.
//!
//! Names are kept as `Arc<str>`, not as slices of a request's frame: a name lives as long as its group does, and a
//! slice would keep its whole frame in memory for as long.

use std::fmt;
use std::sync::Arc;

pub use crate::machine::{Monotonic, Now, ReplyId, WallMs};

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Whether it is the empty text, which Kafka uses for "none" in several places.
            pub fn is_empty(&self) -> bool {
                self.0.is_empty()
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> $name {
                $name(Arc::from(text))
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> $name {
                $name(Arc::from(text))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

name! {
    /// A group's id. Empty only for offsets committed by consumers older than groups.
    GroupId
}
name! {
    /// The id a coordinator gave a member. A member that has none yet is an `Option::None`.
    MemberId
}
name! {
    /// `group.instance.id`: the name of a static member (KIP-345), which outlives its member ids.
    InstanceId
}
name! {
    /// A topic's name.
    TopicName
}

/// How often a group has been formed. Grows by one at each formation; -1 stands for "no group management".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GenerationId(pub i32);

impl GenerationId {
    /// What consumers without group management send.
    pub const NONE: GenerationId = GenerationId(-1);

    /// The one after this.
    pub fn next(self) -> GenerationId {
        GenerationId(self.0.wrapping_add(1).max(0))
    }
}

impl fmt::Display for GenerationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
