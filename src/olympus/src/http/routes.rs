//! Every route there is, in one table.

use actix_web::guard::{Any, Get, Head};
use actix_web::{HttpRequest, Resource, Route, web};

use super::problem::{self, Fault};
use super::{
    agent, batch, dead, events, explain, health, heat, logs, metrics, nodes, openapi, policies,
    quarantine, queue, record, runs, snapshot, templates, what_if,
};
use crate::keep::lent;

/// Every path with its methods, as the description of the API lists them.
pub const ROUTES: [(&str, &str); 40] = [
    ("/healthz", "GET"),
    ("/metrics", "GET"),
    ("/readyz", "GET"),
    ("/v1/agent/session", "GET"),
    ("/v1/events", "GET"),
    ("/v1/heat", "GET, PUT"),
    ("/v1/heat/versions", "GET"),
    ("/v1/keys", "GET"),
    ("/v1/level", "GET, POST"),
    ("/v1/nodes", "GET"),
    ("/v1/nodes/{id}", "GET"),
    ("/v1/nodes/{id}/drain", "POST"),
    ("/v1/nodes/{id}/labels", "PUT"),
    ("/v1/nodes/{id}/undrain", "POST"),
    ("/v1/openapi.json", "GET"),
    ("/v1/policies", "GET"),
    ("/v1/policies/{name}", "GET, PUT, DELETE"),
    ("/v1/policies/{name}/versions", "GET"),
    ("/v1/policies/{name}/versions/{version}", "GET"),
    ("/v1/policies/{name}/versions/{version}/restore", "POST"),
    ("/v1/policies/{name}/what-if", "POST"),
    ("/v1/quarantine", "GET"),
    ("/v1/queue", "GET"),
    ("/v1/queue/dead", "GET"),
    ("/v1/queue/dead/{id}/redrive", "POST"),
    ("/v1/queue/pause", "POST"),
    ("/v1/queue/resume", "POST"),
    ("/v1/runs", "GET, POST"),
    ("/v1/runs/{id}", "GET"),
    ("/v1/runs/{id}/cancel", "POST"),
    ("/v1/runs/{id}/events", "GET"),
    ("/v1/runs/{id}/explain", "GET"),
    ("/v1/runs/{id}/logs", "GET"),
    ("/v1/runs/{id}/reject", "POST"),
    ("/v1/runs/{id}/release", "POST"),
    ("/v1/runs/{id}/why", "GET"),
    ("/v1/runs:batch", "POST"),
    ("/v1/snapshots/newest", "GET"),
    ("/v1/templates", "GET"),
    ("/v1/templates/{name}", "GET, PUT, DELETE"),
];

/// Puts every route of [`ROUTES`] into an application. The busiest comes first: routes are tried in
/// order.
pub fn configure(config: &mut web::ServiceConfig) {
    config
        .service(resource(
            "/v1/runs",
            "GET, POST",
            [reading().to(runs::list), web::post().to(runs::submit)],
        ))
        .service(resource("/v1/runs:batch", "POST", [web::post().to(batch::submit)]))
        .service(resource("/v1/runs/{id}", "GET", [reading().to(runs::get)]))
        .service(resource("/healthz", "GET", [reading().to(health::healthz)]))
        .service(resource("/metrics", "GET", [reading().to(metrics::get)]))
        .service(resource("/readyz", "GET", [reading().to(health::readyz)]))
        .service(resource("/v1/agent/session", "GET", [reading().to(agent::open)]))
        .service(resource("/v1/events", "GET", [reading().to(events::feed)]))
        .service(resource(
            "/v1/heat",
            "GET, PUT",
            [reading().to(heat::get), web::put().to(heat::put)],
        ))
        .service(resource("/v1/heat/versions", "GET", [reading().to(heat::versions)]))
        .service(resource("/v1/keys", "GET", [reading().to(record::keys)]))
        .service(resource(
            "/v1/level",
            "GET, POST",
            [reading().to(record::level), web::post().to(record::raise)],
        ))
        .service(resource("/v1/nodes", "GET", [reading().to(nodes::list)]))
        .service(resource("/v1/nodes/{id}", "GET", [reading().to(nodes::get)]))
        .service(resource("/v1/nodes/{id}/drain", "POST", [web::post().to(nodes::drain)]))
        .service(resource("/v1/nodes/{id}/labels", "PUT", [web::put().to(nodes::label)]))
        .service(resource("/v1/nodes/{id}/undrain", "POST", [web::post().to(nodes::undrain)]))
        .service(resource("/v1/openapi.json", "GET", [reading().to(openapi::get)]))
        .service(resource("/v1/policies", "GET", [reading().to(policies::list)]))
        .service(resource(
            "/v1/policies/{name}",
            "GET, PUT, DELETE",
            [
                reading().to(policies::get),
                web::put().to(policies::put),
                web::delete().to(policies::delete),
            ],
        ))
        .service(resource(
            "/v1/policies/{name}/versions",
            "GET",
            [reading().to(policies::versions)],
        ))
        .service(resource(
            "/v1/policies/{name}/versions/{version}",
            "GET",
            [reading().to(policies::version)],
        ))
        .service(resource(
            "/v1/policies/{name}/versions/{version}/restore",
            "POST",
            [web::post().to(policies::restore)],
        ))
        .service(resource("/v1/policies/{name}/what-if", "POST", [web::post().to(what_if::ask)]))
        .service(resource("/v1/quarantine", "GET", [reading().to(quarantine::list)]))
        .service(resource("/v1/queue", "GET", [reading().to(queue::get)]))
        .service(resource("/v1/queue/dead", "GET", [reading().to(dead::list)]))
        .service(resource("/v1/queue/dead/{id}/redrive", "POST", [web::post().to(dead::redrive)]))
        .service(resource("/v1/queue/pause", "POST", [web::post().to(queue::pause)]))
        .service(resource("/v1/queue/resume", "POST", [web::post().to(queue::resume)]))
        .service(resource("/v1/runs/{id}/cancel", "POST", [web::post().to(runs::cancel)]))
        .service(resource("/v1/runs/{id}/events", "GET", [reading().to(events::of_run)]))
        .service(resource("/v1/runs/{id}/explain", "GET", [reading().to(explain::get)]))
        .service(resource("/v1/runs/{id}/why", "GET", [reading().to(events::why)]))
        .service(resource("/v1/runs/{id}/logs", "GET", [reading().to(logs::get)]))
        .service(resource("/v1/runs/{id}/reject", "POST", [web::post().to(quarantine::reject)]))
        .service(resource("/v1/runs/{id}/release", "POST", [web::post().to(quarantine::release)]))
        .service(resource(lent::PATH, "GET", [reading().to(snapshot::newest)]))
        .service(resource("/v1/templates", "GET", [reading().to(templates::list)]))
        .service(resource(
            "/v1/templates/{name}",
            "GET, PUT, DELETE",
            [
                reading().to(templates::get),
                web::put().to(templates::put),
                web::delete().to(templates::delete),
            ],
        ))
        .default_service(web::to(no_route));
}

/// A read: HEAD is a GET without its body.
fn reading() -> Route {
    web::route().guard(Any(Get()).or(Head()))
}

fn resource<const N: usize>(
    path: &'static str,
    methods: &'static str,
    routes: [Route; N],
) -> Resource {
    let refuse = move |request: HttpRequest| async move {
        Err::<actix_web::HttpResponse, Fault>(problem::no_method(
            request.method().as_str(),
            methods,
        ))
    };
    let resource = web::resource(path).default_service(web::to(refuse));
    routes.into_iter().fold(resource, Resource::route)
}

async fn no_route(request: HttpRequest) -> Result<actix_web::HttpResponse, Fault> {
    Err(problem::no_route(request.path()))
}
