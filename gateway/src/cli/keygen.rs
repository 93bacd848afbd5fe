//! `portcullis keygen`: a key for the admin API.
//!
//! The key is 256 random bits, so its plain SHA-256 in the configuration can't be guessed back; a slow hash would only make
//! each admin request slow.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::{Args, ValueEnum};
use sha2::{Digest, Sha256};

use super::{Failure, say};

#[derive(Debug, Args)]
pub(super) struct Order {
    /// What it may do; each role may do all that the ones before it may
    #[arg(long)]
    role: Role,
    /// Who holds it; the audit shows this name
    #[arg(long)]
    name: String,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Role {
    /// Reads
    Viewer,
    /// Turns things off, never on
    Killer,
    /// Turns things off and on
    Operator,
    /// All
    Admin,
}

pub(super) fn make(order: &Order) -> Result<(), Failure> {
    let Order { role, name } = order;
    let letter = |letter: char| letter.is_alphanumeric() || " ._@-".contains(letter);
    if name.trim().is_empty() || !name.chars().all(letter) {
        return Err(Failure::input("--name takes letters, digits, spaces and ._@- only"));
    }
    let mut bits = [0; 32];
    getrandom::fill(&mut bits).map_err(|error| {
        Failure::input(format_args!("the system gives no random bits: {error}"))
    })?;
    say(&text(&format!("pck_{}", URL_SAFE_NO_PAD.encode(bits)), name, *role));
    Ok(())
}

fn text(key: &str, name: &str, role: Role) -> String {
    let hash = hex::encode(Sha256::digest(key));
    let role = match role {
        Role::Viewer => "viewer",
        Role::Killer => "killer",
        Role::Operator => "operator",
        Role::Admin => "admin",
    };
    format!(
        "The key, shown only now:\n\n{key}\n\nFor the configuration:\n\n\
         [[admin.keys]]\nname = \"{name}\"\nrole = \"{role}\"\nsha256 = \"{hash}\"\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn the_lines_are_taken_by_the_configuration() {
        let text = text("pck_secret", "ops team", Role::Operator);
        let lines = &text[text.find("[[admin.keys]]").unwrap()..];
        let config = config::parse("test.toml", lines, &|_| None).unwrap();
        let key = &config.admin.keys[0];
        assert_eq!((key.name.as_str(), key.role), ("ops team", config::config::Role::Operator));
        assert_eq!(key.sha256, <[u8; 32]>::from(Sha256::digest("pck_secret")));
    }
}
