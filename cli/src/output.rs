//! How data looks: tables for people, documents for programs.
//!
//! Every list and get has a view: a struct whose fields and words are documented and stable, from
//! which JSON and YAML are made. Words are those of the glossary, instants are RFC 3339 in UTC,
//! lengths are texts such as `1m30s`. Tables are made from the same views.

pub mod attempt;
pub mod ballot;
pub mod bar;
pub mod check;
pub mod cluster;
pub mod contact;
pub mod incident;
pub mod maintenance;
pub mod mark;
pub mod member;
pub mod past;
pub mod plan;
pub mod probe;
pub mod quiet;
pub mod region;
pub mod run;
pub mod shell;
pub mod status;
pub mod table;
pub mod time;
pub mod unwatched;
pub mod word;

pub use shell::Shell;
