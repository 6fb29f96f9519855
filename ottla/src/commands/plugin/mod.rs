//! `ottla plugin …`: a plugin's project, its build, what it does to records, and the plugins of a server.

mod build;
mod server;
mod test;
mod toolchain;

use std::path::{Path, PathBuf};

use clap::{Subcommand, ValueEnum};
use ottla_plugins::{Language, World, new_project};

use crate::cli::{HttpArguments, Output};
use crate::failure::Failure;
use test::TestArguments;

/// What a plugin is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LanguageWord {
    Rust,
    Js,
}

/// What a plugin is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum WorldWord {
    /// Records in, records out: a step of a pipeline.
    Transform,
    /// Functions for SQL, for CREATE FUNCTION.
    UdfScalar,
}

#[derive(Subcommand)]
pub enum PluginCommand {
    /// Write a project that builds into a new folder.
    New {
        /// The plugin's name, and the folder's: lower-case letters, digits and hyphens.
        name: String,
        /// What it is written in.
        #[arg(short, long, value_enum, default_value = "rust")]
        language: LanguageWord,
        /// What it is for.
        #[arg(short, long, value_enum, default_value = "transform")]
        world: WorldWord,
    },
    /// Build a project into a component, or make a component of a core module, and check that a server will take it.
    Build {
        /// The project's folder, or a core module (.wasm).
        #[arg(default_value = ".")]
        path: PathBuf,
        /// Where the component goes; by default NAME.wasm in the project's folder, or in place of the core module.
        #[arg(long, value_name = "FILE")]
        to: Option<PathBuf>,
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
    /// Run records or rows through a component as a server does, and print what becomes of them.
    Test(TestArguments),
    /// Keep a component on a server under a name, for its pipelines and for CREATE FUNCTION.
    Install {
        /// The component, as `ottla plugin build` makes it.
        file: PathBuf,
        /// What it is called there; by default as the file is, without `.wasm`.
        #[arg(long)]
        name: Option<String>,
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
        #[command(flatten)]
        http: HttpArguments,
    },
    /// List a server's plugins, and what uses them.
    List {
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
        #[command(flatten)]
        http: HttpArguments,
    },
    /// Have a server forget plugins that nothing uses.
    Uninstall {
        /// Their names.
        #[arg(required = true)]
        names: Vec<String>,
        #[command(flatten)]
        http: HttpArguments,
    },
}

pub async fn run(command: PluginCommand) -> Result<(), Failure> {
    match command {
        PluginCommand::New { name, language, world } => new(&name, language, world),
        PluginCommand::Build { path, to, output } => on_a_thread(move || build::run(&path, to, output)).await,
        PluginCommand::Test(arguments) => on_a_thread(move || test::run(&arguments)).await,
        PluginCommand::Install { file, name, output, http } => {
            server::install(&file, name, output, &http).await
        }
        PluginCommand::List { output, http } => server::list(output, &http).await,
        PluginCommand::Uninstall { names, http } => server::uninstall(&names, &http).await,
    }
}

/// Compilers and plugins keep a thread busy.
async fn on_a_thread(work: impl FnOnce() -> Result<(), Failure> + Send + 'static) -> Result<(), Failure> {
    tokio::task::spawn_blocking(work).await?
}

fn new(name: &str, language: LanguageWord, world: WorldWord) -> Result<(), Failure> {
    let is_name = name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if !is_name {
        return Err(Failure::wrong_words(format!(
            "`{name}` is no name of a plugin: a lower-case letter, then lower-case letters, digits and hyphens"
        )));
    }
    let folder = Path::new(name);
    if folder.exists() {
        return Err(Failure::failed(format!("{name} is there already; take another name, or remove it")));
    }
    let language = match language {
        LanguageWord::Rust => Language::Rust,
        LanguageWord::Js => Language::JavaScript,
    };
    let world = match world {
        WorldWord::Transform => World::Transform,
        WorldWord::UdfScalar => World::UdfScalar,
    };
    for (path, content) in new_project(name, language, world) {
        let path = folder.join(path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(|error| at(parent, &error))?;
        }
        std::fs::write(&path, content).map_err(|error| at(&path, &error))?;
    }
    let program = match language {
        Language::Rust => "src/lib.rs",
        Language::JavaScript => "plugin.js",
    };
    println!("{name}/{program} is the plugin; `ottla plugin build {name}` builds it");
    Ok(())
}

/// What went wrong with a file.
fn at(path: &Path, error: &std::io::Error) -> Failure {
    Failure::failed(format!("{}: {error}", path.display()))
}
