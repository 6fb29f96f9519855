//! Several nodes in one process, over real sockets: they form a cluster, go on without one of them, and let nobody in who does
//! not belong. A killed node is one whose runtime was taken away, so that nothing of it runs on or is put in order.

#[path = "../authority/mod.rs"]
mod authority;
#[path = "../fixtures/mod.rs"]
mod fixtures;
#[path = "../wire/mod.rs"]
mod wire;

mod forms;
mod forwards;
mod goes_on;
mod nearest;
mod nodes;
mod refuses;
mod registers;
mod replicas;
mod replicates;
mod secured;
mod throttles;
mod transactions;
mod voters;
mod watched;
