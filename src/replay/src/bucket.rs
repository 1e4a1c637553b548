//! How an archive in a bucket is spoken to: by the client of HTTP that the rest of the program has,
//! which believes the same authorities. (`object_store`'s own brings another library of ciphers:
//! docs/adr/0018.)

use async_trait::async_trait;
use http_body_util::BodyExt as _;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
    HttpResponseBody, HttpService,
};

/// Makes clients.
#[derive(Debug)]
pub(crate) struct Clients;

#[derive(Debug)]
struct Client(reqwest::Client);

impl HttpConnector for Clients {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = tls::http()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| object_store::Error::Generic { store: "S3", source: error.into() })?;
        Ok(HttpClient::new(Client(client)))
    }
}

#[async_trait]
impl HttpService for Client {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (parts, body) = request.into_parts();
        let url = parts.uri.to_string().parse::<reqwest::Url>();
        let url = url.map_err(|error| HttpError::new(HttpErrorKind::Unknown, error))?;
        let mut sent = reqwest::Request::new(parts.method, url);
        *sent.headers_mut() = parts.headers;
        *sent.body_mut() = Some(body.collect().await?.to_bytes().into());
        let response = self.0.execute(sent).await.map_err(failed)?;
        let (status, headers) = (response.status(), response.headers().clone());
        // Whole, as it is verified: a segment is a few MiB.
        let body = http_body_util::Full::new(response.bytes().await.map_err(failed)?);
        let body = body.map_err(|never| match never {});
        let mut answer = HttpResponse::new(HttpResponseBody::new(body));
        (*answer.status_mut(), *answer.headers_mut()) = (status, headers);
        Ok(answer)
    }
}

fn failed(error: reqwest::Error) -> HttpError {
    tls::complain("the store of the archive", &error);
    let kind = match &error {
        error if error.is_timeout() => HttpErrorKind::Timeout,
        error if error.is_connect() => HttpErrorKind::Connect,
        error if error.is_request() => HttpErrorKind::Request,
        error if error.is_body() => HttpErrorKind::Interrupted,
        _ => HttpErrorKind::Unknown,
    };
    HttpError::new(kind, error)
}
