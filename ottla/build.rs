//! Says how the binary is linked: with its relocations packed (DT_RELR). There are a third of a million of them, 8.7 MB unpacked, which
//! every start would read and keep resident. Linkers that do not know the option leave it aside with a warning.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let of_target = |name: &str| std::env::var(name).unwrap_or_default();
    if of_target("CARGO_CFG_TARGET_OS") == "linux" && of_target("CARGO_CFG_TARGET_ENV") == "gnu" {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}
