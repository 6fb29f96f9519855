//! The host against plugins, honest and hostile. The hostile ones are WebAssembly text under `../fixtures/`,
//! made into components here, so that no toolchain is needed.

mod calling;
mod componentize;
mod example;
mod loading;
mod scalar;
