//! The worlds that a component may be of, and how its exports tell.

use wasmtime::Engine;
use wasmtime::component::Component;
use wasmtime::component::types::{ComponentItem, Type};

use crate::error::PluginFault;

/// One of the interfaces in `wit/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum World {
    /// Records in, records out.
    Transform,
    /// Functions for SQL.
    UdfScalar,
}

/// A function that a world asks for.
struct Export {
    name: &'static str,
    /// As WIT writes it.
    shape: &'static str,
    check: fn(&[Type], &[Type]) -> Result<(), String>,
}

const TRANSFORM: &[Export] = &[Export {
    name: "transform",
    shape: "func(batch: list<u8>) -> result<list<u8>, string>",
    check: bytes_to_bytes,
}];
const UDF_SCALAR: &[Export] = &[
    Export { name: "functions", shape: "func() -> string", check: text },
    Export {
        name: "call",
        shape: "func(batch: list<u8>) -> result<list<u8>, string>",
        check: bytes_to_bytes,
    },
];

impl World {
    pub const ALL: [World; 2] = [World::Transform, World::UdfScalar];

    /// Its name in WIT and on the command line.
    pub fn word(self) -> &'static str {
        match self {
            World::Transform => "transform",
            World::UdfScalar => "udf-scalar",
        }
    }

    /// Its full name.
    pub fn id(self) -> &'static str {
        match self {
            World::Transform => "ottla:plugin/transform@1.0.0",
            World::UdfScalar => "ottla:plugin/udf-scalar@1.0.0",
        }
    }

    /// The function that is called for each batch.
    pub(crate) fn called(self) -> &'static str {
        match self {
            World::Transform => "transform",
            World::UdfScalar => "call",
        }
    }

    /// Whether the component exports what this world asks.
    pub(crate) fn check(self, engine: &Engine, component: &Component) -> Result<(), PluginFault> {
        let exports = match self {
            World::Transform => TRANSFORM,
            World::UdfScalar => UDF_SCALAR,
        };
        exports.iter().try_for_each(|export| export.check(engine, component))
    }
}

impl std::fmt::Display for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

impl Export {
    fn check(&self, engine: &Engine, component: &Component) -> Result<(), PluginFault> {
        let wrong = |reason| PluginFault::WrongExport { export: self.name, expected: self.shape, reason };
        let kind = component.component_type();
        let Some(export) = kind.get_export(engine, self.name) else {
            let exports: Vec<_> = kind.exports(engine).map(|(name, _)| format!("`{name}`")).collect();
            let exports = if exports.is_empty() { "nothing".to_owned() } else { exports.join(", ") };
            return Err(wrong(format!("it exports {exports}")));
        };
        let ComponentItem::ComponentFunc(function) = export.ty else {
            return Err(wrong("it is not a function".to_owned()));
        };
        let params: Vec<_> = function.params().map(|(_, kind)| kind).collect();
        let results: Vec<_> = function.results().collect();
        (self.check)(&params, &results).map_err(wrong)
    }
}

fn is_bytes(kind: &Type) -> bool {
    matches!(kind, Type::List(list) if list.ty() == Type::U8)
}

fn bytes_to_bytes(params: &[Type], results: &[Type]) -> Result<(), String> {
    let [param] = params else {
        return Err(format!("it takes {} parameters", params.len()));
    };
    if !is_bytes(param) {
        return Err("its parameter is not a list<u8>".to_owned());
    }
    match results {
        [Type::Result(result)]
            if result.ok().is_some_and(|ok| is_bytes(&ok)) && result.err() == Some(Type::String) =>
        {
            Ok(())
        }
        _ => Err("its result is another".to_owned()),
    }
}

fn text(params: &[Type], results: &[Type]) -> Result<(), String> {
    match (params, results) {
        ([], [Type::String]) => Ok(()),
        ([], _) => Err("its result is another".to_owned()),
        _ => Err(format!("it takes {} parameters", params.len())),
    }
}
