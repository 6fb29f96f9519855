//! From what a compiler makes, a core module, to a component: the module and a canonical lift of each function that its world asks. Our
//! worlds have so few types that they are written here; the module's exports have the names that every tool gives them.

use wasm_encoder::{
    Alias, CanonicalFunctionSection, CanonicalOption, Component, ComponentAliasSection, ComponentExportKind,
    ComponentExportSection, ComponentSectionId, ComponentTypeSection, ComponentValType, ExportKind,
    InstanceSection, PrimitiveValType, RawSection,
};

use crate::error::PluginFault;
use crate::world::World;

/// What opens a core module: its magic and version.
const CORE_MODULE: &[u8] = b"\0asm\x01\0\0\0";

/// The component of a core module that says which world it is of, as the SDKs have it say; what is no core module stays as it is.
///
/// # Errors
/// When the module does not say of which world. Whether it has what the world asks is seen when the component is opened.
pub fn component_of(module: &[u8]) -> Result<Vec<u8>, PluginFault> {
    if !module.starts_with(CORE_MODULE) {
        return Ok(module.to_vec());
    }
    let says = |world: &World| {
        let section = format!("component-type:ottla-plugin-1.0-{}", world.word());
        module.windows(section.len()).any(|window| window == section.as_bytes())
    };
    match World::ALL.into_iter().find(says) {
        Some(World::Transform) => Ok(wrapped(module, &[("transform", Shape::Bytes)])),
        Some(World::UdfScalar) => Ok(wrapped(module, &[("functions", Shape::Text), ("call", Shape::Bytes)])),
        None => Err(PluginFault::NotAComponent(
            "it is a core module that does not say of which world; write it with an SDK, e.g. `ottla_plugin::export_transform!`"
                .to_owned(),
        )),
    }
}

/// What a function takes and gives.
#[derive(Clone, Copy)]
enum Shape {
    /// `func(batch: list<u8>) -> result<list<u8>, string>`
    Bytes,
    /// `func() -> string`
    Text,
}

/// Indices of the types that [`types`] writes.
const BYTES: u32 = 0;
const ANSWER: u32 = 1;

impl Shape {
    fn type_index(self) -> u32 {
        match self {
            Shape::Bytes => 2,
            Shape::Text => 3,
        }
    }
}

fn types() -> ComponentTypeSection {
    let string = ComponentValType::Primitive(PrimitiveValType::String);
    let mut types = ComponentTypeSection::new();
    types.defined_type().list(ComponentValType::Primitive(PrimitiveValType::U8));
    types.defined_type().result(Some(ComponentValType::Type(BYTES)), Some(string));
    let batch = [("batch", ComponentValType::Type(BYTES))];
    types.function().params(batch).result(Some(ComponentValType::Type(ANSWER)));
    types.function().params([] as [(&str, ComponentValType); 0]).result(Some(string));
    types
}

fn alias(kind: ExportKind, name: &str) -> Alias<'_> {
    Alias::CoreInstanceExport { instance: 0, kind, name }
}

/// Whether the module exports a function of this name, by the bytes of such an export: a module without is right, too.
fn exports_function(module: &[u8], name: &str) -> bool {
    const FUNCTION: u8 = 0;
    let Ok(length) = u8::try_from(name.len()) else { return false };
    let export = [&[length], name.as_bytes(), &[FUNCTION]].concat();
    module.windows(export.len()).any(|window| window == export)
}

fn wrapped(module: &[u8], functions: &[(&str, Shape)]) -> Vec<u8> {
    let mut instances = InstanceSection::new();
    instances.instantiate(0, [] as [(&str, wasm_encoder::ModuleArg); 0]);

    let names: Vec<(String, bool)> = functions
        .iter()
        .map(|(name, _)| format!("cabi_post_{name}"))
        .map(|post_return| (post_return.clone(), exports_function(module, &post_return)))
        .collect();
    let mut aliases = ComponentAliasSection::new();
    aliases.alias(alias(ExportKind::Memory, "memory"));
    aliases.alias(alias(ExportKind::Func, "cabi_realloc"));
    let mut lifts = CanonicalFunctionSection::new();
    let mut exports = ComponentExportSection::new();
    // Core functions are numbered in the order of their aliases.
    let mut core_functions = 1;
    for ((index, (name, shape)), (post_return, has_post_return)) in (0..).zip(functions).zip(&names) {
        let mut options =
            vec![CanonicalOption::UTF8, CanonicalOption::Memory(0), CanonicalOption::Realloc(0)];
        let core_function = core_functions;
        aliases.alias(alias(ExportKind::Func, name));
        core_functions += 1;
        if *has_post_return {
            aliases.alias(alias(ExportKind::Func, post_return));
            options.push(CanonicalOption::PostReturn(core_functions));
            core_functions += 1;
        }
        lifts.lift(core_function, shape.type_index(), options);
        exports.export(*name, ComponentExportKind::Func, index, None);
    }

    let mut component = Component::new();
    component
        .section(&RawSection { id: ComponentSectionId::CoreModule.into(), data: module })
        .section(&instances)
        .section(&aliases)
        .section(&types())
        .section(&lifts)
        .section(&exports);
    component.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_without_a_world_is_told_and_a_component_stays() {
        let module = wat::parse_str("(module)").unwrap();
        let error = component_of(&module).unwrap_err().to_string();
        assert!(error.contains("a core module that does not say of which world"), "{error}");
        let component = wat::parse_str("(component)").unwrap();
        assert_eq!(component_of(&component).unwrap(), component);
    }
}
