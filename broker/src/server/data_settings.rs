//! The settings that say where a broker's data is: `log.dirs`, `log.dir` and `metadata.log.dir`.

use std::path::PathBuf;

use super::config::BrokerConfig;
use super::settings::SettingError;
use crate::controller::ConfigType;

const LOG_DIRS: &str = "log.dirs";
const LOG_DIR: &str = "log.dir";
const METADATA_LOG_DIR: &str = "metadata.log.dir";

/// Their names and types.
pub(super) const DATA_SETTINGS: [(&str, ConfigType); 3] =
    [(LOG_DIR, ConfigType::String), (LOG_DIRS, ConfigType::List), (METADATA_LOG_DIR, ConfigType::String)];

impl BrokerConfig {
    /// Sets one of them; false where the name is another's.
    pub(super) fn set_data(&mut self, name: &str, value: &str) -> Result<bool, SettingError> {
        match name {
            LOG_DIRS => self.log_dirs.log_dirs = dirs(value)?,
            LOG_DIR => {
                let dirs = dirs(value)?;
                // Only what the other leaves open.
                if !self.set.contains_key(LOG_DIRS) {
                    self.log_dirs.log_dirs = dirs;
                }
            }
            METADATA_LOG_DIR => {
                self.log_dirs.metadata_log_dir = (!value.is_empty()).then(|| PathBuf::from(value));
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The value of one of them now; nothing where it is left out.
    pub(super) fn data_setting(&self, name: &str) -> Option<String> {
        match name {
            LOG_DIRS => {
                let dirs: Vec<String> =
                    self.log_dirs.log_dirs.iter().map(|dir| dir.display().to_string()).collect();
                Some(dirs.join(","))
            }
            name => self.set.get(name).cloned(),
        }
    }
}

/// A list with commas, as Kafka has it.
fn dirs(value: &str) -> Result<Vec<PathBuf>, SettingError> {
    let dirs: Vec<PathBuf> =
        value.split(',').map(str::trim).filter(|dir| !dir.is_empty()).map(PathBuf::from).collect();
    match dirs.is_empty() {
        true => Err(SettingError::Invalid(
            "At least one log directory must be defined via log.dirs or log.dir.".to_owned(),
        )),
        false => Ok(dirs),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_dirs_wins_over_log_dir_whichever_comes_first() {
        for names in [[LOG_DIR, LOG_DIRS], [LOG_DIRS, LOG_DIR]] {
            let mut config = BrokerConfig::new("data");
            for name in names {
                config.set(name, &format!("{name}-1, {name}-2,")).unwrap();
            }
            let expected = ["log.dirs-1", "log.dirs-2"].map(PathBuf::from);
            assert_eq!(config.log_dirs.log_dirs, expected);
        }
        let mut config = BrokerConfig::new("data");
        assert!(config.set(LOG_DIRS, " ,").unwrap_err().to_string().contains("At least one log directory"));
        config.set(METADATA_LOG_DIR, "apart").unwrap();
        assert_eq!(config.log_dirs.metadata(), std::path::Path::new("apart"));
        assert_eq!(config.data_setting(LOG_DIRS).as_deref(), Some("data"));
    }
}
