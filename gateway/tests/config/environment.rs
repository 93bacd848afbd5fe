//! What the environment decides beside the file.

use std::io::Write;

use portcullis_gateway::config::config::{Config, Role};
use portcullis_gateway::config::{Fault, load, parse, render_faults};

use super::{faults, sound};

fn within(variables: &[(&str, &str)], text: &str) -> Result<Config, Vec<Fault>> {
    let environment = |name: &str| {
        let known = variables.iter().find(|(known, _)| *known == name);
        known.map(|(_, value)| (*value).to_owned())
    };
    parse("test.toml", text, &environment)
}

#[test]
fn an_api_key_is_an_operator_known_by_its_hash() {
    let config = within(&[("API_KEY", "abc")], "").unwrap();
    let [key] = config.admin.keys.as_slice() else { panic!("one key") };

    assert_eq!((key.name.as_str(), key.role), ("env", Role::Operator));
    assert_eq!(key.sha256[..4], [0xba, 0x78, 0x16, 0xbf]);
}

#[test]
fn an_empty_api_key_is_no_key() {
    assert!(within(&[("API_KEY", "")], "").unwrap().admin.keys.is_empty());
}

#[test]
fn an_api_key_is_enough_to_open_the_admin_listener() {
    let text = "[admin]\nlisten = '0.0.0.0:8001'\n";

    assert!(within(&[], text).is_err());
    assert!(within(&[("API_KEY", "abc")], text).is_ok());
}

#[test]
fn production_does_not_start_without_a_key() {
    let faults = within(&[("ENVIRONMENT", "production")], "").unwrap_err();

    assert!(render_faults(&faults).contains("ENVIRONMENT=production needs a key"));
}

#[test]
fn production_may_be_cut_short() {
    for word in ["prod", "Production", " PROD "] {
        assert!(within(&[("ENVIRONMENT", word)], "").is_err(), "{word}");
    }
    for word in ["staging", "products", ""] {
        assert!(!within(&[("ENVIRONMENT", word)], "").unwrap().admin.production, "{word}");
    }
}

#[test]
fn the_origins_of_the_environment_come_beside_those_of_the_file() {
    let file = "[admin]\nallowed_origins = ['https://ops.example.com']\n";
    let variables = [("ALLOWED_ORIGINS", "http://localhost:3000, https://Gate.example.com,")];
    let allowed = within(&variables, file).unwrap().admin.allowed_origins;
    assert_eq!(
        allowed,
        ["https://ops.example.com", "http://localhost:3000", "https://gate.example.com"]
    );

    let faults = within(&[("ALLOWED_ORIGINS", "*")], "").unwrap_err();
    assert!(render_faults(&faults).contains("ALLOWED_ORIGINS: \"*\" is no origin"));
}

#[test]
fn production_has_no_test_endpoints() {
    let variables = [("ENVIRONMENT", "production"), ("API_KEY", "abc")];
    let config = within(&variables, "[admin]\ntest_endpoints = true\n").unwrap();

    assert!(config.admin.production);
    assert!(!config.admin.test_endpoints);
}

#[test]
fn the_file_wins_over_what_opentelemetry_finds_in_the_environment() {
    let variables =
        [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318"), ("OTEL_SERVICE_NAME", "gate")];
    let absent = within(&variables, "").unwrap().telemetry;
    let present = within(
        &variables,
        "[telemetry]\notlp_endpoint = 'http://other:4318'\nservice_name = 'x'\n",
    );
    let off = within(&variables, "[telemetry]\notlp_endpoint = ''\n").unwrap().telemetry;

    assert_eq!(absent.otlp_endpoint.as_deref(), Some("http://collector:4318"));
    assert_eq!(absent.service_name, "gate");
    let present = present.unwrap().telemetry;
    assert_eq!(present.otlp_endpoint.as_deref(), Some("http://other:4318"));
    assert_eq!(present.service_name, "x");
    assert_eq!(off.otlp_endpoint, None);
}

#[test]
fn a_file_is_read_from_disk_under_its_own_name() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"[server]\nlisten = 5\n").unwrap();
    let faults = load(file.path()).unwrap_err();

    assert_eq!(&*faults[0].file, file.path().to_str().unwrap());
    assert_eq!((faults[0].line, faults[0].column), (2, 10));
}

#[test]
fn a_file_that_is_not_there_is_one_fault() {
    let directory = tempfile::tempdir().unwrap();
    let faults = load(&directory.path().join("none.toml")).unwrap_err();

    assert_eq!(faults.len(), 1);
    assert!(faults[0].message.starts_with("can't be read"), "{}", faults[0]);
}

#[test]
fn a_value_from_the_environment_is_checked_like_one_of_the_file() {
    let faults =
        within(&[("ADDRESS", "nowhere")], "[server]\nlisten = '${ADDRESS}'\n").unwrap_err();

    assert!(
        faults[0].to_string().starts_with("test.toml:2:10: \"nowhere\" is not"),
        "{}",
        faults[0]
    );
}

#[test]
fn a_url_with_a_password_does_not_show_it() {
    let text = "[upstreams.a]\nurl = 'http://me:s3cret@a:80'\n";

    assert!(!faults(text).contains("s3cret"));
}

#[test]
fn an_empty_file_is_a_whole_configuration() {
    let config = sound("");

    assert_eq!(config.server.listen.to_string(), "127.0.0.1:8000");
    assert_eq!(config.admin.listen.to_string(), "127.0.0.1:8001");
    assert!(config.routes.is_empty());
}
