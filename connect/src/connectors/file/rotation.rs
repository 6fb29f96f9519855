//! The files of a log that is rotated: which one was written before which, and where one is that has another name now.
//!
//! ```text
//!   in.log.2 ─► in.log.1 ─► in.log            logrotate's numbers
//!   in.log-20261128 ─► in.log-20261129 ─► in.log      its dates
//!   in.2.log, in-20261128.log                 the same before the extension
//! ```
//! It reads folders and compares files; what to do then is decided in `reading.rs`.

use std::cmp::Reverse;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::known::{Identity, Known, Mark};

/// Numbers of so many digits are dates.
const DATE_DIGITS_MIN: usize = 8;
/// How often the order of files is looked up while somebody changes it.
const LOOKS_MAX: usize = 10;

/// When a file was rotated; the oldest first.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Age {
    Number(Reverse<u64>),
    Date(String),
}

/// Where a file is that was read before.
pub(super) enum Found {
    /// Under its own name.
    InPlace(File),
    /// Under another name, or as a copy.
    Rotated(File),
    /// Nowhere: another file has its name.
    Replaced(File),
}

/// Finds the file of a mark, whose name was `path`.
///
/// # Errors
/// [`ErrorKind::NotFound`] when neither it nor another of its name is there.
pub(super) fn find(path: &Path, mark: &Mark) -> io::Result<Found> {
    let named = open(path)?;
    if let Some(named) = &named
        && mark.is_named(named)? != Some(false)
        && mark.fits(named)?
    {
        return Ok(Found::InPlace(named.try_clone()?));
    }
    for other in files_beside(path)? {
        if let Some(file) = open(&other)?
            && mark.is_named(&file)? == Some(true)
            && mark.fits(&file)?
        {
            return Ok(Found::Rotated(file));
        }
    }
    if let Some(named) = &named
        && mark.fits(named)?
    {
        return Ok(Found::InPlace(named.try_clone()?));
    }
    for copy in rotated(path)?.iter().rev() {
        if let Some(file) = open(copy)?
            && mark.fits(&file)?
        {
            return Ok(Found::Rotated(file));
        }
    }
    named.map(Found::Replaced).ok_or_else(|| ErrorKind::NotFound.into())
}

/// The copy of a file that was copied and then cut to nothing, if there is one.
pub(super) fn copy_of(path: &Path, known: &Known) -> io::Result<Option<File>> {
    for copy in rotated(path)?.iter().rev() {
        if let Some(file) = open(copy)?
            && known.is_of(&file)?
        {
            return Ok(Some(file));
        }
    }
    Ok(None)
}

/// Whether a file is still there, under whatever name.
pub(super) fn is_there(path: &Path, file: Identity) -> io::Result<bool> {
    for other in files_beside(path)? {
        if let Some(other) = open(&other)?
            && Identity::of(&other.metadata()?) == file
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The file that was written after this one: the next younger, or the one that has the name now; none when that is not
/// there yet.
pub(super) fn next_after(path: &Path, file: Identity) -> io::Result<Option<File>> {
    let mut next = successor(path, file)?;
    for _ in 0..LOOKS_MAX {
        // Names may have moved on between two looks; a file that is open stays what it is.
        let again = successor(path, file)?;
        if identity(&next)? == identity(&again)? {
            break;
        }
        next = again;
    }
    Ok(next)
}

fn identity(file: &Option<File>) -> io::Result<Option<Identity>> {
    file.as_ref().map(|file| Ok(Identity::of(&file.metadata()?))).transpose()
}

fn successor(path: &Path, file: Identity) -> io::Result<Option<File>> {
    let mut files = Vec::new();
    for name in rotated(path)?.iter().map(PathBuf::as_path).chain([path]) {
        files.extend(open(name)?);
    }
    for (index, found) in files.iter().enumerate() {
        if Identity::of(&found.metadata()?) == file {
            return Ok((index + 1 < files.len()).then(|| files.swap_remove(index + 1)));
        }
    }
    open(path)
}

/// Files that have this one's name and a number or a date, the oldest first.
fn rotated(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files: Vec<(Age, PathBuf)> = files_beside(path)?
        .into_iter()
        .filter_map(|other| Some((age(path.file_name()?.to_str()?, other.file_name()?.to_str()?)?, other)))
        .collect();
    files.sort();
    Ok(files.into_iter().map(|(_, file)| file).collect())
}

/// When the file `other` was `name`, if it was.
fn age(name: &str, other: &str) -> Option<Age> {
    let after = other.strip_prefix(name).and_then(of_suffix);
    after.or_else(|| {
        let (stem, extension) = name.rsplit_once('.')?;
        let suffix = other.strip_prefix(stem)?.strip_suffix(extension)?.strip_suffix('.')?;
        of_suffix(suffix)
    })
}

fn of_suffix(suffix: &str) -> Option<Age> {
    let text = suffix.strip_prefix(['.', '-'])?;
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number && text.len() < DATE_DIGITS_MIN {
        return text.parse().ok().map(|number| Age::Number(Reverse(number)));
    }
    let is_date = text.bytes().filter(u8::is_ascii_digit).count() >= DATE_DIGITS_MIN
        && text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'_' | b'T' | b'.'));
    is_date.then(|| Age::Date(text.to_owned()))
}

/// The other files of the folder.
fn files_beside(path: &Path) -> io::Result<Vec<PathBuf>> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut files = Vec::new();
    for entry in fs::read_dir(folder.unwrap_or(Path::new(".")))? {
        let entry = entry?;
        if entry.file_type()?.is_file() && Some(entry.file_name().as_os_str()) != path.file_name() {
            files.push(entry.path());
        }
    }
    Ok(files)
}

/// Opens a file; `None` when it is not there, or not for this user.
fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) if file.metadata()?.is_file() => Ok(Some(file)),
        Ok(_) => Ok(None),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_rotated_files_is_told_by_their_names() {
        let folder = tempfile::tempdir().unwrap();
        let order = |path: &str, names: &[&str]| -> Vec<String> {
            names.iter().for_each(|name| fs::write(folder.path().join(name), name).unwrap());
            let files = rotated(&folder.path().join(path)).unwrap();
            files.iter().map(|file| file.file_name().unwrap().to_str().unwrap().to_owned()).collect()
        };
        let numbered =
            ["a.log.1", "a.log.10", "a.log.2", "a.log", "a.log.3.gz", "a.log.bak", "a.logs.1", "a.log."];
        assert_eq!(order("a.log", &numbered), ["a.log.10", "a.log.2", "a.log.1"]);
        let dated = ["b.log-20261129", "b.log-20261128", "b.log-20261129-1300", "b.log-old"];
        assert_eq!(order("b.log", &dated), ["b.log-20261128", "b.log-20261129", "b.log-20261129-1300"]);
        assert_eq!(order("c.log", &["c.1.log", "c.2.log", "c.x.log"]), ["c.2.log", "c.1.log"]);
        assert_eq!(order("d", &["d.2", "d.1", "d"]), ["d.2", "d.1"]);
    }

    #[test]
    fn the_file_after_another_is_the_next_younger_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        let at = |name: &str| folder.path().join(name);
        for name in ["a.log.2", "a.log.1", "a.log"] {
            fs::write(at(name), name).unwrap();
        }
        let id = |path: &Path| Identity::of(&fs::metadata(path).unwrap());
        let next = |file: Identity| identity(&next_after(&path, file).unwrap()).unwrap();
        assert_eq!(next(id(&at("a.log.2"))), Some(id(&at("a.log.1"))));
        assert_eq!(next(id(&at("a.log.1"))), Some(id(&path)));
        assert_eq!(next(id(&path)), None);
        let gone = id(&at("a.log.2"));
        fs::rename(at("a.log.2"), at("elsewhere")).unwrap();
        assert_eq!(next(gone), Some(id(&path)));
        assert!(is_there(&path, gone).unwrap());
        fs::remove_file(at("elsewhere")).unwrap();
        assert!(!is_there(&path, gone).unwrap());
    }
}
