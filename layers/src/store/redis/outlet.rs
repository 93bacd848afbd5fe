//! A Stream beside the state, in which a process tells the others what happened to it.
//!
//! It has a connection of its own, so that a slow answer here holds up no flip, and no flip holds up what is told.

use ::redis::cmd;

use super::server::{Line, Server};
use crate::store::{Outlet, StoreError};

pub(super) struct Stream {
    line: Line,
    key: String,
    kept: usize,
}

impl Stream {
    pub(super) const fn new(server: Server, key: String, kept: usize) -> Self {
        Self { line: Line::new(server), key, kept }
    }
}

impl Outlet for Stream {
    fn tell(&mut self, fields: &[(&'static str, String)]) -> Result<(), StoreError> {
        let mut add = cmd("XADD");
        add.arg(&self.key).arg("MAXLEN").arg("~").arg(self.kept).arg("*");
        for (name, value) in fields {
            add.arg(name).arg(value);
        }
        self.line.ask(|connection| add.exec(connection))
    }
}
