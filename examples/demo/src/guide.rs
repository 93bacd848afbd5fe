//! What the demo prints once it is up: where everything is, and three things to try, ready to be pasted.

use crate::child::Child;
use crate::places::{Name, Places};

/// The whole text, without a last newline.
pub(crate) fn guide(places: &Places, children: &[Child]) -> String {
    let pid = |name: Name| {
        children.iter().find(|child| child.name == name.text()).map_or(0, |child| child.pid)
    };
    let mut lines = vec![String::new(), "The demo is up.".to_owned(), String::new()];
    for name in Name::DEMO {
        lines.push(format!(
            "  {:<15} http://{:<22} pid {}",
            name.text(),
            places.address(name),
            pid(name)
        ));
    }
    let admin = places.admin_url();
    lines.push(format!(
        "  {:<15} {admin:<29} (same process; /admin/killswitches, /metrics)",
        "admin"
    ));
    lines.push(format!("  {:<15} {}", "data", places.data_dir.display()));
    lines.push(things_to_try(&places.gateway_url(), &admin, pid(Name::Auth)));
    lines.push("Ctrl-C ends everything.".to_owned());
    lines.join("\n")
}

fn things_to_try(gateway: &str, admin: &str, auth: u32) -> String {
    let json = "-H 'Content-Type: application/json'";
    let order = r#"{"user_id":"you","items":[{"product_id":"laptop","quantity":1,"price":999.99}],"payment_method":"card","total_amount":999.99}"#;
    format!(
        r#"
1. Log in, run a sensor test, and see its event arrive:
     TOKEN=$(curl -s {gateway}/auth/token -d 'username=admin&password=admin123' | sed 's/.*"access_token":"\([^"]*\)".*/\1/')
     curl -sw '\n' -X POST {gateway}/test/sensor/temperature -H "Authorization: Bearer $TOKEN"
     sleep 1; curl -sw '\n' {gateway}/kafka/stats

2. Drop the gate on payments, order (it becomes "pending payment"), and raise the gate again:
     curl -sw '\n' {admin}/admin/killswitch/payment_processing {json} -d '{{"enabled":false,"reason":"trying the demo"}}'
     curl -sw '\n' {gateway}/api/orders {json} -d '{order}'
     curl -sw '\n' {admin}/admin/killswitch/payment_processing {json} -d '{{"enabled":true,"reason":"tried the demo"}}'

3. Kill the auth service: logging in fails clearly, your token still works, and all recovers when it is back:
     kill -9 {auth}
     curl -sw '\n' {gateway}/auth/token -d 'username=admin&password=admin123'
     curl -sw '\n' -X POST {gateway}/test/sensor/temperature -H "Authorization: Bearer $TOKEN"
     cargo demo service auth
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guide_names_every_address() {
        let places = Places::from_environment(|_| None).unwrap();
        let guide = guide(&places, &[]);
        for port in [8000, 8001, 8101, 8102, 8103, 8104] {
            assert!(guide.contains(&format!("http://127.0.0.1:{port}")), "{port}\n{guide}");
        }
    }

    #[test]
    fn what_to_try_is_for_this_demo() {
        let text = things_to_try("http://127.0.0.1:9000", "http://127.0.0.1:9001", 4711);
        assert!(
            text.contains("kill -9 4711\n")
                && text.contains("http://127.0.0.1:9001/admin/killswitch/")
        );
        assert!(!text.contains(":8000") && !text.contains("{{"));
    }
}
