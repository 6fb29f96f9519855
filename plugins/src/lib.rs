//! WASM plugins: the WIT worlds and the wasmtime host.
