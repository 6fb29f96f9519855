//! What a new plugin's folder holds: a program that builds, and the SDK beside it, so that nothing has to be looked for.

use crate::world::World;

/// What a plugin is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    Rust,
    JavaScript,
}

/// A file of a project: its path in the project's folder, and what is in it.
pub type ProjectFile = (&'static str, Vec<u8>);

/// The files of a new project.
pub fn new_project(name: &str, language: Language, world: World) -> Vec<ProjectFile> {
    let text = |template: &str| template.replace("NAME", name).replace("WORLD", world.word()).into_bytes();
    let mut files: Vec<ProjectFile> = vec![(".gitignore", include_bytes!("../templates/gitignore").to_vec())];
    match language {
        Language::Rust => {
            let program = match world {
                World::Transform => include_str!("../templates/transform.rs"),
                World::UdfScalar => include_str!("../templates/udf-scalar.rs"),
            };
            files.push(("Cargo.toml", text(include_str!("../templates/Cargo.toml"))));
            files.push(("src/lib.rs", program.into()));
            files.extend(rust_sdk());
        }
        Language::JavaScript => {
            let program = match world {
                World::Transform => include_str!("../templates/transform.js"),
                World::UdfScalar => include_str!("../templates/udf-scalar.js"),
            };
            files.push(("package.json", text(include_str!("../templates/package.json"))));
            files.push(("plugin.js", program.into()));
            files.push(("ottla.js", include_bytes!("../sdk/js/ottla.js").to_vec()));
            files.push(("wit/transform.wit", include_bytes!("../wit/ottla-v1/transform.wit").to_vec()));
            files.push(("wit/udf-scalar.wit", include_bytes!("../wit/ottla-v1/udf-scalar.wit").to_vec()));
        }
    }
    files
}

fn rust_sdk() -> [ProjectFile; 7] {
    // It is in the project's own workspace.
    let manifest = include_str!("../sdk/rust/Cargo.toml");
    let manifest =
        manifest.split_once("\n# Plugins are built for").map_or(manifest, |(manifest, _)| manifest);
    [
        ("ottla-plugin/Cargo.toml", manifest.into()),
        ("ottla-plugin/src/lib.rs", include_bytes!("../sdk/rust/src/lib.rs").to_vec()),
        ("ottla-plugin/src/abi.rs", include_bytes!("../sdk/rust/src/abi.rs").to_vec()),
        ("ottla-plugin/src/frame.rs", include_bytes!("../sdk/rust/src/frame.rs").to_vec()),
        ("ottla-plugin/src/scalar.rs", include_bytes!("../sdk/rust/src/scalar.rs").to_vec()),
        (
            "ottla-plugin/src/transform.component-type",
            include_bytes!("../sdk/rust/src/transform.component-type").to_vec(),
        ),
        (
            "ottla-plugin/src/udf-scalar.component-type",
            include_bytes!("../sdk/rust/src/udf-scalar.component-type").to_vec(),
        ),
    ]
}
