//! placeholder during writing
pub async fn open(_s: crate::startup::Settings) -> Result<crate::startup::Service, crate::startup::OpenError> { Err("x".into()) }
