//! An error with all its causes, for whoever reads it in one line.
//!
//! Our errors say what they were about and leave the cause to `source`: "can't write to …/lock" is of no use to an operator
//! without "Permission denied".

use std::error::Error;
use std::fmt;

/// Prints an error, and each of its causes after a colon.
pub(crate) struct Chain<'e>(pub(crate) &'e dyn Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut next = self.0.source();
        while let Some(cause) = next {
            write!(f, ": {cause}")?;
            next = cause.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use portcullis::store::StoreError;

    use super::*;

    #[test]
    fn the_system_has_the_last_word() {
        let full = io::Error::other("No space left on device");
        let error =
            StoreError::Io { doing: "write to", path: "/var/lib/x/lock".into(), source: full };
        let line = "can't write to /var/lib/x/lock: No space left on device";
        assert_eq!(Chain(&error).to_string(), line);
    }
}
