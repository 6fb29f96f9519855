//! Putting a compacted segment in the place of those it was made from, so that a crash at any moment leaves the old
//! records or the new ones.
//!
//! ```text
//!   <base>.log.cleaned   being written; worth nothing after a crash
//!   <base>.log.swap      whole and durable: from here on the old segments are superfluous
//!   <base>.log           in place
//! ```
//! Indexes of the old segments go before the new log comes: an index is rebuilt when it is missing, but must never
//! describe another file.

use std::fs;
use std::path::{Path, PathBuf};

use super::LogError;
use super::aborted::txn_index_path;
use super::checkpoint::sync_dir;
use super::index::{index_path, log_path, time_index_path};
use super::segment::Segment;
use crate::ids::Offset;

const CLEANED: &str = "cleaned";
const SWAP: &str = "swap";
const DELETED: &str = ".deleted";

fn with_suffix(dir: &Path, base_offset: Offset, suffix: &str) -> PathBuf {
    dir.join(format!("{:020}.log.{suffix}", base_offset.0))
}

/// Gives a file the name of one that is to be removed; gives that.
pub(super) fn put_away(path: &Path) -> std::io::Result<PathBuf> {
    let mut name = path.as_os_str().to_owned();
    name.push(DELETED);
    let away = PathBuf::from(name);
    fs::rename(path, &away)?;
    Ok(away)
}

/// Where a compacted segment is written.
pub(super) fn cleaned_path(dir: &Path, base_offset: Offset) -> PathBuf {
    with_suffix(dir, base_offset, CLEANED)
}

/// Puts the cleaned file of `base_offset`, which must be durable, in the place of the segments that begin at
/// `replaced`. The folder's changes are durable when this returns.
pub(super) fn replace(dir: &Path, base_offset: Offset, replaced: &[Offset]) -> Result<(), LogError> {
    let (cleaned, swap) = (cleaned_path(dir, base_offset), with_suffix(dir, base_offset, SWAP));
    fs::rename(&cleaned, &swap).map_err(LogError::io("rename", cleaned))?;
    sync_dir(dir)?;
    install(dir, base_offset, replaced)
}

/// Removes segments for which nothing is left.
pub(super) fn remove(dir: &Path, replaced: &[Offset]) -> Result<(), LogError> {
    for base in replaced {
        let path = log_path(dir, *base);
        fs::remove_file(&path).map_err(LogError::io("remove", path))?;
        remove_indexes(dir, *base)?;
    }
    sync_dir(dir)
}

fn install(dir: &Path, base_offset: Offset, replaced: &[Offset]) -> Result<(), LogError> {
    for base in replaced {
        remove_indexes(dir, *base)?;
        if *base != base_offset {
            // What it told is in the file of the segment that takes its place.
            let _ = fs::remove_file(txn_index_path(dir, *base));
            let path = log_path(dir, *base);
            fs::remove_file(&path).map_err(LogError::io("remove", path))?;
        }
    }
    let swap = with_suffix(dir, base_offset, SWAP);
    fs::rename(&swap, log_path(dir, base_offset)).map_err(LogError::io("rename", swap))?;
    sync_dir(dir)
}

fn remove_indexes(dir: &Path, base_offset: Offset) -> Result<(), LogError> {
    for path in [index_path(dir, base_offset), time_index_path(dir, base_offset)] {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(LogError::io("remove", path)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Ends what a crash interrupted: unfinished files go, finished ones take their place. Called before a log is opened.
pub(super) fn finish(dir: &Path) -> Result<(), LogError> {
    let (mut swaps, mut bases) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(dir).map_err(LogError::io("list", dir))? {
        let path = entry.map_err(LogError::io("list", dir))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Some((stem, kind)) = name.split_once('.') else { continue };
        let Some(base) = stem.parse().ok().filter(|_| stem.len() == 20).map(Offset) else { continue };
        match kind {
            "log" => bases.push(base),
            // Kafka writes indexes beside them too, and renames what it is about to remove.
            kind if kind.ends_with(&format!(".{CLEANED}")) || kind.ends_with(DELETED) => {
                fs::remove_file(&path).map_err(LogError::io("remove", &path))?;
            }
            kind if kind == format!("log.{SWAP}") => swaps.push(base),
            kind if kind.ends_with(&format!(".{SWAP}")) => {
                fs::remove_file(&path).map_err(LogError::io("remove", &path))?;
            }
            _ => {}
        }
    }
    for base in swaps {
        let path = with_suffix(dir, base, SWAP);
        let last = last_offset(&path, base)?;
        // One whose records are all superseded may stay: whoever reads it finds old values before the newer ones.
        let replaced: Vec<Offset> =
            bases.iter().copied().filter(|other| *other == base || (base..=last).contains(other)).collect();
        tracing::info!(path = %path.display(), segments = replaced.len(), "finished a compaction");
        install(dir, base, &replaced)?;
    }
    Ok(())
}

/// Of the last batch in a file; the base offset where it has none.
fn last_offset(path: &Path, base_offset: Offset) -> Result<Offset, LogError> {
    let segment = Segment::at(path, base_offset, false)?;
    let (mut position, mut last) = (0, base_offset);
    while let Some(header) = segment.header_at(position, segment.size())? {
        last = Offset(header.last_offset());
        position += header.size() as u32;
    }
    Ok(last)
}
