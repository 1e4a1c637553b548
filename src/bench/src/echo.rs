//! The floor of a submission: actix-web parses a JSON body and sends it back.

use actix_web::{App, HttpResponse, HttpServer, web};

use crate::Failed;

/// Arguments.
#[derive(clap::Args)]
pub struct Echo {
    /// Where to listen.
    #[arg(long)]
    listen: String,
    /// Worker threads.
    #[arg(long)]
    workers: usize,
}

impl Echo {
    /// Serves until it is stopped.
    pub fn run(self) -> Result<(), Failed> {
        actix_rt::System::new().block_on(async move {
            let app = || App::new().route("/v1/runs", web::post().to(echo));
            HttpServer::new(app).workers(self.workers).bind(self.listen)?.run().await?;
            Ok(())
        })
    }
}

async fn echo(body: web::Json<api::RunRequest>) -> HttpResponse {
    HttpResponse::Ok().json(body.into_inner())
}
