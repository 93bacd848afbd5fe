//! In place of TLS where the feature `redis-tls` is off: there is none, and whoever asks for it is told so.

use std::{
    convert::Infallible,
    io::{self, Read, Write},
};

use super::{Tls, connection::Wire};

const MISSING: &str = "rediss:// needs the feature redis-tls of this crate";

/// What can't be had.
pub(super) struct Encrypted(Infallible);

pub(super) fn encrypt(_: &Tls, _: &str, _: Wire) -> io::Result<Encrypted> {
    Err(io::Error::other(MISSING))
}

pub(super) fn check(_: &Tls) -> Result<(), String> {
    Err(MISSING.to_owned())
}

impl Encrypted {
    pub(super) const fn get_mut(&mut self) -> &mut Wire {
        match self.0 {}
    }
}

impl Read for Encrypted {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        match self.0 {}
    }
}

impl Write for Encrypted {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        match self.0 {}
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.0 {}
    }
}
