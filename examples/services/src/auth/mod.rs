//! The auth service: users with hashed passwords, signed tokens, and the public keys to check them elsewhere.
//!
//! `/verify` asks the database whether the user still exists, so a broken database makes it unavailable; whoever asks
//! (the gateway) may then check the token against the published keys by itself.

mod signing;
mod users;

use std::sync::Arc;

use axum::extract::rejection::FormRejection;
use axum::extract::{Form, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use jiff::Timestamp;
use jsonwebtoken::jwk::JwkSet;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::answer::{bad_form, busy, refusal};
use crate::startup::{Background, OpenError, Service, Settings};
use signing::{Signer, TOKEN_LIFETIME};
use users::{LoginError, Users};

struct Auth {
    users: Users,
    signer: Signer,
}

/// Opens the service: its key must be readable, its database may come later.
pub async fn open(settings: Settings) -> Result<Service, OpenError> {
    let signer = Signer::open(&settings.data_dir)?;
    let users = Users::open(&settings.data_dir);
    Ok(Service { router: router(Auth { users, signer }), background: Background::default() })
}

fn router(auth: Auth) -> Router {
    Router::new()
        .route("/auth/token", post(token))
        .route("/verify", get(verify))
        .route("/.well-known/jwks.json", get(jwks))
        .route("/health", get(health))
        .with_state(Arc::new(auth))
}

#[derive(Deserialize)]
struct Credentials {
    username: String,
    password: String,
}

async fn token(
    State(auth): State<Arc<Auth>>,
    form: Result<Form<Credentials>, FormRejection>,
) -> Response {
    let Form(Credentials { username, password }) = match form {
        Ok(form) => form,
        Err(rejection) => return bad_form(&rejection),
    };
    match auth.users.login(&username, password).await {
        Ok(()) => {}
        Err(LoginError::Wrong) => return unauthorized("Incorrect username or password"),
        Err(LoginError::TooMany(wait)) => return busy("Too many logins at once", wait),
        Err(LoginError::Database(unavailable)) => return unavailable.into_response(),
    }
    match auth.signer.sign(&username, Timestamp::now()) {
        Ok(token) => {
            let lifetime = TOKEN_LIFETIME.as_secs();
            let body =
                json!({ "access_token": token, "token_type": "bearer", "expires_in": lifetime });
            ([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "failed to sign a token");
            refusal(StatusCode::INTERNAL_SERVER_ERROR, "Could not sign a token")
        }
    }
}

async fn verify(State(auth): State<Arc<Auth>>, headers: HeaderMap) -> Response {
    let Some(token) = bearer(&headers) else { return unauthorized("Not authenticated") };
    let Some(claims) = auth.signer.check(token) else {
        return unauthorized("Invalid or expired token");
    };
    match auth.users.exists(&claims.sub).await {
        Ok(true) => {}
        Ok(false) => return unauthorized("No such user"),
        Err(unavailable) => return unavailable.into_response(),
    }
    let mut response =
        Json(json!({ "subject": claims.sub, "expires_at": claims.expires_at() })).into_response();
    // A name that no header can carry is left out; the body has it.
    if let Ok(subject) = HeaderValue::from_str(&claims.sub) {
        response.headers_mut().insert("x-auth-subject", subject);
    }
    response
}

async fn jwks(State(auth): State<Arc<Auth>>) -> Json<JwkSet> {
    Json(auth.signer.public_keys())
}

async fn health(State(auth): State<Arc<Auth>>) -> Json<Value> {
    let database = auth.users.database_health().await;
    let status = if database == "up" { "healthy" } else { "degraded" };
    Json(json!({ "status": status, "dependencies": { "database": database } }))
}

/// The token of an `Authorization: Bearer …`; two such headers are none.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next()?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    (values.next().is_none() && scheme.eq_ignore_ascii_case("bearer")).then(|| token.trim())
}

fn unauthorized(error: &str) -> Response {
    let mut response = refusal(StatusCode::UNAUTHORIZED, error);
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http_test::{get, send, send_for_headers, with};
    use axum::body::Body;
    use axum::http::Request;
    use std::fs;
    use std::path::Path;
    use tempfile::TempDir;

    fn service(directory: &Path) -> Router {
        router(Auth { users: Users::open(directory), signer: Signer::open(directory).unwrap() })
    }

    fn login(username: &str, password: &str) -> Request<Body> {
        Request::post("/auth/token")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Body::from(format!("username={username}&password={password}")))
            .unwrap()
    }

    async fn admin_token(router: &Router) -> String {
        let (status, body) = send(router, login("admin", "admin123")).await;
        assert_eq!(status, 200, "{body}");
        body["access_token"].as_str().unwrap().to_owned()
    }

    #[tokio::test]
    async fn a_right_password_gives_a_bearer_token_for_an_hour() {
        let directory = TempDir::new().unwrap();
        let (status, body) = send(&service(directory.path()), login("admin", "admin123")).await;
        assert_eq!(status, 200);
        assert_eq!((&body["token_type"], &body["expires_in"]), (&json!("bearer"), &json!(3600)));
    }

    #[tokio::test]
    async fn a_wrong_password_and_an_unknown_user_get_the_same_401() {
        let directory = TempDir::new().unwrap();
        let router = service(directory.path());
        let wrong = send(&router, login("admin", "guess")).await;
        let unknown = send(&router, login("nobody", "admin123")).await;
        assert_eq!(wrong.0, 401);
        assert_eq!(wrong, unknown);
    }

    #[tokio::test]
    async fn a_login_without_a_password_is_refused_as_json() {
        let directory = TempDir::new().unwrap();
        let request = Request::post("/auth/token")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Body::from("username=admin"))
            .unwrap();
        let (status, body) = send(&service(directory.path()), request).await;
        assert_eq!(status, 422);
        assert!(body["error"].is_string());
    }

    #[tokio::test]
    async fn verify_names_the_subject_in_body_and_header() {
        let directory = TempDir::new().unwrap();
        let router = service(directory.path());
        let token = admin_token(&router).await;
        let request = with(get("/verify"), "authorization", &format!("Bearer {token}"));
        let (status, headers, body) = send_for_headers(&router, request).await;
        assert_eq!(status, 200);
        assert_eq!(headers["x-auth-subject"], "admin");
        assert_eq!(body["subject"], "admin");
        assert!(
            body["expires_at"].as_str().unwrap().parse::<Timestamp>().unwrap() > Timestamp::now()
        );
    }

    #[tokio::test]
    async fn verify_refuses_no_token_a_changed_token_and_two_tokens() {
        let directory = TempDir::new().unwrap();
        let router = service(directory.path());
        let token = format!("Bearer {}", admin_token(&router).await);
        let (head, _) = token.rsplit_once('.').unwrap();
        let changed = with(get("/verify"), "authorization", &format!("{head}.AAAA"));
        let twice = with(with(get("/verify"), "authorization", &token), "authorization", &token);
        for request in [get("/verify"), changed, twice] {
            assert_eq!(send(&router, request).await.0, 401);
        }
    }

    #[tokio::test]
    async fn a_token_outlives_a_restart_because_the_key_does() {
        let directory = TempDir::new().unwrap();
        let token = admin_token(&service(directory.path())).await;
        let again = service(directory.path());
        let (status, _) =
            send(&again, with(get("/verify"), "authorization", &format!("Bearer {token}"))).await;
        assert_eq!(status, 200);
    }

    #[tokio::test]
    async fn the_published_key_checks_a_token() {
        let directory = TempDir::new().unwrap();
        let router = service(directory.path());
        let token = admin_token(&router).await;
        let (_, keys) = send(&router, get("/.well-known/jwks.json")).await;
        let keys: JwkSet = serde_json::from_value(keys).unwrap();
        let kid = jsonwebtoken::decode_header(&token).unwrap().kid.unwrap();
        let key = jsonwebtoken::DecodingKey::from_jwk(keys.find(&kid).unwrap()).unwrap();
        let mut validation = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::EdDSA);
        validation.set_audience(&["portcullis-demo"]);
        validation.set_issuer(&["portcullis-demo-auth"]);
        let claims = jsonwebtoken::decode::<Value>(&token, &key, &validation).unwrap().claims;
        assert_eq!(claims["sub"], "admin");
    }

    #[tokio::test]
    async fn a_broken_database_answers_503_and_says_so_in_its_health() {
        let directory = TempDir::new().unwrap();
        let router = service(directory.path());
        let token = admin_token(&router).await;
        fs::rename(directory.path().join("auth.db"), directory.path().join("away")).unwrap();
        let verify = with(get("/verify"), "authorization", &format!("Bearer {token}"));
        for request in [login("admin", "admin123"), verify] {
            let (status, body) = send(&router, request).await;
            assert_eq!((status, body), (503, json!({ "error": "Database unavailable" })));
        }
        let (status, health) = send(&router, get("/health")).await;
        assert_eq!(status, 200);
        assert_eq!(health, json!({ "status": "degraded", "dependencies": { "database": "down" } }));
    }
}
