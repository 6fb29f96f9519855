//! Makes Rust out of a notation file. Owns the shape of the generated code; what a definition may say is
//! `notation`'s. The text is made pretty by rustfmt afterwards.

use std::fmt::Write;

use crate::notation::{Api, Field, File, Kind, Struct, Versions};

/// The field of a response that says how long a client should wait.
const THROTTLE_TIME: &str = "throttle_time_ms";

/// The name of the module made from a notation file: `00_produce` becomes `k00_produce`.
pub fn module_name(stem: &str) -> String {
    if stem.starts_with(|c: char| c.is_ascii_digit()) { format!("k{stem}") } else { stem.to_owned() }
}

/// One module of messages.
pub fn module(stem: &str, file: &File) -> String {
    let mut out = String::new();
    for line in &file.doc {
        put(&mut out, format!("//! {line}"));
    }
    put(
        &mut out,
        format!(
            "//!\n//! Generated from `protocol/messages/{stem}.msg` by `just generate`; not to be edited here."
        ),
    );
    let body = bodies(file);
    for import in imports(file, &body) {
        put(&mut out, import);
    }
    out + &body
}

fn imports(file: &File, body: &str) -> Vec<String> {
    let mut wire: Vec<&str> = vec!["DecodeError", "EncodeError", "Message", "Reader"];
    if has_word(body, "Records") {
        wire.push("Records");
    }
    if file.api.is_some() {
        wire.push("Request");
    }
    if has_word(body, "Str") {
        wire.push("Str");
    }
    if has_word(body, "Uuid") {
        wire.push("Uuid");
    }
    wire.push("Writer");
    if body.contains("non_null(") {
        wire.push("non_null");
    }
    wire.extend(["readable", "writable"]);
    let mut imports = Vec::new();
    if has_word(body, "Bytes") {
        imports.push("\nuse bytes::Bytes;".to_owned());
    }
    imports.push(String::new());
    if file.api.is_some() {
        imports.push("use crate::ApiKey;".to_owned());
    }
    imports.push(format!("use crate::wire::{{{}}};", wire.join(", ")));
    imports
}

fn has_word(text: &str, word: &str) -> bool {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|found| found == word)
}

fn bodies(file: &File) -> String {
    let mut out = String::new();
    for of in &file.structs {
        declaration(&mut out, file, of);
        if of.is_message {
            message_impl(&mut out, file, of);
        } else {
            struct_impl(&mut out, file, of);
        }
    }
    out
}

fn put(out: &mut String, line: impl AsRef<str>) {
    out.push_str(line.as_ref());
    out.push('\n');
}

fn declaration(out: &mut String, file: &File, of: &Struct) {
    let plain = of.fields.iter().all(|field| field.default.is_none());
    let default = if plain { ", Default" } else { "" };
    // Only floats are not `Eq`.
    let eq = if has_float(file, of) { "" } else { ", Eq" };
    put(out, format!("\n#[derive(Clone, Debug{default}, PartialEq{eq})]\npub struct {} {{", of.name));
    for field in &of.fields {
        for line in &field.doc {
            put(out, format!("/// {line}"));
        }
        if let Some(note) = version_note(of, field) {
            put(out, format!("/// {note}"));
        }
        put(out, format!("pub {}: {},", field.name, rust_type(field)));
    }
    put(out, "}");
    if !plain {
        put(out, format!("\nimpl Default for {} {{\nfn default() -> Self {{\nSelf {{", of.name));
        for field in &of.fields {
            put(out, format!("{}: {},", field.name, default_value(field)));
        }
        put(out, "}\n}\n}");
    }
}

/// Whether there is a float in it, however deep.
fn has_float(file: &File, of: &Struct) -> bool {
    of.fields.iter().any(|field| match &field.kind {
        Kind::Struct(name) => file.find(name).is_some_and(|inner| has_float(file, inner)),
        kind => *kind == Kind::Float64,
    })
}

fn version_note(of: &Struct, field: &Field) -> Option<String> {
    let (first, last) = (*field.versions.start(), *field.versions.end());
    let tagged = field.tag.map_or(String::new(), |tag| format!(", tagged {tag}"));
    match (first > *of.versions.start(), last < *of.versions.end()) {
        (false, false) => None,
        (true, false) => Some(format!("Versions {first}+{tagged}.")),
        _ if first == last => Some(format!("Version {first}{tagged}.")),
        _ => Some(format!("Versions {first} to {last}{tagged}.")),
    }
}

fn element_type(kind: &Kind) -> &str {
    match kind {
        Kind::Bool => "bool",
        Kind::Int8 => "i8",
        Kind::Int16 => "i16",
        Kind::Uint16 => "u16",
        Kind::Int32 => "i32",
        Kind::Uint32 => "u32",
        Kind::Int64 => "i64",
        Kind::Float64 => "f64",
        Kind::Uuid => "Uuid",
        Kind::String => "Str",
        Kind::Bytes | Kind::Records => "Bytes",
        Kind::FetchedRecords => "Records",
        Kind::Struct(name) => name,
    }
}

fn rust_type(field: &Field) -> String {
    let mut text = element_type(&field.kind).to_owned();
    if field.is_array {
        text = format!("Vec<{text}>");
    }
    if field.nullable_from.is_some() {
        text = format!("Option<{text}>");
    }
    text
}

/// A nullable field is null by default.
fn default_value(field: &Field) -> String {
    match &field.kind {
        _ if field.nullable_from.is_some() => "None".into(),
        _ if field.is_array => "Vec::new()".into(),
        Kind::Bool => field.default.clone().unwrap_or("false".into()),
        Kind::Uuid => "Uuid::nil()".into(),
        Kind::String => "Str::default()".into(),
        Kind::Bytes | Kind::Records => "Bytes::new()".into(),
        Kind::FetchedRecords => "Records::default()".into(),
        Kind::Struct(name) => format!("{name}::default()"),
        Kind::Float64 => field.default.clone().unwrap_or("0.0".into()),
        _ => match field.default.as_deref() {
            Some("0x7fffffff") => "i32::MAX".into(),
            Some("0x7fffffffffffffff") => "i64::MAX".into(),
            Some("-2147483648") => "i32::MIN".into(),
            Some(number) => number.to_owned(),
            None => "0".into(),
        },
    }
}

fn is_set(field: &Field) -> String {
    let name = &field.name;
    match &field.kind {
        _ if field.nullable_from.is_some() => format!("self.{name}.is_some()"),
        _ if field.is_array => format!("!self.{name}.is_empty()"),
        Kind::String | Kind::Bytes | Kind::Records | Kind::FetchedRecords => {
            format!("!self.{name}.is_empty()")
        }
        Kind::Uuid => format!("!self.{name}.is_nil()"),
        Kind::Bool if field.default.as_deref() == Some("true") => format!("!self.{name}"),
        Kind::Bool => format!("self.{name}"),
        _ => format!("self.{name} != {}", default_value(field)),
    }
}

/// The condition under which a version has the field, or nothing when all of the structure's versions do.
fn condition(of: &Versions, field: &Versions) -> Option<String> {
    let (first, last) = (field.start(), field.end());
    match (first > of.start(), last < of.end()) {
        (false, false) => None,
        (true, false) => Some(format!("version >= {first}")),
        (false, true) => Some(format!("version <= {last}")),
        (true, true) if first == last => Some(format!("version == {first}")),
        (true, true) => Some(format!("({first}..={last}).contains(&version)")),
    }
}

/// How the code of one structure says whether its version is flexible.
fn flexible_word(of: &Struct) -> &'static str {
    match of.flexible_from {
        Some(from) if from <= *of.versions.start() => "true",
        Some(from) if from <= *of.versions.end() => "flexible",
        _ => "false",
    }
}

fn with_flexible(of: &Struct, code: String) -> String {
    match of.flexible_from {
        Some(from) if flexible_word(of) == "flexible" && has_word(&code, "flexible") => {
            format!("let flexible = version >= {from};\n{code}")
        }
        _ => code,
    }
}

fn version_parameter(code: &str) -> &'static str {
    if has_word(code, "version") { "version" } else { "_version" }
}

fn struct_impl(out: &mut String, file: &File, of: &Struct) {
    let decode = with_flexible(of, decode_body(of));
    let encode = with_flexible(of, encode_body(of));
    put(out, format!("\nimpl {} {{", of.name));
    if is_element(file, of) {
        put(out, "/// The fewest bytes it takes on the wire in any version.");
        put(out, format!("const BYTES_MIN: usize = {};\n", file.struct_bytes_min(&of.name)));
    }
    let version = version_parameter(&decode);
    put(
        out,
        format!("fn decode(r: &mut Reader, {version}: i16) -> Result<Self, DecodeError> {{\n{decode}}}"),
    );
    let version = version_parameter(&encode);
    put(
        out,
        format!(
            "\nfn encode(&self, w: &mut Writer, {version}: i16) -> Result<(), EncodeError> {{\n{encode}}}\n}}"
        ),
    );
}

fn is_element(file: &File, of: &Struct) -> bool {
    let element = Kind::Struct(of.name.clone());
    file.structs.iter().flat_map(|holder| &holder.fields).any(|field| field.is_array && field.kind == element)
}

fn message_impl(out: &mut String, file: &File, of: &Struct) {
    let decode = with_flexible(of, decode_body(of));
    let encode = with_flexible(of, encode_body(of));
    let (first, last) = (of.versions.start(), of.versions.end());
    put(out, format!("\nimpl Message for {} {{", of.name));
    put(out, format!("const NAME: &'static str = \"{}\";", of.name));
    put(out, format!("const VERSIONS: (i16, i16) = ({first}, {last});"));
    match of.flexible_from {
        Some(from) => put(out, format!("\nfn is_flexible(version: i16) -> bool {{\nversion >= {from}\n}}")),
        None => put(out, "\nfn is_flexible(_version: i16) -> bool {\nfalse\n}"),
    }
    put(
        out,
        format!(
            "\nfn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {{\n\
             readable::<Self>(version)?;\n{decode}}}"
        ),
    );
    put(
        out,
        format!(
            "\nfn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {{\n\
             writable::<Self>(version)?;\n{encode}}}\n}}"
        ),
    );
    if let (Some(api), true) = (&file.api, of.name.ends_with("Request")) {
        put(out, format!("\nimpl Request for {} {{", of.name));
        put(out, format!("const API_KEY: ApiKey = ApiKey::{};", api.name));
        put(out, format!("type Response = {}Response;", api.name));
        let response = file.find(&format!("{}Response", api.name));
        if response.is_some_and(|of| of.fields.iter().any(|field| field.name == THROTTLE_TIME)) {
            put(out, "\nfn throttle(response: &mut Self::Response, throttle_time_ms: i32) {");
            put(out, format!("response.{THROTTLE_TIME} = throttle_time_ms;\n}}"));
        }
        put(out, "}");
    }
}

fn decode_body(of: &Struct) -> String {
    let mut fields = String::new();
    for field in &of.fields {
        let value = match (field.tag, condition(&of.versions, &field.versions)) {
            (Some(_), _) => default_value(field),
            (None, Some(when)) => {
                format!("if {when} {{ {} }} else {{ {} }}", read(of, field), default_value(field))
            }
            (None, None) => read(of, field),
        };
        let _ = writeln!(fields, "{}: {value},", field.name);
    }
    let flexible = flexible_word(of);
    let tagged: Vec<&Field> = tagged(of);
    if tagged.is_empty() {
        return match flexible {
            "false" => format!("Ok(Self {{ {fields} }})\n"),
            "true" => format!("let this = Self {{ {fields} }};\nr.skip_tagged_fields()?;\nOk(this)\n"),
            _ => format!(
                "let this = Self {{ {fields} }};\nif flexible {{\nr.skip_tagged_fields()?;\n}}\nOk(this)\n"
            ),
        };
    }
    let mut arms = String::new();
    for field in tagged {
        let tag = field.tag.unwrap_or_default();
        // A field's first flexible version needs no guard: tags are read in flexible versions only.
        let guard = match of.flexible_from {
            Some(from) if *field.versions.start() <= from && field.versions.end() == of.versions.end() => {
                None
            }
            _ => condition(&of.versions, &field.versions),
        };
        let guard = guard.map_or(String::new(), |when| format!(" if {when}"));
        let _ = writeln!(arms, "{tag}{guard} => this.{} = {},", field.name, read_tagged(field));
    }
    let loop_ = format!(
        "r.tagged_fields(|tag, r| {{\nmatch tag {{\n{arms}_ => return Ok(false),\n}}\nOk(true)\n}})?;"
    );
    let tags = if flexible == "true" { loop_ } else { format!("if flexible {{\n{loop_}\n}}") };
    format!("let mut this = Self {{ {fields} }};\n{tags}\nOk(this)\n")
}

fn tagged(of: &Struct) -> Vec<&Field> {
    let mut tagged: Vec<&Field> = of.fields.iter().filter(|field| field.tag.is_some()).collect();
    tagged.sort_by_key(|field| field.tag);
    tagged
}

fn read(of: &Struct, field: &Field) -> String {
    let flexible = flexible_word(of);
    match field.nullable_from {
        None => read_value(field, false, flexible),
        Some(from) if from <= *field.versions.start() => read_value(field, true, flexible),
        Some(from) => format!(
            "if version >= {from} {{ {} }} else {{ Some({}) }}",
            read_value(field, true, flexible),
            read_value(field, false, flexible)
        ),
    }
}

fn read_tagged(field: &Field) -> String {
    read_value(field, field.nullable_from.is_some(), "true")
}

fn read_value(field: &Field, nullable: bool, flexible: &str) -> String {
    let prefix = if nullable { "nullable_" } else { "" };
    if field.is_array {
        let (bytes_min, reader) = match &field.kind {
            Kind::Struct(name) => (format!("{name}::BYTES_MIN"), format!("|r| {name}::decode(r, version)")),
            kind @ (Kind::String | Kind::Bytes) => {
                // The smaller of the two encodings, so that one number serves all versions.
                (
                    kind.bytes_min(flexible != "false").to_string(),
                    format!("|r| r.{}({flexible})", method(kind)),
                )
            }
            kind => (kind.bytes_min(true).to_string(), format!("Reader::{}", method(kind))),
        };
        return format!("r.{prefix}array({flexible}, {bytes_min}, {reader})?");
    }
    match &field.kind {
        // A byte below zero says that there is none.
        Kind::Struct(name) if nullable => {
            format!("if r.i8()? < 0 {{ None }} else {{ Some({name}::decode(r, version)?) }}")
        }
        Kind::Struct(name) => format!("{name}::decode(r, version)?"),
        kind @ (Kind::String | Kind::Bytes | Kind::Records | Kind::FetchedRecords) => {
            format!("r.{prefix}{}({flexible})?", method(kind))
        }
        kind => format!("r.{}()?", method(kind)),
    }
}

fn method(kind: &Kind) -> &'static str {
    match kind {
        Kind::Bool => "bool",
        Kind::Int8 => "i8",
        Kind::Int16 => "i16",
        Kind::Uint16 => "u16",
        Kind::Int32 => "i32",
        Kind::Uint32 => "u32",
        Kind::Int64 => "i64",
        Kind::Float64 => "f64",
        Kind::Uuid => "uuid",
        Kind::String => "string",
        Kind::Bytes | Kind::Records => "bytes",
        Kind::FetchedRecords => "records",
        Kind::Struct(_) => "encode",
    }
}

fn encode_body(of: &Struct) -> String {
    let mut out = String::new();
    let flexible = flexible_word(of);
    for field in of.fields.iter().filter(|field| field.tag.is_none()) {
        let code = write_field(of, field, flexible);
        let Some(when) = condition(&of.versions, &field.versions) else {
            put(&mut out, code);
            continue;
        };
        put(&mut out, format!("if {when} {{\n{code}\n}}"));
        if !field.ignorable {
            out.pop();
            put(
                &mut out,
                format!(
                    " else if {} {{\nreturn Err(EncodeError::FieldNotInVersion {{ field: \"{}\", version }});\n}}",
                    is_set(field),
                    field.name
                ),
            );
        }
    }
    let tags = write_tags(of);
    match flexible {
        "false" => {}
        "true" => put(&mut out, tags),
        _ => put(&mut out, format!("if flexible {{\n{tags}\n}}")),
    }
    put(&mut out, "Ok(())");
    out
}

fn write_tags(of: &Struct) -> String {
    let tagged = tagged(of);
    if tagged.is_empty() {
        return "w.no_tagged_fields();".into();
    }
    let mut lets = String::new();
    let mut counts = Vec::new();
    let mut writes = String::new();
    for field in tagged {
        let name = &field.name;
        let set = match condition(&of.versions, &field.versions) {
            // Within `if flexible`, a field of the first flexible version needs no other condition.
            Some(_) if of.flexible_from == Some(*field.versions.start()) => is_set(field),
            Some(when) => format!("{when} && {}", is_set(field)),
            None => is_set(field),
        };
        let _ = writeln!(lets, "let has_{name} = {set};");
        counts.push(format!("u32::from(has_{name})"));
        let write = write_value(field, "true");
        let body = if write.ends_with(")?;") {
            write.trim_end_matches("?;").to_owned()
        } else {
            format!("{{ {write} Ok(()) }}")
        };
        let tag = field.tag.unwrap_or_default();
        let _ = writeln!(writes, "if has_{name} {{\nw.tagged({tag}, |w| {body})?;\n}}");
    }
    format!("{lets}w.unsigned_varint({});\n{writes}", counts.join(" + "))
}

fn write_field(of: &Struct, field: &Field, flexible: &str) -> String {
    match field.nullable_from {
        Some(from) if from > *field.versions.start() && from > *of.versions.start() => {
            let name = &field.name;
            let nullable = write_value(field, flexible);
            let required = if field.is_array {
                write_array(field, &format!("non_null(&self.{name}, \"{name}\", version)?"), "", flexible)
            } else {
                format!(
                    "w.{}(non_null(&self.{name}, \"{name}\", version)?, {flexible})?;",
                    method(&field.kind)
                )
            };
            format!("if version >= {from} {{\n{nullable}\n}} else {{\n{required}\n}}")
        }
        _ => write_value(field, flexible),
    }
}

fn write_array(field: &Field, elements: &str, prefix: &str, flexible: &str) -> String {
    let each = match &field.kind {
        Kind::Struct(_) => "|w, each| each.encode(w, version)".to_owned(),
        kind @ (Kind::String | Kind::Bytes) => format!("|w, each| w.{}(each, {flexible})", method(kind)),
        kind => format!("|w, each| {{ w.{}(*each); Ok(()) }}", method(kind)),
    };
    format!("w.{prefix}array({elements}, {flexible}, {each})?;")
}

fn write_value(field: &Field, flexible: &str) -> String {
    let name = &field.name;
    let nullable = field.nullable_from.is_some();
    if field.is_array {
        return if nullable {
            write_array(field, &format!("self.{name}.as_deref()"), "nullable_", flexible)
        } else {
            write_array(field, &format!("&self.{name}"), "", flexible)
        };
    }
    match &field.kind {
        Kind::Struct(_) if nullable => format!(
            "match &self.{name} {{ Some(there) => {{ w.i8(1); there.encode(w, version)?; }} None => w.i8(-1), }}"
        ),
        Kind::Struct(_) => format!("self.{name}.encode(w, version)?;"),
        kind @ (Kind::String | Kind::Bytes | Kind::Records | Kind::FetchedRecords) => {
            if nullable {
                format!("w.nullable_{}(self.{name}.as_ref(), {flexible})?;", method(kind))
            } else {
                format!("w.{}(&self.{name}, {flexible})?;", method(kind))
            }
        }
        kind => format!("w.{}(self.{name});", method(kind)),
    }
}

/// `messages/mod.rs`: the modules, and what lists every API.
pub fn index(files: &[(String, File)]) -> String {
    let mut out = String::from(
        "//! Every message that Ottla speaks: a module per API key, and what group coordinator and consumers store.\n\
         //!\n//! Generated from `protocol/messages/` by `just generate`; not to be edited here.\n\n",
    );
    // In the order that rustfmt would give them.
    let mut modules: Vec<(String, &File)> =
        files.iter().map(|(stem, file)| (module_name(stem), file)).collect();
    modules.sort_by(|(one, _), (other, _)| one.cmp(other));
    for (module, _) in &modules {
        put(&mut out, format!("pub mod {module};"));
    }
    out.push('\n');
    for (module, file) in &modules {
        let messages = file.structs.iter().filter(|of| of.is_message);
        let mut names: Vec<&str> = messages.map(|of| of.name.as_str()).collect();
        names.sort_unstable();
        put(&mut out, format!("pub use {module}::{{{}}};", names.join(", ")));
    }
    let apis: Vec<&Api> = files.iter().filter_map(|(_, file)| file.api.as_ref()).collect();
    put(&mut out, "\nuse crate::api_key::{ApiKey, ApiVersions};");
    put(&mut out, "\n/// Every API defined here, by rising key. What a broker advertises is its own choice.");
    put(&mut out, "pub const APIS: &[ApiVersions] = &[");
    for api in &apis {
        let (first, last) = (api.versions.start(), api.versions.end());
        let flexible = api.flexible_from.map_or("None".to_owned(), |from| format!("Some({from})"));
        put(
            &mut out,
            format!(
                "ApiVersions {{ key: ApiKey::{}, first: {first}, last: {last}, flexible_from: {flexible} }},",
                api.name
            ),
        );
    }
    put(&mut out, "];");
    put(
        &mut out,
        "\n/// Calls `$callback! { Name Request Response; … }` with every API: what must be said of each is said once.\n\
         #[macro_export]\nmacro_rules! for_each_api {\n($callback:ident) => {\n$callback! {",
    );
    for api in &apis {
        put(&mut out, format!("            {0} {0}Request {0}Response;", api.name));
    }
    put(&mut out, "        }\n};\n}");
    put(
        &mut out,
        "\n/// Calls `$callback! { Name; … }` with every message that is stored or passed on, not sent by itself.\n\
         #[macro_export]\nmacro_rules! for_each_data {\n($callback:ident) => {\n$callback! {",
    );
    for (_, file) in files.iter().filter(|(_, file)| file.api.is_none()) {
        for of in file.structs.iter().filter(|of| of.is_message) {
            put(&mut out, format!("            {};", of.name));
        }
    }
    put(&mut out, "        }\n};\n}");
    out
}
