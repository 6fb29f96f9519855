//! Compiled components on disk, so that a plugin is compiled once per machine and not once per start. It
//! knows no plugin, only keys and machine code.
//!
//! Loading machine code is as trusting as running a program, hence the folder's rules: it is ours, nobody
//! else may write to it, and each file opens with the hash of what follows, so that a torn file is compiled
//! anew.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

/// A folder that holds compiled components and that only its owner can write to.
#[derive(Clone, Debug)]
pub struct CacheDir(PathBuf);

/// Length of the hash that opens a file.
const HASH_BYTES: usize = 32;

impl CacheDir {
    /// Makes the folder if it is missing. Refuses one that others may write to.
    pub fn open(path: &Path) -> io::Result<CacheDir> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(path)?;
        #[cfg(unix)]
        refuse_if_others_may_write(path)?;
        Ok(CacheDir(path.to_owned()))
    }

    /// `$OTTLA_CACHE_DIR/plugins`, `$XDG_CACHE_HOME/ottla/plugins` or `$HOME/.cache/ottla/plugins`; none when
    /// there is no such variable or no safe folder there: the cache is a convenience, and plugins run without
    /// it.
    pub fn of_user() -> Option<CacheDir> {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let path = variable("OTTLA_CACHE_DIR")
            .or_else(|| variable("XDG_CACHE_HOME").map(|path| path.join("ottla")))
            .or_else(|| variable("HOME").map(|path| path.join(".cache/ottla")))?
            .join("plugins");
        match CacheDir::open(&path) {
            Ok(dir) => Some(dir),
            Err(reason) => {
                tracing::warn!(path = %path.display(), %reason, "plugins are compiled anew at each start");
                None
            }
        }
    }

    pub(crate) fn load(&self, engine: &Engine, component_sha256: &str) -> Option<Component> {
        let path = self.file(engine, component_sha256);
        let bytes = fs::read(&path).ok()?;
        let (hash, code) = bytes.split_at_checked(HASH_BYTES)?;
        if Sha256::digest(code).as_slice() != hash {
            tracing::info!(path = %path.display(), "this compiled plugin is torn and is compiled anew");
            return None;
        }
        deserialize(engine, code)
            .inspect_err(|reason| tracing::info!(%reason, "a compiled plugin is compiled anew"))
            .ok()
    }

    pub(crate) fn store(
        &self,
        engine: &Engine,
        component_sha256: &str,
        component: &Component,
    ) -> io::Result<()> {
        let code = component.serialize().map_err(io::Error::other)?;
        let path = self.file(engine, component_sha256);
        let unfinished = path.with_extension(format!("{}.unfinished", std::process::id()));
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&unfinished)?;
        file.write_all(&Sha256::digest(&code))?;
        file.write_all(&code)?;
        drop(file);
        fs::rename(unfinished, path)
    }

    /// The name holds the component's hash, and that of wasmtime's version with every setting that shapes the
    /// code.
    fn file(&self, engine: &Engine, component_sha256: &str) -> PathBuf {
        let mut compiler = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut compiler);
        self.0.join(format!("{component_sha256}-{:016x}.component", compiler.finish()))
    }
}

#[cfg(unix)]
fn refuse_if_others_may_write(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    // Who we are is the owner of what we make: there is no safe call for it in the standard library.
    let probe = path.join(format!("{}.probe", std::process::id()));
    let us = fs::File::create(&probe).and_then(|file| file.metadata()).map(|metadata| metadata.uid());
    let _ = fs::remove_file(&probe);
    let metadata = fs::metadata(path)?;
    if metadata.uid() != us? || metadata.mode() & 0o022 != 0 {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "the folder for compiled plugins belongs to another user, or others may write to it",
        ));
    }
    Ok(())
}

/// The one place that trusts bytes from disk to be machine code.
#[allow(unsafe_code)]
fn deserialize(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: the bytes were written by `store` into a folder that only this user can write to, which `open`
    // has checked, and their hash says that they are whole. wasmtime itself refuses code of another version
    // or other settings.
    unsafe { Component::deserialize(engine, code) }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn component(engine: &Engine) -> Component {
        Component::new(engine, wat::parse_str("(component)").unwrap()).unwrap()
    }

    #[test]
    fn what_was_stored_is_loaded_and_a_torn_file_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let cache = CacheDir::open(&folder.path().join("plugins")).unwrap();
        let engine = Engine::default();
        assert!(cache.load(&engine, "abc").is_none());
        cache.store(&engine, "abc", &component(&engine)).unwrap();
        assert!(cache.load(&engine, "abc").is_some());

        let path = cache.file(&engine, "abc");
        let mut bytes = fs::read(&path).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert!(cache.load(&engine, "abc").is_none(), "one bit is wrong");
        fs::write(&path, &bytes[..HASH_BYTES - 1]).unwrap();
        assert!(cache.load(&engine, "abc").is_none(), "shorter than its hash");
    }

    #[test]
    fn a_folder_that_others_may_write_to_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(CacheDir::open(folder.path()).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn code_for_other_settings_has_another_name() {
        let folder = tempfile::tempdir().unwrap();
        let cache = CacheDir::open(&folder.path().join("plugins")).unwrap();
        let mut config = wasmtime::Config::new();
        config.epoch_interruption(true);
        let other = Engine::new(&config).unwrap();
        assert_ne!(cache.file(&Engine::default(), "abc"), cache.file(&other, "abc"));
    }
}
