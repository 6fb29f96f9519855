//! What the fuzz targets run.

pub mod parsers;
pub mod schemas;
pub mod stored;
pub mod strangers;
