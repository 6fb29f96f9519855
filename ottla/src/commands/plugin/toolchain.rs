//! The compilers that a plugin is built with: which are here, how they are called, and what to install where they are not.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::Failure;

/// Builds a Rust project for WebAssembly: the core module that it makes.
pub(super) fn rust_module(project: &Path) -> Result<PathBuf, Failure> {
    // Cargo runs in the project's folder, and we do not.
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| project.join("target"), PathBuf::from);
    let target = std::path::absolute(&target).map_err(|error| super::at(&target, &error))?;
    let mut command = cargo(project)?;
    command.args(["build", "--release", "--target", "wasm32-unknown-unknown"]);
    command.arg("--target-dir").arg(&target).current_dir(project);
    run(&mut command, "cargo")?;
    let name = package_name(project)?;
    Ok(target.join("wasm32-unknown-unknown/release").join(name.replace('-', "_")).with_extension("wasm"))
}

/// A cargo that has WebAssembly's standard library, or can build it.
fn cargo(project: &Path) -> Result<Command, Failure> {
    let libraries = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", "wasm32-unknown-unknown"])
        .current_dir(project)
        .output();
    let has_libraries = libraries.is_ok_and(|output| {
        let folder = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        output.status.success() && std::fs::read_dir(folder).is_ok_and(|mut files| files.next().is_some())
    });
    if has_libraries {
        return Ok(Command::new("cargo"));
    }
    // Debian's compiler for WebAssembly comes without the library, and with its source.
    let sources = std::fs::read_dir("/usr/src").into_iter().flatten().flatten();
    let has_source = sources.into_iter().any(|folder| folder.path().join("library/std").is_dir());
    let linker = ["wasm-ld-19", "wasm-ld"].into_iter().find(|name| Path::new("/usr/bin").join(name).exists());
    if let (true, Some(linker), true) = (has_source, linker, Path::new("/usr/bin/cargo").exists()) {
        let mut command = Command::new("/usr/bin/cargo");
        command.args(["-Zbuild-std=std,panic_abort"]);
        command.env("PATH", "/usr/bin:/bin").env("RUSTC_BOOTSTRAP", "1");
        command.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
        for of_rustup in ["CARGO", "RUSTC", "RUSTUP_TOOLCHAIN", "RUSTC_WRAPPER"] {
            command.env_remove(of_rustup);
        }
        return Ok(command);
    }
    Err(Failure::failed(
        "no Rust compiler here makes WebAssembly; install one with `rustup target add wasm32-unknown-unknown`, \
         on Debian with `apt-get install rustc-web cargo-web rust-web-src lld-19`",
    ))
}

/// The name that the project's manifest gives it.
fn package_name(project: &Path) -> Result<String, Failure> {
    let path = project.join("Cargo.toml");
    let text = std::fs::read_to_string(&path).map_err(|error| super::at(&path, &error))?;
    let manifest: toml::Table =
        toml::from_str(&text).map_err(|error| Failure::failed(format!("{}: {error}", path.display())))?;
    let name = manifest.get("package").and_then(|package| package.get("name")).and_then(toml::Value::as_str);
    name.map(str::to_owned).ok_or_else(|| Failure::failed(format!("{} has no package.name", path.display())))
}

/// What `package.json` says of a plugin.
#[derive(serde::Deserialize)]
struct Package {
    ottla: PackagePlugin,
}

#[derive(serde::Deserialize)]
struct PackagePlugin {
    world: String,
    entry: PathBuf,
}

/// Builds a JavaScript project: the component that it makes.
pub(super) fn js_component(project: &Path) -> Result<PathBuf, Failure> {
    let path = project.join("package.json");
    let text = std::fs::read_to_string(&path).map_err(|error| super::at(&path, &error))?;
    let package: Package = serde_json::from_str(&text).map_err(|error| {
        Failure::failed(format!(
            "{}: {error}; it needs \"ottla\": {{\"world\": \"transform\", \"entry\": \"plugin.js\"}}",
            path.display()
        ))
    })?;
    check_node()?;
    let tool = project.join("node_modules/.bin/componentize-qjs");
    if !tool.exists() {
        let mut install = Command::new("npm");
        install.args(["install", "--no-audit", "--no-fund"]).current_dir(project);
        run(&mut install, "npm")?;
    }
    let tool = std::fs::canonicalize(&tool).map_err(|error| {
        Failure::failed(format!(
            "{}: {error}; add \"componentize-qjs\": \"0.4.5\" to devDependencies of {}",
            tool.display(),
            path.display()
        ))
    })?;
    let component = project.join("node_modules/.ottla-component.wasm");
    let component_path = std::path::absolute(&component).map_err(|error| super::at(&component, &error))?;
    let mut command = Command::new("node");
    command.arg(tool).current_dir(project);
    command.args(["--wit", "wit", "--world", &package.ottla.world, "--js"]).arg(&package.ottla.entry);
    command
        .args(["--module-root", ".", "--stub-wasi", "--sync", "--minify", "--output"])
        .arg(&component_path);
    run(&mut command, "componentize-qjs")?;
    Ok(component)
}

/// What componentize-qjs needs.
const NODE_MAJOR_MIN: u32 = 20;

fn check_node() -> Result<(), Failure> {
    let version =
        Command::new("node").arg("--version").output().ok().filter(|output| output.status.success());
    let version = version.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    let major = |version: &String| version.trim_start_matches('v').split('.').next()?.parse::<u32>().ok();
    let help =
        "install Node.js 20 or newer with npm: https://nodejs.org, on Debian `apt-get install nodejs npm`";
    match version.as_ref().and_then(major) {
        Some(major) if major >= NODE_MAJOR_MIN => Ok(()),
        Some(_) => Err(Failure::failed(format!(
            "Node.js here is {}, too old to build a plugin; {help}",
            version.unwrap_or_default()
        ))),
        None => Err(Failure::failed(format!("there is no Node.js here to build a plugin with; {help}"))),
    }
}

/// Runs a tool to its end. What it says goes to stderr, as ours is to be read by programs, too.
fn run(command: &mut Command, name: &str) -> Result<(), Failure> {
    let output = command.stdin(std::process::Stdio::null()).output();
    let output = output.map_err(|error| Failure::failed(format!("{name} cannot be run: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(Failure::failed(format!("{name} failed:\n{}", String::from_utf8_lossy(&said).trim_end())))
}
