//! From a request to an answer: paths, methods, parameters, statuses.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request as HttpRequest, Response, StatusCode};
use logql::matcher::Matcher;
use logql::plan::Plan;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::timeout;

use super::connection::Connection;
use super::encode::{self, Shape};
use super::form::{Form, decode};
use super::metrics::{Raised, Recorder, write_process, write_store};
use super::params::{self, Bounds, MAX_QUERY, Rules};
use super::push;
use super::reply::{Answer, Body, CancelOnDrop, Refusal, Reply};
use super::work::{self, Work};
use super::{HttpLimits, Service, State};
use crate::api::{Cancel, Request};

const JSON: &str = "application/json; charset=UTF-8";
/// What `format_query` answers with, errors too.
const FORMAT_JSON: &str = "application/json; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";
const NOT_FOUND: &str = "404 page not found\n";
/// Most matchers of a metadata request, each of which may be a regex: Loki's `max_streams_matchers_per_query`.
const MAX_MATCHERS: usize = 1000;
/// Loki's text for a query that is missing; unlike other errors at the end it has no position.
const MISSING: &str = "parse error : syntax error: unexpected $end";
const INSTANT_LOG: &str = "log queries are not supported as an instant query type, please change your query to a range query type";
const FORM: &str = "application/x-www-form-urlencoded";
const BUILD: &str = concat!(
    r#"{"version":"3.7.0","revision":"","branch":"drupelet","buildUser":"drupelet "#,
    env!("CARGO_PKG_VERSION"),
    r#"","buildDate":"","goVersion":""}"#
);

/// Where a path leads.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Route {
    Query,
    QueryRange,
    Labels,
    Label,
    /// The label's name, still percent-encoded.
    Values(String),
    Series,
    IndexStats,
    FormatQuery,
    Push,
    /// `/api/prom/push`, whose JSON has another shape.
    LegacyPush,
    Ready,
    Metrics,
    BuildInfo,
    /// To the path without doubled slashes.
    Clean(String),
    Other,
}

impl Route {
    fn of(path: &str) -> Route {
        if path.contains("//") {
            let mut clean = path.to_owned();
            while clean.contains("//") {
                clean = clean.replace("//", "/");
            }
            return Route::Clean(clean);
        }
        let loki = match path {
            "/ready" => return Route::Ready,
            "/metrics" => return Route::Metrics,
            _ => path.strip_prefix("/loki/api/v1/"),
        };
        let legacy = || path.strip_prefix("/api/prom/");
        match loki.or_else(legacy).unwrap_or_default() {
            "query" if loki.is_some() => Route::Query,
            "query_range" if loki.is_some() => Route::QueryRange,
            "labels" if loki.is_some() => Route::Labels,
            "label" => Route::Label,
            "series" => Route::Series,
            "index/stats" if loki.is_some() => Route::IndexStats,
            "format_query" if loki.is_some() => Route::FormatQuery,
            "push" if loki.is_some() => Route::Push,
            "push" => Route::LegacyPush,
            "status/buildinfo" if loki.is_some() => Route::BuildInfo,
            rest => {
                let name = rest
                    .strip_prefix("label/")
                    .and_then(|r| r.strip_suffix("/values"));
                match name {
                    Some(name) if !name.is_empty() && !name.contains('/') => {
                        Route::Values(name.to_owned())
                    }
                    _ => Route::Other,
                }
            }
        }
    }

    /// As in Loki's own metrics.
    fn name(&self) -> &'static str {
        match self {
            Route::Query => "loki_api_v1_query",
            Route::QueryRange => "loki_api_v1_query_range",
            Route::Labels => "loki_api_v1_labels",
            Route::Label => "loki_api_v1_label",
            Route::Values(_) => "loki_api_v1_label_name_values",
            Route::Series => "loki_api_v1_series",
            Route::IndexStats => "loki_api_v1_index_stats",
            Route::FormatQuery => "loki_api_v1_format_query",
            Route::Push => "loki_api_v1_push",
            Route::LegacyPush => "api_prom_push",
            Route::Ready => "ready",
            Route::Metrics => "metrics",
            Route::BuildInfo => "loki_api_v1_status_buildinfo",
            Route::Clean(_) | Route::Other => "other",
        }
    }

    fn takes(&self, method: &Method) -> bool {
        match self {
            Route::Other | Route::Clean(_) => true,
            Route::Ready | Route::Metrics | Route::BuildInfo => method == Method::GET,
            Route::Push | Route::LegacyPush => method == Method::POST,
            _ => method == Method::GET || method == Method::POST,
        }
    }
}

/// Answers a request. An error of the body ends the connection; there is none before it.
pub(super) async fn handle(
    service: &Arc<Service>,
    connection: &Arc<Connection>,
    request: HttpRequest<Incoming>,
) -> Result<Response<Body>, std::convert::Infallible> {
    let route = Route::of(request.uri().path());
    let mut recorder = Recorder::new(&service.counters, route.name());
    let response = answer(service, connection, route, request).await;
    recorder.status = response.status().as_u16();
    Ok(response)
}

async fn answer(
    service: &Arc<Service>,
    connection: &Arc<Connection>,
    route: Route,
    request: HttpRequest<Incoming>,
) -> Response<Body> {
    let plain = |status, kind, text: String| respond(status, kind, Body::whole(text, connection));
    if !route.takes(request.method()) {
        let mut response = plain(405, TEXT, String::new());
        response.headers_mut().remove(header::CONTENT_TYPE);
        return response;
    }
    match &route {
        Route::Other => return error(&Refusal::new(404, NOT_FOUND), connection),
        Route::Clean(path) => return moved(path, request.uri().query(), connection),
        Route::Ready => return ready(service, connection),
        Route::BuildInfo => return plain(200, "application/json", BUILD.to_owned()),
        Route::Metrics => {
            let text = metrics(service);
            return plain(200, "text/plain; version=0.0.4; charset=utf-8", text);
        }
        Route::Push | Route::LegacyPush => {
            let legacy = route == Route::LegacyPush;
            return push::answer(service, connection, legacy, request).await;
        }
        _ => {}
    }
    let gzip = accepts_gzip(request.headers());
    let answered = match read(service, request).await {
        Ok(asked) => ask(service, connection, route, asked, gzip).await,
        Err(refusal) => Err(refusal),
    };
    answered.unwrap_or_else(|refusal| error(&refusal, connection))
}

pub(super) fn respond(status: u16, kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let kind = HeaderValue::from_static(kind);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

pub(super) fn error(refusal: &Refusal, connection: &Arc<Connection>) -> Response<Body> {
    let body = Body::whole(refusal.text.clone(), connection);
    if refusal.json {
        return respond(refusal.status, FORMAT_JSON, body);
    }
    let mut response = respond(refusal.status, TEXT, body);
    let nosniff = HeaderValue::from_static("nosniff");
    response
        .headers_mut()
        .insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    response
}

fn moved(path: &str, query: Option<&str>, connection: &Arc<Connection>) -> Response<Body> {
    let to = match query {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let Ok(to) = HeaderValue::from_str(&to) else {
        return error(&Refusal::new(404, NOT_FOUND), connection);
    };
    let mut response = respond(301, TEXT, Body::whole("", connection));
    response.headers_mut().insert(header::LOCATION, to);
    response
}

fn ready(service: &Service, connection: &Arc<Connection>) -> Response<Body> {
    let state = service.state.load(Ordering::Relaxed);
    if state == State::Ready as u8 {
        return respond(200, TEXT, Body::whole("ready\n", connection));
    }
    let text = if state == State::Stopping as u8 {
        "Application is stopping\n"
    } else {
        "Ingester not ready: starting\n"
    };
    error(&Refusal::new(503, text), connection)
}

pub(super) fn metrics(service: &Service) -> String {
    let mut out = String::with_capacity(8 << 10);
    write_process(&mut out);
    write_store(&mut out, &service.backend.stats());
    service.counters.write(&mut out);
    service.pushes.metrics(&mut out);
    for source in &service.sources {
        source(&mut out);
    }
    out
}

fn accepts_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter();
    values.filter_map(|v| v.to_str().ok()).any(|value| {
        value.split(',').any(|coding| {
            let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
            let refused = weight
                .trim()
                .strip_prefix("q=")
                .is_some_and(|q| q.trim().parse() == Ok(0.0));
            name.trim().eq_ignore_ascii_case("gzip") && !refused
        })
    })
}

/// The flag of the answer's shape; others are ignored.
fn shape(service: &Service, headers: &HeaderMap) -> Shape {
    let values = headers.get_all("x-loki-response-encoding-flags").iter();
    let asked = values
        .filter_map(|v| v.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|flag| flag.trim() == "categorize-labels");
    match (asked, service.limits().fold_categorized_labels) {
        (false, _) => Shape::Folded,
        (true, false) => Shape::Categorized,
        (true, true) => Shape::Both,
    }
}

/// The parameters of a request, read but not looked at.
struct Asked {
    form: Form,
    shape: Shape,
    now: i64,
    /// The share of the memory for forms.
    _bytes: Option<OwnedSemaphorePermit>,
}

async fn read(service: &Service, request: HttpRequest<Incoming>) -> Result<Asked, Refusal> {
    let (parts, body) = request.into_parts();
    let kind = parts.headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|k| k.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let (body, bytes) = if parts.method == Method::POST && kind.eq_ignore_ascii_case(FORM) {
        let limit = service.limits().header_timeout;
        let late = |_| Refusal::new(408, "the body did not come in time");
        let (body, bytes) = timeout(limit, collect(service, body))
            .await
            .map_err(late)??;
        (body, Some(bytes))
    } else {
        (Vec::new(), None)
    };
    let query = parts.uri.query().unwrap_or_default();
    Ok(Asked {
        form: Form::parse(&body, query).map_err(Refusal::bad)?,
        shape: shape(service, &parts.headers),
        now: (service.clock)(),
        _bytes: bytes,
    })
}

/// Reads a form body, once there is room for it among the others.
async fn collect(
    service: &Service,
    body: Incoming,
) -> Result<(Vec<u8>, OwnedSemaphorePermit), Refusal> {
    let limit = service.limits().max_body_bytes;
    let too_large = || Refusal::new(413, "http: request body too large");
    let size = body.size_hint();
    if size.lower() > limit as u64 {
        return Err(too_large());
    }
    let most = size.upper().map_or(limit, |n| n.min(limit as u64) as usize);
    let most = u32::try_from(most).unwrap_or(u32::MAX);
    let bytes = Arc::clone(&service.form_bytes).acquire_many_owned(most);
    let bytes = bytes.await.map_err(|e| Refusal::new(500, e.to_string()))?;
    match Limited::new(body, limit).collect().await {
        Ok(all) => Ok((all.to_bytes().into(), bytes)),
        Err(e) if e.is::<LengthLimitError>() => Err(too_large()),
        Err(e) => Err(Refusal::bad(format!("cannot read the body: {e}"))),
    }
}

/// Resolves the parameters. Runs on a query thread: compiling a query may take time and memory.
fn resolve(limits: &HttpLimits, route: &Route, asked: &Asked) -> Result<Work, Refusal> {
    let Asked {
        form, shape, now, ..
    } = asked;
    let bounds = || params::metadata(form, *now).map_err(Refusal::bad);
    Ok(match route {
        Route::Query => {
            let request = params::instant(form, *now).map_err(Refusal::bad)?;
            let plan = parse(form.bytes("query"))?;
            if matches!(*plan, Plan::Log(_)) {
                return Err(Refusal::bad(INSTANT_LOG));
            }
            query(plan, request, *shape, 0)
        }
        Route::QueryRange => {
            let range = params::range(form, *now).map_err(Refusal::bad)?;
            let plan = parse(form.bytes("query"))?;
            let length = limits.max_query_length.as_nanos();
            let rules = Rules {
                max_entries: limits.max_entries_per_query,
                max_length: i64::try_from(length).unwrap_or(i64::MAX),
                align: limits.align_queries_with_step,
            };
            let request = params::resolve(&range, &plan, &rules).map_err(Refusal::bad)?;
            query(plan, request, *shape, range.interval)
        }
        Route::Labels | Route::Label => {
            let bounds = bounds()?;
            Work::Labels(matchers(form.bytes("query"))?, bounds)
        }
        Route::Values(name) => {
            let name = decode(name.as_bytes(), false).map_err(Refusal::bad)?;
            if name.contains('/') {
                return Err(Refusal::new(404, NOT_FOUND));
            }
            let bounds = bounds()?;
            Work::Values(name, matchers(form.bytes("query"))?, bounds)
        }
        Route::Series => {
            let bounds = bounds()?;
            Work::Series(groups(form)?, bounds)
        }
        Route::IndexStats => index_stats(form.bytes("query"), bounds()?)?,
        Route::FormatQuery => format_query(form.bytes("query"))?,
        _ => return Err(Refusal::new(404, NOT_FOUND)),
    })
}

/// Unlike elsewhere a query that does not parse is told as JSON.
fn format_query(text: &[u8]) -> Result<Work, Refusal> {
    match logql::format_query(text) {
        Ok(text) => Ok(Work::Formatted(text)),
        Err(e) => Err(Refusal::json(400, encode::invalid_query(&e.message))),
    }
}

fn query(plan: Box<Plan>, request: Request, shape: Shape, interval: i64) -> Work {
    Work::Query {
        plan,
        request,
        shape,
        interval,
    }
}

fn check_length(text: &[u8]) -> Result<(), Refusal> {
    // Characters are counted only where bytes leave a doubt.
    if text.len() > MAX_QUERY {
        let length = String::from_utf8_lossy(text).chars().count();
        if length > MAX_QUERY {
            let text = format!("parse error : input size too long ({length} > {MAX_QUERY})");
            return Err(Refusal::bad(text));
        }
    }
    Ok(())
}

fn parse(text: &[u8]) -> Result<Box<Plan>, Refusal> {
    check_length(text)?;
    if text.is_empty() {
        return Err(Refusal::bad(MISSING));
    }
    match logql::parse(text) {
        Ok(plan) => Ok(Box::new(plan)),
        Err(e) => Err(Refusal::bad(e.message)),
    }
}

fn matchers(text: &[u8]) -> Result<Vec<Matcher>, Refusal> {
    check_length(text)?;
    // Grafana has sent `{}` for no query.
    let none = text
        .trim_ascii()
        .strip_prefix(b"{")
        .and_then(|t| t.strip_suffix(b"}"));
    if text.is_empty() || none.is_some_and(|t| t.trim_ascii().is_empty()) {
        return Ok(Vec::new());
    }
    let matchers = logql::parse_matchers(text).map_err(|e| Refusal::bad(e.message))?;
    check_matchers(matchers.len())?;
    Ok(matchers)
}

fn groups(form: &Form) -> Result<Vec<Vec<Matcher>>, Refusal> {
    let texts: Vec<&[u8]> = form.all("match").chain(form.all("match[]")).collect();
    let (mut groups, mut count) = (Vec::new(), 0);
    for text in &texts {
        let group = matchers(text)?;
        if group.is_empty() {
            if texts.len() > 1 {
                let text = String::from_utf8_lossy(text);
                return Err(Refusal::bad(format!("0 matchers in group: {text}")));
            }
            return Ok(Vec::new());
        }
        count += group.len();
        check_matchers(count)?;
        groups.push(group);
    }
    Ok(groups)
}

fn check_matchers(count: usize) -> Result<(), Refusal> {
    if count > MAX_MATCHERS {
        let what = "max streams matchers per query exceeded, matchers-count > limit";
        return Err(Refusal::bad(format!("{what} ({count} > {MAX_MATCHERS})")));
    }
    Ok(())
}

fn index_stats(text: &[u8], bounds: Bounds) -> Result<Work, Refusal> {
    if text.is_empty() {
        return Err(Refusal::bad(MISSING));
    }
    let matchers = matchers(text)?;
    // The language's ranges are whole milliseconds: the window may begin that much early.
    let range = bounds.1.saturating_sub(bounds.0).max(1);
    let range = (range as u64).div_ceil(1_000_000);
    // A comment may end the text.
    let text = String::from_utf8_lossy(text);
    let plan = |op: &str| parse(format!("sum({op}({text}\n[{range}ms]))").as_bytes());
    Ok(Work::IndexStats {
        matchers,
        bounds,
        entries: plan("count_over_time")?,
        bytes: plan("bytes_over_time")?,
    })
}

/// Has a query thread do the work and waits for the beginning of the answer.
async fn ask(
    service: &Arc<Service>,
    connection: &Arc<Connection>,
    route: Route,
    asked: Asked,
    gzip: bool,
) -> Result<Response<Body>, Refusal> {
    let limits = &service.limits();
    let formats = route == Route::FormatQuery;
    let kind = if formats { FORMAT_JSON } else { JSON };
    let came = Instant::now();
    let cancel = Cancel::at(came + limits.query_timeout).among(&service.shared);
    let guard = CancelOnDrop(cancel);
    let (sender, receiver) = oneshot::channel();
    let _running = Raised::new(&service.counters.queries_running);
    let job = {
        let (service, cancel) = (Arc::clone(service), guard.0.clone());
        move || {
            let reply = Reply::new(sender, gzip && !formats, &cancel);
            let _seat = match cancel.enter() {
                Ok(seat) => seat,
                Err(error) => return reply.refuse(error.into()),
            };
            if let Err(error) = cancel.check() {
                return reply.refuse(error.into());
            }
            let work = match resolve(&service.limits(), &route, &asked) {
                Ok(work) => work,
                Err(refusal) => return reply.refuse(refusal),
            };
            drop(asked);
            let (backend, counters) = (&*service.backend, &service.counters);
            work::run(work, backend, counters, &cancel, came, reply);
        }
    };
    if service.pool.run(job).is_err() {
        return Err(Refusal::new(429, "too many outstanding requests"));
    }
    // The thread looks at the deadline too, but may be waiting for the disk, or not have begun.
    let answer: Answer = match timeout(limits.query_timeout, receiver).await {
        Ok(Ok(answer)) => answer?,
        Ok(Err(_)) => {
            return Err(Refusal::new(
                500,
                "error while processing request: the query thread ended",
            ));
        }
        Err(_) => return Err(Refusal::timed_out()),
    };
    let gzip = answer.gzip;
    let body = Body::answer(answer, guard, connection, limits.response_timeout);
    let mut response = respond(200, kind, body);
    let headers = response.headers_mut();
    if !formats {
        headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    }
    if gzip {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Ok(response)
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    #[test]
    fn paths_lead_to_routes() {
        let values = |name: &str| Route::Values(name.to_owned());
        for (path, want) in [
            ("/loki/api/v1/query", Route::Query),
            ("/loki/api/v1/query_range", Route::QueryRange),
            ("/loki/api/v1/labels", Route::Labels),
            ("/loki/api/v1/label", Route::Label),
            ("/api/prom/label", Route::Label),
            ("/api/prom/labels", Route::Other),
            ("/api/prom/query_range", Route::Other),
            ("/loki/api/v1/label/app/values", values("app")),
            ("/api/prom/label/app/values", values("app")),
            ("/loki/api/v1/label/a%2Fb/values", values("a%2Fb")),
            (
                "/loki/api/v1/label//values",
                Route::Clean("/loki/api/v1/label/values".into()),
            ),
            ("/loki/api/v1/label/values", Route::Other),
            ("/loki/api/v1/label/a/b/values", Route::Other),
            ("/loki/api/v1/series", Route::Series),
            ("/api/prom/series", Route::Series),
            ("/loki/api/v1/format_query", Route::FormatQuery),
            ("/api/prom/format_query", Route::Other),
            ("/loki/api/v1/push", Route::Push),
            ("/api/prom/push", Route::LegacyPush),
            ("/loki/api/v1/series/", Route::Other),
            ("///ready", Route::Clean("/ready".into())),
            ("/", Route::Other),
            ("", Route::Other),
            ("*", Route::Other),
        ] {
            assert_eq!(Route::of(path), want, "{path}");
        }
    }

    #[test]
    fn gzip_is_sent_only_to_who_takes_it() {
        for (value, want) in [
            ("gzip", true),
            ("deflate, gzip;q=0.5", true),
            ("GZIP", true),
            ("gzip;q=0", false),
            ("gzip; q=0.0", false),
            ("br, zstd", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(value));
            assert_eq!(accepts_gzip(&headers), want, "{value}");
        }
    }
}
