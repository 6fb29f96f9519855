//! What the fuzz targets run.

pub mod parsers;
pub mod stored;
pub mod strangers;
