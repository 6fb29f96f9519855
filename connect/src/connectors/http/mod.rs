//! HTTP: records of a topic sent to an endpoint, and an endpoint read page by page.
//!
//! | file | owns | pure |
//! |---|---|---|
//! | `config.rs` | the configs of both | yes |
//! | `requests.rs` | requests: credentials, pace, what an answer means, trying again | |
//! | `bodies.rs` | records as bodies of requests | yes |
//! | `delivery.rs` | delivering, and finding the record that is refused | |
//! | `lanes.rs` | several requests under way, and which order they keep | |
//! | `sink.rs` | records for the lanes, and their answers | |
//! | `paging.rs` | pages: what to ask for, what is new, where to go on | yes |
//! | `pointer.rs` | JSON pointers | yes |
//! | `source.rs` | asking for pages | |

mod bodies;
pub(crate) mod config;
mod delivery;
mod lanes;
#[cfg(test)]
mod lanes_tests;
mod paging;
mod pointer;
mod requests;
mod sink;
mod source;
#[cfg(test)]
mod source_tests;
#[cfg(test)]
pub(crate) mod tests;
