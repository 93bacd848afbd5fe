//! Who is told what happens to circuits.

use super::{Check, Site, address};
use crate::config::config::{Secret, Webhook, WebhookEvent, WebhookTls};
use crate::config::fault::Wrong;
use crate::config::file;

/// Fewer letters are guessed in a moment.
const SECRET_BYTES_MIN: usize = 16;

impl Check<'_, '_> {
    /// Nothing in nothing for a faulty one.
    pub(super) fn webhook(&mut self) -> Option<Option<Webhook>> {
        let Some(file) = &self.file.webhook else { return Some(None) };
        let site = self.root.key("webhook");
        let url = file.url.as_deref();
        let url = url.and_then(|url| self.accept(site.key("url"), address::webhook(url)));
        let secret =
            file.secret.as_ref().and_then(|secret| self.secret(&secret.0, site.key("secret")));
        let mut allowed_networks = Vec::new();
        for (index, text) in file.allowed_networks.iter().enumerate() {
            let site = site.key("allowed_networks").item(index);
            allowed_networks.extend(self.accept(site, address::cidr(text)));
        }
        if let (Some(url), Some(_)) = (&url, &file.ca_file)
            && !url.is_https
        {
            let wrong =
                "`ca_file` says nothing to a webhook over http; its URL must begin with https://";
            self.report(site.key("ca_file"), wrong);
        }
        let address::WebhookUrl { is_https, authority, path } = url?;
        Some(Some(Webhook {
            authority,
            path,
            tls: is_https.then(|| WebhookTls { ca_file: file.ca_file.as_ref().map(Into::into) }),
            secret: secret?,
            events: file.events.iter().map(|event| event_of(*event)).collect(),
            timeout: file.timeout_seconds.duration(),
            attempts_max: file.attempts_max,
            allowed_networks,
        }))
    }

    /// A secret comes from the environment and from nowhere else: a configuration is copied, committed and shown.
    fn secret(&mut self, text: &str, site: Site<'_>) -> Option<Secret> {
        let written = self.faults.text()[site.offset()..].trim_start_matches(['"', '\'']);
        let is_variable = written.starts_with("${")
            && written
                .split_once('}')
                .is_some_and(|(name, rest)| !name.contains(":-") && rest.starts_with(['"', '\'']));
        let secret = match text {
            _ if !is_variable => {
                Err("the secret can't stand in the file, not even as a default: write \
                                      `\"${PORTCULLIS_WEBHOOK_SECRET}\"`"
                    .into())
            }
            text if text.len() < SECRET_BYTES_MIN => {
                Err(format!("the secret is too short: {SECRET_BYTES_MIN} bytes at least").into())
            }
            text => Ok::<_, Wrong>(Secret(text.to_owned())),
        };
        self.accept(site, secret)
    }
}

const fn event_of(event: file::WebhookEvent) -> WebhookEvent {
    match event {
        file::WebhookEvent::Opened => WebhookEvent::Opened,
        file::WebhookEvent::Closed => WebhookEvent::Closed,
        file::WebhookEvent::Forced => WebhookEvent::Forced,
    }
}
