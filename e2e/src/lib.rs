//! Fixtures for tests that run the real binaries against a real PostgreSQL.
//!
//! The binaries are black boxes here: nothing of ours is linked. The oracle of every test is the log that the server
//! itself wrote ([`postgres::Server::executed`]), never a word of ours. Each fixture ends what it started and removes
//! its folder when it is dropped, when the test panics, and when the test process is killed.

pub mod bucket;
pub mod client;
pub mod cluster;
pub mod collector;
pub mod crash;
pub mod dashboards;
pub mod drivers;
pub mod evidence;
pub mod network;
pub mod objects;
pub mod pod;
pub mod ports;
pub mod postgres;
pub mod process;
pub mod proxy;
pub mod random;
pub mod receiver;
pub mod recorded;
pub mod tls;
pub mod usage;
pub mod wait;
pub mod wire;
pub mod world;
