//! `cargo run -p ottla-protocol --example generate`: makes `protocol/src/messages/` from `protocol/messages/`.
//! Owns files and paths; the rest is `notation` and `emit`.

use std::path::Path;
use std::process::Command;

mod emit;
mod notation;
mod sources;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut written = Vec::new();
    for (name, text) in sources::generate(package)? {
        let path = package.join("src/messages").join(name);
        std::fs::write(&path, text)?;
        written.push(path);
    }
    let config = package.join("../rustfmt.toml");
    let status = Command::new("rustfmt")
        .args(["--edition", "2024", "--config-path"])
        .arg(config)
        .args(&written)
        .status()?;
    if !status.success() {
        return Err("rustfmt refused the generated code".into());
    }
    println!("{} files written", written.len());
    Ok(())
}
