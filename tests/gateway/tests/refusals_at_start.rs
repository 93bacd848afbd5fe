//! The promise: what can't work is refused at the start, with one clear line and an exit code that a script can tell apart.

use portcullis_tests::{Client, Gateway, Reserved, Script, Upstream, free_port};

const CONFIG_AT_FAULT: Option<i32> = Some(1);
const CANT_BIND_OR_OPEN: Option<i32> = Some(3);

#[tokio::test]
async fn a_busy_port_is_named() {
    let busy = Reserved::port();
    for (port, admin_port) in [(busy.number(), free_port()), (free_port(), busy.number())] {
        let ended = Gateway::with_config("").on_ports(port, admin_port).ended().await;
        assert_eq!(ended.code, CANT_BIND_OR_OPEN, "{:#?}", ended.lines);
        ended.one_line(&format!("127.0.0.1:{}", busy.number()));
    }
}

#[tokio::test]
async fn a_second_start_on_the_same_address_fails_and_leaves_the_first_alone() {
    let upstream = Upstream::always(Script::answer(200, "first"));
    let first = Gateway::in_front_of(&upstream).start().await;
    let port = first.address().port();

    let second = Gateway::with_config("").on_ports(port, free_port()).ended().await;
    assert_eq!(second.code, CANT_BIND_OR_OPEN, "{:#?}", second.lines);
    for _ in 0..20 {
        assert_eq!(Client::new().get(first.url("/x")).await.text(), "first");
    }
}

#[tokio::test]
async fn a_file_in_place_of_the_stores_directory_is_named() {
    let file = tempfile::NamedTempFile::new().expect("a temporary file can be made");
    let ended =
        Gateway::with_config("").env("PORTCULLIS_DATA_DIR", file.path().display()).ended().await;
    assert_eq!(ended.code, CANT_BIND_OR_OPEN, "{:#?}", ended.lines);
    ended.one_line(&file.path().display().to_string());
}

#[tokio::test]
async fn an_unknown_upstream_is_shown_with_its_place_and_a_suggestion() {
    let ended = Gateway::with_config(
        "[upstreams.orders]\nurl = \"http://127.0.0.1:9\"\n[[routes]]\nname = \"a\"\npath = \"/a\"\nupstream = \"order\"\n",
    )
    .ended()
    .await;
    assert_eq!(ended.code, CONFIG_AT_FAULT, "{:#?}", ended.lines);
    let line = ended.one_line("did you mean");
    assert!(line.contains("gateway.toml:6:") && line.contains("`orders`"), "{line}");
}

#[tokio::test]
async fn a_duplicate_route_is_shown_with_both_places() {
    let route = |name: &str| {
        format!("[[routes]]\nname = \"{name}\"\npath = \"/a/{{x}}\"\nupstream = \"app\"\n")
    };
    let ended = Gateway::with_config(&format!(
        "[upstreams.app]\nurl = \"http://127.0.0.1:9\"\n{}{}",
        route("one"),
        route("two").replace("{x}", "{y}")
    ))
    .ended()
    .await;
    assert_eq!(ended.code, CONFIG_AT_FAULT, "{:#?}", ended.lines);
    let line = ended.one_line("gateway.toml:");
    assert!(line.contains("gateway.toml:9:") && line.contains("`one` in line "), "{line}");
}

#[tokio::test]
async fn all_faults_of_a_file_are_shown_at_once() {
    let ended =
        Gateway::with_config("[server]\nworkerz = 2\n[upstreams.app]\nurl = 7\n").ended().await;
    assert_eq!(ended.code, CONFIG_AT_FAULT, "{:#?}", ended.lines);
    ended.one_line("workerz");
    ended.one_line("url");
}

#[tokio::test]
async fn an_unknown_option_is_a_usage_fault() {
    let ended = portcullis_tests::portcullis(&["run", "--confg", "x"]).await;
    assert_eq!(ended.code, Some(2), "{:#?}", ended.lines);
}
